import pytest

from ccsn_tf.config import Config
from ccsn_tf.data.checks import videos
from ccsn_tf.data.checks.scan import Scanned
from ccsn_tf.data.datasets import Clip, Listing, Split
from ccsn_tf.data.video import Decoded

NAMES = tuple(f"{label}/{n}" for label in "AB" for n in range(10))
TRAIN, TEST = (tuple(name for name in NAMES if (int(name[-1]) < 3) == is_test) for is_test in (False, True))
LISTING = Listing(
    ("A", "B"), tuple(Clip(name, f"{name}.avi", name[0], name) for name in NAMES), {1: Split(TRAIN, TEST)}
)
CONFIG = Config().replace(image_size=112, flow_length=5)


def scan_with(**others):
    """Sound videos of 40 frames of 320x240, but for `others` by name, with _ for the slash."""
    sound = Scanned("", Decoded(40, 320, 240, 0))
    return {name: others.get(name.replace("/", "_"), sound) for name in NAMES}


def found(check, scan, config=CONFIG, listing=LISTING):
    return [(finding.kind, finding.clip, finding.blocks) for finding in check(config, listing, scan)]


def messages(check, scan, config=CONFIG, listing=LISTING):
    return [finding.message for finding in check(config, listing, scan)]


def decoded(frames=40, width=320, height=240, concealed=0, **more):
    return Scanned("", Decoded(frames, width, height, concealed), **more)


def test_sound_videos_have_no_faults():
    assert [check for check in videos.CHECKS if found(check, scan_with())] == []


def test_unreadable():
    scan = scan_with(A_4=Scanned("A/4.avi is damaged."))
    assert found(videos.unreadable, scan) == [("unreadable", "A/4", False)]
    assert messages(videos.unreadable, scan) == ["A/4.avi is damaged."]
    assert [check for check in videos.CHECKS if found(check, scan)] == [videos.unreadable]


def test_hidden_damage():
    scan = scan_with(A_4=decoded(concealed=1), B_5=decoded(concealed=3))
    assert messages(videos.hidden_damage, scan) == [
        "A/4 has 1 frame with damaged parts.",
        "B/5 has 3 frames with damaged parts.",
    ]


@pytest.mark.parametrize("frames, is_short", [(1, True), (5, True), (6, False), (0, False)])
def test_short(frames, is_short):
    # A container that was looked at quickly may not say how many frames there are: 0.
    scan = scan_with(B_9=decoded(frames=frames))
    assert found(videos.short, scan) == [("short", "B/9", False)] * is_short


def test_short_at_a_stride():
    scan = scan_with(B_9=decoded(frames=10))
    (message,) = messages(videos.short, scan, CONFIG.replace(flow_stride=2))
    assert message == "B/9 has 10 frames: a snippet of --flow_length=5 flow fields at --flow_stride=2 needs 11."


def test_too_small_for_the_flow():
    scan = scan_with(A_1=decoded(width=8, height=8), A_2=decoded(width=48, height=36))
    assert messages(videos.too_small_for_flow, scan) == ["A/1 has frames of 8x8 pixels: --flow=dis fails."]
    for flow in ("farneback", "stored"):
        assert not found(videos.too_small_for_flow, scan, CONFIG.replace(flow=flow))


def test_another_size():
    scan = scan_with(A_1=decoded(width=240, height=320))
    assert messages(videos.sizes, scan) == ["A/1 is 240x320, the others are 320x240 (19 videos)."]


def test_many_sizes():
    scan = {name: decoded(width=100 + 2 * (n // 3)) for n, name in enumerate(NAMES)}
    assert messages(videos.sizes, scan) == ["The videos have 7 sizes; most often, 3 times, 100x240."]


def test_smaller_than_the_network():
    scan = scan_with(A_1=decoded(width=100), A_2=decoded(height=111))
    (message,) = messages(videos.smaller_than_the_network, scan)
    assert message == "2 of 20 videos have a side shorter than --image_size=112, as A/1."


def test_class_without_usable_clip():
    gone = {f"B_{n}": seen for n, seen in enumerate((Scanned("bad"), decoded(frames=3), decoded(width=4, height=4)))}
    listing = Listing(LISTING.classes, LISTING.clips, {1: Split(TRAIN, TEST), 2: Split(TEST, TRAIN)})
    assert ("class without clips", "", True) in found(videos.unusable_classes, scan_with(**gone), listing=listing)
    text = messages(videos.unusable_classes, scan_with(**gone), CONFIG.replace(split=2), listing)[0]
    assert text.startswith("Class B has no usable training clip in split 2")


@pytest.mark.parametrize("unusable, blocks", [(1, False), (2, True)])
def test_much_is_missing(unusable, blocks):
    scan = scan_with(**{f"A_{n}": Scanned("bad") for n in range(4, 4 + unusable)})
    assert found(videos.unusable_classes, scan) == [("much is missing", "", True)] * blocks


def test_absent_clips_count_too():
    listing = Listing(LISTING.classes, LISTING.clips, LISTING.splits, absent=(("A/77", "gone"), ("A/78", "gone")))
    text = "2 of 22 clips are absent or cannot be used: complete the data set."
    assert messages(videos.unusable_classes, scan_with(), listing=listing) == [text]


def test_no_such_split():
    (message,) = messages(videos.unusable_classes, scan_with(), CONFIG.replace(split=3))
    assert message == "--split=3 is not in the lists: give one of 1."


def test_duplicates_and_lookalikes():
    numbers = (2**64 - 1,) * 5
    scan = scan_with(
        A_0=decoded(digest="x", likeness=numbers),
        A_5=decoded(digest="x", likeness=numbers),
        A_6=decoded(digest="y", likeness=numbers),
    )
    config = CONFIG.replace(dataset="folder")
    assert found(videos.duplicates, scan, config) == [("same video on both sides", "A/5", True)]
    assert found(videos.lookalikes, scan, config) == [("look the same on both sides", "A/6", False)]

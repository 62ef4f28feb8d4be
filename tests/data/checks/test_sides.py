import pytest

from ccsn_tf.data.checks.sides import groups, lookalikes, same_videos
from ccsn_tf.data.datasets import Clip

SPLITS = {1: (("a1", "a2"), ("b1", "b2")), 2: (("a1", "b1"), ("a2", "b2"))}


def kinds_and_clips(findings):
    return [(finding.kind, finding.clip, finding.blocks) for finding in findings]


def test_groups():
    clips = [
        Clip(name, "", label, group)
        for name, label, group in (("a1", "A", "1"), ("a2", "A", "2"), ("b1", "B", "1"), ("b2", "A", "2"))
    ]
    found = list(groups(clips, SPLITS))
    assert [finding.message for finding in found] == [
        "Group 2 of A trains (a2) and tests (b2) in split 1: put it on one side."
    ]
    assert found[0].blocks


def test_groups_are_named_once():
    clips = [Clip(name, "", "A", "1") for name in ("a1", "a2", "b1", "b2")]
    assert len(list(groups(clips, SPLITS))) == 2


@pytest.mark.parametrize("dataset, blocks", [("folder", True), ("demo", True), ("ucf101", False)])
def test_same_video_on_both_sides(dataset, blocks):
    digests = {"a1": "x", "b2": "x", "a2": "y", "b1": "z"}
    assert kinds_and_clips(same_videos(digests, SPLITS, dataset)) == [("same video on both sides", "a1", blocks)]


def test_same_video_on_one_side_of_every_split():
    splits = {1: (("a1", "a2"), ("b1",))}
    assert kinds_and_clips(same_videos({"a1": "x", "a2": "x", "b1": "y"}, splits, "folder")) == [
        ("same video twice", "a1", False)
    ]
    assert "a1 trains and a2 tests in split 2" in next(same_videos({"a1": "x", "a2": "x"}, SPLITS, "folder")).message


def test_videos_without_digest_are_not_compared():
    assert not list(same_videos({"a1": "", "b1": ""}, SPLITS, "folder"))


def test_lookalikes_are_named_once_and_not_if_they_are_the_same():
    one, other = (2**64 - 2**32,) * 5, (2**32 - 1,) * 5
    likenesses = {"a1": one, "a2": other, "b1": other, "b2": one}
    digests = {"a2": "x", "b1": "x", "a1": "", "b2": ""}
    assert kinds_and_clips(lookalikes(likenesses, digests, SPLITS)) == [("look the same on both sides", "a1", False)]
    assert not list(lookalikes({"a1": (), "b1": ()}, {}, SPLITS))

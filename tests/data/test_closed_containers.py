"""Files that name other files, and names that are more than names: nobody gets a neighbour's frames by them."""

import cv2
import pytest
from videos import moving, write_video

from ccsn_tf.data.video import VideoError, iter_frames

CONCAT = "ffconcat version 1.0\nfile {}\n"
HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet contentType="video">'
    '<Representation id="0" mimeType="video/mp4" codecs="avc1.64000a" bandwidth="9000"><BaseURL>{}</BaseURL>'
    '<SegmentBase indexRange="0-99"/></Representation></AdaptationSet></Period></MPD>'
)
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
TARGETS = ("other.mp4", "../{folder}/other.ts", "{path}/other.mp4", "http://127.0.0.1:9/other.mp4", "lavfi:testsrc")
NAMES = {CONCAT: ("a.mp4", "a.ffconcat"), HLS: ("a.ts", "a.m3u8"), DASH: ("a.mp4", "a.mpd"), SDP: ("a.mp4", "a.sdp")}
PLAYLISTS = [(text, name) for text, names in NAMES.items() for name in names]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two videos and a numbered sequence of pictures."""
    folder = tmp_path_factory.mktemp("neighbours")
    write_video(folder / "other.mp4", moving(8))
    write_video(folder / "other.ts", moving(8), "mpeg2video", format="mpegts")
    for number, frame in enumerate(moving(8)):
        cv2.imwrite(str(folder / f"pic{number:03d}.png"), frame)
    return folder


def refused(path, name):
    with pytest.raises(VideoError) as caught:
        list(iter_frames(path, 64))
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text, name", PLAYLISTS, ids=lambda value: value if len(value) < 12 else "")
@pytest.mark.parametrize("target", TARGETS)
def test_playlists_are_no_videos(folder, text, name, target):
    target = target.format(folder=folder.name, path=folder)
    (folder / name).write_text(text.format(target))
    refused(str(folder / name), name)


@pytest.mark.parametrize(
    "name",
    ["pic%03d.png", "pic*.png", "pic000.png", "concat:other.ts|other.ts", "lavfi:testsrc", "testsrc"]
    + ["http://127.0.0.1:9/other.mp4", "subfile,,start,0,end,0,,:other.mp4", "crypto:other.mp4", "file:other.mp4"],
)
def test_names_are_no_more_than_names(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    refused(name, name)
    if "/" not in name and name != "pic000.png":  # a picture of that very name is no video either
        (folder / name).write_bytes((folder / "pic000.png").read_bytes())
        refused(name, name)


def test_text_is_not_drawn(folder):
    """FFmpeg shows text files as a terminal would."""
    for name in ("notes.txt", "notes.nfo", "notes.ans", "notes.mp4"):
        (folder / name).write_text("\x1b[31mHello\x1b[0m, this is a text.\r\n" * 40)
        refused(str(folder / name), name)

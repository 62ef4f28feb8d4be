"""A long video of known actions between unknown ones, watched: what is named right, and what `predict` would take.

    python benchmarks/run.py timeline --workdir=W --dataset=ucf101 --video_dir=V --split_dir=S --unknown_classes=A,B

The video is made of the split's test clips of the classes that the model of W knows and of --unknown_classes, in random
order, each at its own rate; the truth is beside it, as JSON. W was evaluated: its thresholds are those of --reject.
"""

import contextlib
import dataclasses
import fractions
import itertools
import json
import pathlib
import tempfile
import threading
import time

import av
import numpy as np
from absl import flags

from ccsn_tf.config import Config
from ccsn_tf.config import flags as command_line
from ccsn_tf.data.datasets import read_listing
from ccsn_tf.data.upright import Upright
from ccsn_tf.data.video import iter_timed
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import make_forward, predict_video
from ccsn_tf.evaluation.rejection import WAYS, rejection_of
from ccsn_tf.files import whole_file, write_text
from ccsn_tf.models.build import load_model
from ccsn_tf.progress import Progress
from ccsn_tf.streaming.source import open_source
from ccsn_tf.streaming.stream_model import TrainedModel
from ccsn_tf.streaming.timeline import Segment, SegmentMerger
from ccsn_tf.streaming.watch import WatchSettings, watch

_TICKS = 1000  # a second: every frame keeps its time
_NEVER, _DENSE = "no rejection", 25  # snippets that a window asks for where it is predicted, too
_SIDES = (("known", True), ("unknown", False))


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_string("timeline_video", "", "timeline: the video, made where it is not; empty: a temporary one.")
    flags.DEFINE_float("timeline_minutes", 20.0, "timeline: how long it is, but for the rest of its last clip.", 0.1)
    flags.DEFINE_float("timeline_scratch", 60.0, "timeline: seconds of it that predict answers too; 0: none.", 0.0)


def run(config: Config, options) -> dict:
    """Makes the video, watches it once, and asks `predict_video` about the windows of its first part.

    Returns:
        `seconds`, `clips` {"known", "unknown"}, `windows` of each, `ways` {way of rejection: {`known`, share of windows
        with their middle in a known clip that are named right, `inside`, of those that lie in one clip whole,
        `unknown`, share of the others that are none, `all`, of both, `f1` of segments}}; `scratch`, of `_from_scratch`.

    Raises:
        UserError: no evaluated run, no videos, or a video without its truth.
    """
    run_config = command_line.config_of_run()
    network = load_model(str(pathlib.Path(run_config.train.workdir, "model.keras")))
    model, settings = TrainedModel(network, run_config), WatchSettings()
    rejects = {_NEVER: lambda outputs: False}
    rejects |= {way: rejection_of(run_config.train.workdir, way, model.classes) for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(options.timeline_video or pathlib.Path(folder, "timeline.mp4"))
        truth_path = path.with_suffix(".truth.json")
        if not path.exists():
            make_video(path, truth_path, config, model.classes, 60 * options.timeline_minutes)
        try:
            truth = [Clip(**clip) for clip in json.loads(truth_path.read_text())]
        except OSError:
            raise UserError(f"{truth_path} is missing: remove --timeline_video={path}, and it is made again.") from None
        answers, shown = [], Progress("watch", "s")

        def show(answer, top):
            answers.append(answer)
            shown(round(answer.end), round(truth[-1].end))

        watch(model, open_source(str(path)), settings, threading.Event(), show)
        report = {
            "workdir": run_config.train.workdir,
            "seconds": truth[-1].end,
            "clips": {name: sum(clip.known is known for clip in truth) for name, known in _SIDES},
            "windows": len(answers),
            "ways": {way: _judged(answers, truth, model.classes, settings, each) for way, each in rejects.items()},
        }
        if options.timeline_scratch:
            report["scratch"] = _from_scratch(path, model, network, options.timeline_scratch)
    return report


def table(report: dict) -> str:
    """The report as Markdown."""
    lines = [
        f"{report['seconds'] / 60:.1f} minutes, {report['clips']['known']} clips of known classes, "
        f"{report['clips']['unknown']} of others; {report['windows']} windows.",
        "",
        "| rejection | windows of known clips named right, % | of those within a clip | windows of others none, % "
        "| all windows right, % | segment F1 at IoU 0.5, % |",
        "|---" * 6 + "|",
    ]
    for way, row in report["ways"].items():
        shares = (row[name] for name in ("known", "inside", "unknown", "all", "f1"))
        cells = ("" if share is None else f"{100 * share:.1f}" for share in shares)
        lines.append(f"| {way} | {' | '.join(cells)} |")
    if found := report.get("scratch"):
        watched, predict, cut = (found[name] for name in ("watched", "predict", "cut"))
        lines += [
            "",
            f"{found['windows']} windows of {found['snippets']:.0f} snippets, {found['new']:.1f} of them new: largest "
            f"difference of a score {found['difference']:.1e}. CPU milliseconds per window: watched "
            f"{1000 * watched:.0f}; `predict_video` of its cut {1000 * predict:.0f} ({predict / watched:.1f} x); "
            f"cutting it out {1000 * cut:.0f} (both {(predict + cut) / watched:.1f} x).",
        ]
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip of the video: its class, whether the model knows it, and when it is, in seconds."""

    label: str
    known: bool
    start: float
    end: float
    name: str


def make_video(path: pathlib.Path, truth_path: pathlib.Path, config: Config, known, seconds: float) -> None:
    """Writes the video and its truth: test clips in random order, by `seed`, until it is so long."""
    data = dataclasses.replace(config.data, classes=(*known, *config.eval.unknown_classes))
    listing = read_listing(data)
    test = set(listing.splits[data.split].test)
    clips = [clip for clip in listing.clips if clip.name in test]
    order, truth, start, stream = np.random.default_rng(config.train.seed).permutation(len(clips)), [], 0.0, None
    progress = Progress("video", "s")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside, av.open(str(beside), "w", format="mp4") as container:
        for clip in (clips[number] for number in order):
            times, last = [], start
            for at, image in iter_timed(clip.path, config.data.short_side):
                if stream is None:
                    stream = container.add_stream("libx264", rate=30, options={"crf": "18", "preset": "veryfast"})
                    (stream.height, stream.width), stream.pix_fmt = image.shape[:2], "yuv420p"
                    stream.codec_context.time_base = fractions.Fraction(1, _TICKS)
                    shape = image.shape
                if image.shape != shape:
                    raise UserError(f"{clip.path} is of another size than those before it: give videos of one.")
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts, frame.time_base = round(_TICKS * (start + at)), stream.codec_context.time_base
                container.mux(stream.encode(frame))
                times.append(at)
            last = start + times[-1] + float(np.median(np.diff(times)))
            truth.append(Clip(clip.label, clip.label in known, round(start, 3), round(last, 3), clip.name))
            start = last
            progress(min(round(start), round(seconds)), round(seconds))
            if start >= seconds:
                break
        container.mux(stream.encode())
    write_text(truth_path, json.dumps([dataclasses.asdict(clip) for clip in truth], indent=1) + "\n")


def _judged(answers, truth, classes, settings, rejects):
    """Shares of windows by what is true in their middle, and the F1 of segments."""
    found = {"known": [], "unknown": [], "inside": []}
    merger = SegmentMerger(classes, settings.every, settings.enter, settings.leave, settings.min_length)
    starts = [clip.start for clip in truth]
    for answer in answers:
        clip = truth[max(0, np.searchsorted(starts, (answer.start + answer.end) / 2, side="right") - 1)]
        none, scores = rejects(answer.outputs), answer.outputs["scores"]
        right = none if not clip.known else not none and classes[int(np.argmax(scores))] == clip.label
        found["known" if clip.known else "unknown"].append(right)
        if clip.known and clip.start <= answer.start and answer.end <= clip.end:
            found["inside"].append(right)
        merger.add(answer.start, answer.end, np.zeros_like(scores) if none else scores)
    found["all"] = found["known"] + found["unknown"]
    shares = {name: float(np.mean(each)) if each else None for name, each in found.items()}
    return shares | {"f1": segment_f1(merger.finish(), true_segments(truth))}


def true_segments(truth: list[Clip]) -> list[Segment]:
    """Of the known clips; one where clips of a class follow one another."""
    merged = []
    for clip in truth:
        if merged and clip.known and (merged[-1].label, merged[-1].end) == (clip.label, clip.start):
            merged[-1] = dataclasses.replace(merged[-1], end=clip.end)
        elif clip.known:
            merged.append(Segment(clip.label, clip.start, clip.end, 1.0))
    return merged


def segment_f1(found: list[Segment], true: list[Segment], least: float = 0.5) -> float:
    """The F1 of segments: found ones are right that overlap a true one of their class, each once, by IoU `least`."""
    left, right = list(true), 0
    for each in sorted(found, key=lambda segment: -segment.score):
        best = max((one for one in left if one.label == each.label), key=lambda one: _iou(each, one), default=None)
        if best and _iou(each, best) >= least:
            left.remove(best)
            right += 1
    return 2 * right / max(1, len(found) + len(true))


def _iou(one, other):
    common = min(one.end, other.end) - max(one.start, other.start)
    return max(0.0, common) / (max(one.end, other.end) - min(one.start, other.start))


def _from_scratch(path, model, network, seconds):
    """The video's first seconds watched again, a snippet beginning with each stored frame, and what `predict_video`
    answers on the same windows, each cut into a file without loss. CPU seconds per window, medians of the latter.

    Returns:
        `windows`, `snippets` of one and `new` ones, `difference`, the largest of a score; `watched`, `predict`, which
        opens and decodes the cut, and computes flow and the network of its snippets, and `cut`: from the key frame
        before the window to the file.
    """
    model.config = config = model.config.replace(test_segments=_DENSE, test_crops=1)
    stopped, answers, found = threading.Event(), [], {"watched": [], "predict": [], "cut": []}

    def show(answer, top):
        answers.append(answer)
        if answer.end >= seconds:
            stopped.set()

    with _cpu(found["watched"]):
        snippets = watch(model, open_source(str(path)), WatchSettings(), stopped, show).counts["snippets"]
    forward, side, largest = make_forward(network), config.data.short_side, 0.0
    length, stride = config.model.flow_length, config.data.flow_stride
    needed, progress = length * stride, Progress("predict", "windows")
    times = (at for at, _ in iter_timed(str(path), side))
    times = np.array(list(itertools.takewhile(lambda at: at <= answers[-1].end, times)))
    stored = np.arange(0, len(times) - needed, stride)
    for done, answer in enumerate(answers):
        inside = stored[(times[stored] > answer.start - 1e-3) & (times[stored + needed] < answer.end + 1e-3)]
        if len(inside) != answer.snippets:
            raise UserError("not each stored frame begins a snippet: --timeline_scratch=0 leaves this part out.")
        with tempfile.TemporaryDirectory() as folder:
            cut = str(pathlib.Path(folder, "cut.mkv"))
            with _cpu(found["cut"]):
                _cut(path, cut, times[inside[0]], inside[-1] - inside[0] + needed + 1, side)
            with _cpu(found["predict"]):
                scores = predict_video(cut, forward, config.replace(test_segments=len(inside)))["fused"]
        largest = max(largest, float(np.abs(scores - answer.outputs["scores"]).max()))
        progress(done + 1, len(answers))
    share = answers[-1].end / WatchSettings().every  # windows of a stream whose first one does not come late
    return {
        "windows": len(answers),
        "snippets": float(np.mean([answer.snippets for answer in answers])),
        "new": snippets / share,
        "difference": largest,
        "watched": found["watched"][0] / share,
        **{name: float(np.median(found[name])) for name in ("predict", "cut")},
    }


def _cut(path, cut, start, count, short_side):
    """Writes so many frames from `start` on, in seconds, into another file, without loss."""
    with av.open(str(path)) as source, av.open(cut, "w") as container:
        stream, upright, left = source.streams.video[0], None, count
        source.seek(round(start / stream.time_base), stream=stream)
        for frame in source.decode(stream):
            if frame.time < start - 1e-3:
                continue
            if upright is None:
                upright = Upright(frame, stream)
                made = container.add_stream("ffv1", rate=25)
                made.width, made.height, made.pix_fmt = frame.width, frame.height, "bgr0"
            container.mux(made.encode(av.VideoFrame.from_ndarray(upright.convert(frame, short_side), "rgb24")))
            left -= 1
            if not left:
                break
        container.mux(made.encode())


@contextlib.contextmanager
def _cpu(found):
    """Appends the CPU seconds of the block."""
    begun = time.process_time()
    yield
    found.append(time.process_time() - begun)

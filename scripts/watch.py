"""Watches a camera, a stream or a long video: what happens when, as it comes.

    python scripts/watch.py --model=MODEL SOURCE [--window=2.0 --every=0.5]
    python scripts/watch.py --model=MODEL match.mp4 --output=match.jsonl --page=match.html [--reject]

MODEL is a work directory, or what export/saved_model.py or export/to_onnx.py wrote. SOURCE is a video file, a camera
(0), an address (rtsp://, http://, https://, udp://), or - (MPEG-TS on standard input). A line a window is printed, and
written to --output as JSON; at the end, also after Ctrl-C, the segments stand beside it as .json, .vtt and .csv.
docs/WATCH.md.
"""

import functools
import pathlib
import signal
import sys
import threading

from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.rejection import WAYS, rejection, rejection_of
from ccsn_tf.models.build import load_model
from ccsn_tf.progress import Progress
from ccsn_tf.serving.local import exported_stream, is_workdir
from ccsn_tf.streaming.annotate import write_video
from ccsn_tf.streaming.live_page import LivePage
from ccsn_tf.streaming.source import FileSource, open_source
from ccsn_tf.streaming.stream_model import TrainedModel
from ccsn_tf.streaming.timeline import short_clock
from ccsn_tf.streaming.watch import WatchSettings, watch

_DEFAULTS = WatchSettings()
flags.DEFINE_string("model", "", "watch: a work directory, a folder of export/saved_model.py, or an .onnx file.")
flags.DEFINE_float("window", _DEFAULTS.window, "watch: seconds that an answer is about.")
flags.DEFINE_float("every", _DEFAULTS.every, "watch: seconds from one answer to the next.")
flags.DEFINE_string("output", "", "watch: file of JSON lines, a line a window; .json, .vtt and .csv stand beside it.")
flags.DEFINE_string("page", "", "watch: HTML file to look at; empty: none.")
flags.DEFINE_string("video", "", "watch: MP4 copy of a file, with what was found in the picture; empty: none.")
flags.DEFINE_string("serve", "", "watch: a live page at this port of this machine, 8080, or at an address, host:port.")
flags.DEFINE_float("enter", _DEFAULTS.enter, "watch: a segment begins with this score.")
flags.DEFINE_float("leave", _DEFAULTS.leave, "watch: and ends below this one.")
flags.DEFINE_float("min_length", _DEFAULTS.min_length, "watch: shorter segments are left out, in seconds.")
# As a boolean flag, it may stand alone: its value is then "true", and "false" for --noreject.
_HELP = f"watch: windows that are about no class are none; --reject or --reject=WAY, one of {', '.join(WAYS)}."
flags.DEFINE_flag(flags.Flag(flags.ArgumentParser(), None, "reject", "false", _HELP, boolean=True))

_SHOWN = 3  # classes a line in the terminal
_LEFT_OUT = {
    "dropped": "snippets dropped to catch up",
    "lost": "frames lost to catch up",
    "late": "frames out of order",
    "damaged": "damaged packets",
    "interruptions": "interruptions",
    "reconnections": "reconnections",
    "rejected": "windows about none of the classes",
    "short": "segments shorter than --min_length",
}


def main(sources):
    given = flags.FLAGS
    if len(sources) != 1:
        raise UserError(f"name one source. Received: {' '.join(sources) or 'none'}.")
    source, model = open_source(sources[0]), chosen_model(given.model)
    if given.video and not isinstance(source, FileSource):
        raise UserError(f"--video is made of a file that can be read again, and {source.name} is none: leave it out.")
    way, hooks = {"true": WAYS[0], "false": ""}.get(given.reject, given.reject), {}
    if way and is_workdir(given.model):
        hooks["rejects"] = rejection_of(given.model, way, model.classes)
    elif way:
        hooks["rejects"] = rejection(model.evaluation, way)
    names = ("window", "every", "output", "page", "enter", "leave", "min_length")
    settings = WatchSettings(**{name: given[name].value for name in names}, top_k=model.config.eval.top_k)
    stopped, progress = threading.Event(), Progress("watch", "s")
    live = LivePage(given.serve, source.name) if given.serve else None

    def show(answer, top):
        if live:
            live.add(answer, top)
        shown = "   ".join(f"{100 * score:5.1f} %  {name}" for name, score in top[:_SHOWN]) or "         none"
        print(f"{short_clock(answer.start)} - {short_clock(answer.end)}   {shown}", flush=True)
        if source.seconds and not sys.stdout.isatty():  # in a terminal the lines themselves show it
            progress(min(round(answer.end), round(source.seconds)), round(source.seconds))

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stop(stopped))
    say = functools.partial(print, "watch:", file=sys.stderr)
    if live:
        say(f"live at {live.url}")
        hooks["see"] = live.see
    try:
        found = watch(model, source, settings, stopped, show, say, **hooks)
    finally:
        if live:
            live.close()
    for each in found.segments:
        print(f"{short_clock(each.start)} - {short_clock(each.end)}   {100 * each.score:3.0f} %  {each.label}")
    if given.video:
        write_video(given.video, source, found.segments, Progress("video", "s"))
    counts = found.counts
    print(f"{counts['windows']} windows of {counts['frames']} frames, {len(found.segments)} segments.")
    for name, words in _LEFT_OUT.items():
        if counts[name]:
            print(f"{words}: {counts[name]}")


def chosen_model(path):
    """What --model names."""
    if not path:
        raise UserError("--model is not given: name a work directory, or an export.")
    if is_workdir(path):
        flags.FLAGS.workdir = path
        return TrainedModel(load_model(str(pathlib.Path(path, "model.keras"))), command_line.config_of_run())
    model = exported_stream(path)
    given = {name: flags.FLAGS[name].value for name in ("test_segments", "top_k") if flags.FLAGS[name].present}
    model.config = model.config.replace(**given)
    return model


def stop(stopped):
    """Ends the watch; a second signal ends the process."""
    stopped.set()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    command_line.run(main)

"""The demo, start to finish: renders videos, prepares records, trains without and with connection, compares, exports,
watches.

    python scripts/demo.py [--epochs=3 ...]

The settings are those of demo.flags, unless flags say otherwise. Every step is a command of its own, which is printed:
type it to do the same by hand. A step that was done is not done again, so the demo can be stopped and started at will.
"""

import json
import pathlib
import random
import shlex
import subprocess
import sys
import time

from ccsn_tf.config import flags as command_line
from ccsn_tf.data.demo.render import render_long
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import read_evaluation
from ccsn_tf.progress import clock
from ccsn_tf.streaming.timeline import beside

_HERE = pathlib.Path(__file__).parent
_ROOT = pathlib.Path("demo")
_EXPORT = _ROOT / "model"
_SCENE = _ROOT / "scene"
_RUNS = {"none": _ROOT / "without_connection", "cross_attention": _ROOT / "ccs"}


def main():
    begun, config, given = time.monotonic(), command_line.config_from_flags(), sys.argv[1:]
    run_step("prepare", given)
    for connection, workdir in _RUNS.items():
        run = [f"--connection={connection}", f"--workdir={workdir}"]
        if not (workdir / "model.keras").is_file():
            run_step("train", [*given, *run])
        run_step("evaluate", [*given, *run])
    print("\n" + table({name: read_evaluation(path) for name, path in _RUNS.items()}))
    clip = held_out_clip(pathlib.Path(config.data.video_dir), config.train.seed)
    workdir = _RUNS["cross_attention"]
    print(f"\nA clip that was not trained on, {clip.stem}:")
    run_step("predict", [f"--workdir={workdir}", "--top_k=4", str(clip)])
    if not is_exported(workdir / "model.keras", _EXPORT):
        run_step("export/saved_model", [f"--workdir={workdir}", f"--export_dir={_EXPORT}", "--accuracy_clips=0"])
    print("\nThe same clip, by the exported model in a process that has TensorFlow alone:")
    run_step("query", [f"--export_dir={_EXPORT}", str(clip)])
    print("\nA scene of half a minute, in which both objects turn now and then, watched:")
    right = watch_scene(workdir, config.data.demo_size, config.train.seed)
    print(f"\n{100 * right:.0f} % of the windows are named right.")
    seconds = time.monotonic() - begun
    print(f"Pictures: {_SCENE}.html, {workdir}/history.png and confusion.png. Taken: {clock(seconds)}.")


def watch_scene(workdir, size, seed):
    """Renders and watches the scene; the share of windows that are named as what is true in their middle."""
    video, lines, page = (_SCENE.with_suffix(suffix) for suffix in (".mp4", ".jsonl", ".html"))
    turns = render_long(video, size=size, seed=seed)
    for path in (lines, *beside(lines)):
        path.unlink(missing_ok=True)
    given = ["--window=1", "--every=0.5", f"--output={lines}", f"--page={page}"]
    run_step("watch", [f"--model={workdir}", str(video), *given])
    found = []
    for line in map(json.loads, lines.read_text(encoding="utf-8").splitlines()):
        true = [name for start, name in turns if start <= (line["start"] + line["end"]) / 2][-1]
        found.append(line["top"][0]["class"] == true)
    return sum(found) / len(found)


def run_step(script, arguments):
    """Runs a script of this folder, or export/..., shows its command, and ends the demo if it fails."""
    name = script if "/" in script else f"scripts/{script}"
    command = [sys.executable, str(_HERE.parent / f"{name}.py"), *arguments]
    typed = shlex.join([f"{name}.py", *arguments]).replace(f"{_HERE.parent}/", "")  # as one would in the repository
    print(f"\n$ python {typed}", flush=True)
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"the step {name} did not end well; run the same command again to go on.")


def is_exported(model, export_dir):
    """Whether the folder has a version of the model, made after it. A version appears there when it is verified."""
    return any(path.stat().st_mtime >= model.stat().st_mtime for path in export_dir.glob("[0-9]*/saved_model.pb"))


def table(reports):
    """What each stream can do without the other, what averaging them adds, and what the connection adds."""
    alone, joined = reports["none"], reports["cross_attention"]
    rows = [
        ("RGB alone", alone["spatial"]),
        ("flow alone", alone["temporal"]),
        ("late fusion", alone["fused"]),
        ("CCS: joined by cross-attention", joined["fused"]),
    ]
    head = f"Whose motion is it? {joined['num_clips']} held-out clips, 4 classes; {joined['protocol']}"
    lines = [f"  {name:32s}{100 * figures['top1']:6.1f} %" for name, figures in rows]
    return "\n".join([head, *lines])


def held_out_clip(demo_set, seed):
    """One of the test clips, drawn by the seed."""
    names = (demo_set / "ucfTrainTestlist" / "testlist01.txt").read_text().splitlines()
    return demo_set / "videos" / random.Random(seed).choice(names)


if __name__ == "__main__":
    sys.argv.insert(1, f"--flagfile={_HERE.parent / 'demo.flags'}")
    command_line.run(main)

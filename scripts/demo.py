"""The demo, start to finish: renders videos, prepares records, trains without and with connection, compares, predicts.

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

import command_line

from ccsn_tf.errors import UserError
from ccsn_tf.progress import clock

_HERE = pathlib.Path(__file__).parent
_ROOT = pathlib.Path("demo")
_RUNS = {"none": _ROOT / "without_connection", "cross_attention": _ROOT / "ccs"}


def main(arguments):
    command_line.no_arguments(arguments)
    begun, config, given = time.monotonic(), command_line.config_from_flags(), sys.argv[1:]
    run_step("prepare", given)
    for connection, workdir in _RUNS.items():
        run = [f"--connection={connection}", f"--workdir={workdir}"]
        if not (workdir / "model.keras").is_file():
            run_step("train", [*given, *run])
        run_step("evaluate", [*given, *run])
    print("\n" + table({name: json.loads((path / "evaluation.json").read_text()) for name, path in _RUNS.items()}))
    clip = held_out_clip(pathlib.Path(config.data.video_dir), config.train.seed)
    print(f"\nA clip that was not trained on, {clip.stem}:")
    run_step("predict", [f"--workdir={_RUNS['cross_attention']}", "--top_k=4", str(clip)])
    seconds = time.monotonic() - begun
    print(f"\nPictures: {_RUNS['cross_attention']}/history.png and confusion.png. Taken: {clock(seconds)}.")


def run_step(script, arguments):
    """Runs a script of this folder, shows its command, and ends the demo if it fails."""
    command = [sys.executable, str(_HERE / f"{script}.py"), *arguments]
    print(f"\n$ python {shlex.join([f'scripts/{script}.py', *map(shortened, arguments)])}", flush=True)
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"the step {script} did not end well; run the same command again to go on.")


def shortened(argument):
    """An argument as one would type it in the repository."""
    return argument.replace(f"{_HERE.parent}/", "")


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

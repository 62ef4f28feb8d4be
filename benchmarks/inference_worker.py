"""One way to run a trained model, in a process of its own: what it takes of time and memory is nobody else's.

    python -m benchmarks.inference_worker '{"load": "onnx", "path": "model.onnx", "clips": "clips.npz"}'

Answers a line of JSON for each line of JSON: first {"start": seconds} or {"unavailable": why}; then {"scores": batch}
with the scores of the first clips, {"batch": B, "seconds": T} with the times of calls, and {"memory": true} with the
most that the process has held so far. TensorFlow is loaded only by the ways that need it.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time

import numpy as np

from benchmarks.inference_backends import LOADERS, Scores
from ccsn_tf.errors import UserError

_FEWEST_CALLS = 3


def main(arguments: list[str]) -> None:
    spec = json.loads(arguments[0])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is no answer

    def answer(value):
        print(json.dumps(value), file=answers, flush=True)

    begun = time.perf_counter()
    try:
        with np.load(spec["clips"]) as kept:
            clips = dict(kept)
        scores = LOADERS[spec["load"]](spec)
        scores({name: value[:1] for name, value in clips.items()})
    except (UserError, ImportError) as error:
        answer({"unavailable": str(error)})
        return
    answer({"start": time.perf_counter() - begun})
    for line in sys.stdin:
        asked = json.loads(line)
        if "memory" in asked:
            answer({"memory": most_memory()})
        elif "scores" in asked:
            answer({"scores": scores(_head(clips, asked["scores"])).tolist()})
        else:
            answer({"times": timed(scores, _head(clips, asked["batch"]), asked["seconds"])})


def timed(scores: Scores, inputs: dict, seconds: float) -> list[float]:
    """Times of calls, in seconds, that together take about `seconds`; the first call, which finds cold caches, is not
    among them."""
    scores(inputs)
    times = []
    while len(times) < _FEWEST_CALLS or sum(times) < seconds:
        begun = time.perf_counter()
        scores(inputs)
        times.append(time.perf_counter() - begun)
    return times


def most_memory() -> int:
    """The most memory that this process has held, in bytes (VmHWM: unlike getrusage, without its parent's)."""
    for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise UserError("/proc/self/status has no VmHWM: measure memory on Linux.")


def _head(clips, batch):
    return {name: value[:batch] for name, value in clips.items()}


if __name__ == "__main__":
    main(sys.argv[1:])

"""Many callers of one client, to be run as a program: what became of each request, and what it cost.

    python callers.py GRPC_SERVER REST_SERVER MODEL_DIR SECONDS REPORT

Half of the callers share a gRPC client, half a REST client; each thinks for half a second between two requests, on
average. Answers are compared with those of the SavedModel in MODEL_DIR, run here.
"""

import collections
import json
import pathlib
import random
import sys
import threading
import time

import numpy as np
import serving_requests

CALLERS = 64
TOLERANCE = 1e-5


def main(grpc_server, rest_server, model_dir, seconds, report):
    import tensorflow as tf

    from ccsn_tf.serving.client.client import Client

    function = tf.saved_model.load(model_dir).signatures["jpeg"]
    metadata = json.loads(pathlib.Path(model_dir, "assets.extra", "ccsn.json").read_text())
    clips = serving_requests.distinct(metadata)
    expected = [function(**clip)["scores"].numpy()[0] for clip in clips]
    apart = min(np.abs(a - b).max() for i, a in enumerate(expected) for b in expected[:i])
    assert apart > 20 * TOLERANCE, f"clips that could be mistaken for one another: {apart}"

    clients = [Client(server, timeout=5.0, attempts=8) for server in (grpc_server, rest_server)]
    rng = random.Random(0)
    counts, reported, wrong, lock = collections.Counter(), collections.Counter(), [], threading.Lock()
    end = time.monotonic() + float(seconds)

    def call(caller):
        client, number = clients[caller % 2], caller
        while time.monotonic() < end:
            time.sleep(rng.uniform(0.0, 1.0))
            number = (number + 1) % len(clips)
            with lock:
                counts["begun"] += 1
            try:
                scores = client.predict("jpeg", clips[number])["scores"][0]
                right = scores.shape == expected[number].shape and np.abs(scores - expected[number]).max() <= TOLERANCE
                with lock:
                    counts["right"] += int(right)
                    if not right:
                        wrong.append([number, scores.tolist()])
            except Exception as error:  # whatever it is: it counts as reported under its name
                with lock:
                    reported[getattr(error, "code", type(error).__name__)] += 1

    before = threads_and_files()
    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    megabytes = []
    while time.monotonic() < end:
        time.sleep(1)
        megabytes.append(resident())
    for thread in threads:
        thread.join()
    after = threads_and_files()
    pathlib.Path(report).write_text(
        json.dumps(
            {
                **counts,
                "wrong": wrong,
                "reported": reported,
                "megabytes": megabytes,
                "threads_before": before[0],
                "threads_after": after[0],
                "files_before": before[1],
                "files_after": after[1],
            }
        )
    )


def threads_and_files():
    """How many threads of Python and open files this process has."""
    return threading.active_count(), len(list(pathlib.Path("/proc/self/fd").iterdir()))


def resident():
    """Megabytes of memory in use."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 2**20, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])

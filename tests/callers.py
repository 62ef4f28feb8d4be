"""Many callers of one client, to be run as a program: what became of each request, and what it cost.

    python callers.py GRPC_SERVER HTTP_SERVER MODEL SECONDS REPORT

Half of the callers share a gRPC client, half one of HTTP; each thinks for half a second between two requests, on
average. Answers are compared with those of MODEL, run here: a SavedModel, asked by JPEGs, or an ONNX file, by arrays.
"""

import collections
import json
import pathlib
import random
import subprocess
import sys
import threading
import time

import numpy as np
import serving_requests
from breaking_proxy import BreakingProxy

CALLERS = 64
TOLERANCE = 1e-5


def main(grpc_server, http_server, model, seconds, report):
    from ccsn_tf.serving.client.client import Client

    signature, clips, function = _asked_of(model)
    expected = [function(clip)["scores"][0] for clip in clips]
    apart = min(np.abs(a - b).max() for i, a in enumerate(expected) for b in expected[:i])
    assert apart > 20 * TOLERANCE, f"clips that could be mistaken for one another: {apart}"

    clients = [Client(server, timeout=5.0, attempts=8) for server in (grpc_server, http_server)]
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
                scores = client.predict(signature, clips[number])["scores"][0]
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


def _asked_of(model):
    """The signature that is asked, clips, and the function that answers them here."""
    if model.endswith(".onnx"):
        from ccsn_tf.serving.onnx.session import OnnxModel

        function = OnnxModel(model)
        return "serving_default", serving_requests.distinct_arrays(function.metadata), function
    import tensorflow as tf

    saved = tf.saved_model.load(model)
    metadata = json.loads(pathlib.Path(model, "assets.extra", "ccsn.json").read_text())

    def answer(clip):
        return {name: value.numpy() for name, value in saved.signatures["jpeg"](**clip).items()}

    return "jpeg", serving_requests.distinct(metadata), answer


def run(ports, address, model, seconds, folder, disturb):
    """The program's report, from a process of its own, once it has shown that no caller was answered wrong.

    Args:
        ports: of gRPC and HTTP.
        address: a client's, with {} for the port.
        model, seconds: of the program.
        folder: for the report.
        disturb: called every few seconds with the proxies between callers and ports, to do harm.
    """
    proxies, ended, rng = [BreakingProxy(port) for port in ports], threading.Event(), random.Random(0)

    def keep_on():
        while not ended.wait(rng.uniform(2.0, 8.0)):
            disturb(proxies)

    harm = threading.Thread(target=keep_on)
    harm.start()
    by_grpc, by_http = (address.format(proxy.port) for proxy in proxies)
    command = [sys.executable, __file__, by_grpc, f"http://{by_http}", model, str(seconds), folder / "report"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    ended.set()
    harm.join()
    for proxy in proxies:
        proxy.close()
    assert result.returncode == 0, result.stderr
    report = json.loads((folder / "report").read_text())
    assert report["wrong"] == []
    assert report["right"] + sum(report["reported"].values()) == report["begun"]
    assert set(report["reported"]) <= {"DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}
    assert report["begun"] > CALLERS and report["right"] > report["begun"] / 2
    assert report["threads_after"] <= report["threads_before"] + 2
    assert report["files_after"] <= report["files_before"] + 8
    early, late = report["megabytes"][25:50], report["megabytes"][-25:]
    assert max(late) <= max(early) + 8
    return report


def threads_and_files():
    """How many threads of Python and open files this process has."""
    return threading.active_count(), len(list(pathlib.Path("/proc/self/fd").iterdir()))


def resident():
    """Megabytes of memory in use."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 2**20, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Records to batches: clips a second of our input, beside a PyTorch DataLoader that reads the same images."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import time

import numpy as np

from benchmarks import torch_loader
from benchmarks.data_prepare import one_thread
from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import training_batches
from ccsn_tf.data.plan import Plan, training_plan
from ccsn_tf.data.prepare.encode import encode_jpeg
from ccsn_tf.data.records.examples import read_jpegs
from ccsn_tf.data.records.manifest import Manifest, StoredClip
from ccsn_tf.data.sampling import middle_frame
from ccsn_tf.data.snippets import record_snippets
from ccsn_tf.data.transform import decode_field, network_input
from ccsn_tf.errors import UserError

SEGMENTS, SIZES = (3, 8), (112, 224)
_TOLERANCE = 3.0  # mean difference of the two sides' pixels: flow is compressed twice for the one
_STAGE_CLIPS = 128


@dataclasses.dataclass(frozen=True)
class Case:
    """One kind of input, its plan, and the same plan in a file for the other side."""

    config: Config
    plan: Plan
    path: pathlib.Path

    @property
    def name(self) -> str:
        return f"K = {self.config.model.num_segments}, {self.config.model.image_size} px"


def measure_input(config: Config, torch_python: str, num_clips: int, rounds: int, folder: pathlib.Path) -> dict:
    """Times our input and the DataLoader in turn, for every K and size.

    Args:
        config: `data.record_dir` and what it was prepared with; `model.flow_length`.
        torch_python: an interpreter with PyTorch; empty: ours alone is timed.
        num_clips: clips a timing, at least.
        rounds: timings of each side and case.
        folder: for what the other side reads.

    Returns:
        `versions` of the other side, and `cases` {name: {"ours": clips/s of each round, "torch": the same, "stages":
        {stage: CPU time of a clip in ms}}}; the last stage is what the others leave of the whole.
    """
    manifest = Manifest.read(config.data.record_dir)
    classes, clips = manifest.select(config.data, "train")
    cases = [
        _make_case(config.replace(num_segments=segments, image_size=size), classes, clips, num_clips, folder)
        for segments in SEGMENTS
        for size in SIZES
    ]
    rows = {case.name: {"ours": [], "torch": [], "cpu": []} for case in cases}
    with contextlib.ExitStack() as stack:
        other = None
        if torch_python:
            write_frame_folders(config.data.record_dir, clips, folder, config.data.jpeg_quality)
            other = stack.enter_context(_Torch(torch_python))
        for case in cases:  # warms both, and shows that both do the same
            first = next(iter(training_batches(case.plan, case.config.model)))
            if other:
                other.time(case, folder / "first.npz")
                _refuse_difference(case, first, folder / "first.npz")
        for _ in range(rounds):
            for case in cases:
                rate, used = _our_rate(case)
                rows[case.name]["ours"].append(rate)
                rows[case.name]["cpu"].append(used)
                if other:
                    rows[case.name]["torch"].append(other.time(case))
        versions = other.versions if other else {}
    for case in cases:
        with one_thread():
            rows[case.name]["stages"] = _stages(case, min(rows[case.name].pop("cpu")))
    return {"versions": versions, "cases": rows}


def write_frame_folders(record_dir: str, clips: list[StoredClip], folder: pathlib.Path, quality: int) -> None:
    """Writes the images of clips as mmaction2 lays them out, frames as they are, flow's planes apart."""
    for clip in clips:
        place = _folder_of(folder, clip.shard, clip.offset)
        place.mkdir(parents=True)
        everything = range(clip.fields + 1), range(clip.fields)
        path = pathlib.Path(record_dir, clip.shard)
        frames, fields = read_jpegs(str(path), clip.offset, clip.length, clip.fields, *everything)
        for number, jpeg in enumerate(frames, 1):
            (place / f"img_{number:05d}.jpg").write_bytes(jpeg.tobytes())
        for number, jpeg in enumerate(fields, 1):
            for axis, plane in zip("xy", decode_field(jpeg), strict=True):
                (place / f"flow_{axis}_{number:05d}.jpg").write_bytes(encode_jpeg(plane, quality))


def _folder_of(folder, shard, offset):
    return folder / "frames" / f"{pathlib.Path(shard).stem}-{offset}"


def _make_case(config, classes, clips, num_clips, folder):
    plans = [training_plan(clips, classes, config.data, config.model, config.train.seed, 0)]
    while len(plans) * plans[0]["label"].size < num_clips:
        plans.append(training_plan(clips, classes, config.data, config.model, config.train.seed, len(plans)))
    plan = {name: np.concatenate([plan[name] for plan in plans]) for name in plans[0]}
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in plan.items()}
    places = zip(flat["file"], flat["offset"], strict=True)
    flat["folder"] = np.array([str(_folder_of(folder, file, offset)) for file, offset in places])
    path = folder / f"plan-{config.model.num_segments}-{config.model.image_size}.npz"
    np.savez(path, **{name: flat[name] for name in ("folder", "starts", "box", "mirrored", "label")})
    return Case(config, plan, path)


def _our_rate(case):
    """Clips a second of one pass over the plan, and the CPU time of a clip, in ms."""
    begun, used, clips = time.perf_counter(), time.process_time(), 0
    for _, labels in training_batches(case.plan, case.config.model):
        clips += len(labels)
    return clips / (time.perf_counter() - begun), 1e3 * (time.process_time() - used) / clips


class _Torch:
    """The other side: a process that waits while it is not asked."""

    def __init__(self, python: str):
        try:
            self._process = subprocess.Popen(
                [python, torch_loader.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise UserError(f"--torch_python={python} cannot be run ({error.strerror}): name an interpreter.") from None

    def __enter__(self):
        try:
            self.versions = self._answer()
        except UserError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def time(self, case: Case, first: pathlib.Path | str = "") -> float:
        """Clips a second of one pass over the plan; the first batch goes to the file `first`, if it is named."""
        model, data = case.config.model, case.config.data
        sizes = {"image_size": model.image_size, "flow_length": model.flow_length, "batch": data.batch_size}
        asked = {"plan": str(case.path), "first": str(first), "workers": 2, **sizes}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["clips"] / answer["seconds"]

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise UserError("--torch_python ended early: it needs torch, numpy and opencv-python-headless.")
        return json.loads(line)


def _refuse_difference(case, ours, path):
    (inputs, labels) = ours
    with np.load(path) as theirs:
        pairs = [(inputs["rgb"], theirs["rgb"]), (inputs["flow"], np.moveaxis(theirs["flow"], 2, -1))]
        apart = [np.abs(our.numpy().astype(int) - their).mean() for our, their in pairs]
        if max(apart) > _TOLERANCE or not np.array_equal(labels, theirs["label"]):
            raise UserError(f"{case.name}: the two sides read different batches, {apart} apart (a defect).")


def _stages(case, whole):
    """{stage: CPU time of a clip, in ms}, on one thread, and the rest of what the whole takes, `whole` ms."""
    model, read, both, scale = case.config.model, 0.0, 0.0, 0.0
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in case.plan.items()}
    number = min(len(flat["label"]), _STAGE_CLIPS)
    for index in range(number):
        row = {name: values[index] for name, values in flat.items()}
        where, starts = [row[name] for name in ("file", "offset", "length", "fields")], row["starts"]
        indices = middle_frame(starts, model.flow_length), starts[:, None] + np.arange(model.flow_length)
        times = [time.process_time()]
        read_jpegs(*where, *(np.unique(index).tolist() for index in indices))
        times.append(time.process_time())
        frames, fields = record_snippets(*where, starts, model.flow_length)
        times.append(time.process_time())
        network_input(frames, fields, row["box"], row["mirrored"], model.image_size)
        times.append(time.process_time())
        passed = np.diff(times)
        read, both, scale = read + passed[0], both + passed[1], scale + passed[2]
    stages = {"read": read, "decode": both - read, "crop and scale": scale}
    stages = {name: 1e3 * seconds / number for name, seconds in stages.items()}
    return {**stages, "batch": max(0.0, whole - sum(stages.values()))}

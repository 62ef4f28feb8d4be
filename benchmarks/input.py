"""Records to batches: the training input, by number of segments and image size, beside a PyTorch `DataLoader`."""

import contextlib
import pathlib
import tempfile
import time

import cv2
import numpy as np
from absl import flags

from benchmarks.side import Side
from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import training_batches
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.records.record import read_jpegs
from ccsn_tf.data.sampling import box_on_field
from ccsn_tf.data.views import decode_field
from ccsn_tf.errors import UserError

SEGMENTS, SIZES, WORKERS = (3, 8), (112, 224), 2
OURS, WHOLE, SMALL = "ccsn_tf", "DataLoader", "DataLoader, small fields"
_FURTHEST = 4  # mean difference of the sides' pixels: fields are compressed twice for the other


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_integer("input_clips", 1024, "input: clips per timing, at least.", lower_bound=16)
    flags.DEFINE_integer("input_rounds", 3, "input: timings of each case, in turn.", lower_bound=1)


def run(config: Config, options) -> dict:
    """Reads the training clips of --record_dir in the batches that train.py would, for every K and size.

    With --torch_python a `DataLoader` with two workers reads the same clips from folders of frames and flow images, as
    denseflow and mmaction2 write them: with fields of the frames' size, and with fields of the records' size.

    Returns:
        `flow_length`, `batch`, `cases` {name: {side: {"clips_per_second": [of each round], "cpu": [ms of CPU time per
        clip], which other programs disturb less}}}.

    Raises:
        UserError: no records, or --torch_python cannot be used.
    """
    classes, clips = Manifest.read(config.data.record_dir).select(config.data, "train")
    cases = {
        f"K = {segments}, {size} px": config.replace(num_segments=segments, image_size=size)
        for segments in SEGMENTS
        for size in SIZES
    }
    plans = {name: _plan(clips, classes, case, options.input_clips) for name, case in cases.items()}
    sides = {(name, OURS): _ours(plans[name], case) for name, case in cases.items()}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if options.torch_python:
            sizes = _write_folders(config, clips, pathlib.Path(folder))
            for name, case in cases.items():
                for side, field in sizes.items():
                    sides[name, side] = _torch(plans[name], case, pathlib.Path(folder), field, options, stack)
        found = {key: {"clips_per_second": [], "cpu": []} for key in sides}
        for _ in range(options.input_rounds):
            for key, measure in sides.items():
                count = plans[key[0]]["label"].size
                seconds, cpu = measure()
                found[key]["clips_per_second"].append(count / seconds)
                found[key]["cpu"].append(1e3 * cpu / count)
    rows = {name: {side: found[case, side] for case, side in found if case == name} for name in cases}
    return {"flow_length": config.model.flow_length, "batch": config.data.batch_size, "cases": rows}


def table(report: dict) -> str:
    """The report as Markdown; ratios are of medians: our clips/s to the other side's, its CPU time to ours."""
    lines = [
        f"L = {report['flow_length']}, batches of {report['batch']}; medians of the rounds (least to most).",
        "",
        "| input | read by | clips/s | CPU time per clip, ms | times as fast | by CPU time |",
        "|---|---|---|---|---|---|",
    ]
    for name, sides in report["cases"].items():
        for side, found in sides.items():
            rates, used = found["clips_per_second"], found["cpu"]
            clips = f"{np.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
            row = f"| {name} | {side} | {clips} | {np.median(used):.1f} ({min(used):.1f} to {max(used):.1f}) |"
            ratios = [np.median(sides[OURS]["clips_per_second"]) / np.median(rates)]
            ratios += [np.median(used) / np.median(sides[OURS]["cpu"])]
            lines.append(row + (" | |" if side == OURS else f" {ratios[0]:.2f} | {ratios[1]:.2f} |"))
    return "\n".join(lines)


def _plan(clips, classes, config, num_clips):
    """Epochs, one after the other, until there are `num_clips` clips."""
    plans, count = [], 0
    while count < num_clips:
        plans.append(training_plan(clips, classes, config.data, config.model, config.train.seed, len(plans)))
        count += plans[-1]["label"].size
    return {name: np.concatenate([each[name] for each in plans]) for name in plans[0]}


def _ours(plan, config):
    def measure():
        begun, used = time.perf_counter(), time.process_time()
        for _ in training_batches(plan, config.model):
            pass
        return time.perf_counter() - begun, time.process_time() - used

    return measure


def _torch(plan, config, folder, field_size, options, stack):
    """The same by a DataLoader, which has read the clips once, and the same ones as we do."""
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in plan.items()}
    names = [_folder_of(folder, file, field_size) for file in flat["file"]]
    shapes = {name: tuple(np.load(f"{name}/sizes.npy").reshape(2, 2).tolist()) for name in set(names)}
    boxes = [box_on_field(box, *shapes[name]) for box, name in zip(flat["box"], names, strict=True)]
    columns = {"folder": np.array(names), "flow_box": np.array(boxes)}
    columns |= {name: flat[name] for name in ("starts", "box", "mirrored")}
    with tempfile.NamedTemporaryFile(suffix=".npz", dir=folder, delete=False) as file:
        np.savez(file, **columns, sizes=[config.model.image_size, config.model.flow_length, config.data.batch_size])
    script = str(pathlib.Path(__file__).with_name("torch_input.py"))
    side = stack.enter_context(Side("--torch_python", [options.torch_python, script, file.name, str(WORKERS)]))
    side.ask(first=f"{folder}/first.npz")
    inputs, _ = next(iter(training_batches(plan, config.model)))
    with np.load(f"{folder}/first.npz") as first:
        pairs = [(inputs["rgb"], first["rgb"]), (inputs["flow"], np.moveaxis(first["flow"], 2, -1))]
    apart = [float(np.abs(our.numpy().astype(int) - their).mean()) for our, their in pairs]
    if max(apart) > _FURTHEST:
        raise UserError(f"The two sides read different batches, {apart} apart (a defect).")

    def measure():
        answer = side.ask(first=None)
        return answer["seconds"], answer["cpu"]

    return measure


def _folder_of(folder, file, field_size):
    return str(folder / field_size / pathlib.Path(file).stem)


def _write_folders(config, clips, folder):
    """Writes the clips' images, frames as they are; {side: name of the kind of folders}."""
    kinds = {WHOLE: "frames", SMALL: "own"}
    for clip in clips:
        path = str(pathlib.Path(config.data.record_dir, clip.file))
        everything = range(clip.fields + 1), range(clip.fields)
        frames, fields = read_jpegs(path, clip.directory, clip.fields, *everything)
        for kind in kinds.values():
            place = pathlib.Path(_folder_of(folder, clip.file, kind))
            place.mkdir(parents=True)
            for number, jpeg in enumerate(frames, 1):
                (place / f"img_{number:05d}.jpg").write_bytes(jpeg.tobytes())
            for number, jpeg in enumerate(fields, 1):
                for axis, plane in zip("xy", decode_field(jpeg), strict=True):
                    plane = cv2.resize(plane, (clip.width, clip.height)) if kind == "frames" else plane
                    quality = [cv2.IMWRITE_JPEG_QUALITY, config.data.jpeg_quality]
                    cv2.imwrite(str(place / f"flow_{axis}_{number:05d}.jpg"), plane, quality)
            np.save(place / "sizes.npy", [clip.height, clip.width, *plane.shape])
    return kinds

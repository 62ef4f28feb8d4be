"""What a training clip costs to read from records of other layouts than ours."""

from __future__ import annotations

import time

import cv2
import numpy as np
import tensorflow as tf

from benchmarks.data_prepare import one_thread
from ccsn_tf.config import Config
from ccsn_tf.data.display import scaled_size
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.prepare.encode import encode_jpeg
from ccsn_tf.data.records.examples import read_jpegs
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.records.tfrecord import HEADER_BYTES, read_example
from ccsn_tf.data.sampling import middle_frame
from ccsn_tf.data.transform import decode_field, decode_frame

_FIELDS, _ROUNDS = 64, 8  # whose size and time are compared


def measure_layouts(config: Config, num_clips: int, rounds: int) -> dict:
    """Reads and decodes the snippets of training clips, on one thread, by our table and from whole records.

    Returns:
        "table" and "whole": {`bytes` read a clip, `clips_per_second`, the best round}. "bytes_per_frame" {layout}: what
        a frame of video and its field take: of whole clips, of a record for every snippet, of snippets that do not
        overlap, and of frames without fields (--flow=none). "field": {how it is stored and decoded: {`bytes`,
        `milliseconds` of CPU time to decode}}.
    """
    manifest = Manifest.read(config.data.record_dir)
    classes, clips = manifest.select(config.data, "train")
    plan = training_plan(clips, classes, config.data, config.model, config.train.seed, 0)
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in plan.items()}
    wanted = []
    for number in range(num_clips):
        row = {name: values[number % len(values)] for name, values in flat.items()}
        frames = np.unique(middle_frame(row["starts"], config.model.flow_length)).tolist()
        fields = np.unique(row["starts"][:, None] + np.arange(config.model.flow_length)).tolist()
        where = (str(row["file"]), int(row["offset"]), int(row["length"]), int(row["fields"]))
        wanted.append((where, frames, fields))
    report = {"table": {}, "whole": {}}
    best = dict.fromkeys(report, np.inf)
    with one_thread():
        for _ in range(rounds):
            for name, read in (("table", _by_table), ("whole", _whole_record)):
                begun = time.perf_counter()
                report[name]["bytes"] = sum(_read_and_decode(read, *clip) for clip in wanted) / num_clips
                best[name] = min(best[name], time.perf_counter() - begun)
        report["field"] = _field_sizes(wanted, config.data)
    for name, seconds in best.items():
        report[name]["clips_per_second"] = num_clips / seconds
    frame, field = _mean_bytes(wanted)
    report["bytes_per_frame"] = {
        "whole clips": frame + field,
        "every snippet": frame + config.model.flow_length * field,
        "snippets side by side": frame / config.model.flow_length + field,
        "frames alone": frame,
    }
    return report


def _read_and_decode(read, where, frames, fields):
    """The bytes that were read."""
    frame_jpegs, field_jpegs, count = read(where, frames, fields)
    for jpeg in frame_jpegs:
        decode_frame(jpeg)
    for jpeg in field_jpegs:
        decode_field(jpeg)
    return count


def _by_table(where, frames, fields):
    path, offset, length, num_fields = where
    jpegs = read_jpegs(path, offset, length, num_fields, frames, fields)
    table = 8 * (2 * num_fields + 1)
    return (*jpegs, table + sum(map(len, jpegs[0])) + sum(map(len, jpegs[1])))


def _whole_record(where, frames, fields):
    path, offset, length, _ = where
    with open(path, "rb", buffering=0) as file:
        file.seek(offset + HEADER_BYTES)
        record = file.read(length)
    clip = read_example(record)
    rgb, flow = (
        [np.frombuffer(clip[name][index], np.uint8) for index in indices]
        for name, indices in (("rgb", frames), ("flow", fields))
    )
    return rgb, flow, len(record)


def _mean_bytes(wanted):
    """Of a frame's JPEG and of a field's."""
    jpegs = [_by_table(*clip) for clip in wanted]
    return tuple(float(np.mean([len(jpeg) for clip in jpegs for jpeg in clip[kind]])) for kind in (0, 1))


def _field_sizes(wanted, data):
    """{way to store or decode a field: {"bytes", "milliseconds"}}, the ways in turn."""
    jpegs = [jpeg for clip in wanted for jpeg in _by_table(*clip)[1]][:_FIELDS]
    fields = [decode_field(jpeg) for jpeg in jpegs]
    height, width = fields[0].shape[1:]
    size = scaled_size(width, height, data.flow_side or min(width, height))
    small = [[cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in field] for field in fields]
    optimised = [cv2.IMWRITE_JPEG_QUALITY, data.jpeg_quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    kinds = {
        "as stored": jpegs,
        "as stored, cropped while decoding": jpegs,
        "with Huffman tables of its own": [
            cv2.imencode(".jpg", np.concatenate(field), optimised)[1] for field in fields
        ],
        "at --flow_side": [_jpeg(np.concatenate(field), data.jpeg_quality) for field in small],
    }
    calls = {name: lambda kind=kind: [decode_field(jpeg) for jpeg in kind] for name, kind in kinds.items()}
    side = round(0.875 * min(height, width))  # the middle of what training crops
    box = [(height - side) // 2, (width - side) // 2, height + side, side]
    calls["as stored, cropped while decoding"] = _cropping(jpegs, box)
    best = dict.fromkeys(calls, np.inf)
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - begun)
    return {
        name: {"bytes": float(np.mean([len(jpeg) for jpeg in kind])), "milliseconds": 1e3 * best[name] / len(kind)}
        for name, kind in kinds.items()
    }


def _jpeg(image, quality):
    return np.frombuffer(encode_jpeg(image, quality), np.uint8)


def _cropping(jpegs, box):
    """A call that decodes the rows and columns of `box` alone, by TensorFlow; OpenCV has no such function."""
    contents = tf.constant([jpeg.tobytes() for jpeg in jpegs])
    exact = {"channels": 1, "dct_method": "INTEGER_ACCURATE"}

    @tf.function
    def decode(contents):
        return [tf.io.decode_and_crop_jpeg(jpeg, box, **exact) for jpeg in tf.unstack(contents, len(jpegs))]

    decode(contents)
    return lambda: decode(contents)

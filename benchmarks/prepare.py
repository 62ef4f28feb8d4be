"""Videos to records: frames per second on every core, by flow."""

import dataclasses
import pathlib
import resource
import tempfile
import time

from absl import flags

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.errors import UserError
from ccsn_tf.worker_pool import num_cores

FLOWS = {
    "DIS medium, finest scale 0": {"flow": "dis", "dis_preset": "medium", "dis_finest_scale": 0},
    "DIS fast, finest scale 1": {"flow": "dis", "dis_preset": "fast", "dis_finest_scale": 1},
}


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_integer("prepare_copies", 4, "prepare: times that each video is prepared.", lower_bound=1)


def run(config: Config, options) -> dict:
    """Prepares the videos of --video_dir, each --prepare_copies times (by links), into temporary folders.

    Returns:
        `cores`, `flow_side`, and `rows` {flow: of `measure_prepare`}.

    Raises:
        UserError: there are no videos.
    """
    paths, rows = find_videos(config.data.video_dir), {}
    with tempfile.TemporaryDirectory() as name:
        videos = pathlib.Path(name, "videos")
        for number, path in enumerate(paths):
            label = videos / path.parent.name
            label.mkdir(parents=True, exist_ok=True)
            for copy in range(options.prepare_copies):
                (label / f"{number}-{copy}.avi").symlink_to(path.resolve())
        for flow, changes in FLOWS.items():
            settings = {"dataset": "folder", "video_dir": str(videos), "workers": 0, **changes}
            settings["record_dir"] = str(pathlib.Path(name, f"records-{changes['dis_preset']}"))
            rows[flow] = measure_prepare(dataclasses.replace(config.data, **settings))
    return {"cores": num_cores(), "flow_side": config.data.flow_side, "rows": rows}


def table(report: dict) -> str:
    """The report as Markdown."""
    lines = [
        f"Every frame and its flow, --flow_side={report['flow_side']}, on {report['cores']} cores.",
        "",
        "| flow | frames/s | cores busy | kB per frame and field |",
        "|---|---|---|---|",
    ]
    for flow, row in report["rows"].items():
        busy, size = 100 * row["busy"], row["bytes_per_frame"] / 1e3
        lines.append(f"| {flow} | {row['frames_per_second']:.0f} | {busy:.0f} % | {size:.1f} |")
    return "\n".join(lines)


def find_videos(video_dir: str) -> list[pathlib.Path]:
    """The AVI files below a folder's folders.

    Raises:
        UserError: there are none.
    """
    paths = sorted(pathlib.Path(video_dir).glob("*/*.avi"))
    if not video_dir or not paths:
        raise UserError(f"--video_dir={video_dir} has no <class>/<video>.avi: name a folder of UCF101's videos.")
    return paths


def measure_prepare(data: DataConfig) -> dict:
    """Prepares `data.video_dir` with one worker per core, from the start of the workers to the manifest.

    Returns:
        `frames`, `seconds`, `frames_per_second`, `busy` (CPU time of this process and the workers, as a share of what
        the cores have), `bytes_per_frame` (frame and field).
    """
    begun, used = time.perf_counter(), _cpu_seconds()
    counts = prepare(data, min_fields=1).counts()
    seconds, used = time.perf_counter() - begun, _cpu_seconds() - used
    return {
        "frames": counts["num_frames"],
        "seconds": seconds,
        "frames_per_second": counts["num_frames"] / seconds,
        "busy": used / (num_cores() * seconds),
        "bytes_per_frame": counts["num_bytes"] / counts["num_frames"],
    }


def _cpu_seconds():
    """Of this process and of those children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)

"""Videos to records: decodes, computes optical flow, writes a record a clip and a manifest.

    python scripts/prepare.py --flagfile=ucf101.flags --video_dir=UCF-101 --split_dir=ucfTrainTestlist --record_dir=R

Safe to kill and to run again: records that are there are kept, the others are made.
"""

import time

from absl import flags

from ccsn_tf.config import flags as command_line
from ccsn_tf.data.demo.render import render_demo_set
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.errors import UserError
from ccsn_tf.progress import Progress


def render(data, seed):
    """Renders the demo set's videos, those that are not there yet."""
    progress, total = Progress("render", "videos"), data.demo_train_clips + data.demo_test_clips
    render_demo_set(
        data.video_dir,
        num_train=data.demo_train_clips,
        num_test=data.demo_test_clips,
        size=data.demo_size,
        seed=seed,
        workers=data.workers,
        progress=lambda done: progress(done, total),
    )


def progress_with_frames():
    """A progress line of clips that also tells frames a second."""
    progress, begun = Progress("prepare", "clips"), time.monotonic()

    def show(done, total, frames):
        progress(done, total, lambda: f"{frames / (time.monotonic() - begun):.0f} frames/s" if frames else "")

    return show


def main():
    config = command_line.config_from_flags()
    if config.data.flow == "stored" and not flags.FLAGS["flow_bound"].present:
        raise UserError(
            "--flow=stored needs --flow_bound, the bound that the flow images were made with: mmaction2 uses 20, "
            "denseflow 32 unless told otherwise."
        )
    if config.data.dataset == "demo":
        render(config.data, config.train.seed)
    manifest = prepare(config.data, config.model.flow_length, progress_with_frames(), say=print)
    for name, reason in sorted(manifest.skipped.items()):
        print(f"skipped {name}: {reason}")
    counts = manifest.counts()
    print(
        f"{counts['num_clips']} clips of {len(manifest.classes)} classes, {counts['num_frames']} frames, "
        f"{counts['num_bytes'] / 1e6:.0f} MB in {config.data.record_dir}; {counts['num_skipped']} skipped."
    )


if __name__ == "__main__":
    command_line.run(main)

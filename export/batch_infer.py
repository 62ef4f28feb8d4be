"""Predicts many videos, or prepared records, with an exported model.

    python export/batch_infer.py --model=MODEL --video_dir=VIDEOS --output_dir=P [--all_scores]
    python export/batch_infer.py --model=M.onnx --video_list=list.txt --output_dir=P
    python export/batch_infer.py --model=M.onnx --record_dir=R --split=1 --side=test --output_dir=P

P/predictions.jsonl receives a line a video: {"video", "top": [{"class", "score"}, ...]}, or {"video", "error"} for one
that cannot be used. Safe to kill and to run again: what has a line is not done again. Of several exports of one model,
--model=MODEL,M.onnx,M.plan, the fastest that can run here is taken.
--providers=TensorrtExecutionProvider,CUDAExecutionProvider,CPUExecutionProvider has ONNX Runtime use a GPU.
"""

import dataclasses
import time

from absl import flags

from ccsn_tf.config import flags as command_line
from ccsn_tf.errors import UserError
from ccsn_tf.progress import Progress
from ccsn_tf.serving.batch.backends import BACKENDS, choose, read_metadata
from ccsn_tf.serving.batch.run import (
    SIDES,
    BatchSettings,
    clips_of_records,
    predict_all,
    videos_of_folder,
    videos_of_list,
)
from ccsn_tf.serving.metadata import client_config

flags.DEFINE_list("model", [], "infer: the exported model: a folder of export/saved_model.py, an .onnx, a .plan file.")
flags.DEFINE_enum("backend", "auto", BACKENDS, "infer: what runs it; auto: the fastest for which --model names one.")
flags.DEFINE_list("providers", [], "infer: those of ONNX Runtime for an .onnx file, best first; empty: the CPU's.")
flags.DEFINE_string("output_dir", "", "infer: folder of the predictions.")
flags.DEFINE_string("video_list", "", "infer: text file, a path a line, relative to --video_dir or else to the file.")
flags.DEFINE_enum("side", "test", SIDES, "infer: with --record_dir, which clips of the split.")
flags.DEFINE_integer("batch_size", 0, "infer: clips a batch; 0: 8, or fewer that fit memory.", lower_bound=0)
flags.DEFINE_integer("segments", 0, "infer: snippets of a clip; 0: as many as the model says.", lower_bound=0)
flags.DEFINE_bool("all_scores", False, "infer: write the scores of all classes, too.")


def main():
    given, data = flags.FLAGS, command_line.config_from_flags().data
    if data.runner != "local":
        raise UserError(f"--runner={data.runner} is for prepare.py: give each machine a --video_list of its own.")
    if not given.output_dir:
        raise UserError("--output_dir is not given: name the folder of the predictions.")
    export = choose(given.model, "onnx" if given.providers and given.backend == "auto" else given.backend)
    if given.providers:
        if export.backend != "onnx":
            raise UserError("--providers is for --backend=onnx: leave one of them out.")
        export = dataclasses.replace(export, providers=tuple(given.providers))
    if export.backend == "saved_model":
        command_line.load_tensorflow()
    names = ("segments", "all_scores", "batch_size", "workers", "stall_seconds")
    top_k = given.top_k if given["top_k"].present else 0
    settings = BatchSettings(**{name: given[name].value for name in names}, top_k=top_k)
    items = chosen_items(export, data)
    print(f"{len(items.items)} clips, {export.path} by {export.backend}", flush=True)
    if items.note:
        print(items.note, flush=True)
    progress, begun = Progress("infer", "clips"), time.monotonic()

    def show(done, total, failed):
        progress(done, total, lambda: f"{failed} without" if failed else "")

    summary = predict_all(items, export, given.output_dir, settings, show)
    if summary["now"]:
        seconds = time.monotonic() - begun
        print(f"{summary['now']} clips in {seconds:.1f} s, {summary['now'] / seconds:.1f} clips/s")
    print(
        f"{summary['predicted']} of {summary['clips']} clips predicted in {given.output_dir}; {summary['failed']} "
        "could not be, and have a row with the error."
    )


def chosen_items(export, data):
    """The clips that the flags name."""
    given = flags.FLAGS
    if data.record_dir:
        if data.video_dir or given.video_list:
            raise UserError("--record_dir is given, and videos too: leave one of them out.")
        return clips_of_records(data.record_dir, data.split, given.side, client_config(read_metadata(export)))
    if given.video_list:
        return videos_of_list(given.video_list, data.video_dir)
    if data.video_dir:
        return videos_of_folder(data.video_dir)
    raise UserError("no clips are given: pass --video_dir, --video_list or --record_dir.")


if __name__ == "__main__":
    command_line.run(main)

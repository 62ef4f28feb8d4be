"""Measures a trained model on the test clips of its split.

    python scripts/evaluate.py --workdir=W [--test_segments=25 --test_crops=10] [--report | --report=PAGE]

Writes evaluation.json, scores.npz, class_embeddings.npz and confusion.png into the work directory and prints the
figures with their protocol. With --report also REPORT.html, or PAGE: one file for a browser, with charts, clips, and
where the streams looked.
"""

import pathlib

from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.data.records.selection import untested
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.progress import Progress

# As a boolean flag, it may stand alone: its value is then "true", and "false" for --noreport.
_HELP = "evaluate: write a page for a browser, REPORT.html of the work directory or --report=PATH."
flags.DEFINE_flag(flags.Flag(flags.ArgumentParser(), None, "report", "false", _HELP, boolean=True))


def main():
    config, page = command_line.config_of_run(), flags.FLAGS.report
    page = {"true": pathlib.Path(config.train.workdir, "REPORT.html"), "false": ""}.get(page, page)
    report = evaluate(config, Progress("evaluate", "clips"), page, print)
    print(
        f"{report['dataset']} split {report['split']}, {report['num_clips']} test clips of {report['num_classes']} "
        f"classes, connection {report['connection']}; {report['protocol']}"
    )
    clips_of = {row["class"]: row["clips"] for row in report["classes"]}
    if note := untested(list(clips_of), [name for name, clips in clips_of.items() if clips]):
        print(f"NOT TESTED: {note}")
    if report["num_skipped"]:
        print(f"NOT COUNTED: {report['num_skipped']} more test clips, which could not be prepared (see manifest.json)")
    if report["num_repeating"]:
        print(
            f"REPEATED: {report['num_repeating']} test clips are too short for {config.eval.test_segments} different "
            "segments, and some are seen twice; a lower --test_segments avoids it"
        )
    command_line.print_figures(report)
    for name, found in report["calibration"].items():
        before, after = (100 * found[f"ece_{when}"] for when in ("before", "after"))
        print(f"{name}: temperature {found['temperature']:.2f}, calibration error {before:.1f} %, then {after:.1f} %")
    if report["num_unknown"]:
        ways = ", ".join(f"{way} {100 * found['auroc']:.1f}" for way, found in report["rejection"].items())
        print(f"{report['num_unknown']} clips of unknown classes, AUROC in %: {ways}")
    worst = [row for row in report["most_confused"][:3] if row["clips"] > 1]
    if worst:
        print("most confused: " + "; ".join(f"{row['clips']} {row['class']} as {row['taken_for']}" for row in worst))
    if page:
        print(f"report: {page}")


if __name__ == "__main__":
    command_line.run(main)

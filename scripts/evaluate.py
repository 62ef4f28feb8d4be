"""Measures a trained model on the test clips of its split.

    python scripts/evaluate.py --workdir=W [--test_segments=25 --test_crops=10]

Writes evaluation.json, scores.npz and confusion.png into the work directory and prints the figures with their protocol.
"""

import command_line

command_line.load_tensorflow()

from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.progress import Progress


def main(arguments):
    command_line.no_arguments(arguments)
    report = evaluate(command_line.config_of_run(), Progress("evaluate", "clips"))
    print(
        f"{report['dataset']} split {report['split']}, {report['num_clips']} test clips of {report['num_classes']} "
        f"classes, connection {report['connection']}; {report['protocol']}"
    )
    if report["num_skipped"]:
        print(f"NOT COUNTED: {report['num_skipped']} more test clips, which could not be prepared (see manifest.json)")
    command_line.print_figures(report)
    worst = [row for row in report["most_confused"][:3] if row["clips"] > 1]
    if worst:
        print("most confused: " + "; ".join(f"{row['clips']} {row['class']} as {row['taken_for']}" for row in worst))


if __name__ == "__main__":
    command_line.run(main)

"""Puts evaluated runs side by side, without a forward pass.

python scripts/compare.py RUN...                                     their figures in one table, mean over splits
python scripts/compare.py --fuse [--fusion_weights=1,1.5] RGB_RUN FLOW_RUN     late fusion of two runs' streams
"""

from absl import flags

from ccsn_tf.config import flags as command_line
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import compare_runs, fuse_runs

flags.DEFINE_bool("fuse", False, "compare: fuse the first run's RGB stream with the second's flow stream.")


def main(runs):
    if not flags.FLAGS.fuse:
        if not runs:
            raise UserError("no run given: name the work directories of evaluated runs.")
        print(compare_runs(runs))
        return
    if len(runs) != 2:
        raise UserError(f"--fuse takes two runs, RGB's and flow's (or one of them twice). Received: {len(runs)}.")
    report = fuse_runs(*runs, command_line.config_from_flags().model.fusion_weights)
    print(f"{report['dataset']} split {report['split']}, {report['num_clips']} test clips; {report['protocol']}")
    command_line.print_figures(report)


if __name__ == "__main__":
    command_line.run(main)

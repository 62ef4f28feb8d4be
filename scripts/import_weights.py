"""Makes a run of published weights, to start others from or to evaluate as it is.

    python scripts/import_weights.py --layout=tsn --spatial=rgb.pth --temporal=flow.pth --image_size=224 --workdir=W

docs/WEIGHTS.md has the layouts. Then: train.py --backbone=... --init_spatial=W --init_temporal=W.
"""

from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.models.published_weights import LAYOUTS
from ccsn_tf.training.import_weights import import_weights

flags.DEFINE_enum("layout", "tsn", sorted(LAYOUTS), "import_weights: whose checkpoints they are (docs/WEIGHTS.md).")
flags.DEFINE_string("spatial", "", "import_weights: checkpoint of the RGB network.")
flags.DEFINE_string("temporal", "", "import_weights: checkpoint of the flow network; empty: from the other one.")


def main():
    given = flags.FLAGS
    import_weights(command_line.config_from_flags(), given.layout, given.spatial, given.temporal, say=print)


if __name__ == "__main__":
    command_line.run(main)

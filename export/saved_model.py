"""Exports a trained model as a SavedModel that loads without this package, for TensorFlow Serving and others.

    python export/saved_model.py --workdir=W --export_dir=MODEL [--test_segments=10] [--record_dir=R] [--noxla]

Writes MODEL/1/, or the next version. Every export is compared with the trained model in a fresh process before it
appears there. --test_segments is the number of segments that clients are told to send, 8 unless given; the accuracy
with 3, 8 and 25 is printed where the run's records can be read.
"""

from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.progress import Progress
from ccsn_tf.serving.agreement import for_clients
from ccsn_tf.serving.saved_model.export import export_saved_model

flags.DEFINE_string("export_dir", "", "export: folder of the model; receives a folder a version.")
flags.DEFINE_integer("version", 0, "export: the version's number; 0: the one after the highest there.", lower_bound=0)
flags.DEFINE_integer("max_segments", 0, "export: most clips times segments a request; 0: 256, with flow inside 64.", 0)
flags.DEFINE_bool("fold_batch_norms", True, "export: put batch normalisation into the convolution before it.")
flags.DEFINE_bool("verify", True, "export: compare with the trained model in a fresh process.")
flags.DEFINE_bool("xla", None, "export: flow by XLA, faster, for servers that have it; default: if it works here.")
flags.DEFINE_integer("accuracy_clips", 96, "export: most test clips for accuracy by segments; 0: skip it.", 0)
flags.DEFINE_bool("warmup", True, "export: add warm-up requests for TensorFlow Serving.")


def main():
    given = flags.FLAGS
    export = export_saved_model(
        for_clients(command_line.config_of_run(), given["test_segments"].present > 0),
        given.export_dir,
        given.version,
        given.max_segments,
        given.fold_batch_norms,
        given.verify,
        given.warmup,
        given.xla,
        must_be_real=given["record_dir"].present > 0,
        accuracy_clips=given.accuracy_clips,
        say=lambda line: print(line, flush=True),
        progress=Progress("accuracy", "clips"),
    )
    report = export.verification
    if report:
        for signature, difference in report["largest"].items():
            print(f"  {signature:16s} largest difference {difference:.1e} (limit {report['limit']:.0e})")
    size = sum(path.stat().st_size for path in export.path.rglob("*") if path.is_file())
    print(f"{export.path}: {size / 1e6:.0f} MB, {'verified' if report else 'NOT verified'}.")


if __name__ == "__main__":
    command_line.run(main)

"""Exports a trained model as an ONNX file, for ONNX Runtime, TensorRT and others.

    python export/to_onnx.py --workdir=W [--precision=fp16] [--record_dir=R] [--output=M.onnx] [--test_segments=10]

Every export is compared with the trained model on clips before it appears. For fp16 and int8 both score all test
clips of the split, and the export fails if too few keep their best class; int8 takes its ranges from training clips.
--record_dir says where the run's records are now. --test_segments and --accuracy_clips are those of saved_model.py.
"""

import dataclasses

from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.progress import Progress
from ccsn_tf.serving import optional
from ccsn_tf.serving.agreement import for_clients

flags.DEFINE_string("output", "", "export: the file; empty: model.onnx or model.<precision>.onnx in --workdir.")
flags.DEFINE_enum("precision", "fp32", ("fp32", "fp16", "int8"), "export: what convolutions compute in.")
flags.DEFINE_integer("accuracy_clips", 96, "export: most test clips for accuracy by segments; 0: skip it.", 0)
flags.DEFINE_bool("evaluate", True, "export: unless fp32, score all test clips and compare with the trained model.")
flags.DEFINE_float("min_agreement", 0.0, "export: lowest share with the same best class; 0: by precision.", 0.0, 1.0)
flags.DEFINE_integer("calibration_clips", 32, "export: training clips for the ranges of int8.", lower_bound=1)
flags.DEFINE_integer("float_convolutions", 2, "export: so many from the input stay float32 in int8.", lower_bound=0)


def main():
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        optional(package, "onnx")
    from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx  # which imports them

    given = flags.FLAGS
    names = {field.name for field in dataclasses.fields(OnnxSettings)} - {"must_be_real"}
    settings = OnnxSettings(**{name: given[name].value for name in names}, must_be_real=given["record_dir"].present > 0)
    config = for_clients(command_line.config_of_run(), given["test_segments"].present > 0)
    export = export_onnx(config, settings, lambda name: Progress(name, "clips"), lambda line: print(line, flush=True))
    for line in in_words(export.report):
        print(line)
    print(f"{export.path}: {export.path.stat().st_size / 1e6:.1f} MB, {given.precision}, verified.")


def in_words(report):
    """The lines that are printed of the report."""
    products = ", ".join(f"{count} in {precision}" for precision, count in sorted(report["products"].items()))
    yield f"opset {report['opset']}; convolutions and matrix products: {products}"
    yield f"run by ONNX Runtime {report['onnxruntime']} on the CPU"
    comparison = report["comparison"]
    limit = f"limit {comparison['limit']:.0e}" if comparison["limit"] else "no limit"
    yield f"largest differences to Keras on {comparison['clips']}, batches of {comparison['batches']} ({limit}):"
    yield from (f"  {name:20s}{difference:.1e}" for name, difference in comparison["largest"].items())
    if "agreement" in report:
        agreement = report["agreement"]
        yield f"{agreement['num_clips']} test clips, {agreement['segments']} segments x centre crop:"
        yield "          same top-1   top-1 Keras      top-1"
        for stream in ("spatial", "temporal", "fused"):
            figures = agreement[stream]
            shares = (100 * figures[name] for name in ("agreement", "top1_reference", "top1"))
            yield "{:10s}{:8.2f} %{:12.2f} %{:9.2f} %".format(stream, *shares)


if __name__ == "__main__":
    command_line.run(main)

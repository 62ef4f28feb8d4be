"""Builds a TensorRT engine from an ONNX file.

    python export/to_tensorrt.py --onnx=M.onnx --output=M.plan [--compute_capability=8.6,8.9] [--max_batch=16]

The precision is that of the ONNX file, which TensorRT keeps to (the network is strongly typed).
With tensorrt_rtx no GPU is needed to build. Where there is one that the engine is for, the engine is run and compared
with the ONNX file. M.plan.json describes the engine.
"""

import pathlib

from absl import flags

from ccsn_tf.config import flags as command_line
from ccsn_tf.errors import UserError
from ccsn_tf.serving import optional
from ccsn_tf.serving.tensorrt.build import MODULES, load_tensorrt

flags.DEFINE_string("onnx", "", "export: the ONNX file, from export/to_onnx.py.")
flags.DEFINE_string("output", "", "export: the engine's file.")
flags.DEFINE_enum("module", "auto", ("auto", *MODULES), "export: which TensorRT; auto: the first that is installed.")
flags.DEFINE_list("compute_capability", [], "export: GPUs to build for, as 8.6 (tensorrt_rtx); empty: this one's.")
for axis, what, bounds in (("batch", "clips", (1, 1, 8)), ("segments", "segments of a clip", (1, 8, 25))):
    for name, value, words in zip(("min", "opt", "max"), bounds, ("fewest", "usual", "most"), strict=True):
        flags.DEFINE_integer(f"{name}_{axis}", value, f"export: {words} {what} in a call.", lower_bound=1)


def main():
    given = flags.FLAGS
    trt = load_tensorrt(given.module)
    optional("onnx", "onnx")
    from ccsn_tf.serving.tensorrt.build import BuildSettings
    from ccsn_tf.serving.tensorrt.export import export_engine

    if not given.onnx:
        raise UserError("--onnx is not given: name a file that export/to_onnx.py wrote.")
    settings = BuildSettings(
        batch=(given.min_batch, given.opt_batch, given.max_batch),
        segments=(given.min_segments, given.opt_segments, given.max_segments),
        compute_capabilities=tuple(given.compute_capability),
    )
    engine = export_engine(trt, given.onnx, given.output, settings, compare)
    products = ", ".join(f"{count} in {precision}" for precision, count in sorted(engine["products"].items()))
    capabilities = ", ".join(engine["compute_capabilities"])
    print(f"{trt.__name__} {trt.__version__}, for compute capability {capabilities}")
    print(f"convolutions and matrix products: {products}")
    if engine["run"]:
        run = engine["run"]
        print(f"run on {run['gpu']}, largest differences to {run['with']} on {run['clips']}:")
        for name, difference in run["largest"].items():
            print(f"  {name:20s}{difference:.1e}")
    else:
        print("built and NOT RUN: here is no GPU that it was built for, or no cuda-core to use it")
    size = pathlib.Path(given.output).stat().st_size
    print(f"{given.output}: {size / 1e6:.1f} MB, {engine['precision']}.")


def compare(engine):
    command_line.load_tensorflow()
    from ccsn_tf.serving.tensorrt.export import compare_engine

    return compare_engine(engine, flags.FLAGS.onnx)


if __name__ == "__main__":
    command_line.run(main)

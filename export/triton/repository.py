"""Makes a model repository for NVIDIA Triton Inference Server, and prints the command that serves it.

    python export/triton/repository.py --model=M.onnx --repository=models [--tensorrt] [--device=cpu]

--model is a file from export/to_onnx.py, or an engine from export/to_tensorrt.py --module=tensorrt.
"""

import dataclasses

from absl import flags

from ccsn_tf.config import flags as command_line
from ccsn_tf.errors import UserError
from ccsn_tf.serving import optional

flags.DEFINE_string("model", "", "triton: the ONNX file or engine.")
flags.DEFINE_string("repository", "", "triton: folder of the models that Triton serves.")
flags.DEFINE_string("name", "ccsn", "triton: the model's name.")
flags.DEFINE_integer("version", 1, "triton: the model's version.", lower_bound=1)
flags.DEFINE_integer("max_batch", 0, "triton: clips that are joined into one call; 0: 8, or as fit.", lower_bound=0)
flags.DEFINE_integer("max_segments", 0, "triton: most clips times segments a call; 0: 256, with flow inside 64.", 0)
flags.DEFINE_bool("tensorrt", False, "triton: ONNX Runtime uses TensorRT, without an engine file.")
flags.DEFINE_integer("queue_delay_us", 2000, "triton: microseconds that a request may wait for others.", lower_bound=0)
flags.DEFINE_integer("instances", 1, "triton: copies of the model that compute at the same time.", lower_bound=1)
flags.DEFINE_enum("device", "gpu", ("gpu", "cpu"), "triton: where the model runs.")
flags.DEFINE_string("image", "nvcr.io/nvidia/tritonserver:25.11-py3", "triton: image in the command that is printed.")


def main():
    given = flags.FLAGS
    if not given.model:
        raise UserError("--model is not given: name a file from export/to_onnx.py or export/to_tensorrt.py.")
    optional("onnx", "onnx")
    from ccsn_tf.serving.servers.triton import TritonSettings, make_repository, start_command
    from ccsn_tf.serving.tensorrt.session import read_engine

    settings = TritonSettings(**{field.name: given[field.name].value for field in dataclasses.fields(TritonSettings)})
    print(f"{make_repository(given.model, given.repository, settings)} written. To serve it:")
    built_by = "" if given.model.endswith(".onnx") else read_engine(given.model)[1]["tensorrt"]["version"]
    print(start_command(given.repository, given.device, given.image, built_by))


if __name__ == "__main__":
    command_line.run(main)

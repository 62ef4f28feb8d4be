"""Serves an exported model on this machine, to try things out: TensorFlow Serving's protocol, not the server.

    python export/tf_serving/stand_in.py --export_dir=MODEL

gRPC on --grpc_port, REST on --rest_port, until Ctrl-C. For anything but a trial take the server (compose.yaml).
"""

import contextlib
import threading

from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.serving.packages import optional

flags.DEFINE_string("export_dir", "", "stand_in: folder of the model, with a folder a version.")
flags.DEFINE_string("model", "ccsn", "stand_in: name to serve it under.")
flags.DEFINE_integer("grpc_port", 8500, "stand_in: port for gRPC; 0: any.", lower_bound=0, upper_bound=65535)
flags.DEFINE_integer("rest_port", 8501, "stand_in: port for REST; 0: any.", lower_bound=0, upper_bound=65535)


def main(arguments):
    command_line.no_arguments(arguments)
    optional("tensorflow_serving", "serving")
    from ccsn_tf.serving.servers.stand_in import StandIn  # which imports it

    given = flags.FLAGS
    with StandIn(given.export_dir, given.model, given.grpc_port, given.rest_port) as server:
        versions = ", ".join(map(str, server.versions(given.model)))
        print(f"Stand-in for TensorFlow Serving: {given.model}, version {versions}", flush=True)
        print(
            f"gRPC localhost:{server.grpc_port}, REST http://localhost:{server.rest_port}; Ctrl-C ends it.", flush=True
        )
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    command_line.run(main)

"""Serves a model repository by a real Triton on this machine's CPU, without Docker: to try it, not to run it.

    python export/triton/serve.py --repository=models

--repository is what export/triton/repository.py --device=cpu wrote. The first time, Triton is installed into
--triton_dir, 260 MB. New versions are served as they appear. Ctrl-C ends it.
"""

import os
import sys

from absl import flags

from ccsn_tf.config import flags as command_line
from ccsn_tf.errors import UserError
from ccsn_tf.serving.servers.local_triton import install, served

flags.DEFINE_string("repository", "", "triton: folder of the models.")
flags.DEFINE_string("triton_dir", "~/.cache/ccsn_tf", "triton: where the server is, or will be installed.")
flags.DEFINE_integer("http_port", 8000, "triton: port of HTTP; gRPC and metrics have the next two.", lower_bound=1)


def main():
    given = flags.FLAGS
    if not given.repository:
        raise UserError("--repository is not given: name what export/triton/repository.py wrote.")
    print(f"Triton is looked for in {given.triton_dir}, and installed if it is not there ...", flush=True)
    ports = range(given.http_port, given.http_port + 3)
    with served(given.repository, install(os.path.expanduser(given.triton_dir)), ports, sys.stderr) as process:
        print(f"Ready: python scripts/query.py --server=http://localhost:{given.http_port}/v2 VIDEO", flush=True)
        process.wait()


if __name__ == "__main__":
    command_line.run(main)

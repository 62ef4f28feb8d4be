"""Names the action in videos by asking an exported model, on a server or in a folder.

    python scripts/query.py --server=localhost:8500 VIDEO... [--json]
    python scripts/query.py --server=http://localhost:8501 VIDEO...
    python scripts/query.py --server=http://localhost:8000/v2 VIDEO...
    python scripts/query.py --export_dir=MODEL VIDEO...

The first is gRPC, the second REST, both to TensorFlow Serving; the third is Triton, as is localhost:8001/v2; grpcs://
and https:// are these by TLS. The last needs no server, but TensorFlow, which runs the model here. Frames, and flow
unless the model computes it, are made here, as the model says that it wants them. VIDEO may also be a folder of videos.
One that cannot be used, or got no answer, is reported on stderr; the others are still asked for, and the exit status is
1 where none got one.
"""

import json
import sys

from absl import flags

from ccsn_tf.config import flags as command_line
from ccsn_tf.data.datasets.videos import videos_of
from ccsn_tf.errors import UserError
from ccsn_tf.serving.client.client import Client

flags.DEFINE_string(
    "server", "localhost:8500", "query: host:port (gRPC), http://host:port (REST), http://host:port/v2 (Triton)."
)
flags.DEFINE_string("ca_file", "", "query: PEM file of the certificates to trust; empty: the system's.")
flags.DEFINE_string("token_file", "", "query: file of a token to send, as Authorization: Bearer, by TLS.")
flags.DEFINE_string("export_dir", "", "query: folder of the exported model, in place of a server.")
flags.DEFINE_string("model", "ccsn", "query: name of the model on the server.")
flags.DEFINE_float("timeout", 30.0, "query: seconds to wait for an answer, retries included.", lower_bound=0.001)
flags.DEFINE_integer("attempts", 5, "query: sends a request at most so often.", lower_bound=1)
flags.DEFINE_integer("segments", 0, "query: snippets of each video; 0: as many as the model asks for.", lower_bound=0)
flags.DEFINE_bool("json", False, "query: print one JSON object a video.")


def main(videos):
    if not videos:
        raise UserError("no video given: name one or more files.")
    given = flags.FLAGS
    if given.export_dir:
        command_line.load_tensorflow()
        from ccsn_tf.serving.local import LocalModel

        client = LocalModel(given.export_dir)
    else:
        client = Client(given.server, given.model, given.timeout, given.attempts, given.ca_file, given.token_file)
    failed = 0
    videos, notes = videos_of(videos)
    for note in notes:
        print(f"query: {note}", file=sys.stderr)
    client.metadata()  # a server that is not there is no matter of a video
    for path in videos:
        try:
            answer = client.classify_video(path, given.segments)
        except UserError as error:
            print(f"query: {error}", file=sys.stderr)
            failed += 1
            continue
        top = [
            (str(label), float(score)) for label, score in zip(answer["top_labels"], answer["top_scores"], strict=True)
        ]
        if given.json:
            line = {"video": path, "top": [{"class": label, "score": score} for label, score in top]}
            print(json.dumps(line), flush=True)
        else:
            print(path)
            for label, score in top:
                print(f"  {100 * score:5.1f} %  {label}", flush=True)
    client.close()
    if failed:
        print(f"query: {failed} of {len(videos)} videos got no answer.", file=sys.stderr)
    sys.exit(failed == len(videos))


if __name__ == "__main__":
    command_line.run(main)

"""Finds the training clips most like a video.

    python scripts/similar.py --model=W QUERY.mp4 [--index=W/index.npz --by=temporal --output=similar.png]

W is the work directory of a run. The index, a NumPy file of the embeddings of its training clips, is made from its
records the first time, and searched exactly; --output is a contact sheet of what was found. docs/WATCH.md.
"""

import os

from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.similar import BY, INDEX, Searcher
from ccsn_tf.progress import Progress

flags.DEFINE_string("model", "", "similar: work directory of the run.")
flags.DEFINE_string("index", "", "similar: NumPy file; made where it is not there; empty: index.npz of --model.")
flags.DEFINE_enum("by", BY[0], BY, "similar: whose embeddings are compared.")
flags.DEFINE_integer("count", 9, "similar: clips to find.", lower_bound=1)
flags.DEFINE_string("output", "similar.png", "similar: contact sheet; empty: none.")


def main(videos):
    given = flags.FLAGS
    if len(videos) != 1 or not given.model:
        raise UserError(f"name one video, and a run as --model. Received: {' '.join(videos) or 'no video'}.")
    given.workdir, index = given.model, given.index or os.path.join(given.model, INDEX)
    searcher = Searcher(command_line.config_of_run(), index, Progress("index", "clips"))
    found = searcher.search(videos[0], given.by, given.count)
    for number, alike in found:
        print(f"{alike:6.3f}  {searcher.index.labels[number]}  {searcher.index.names[number]}")
    if given.output:
        searcher.draw(videos[0], found, given.output)
        print(f"contact sheet: {given.output}")


if __name__ == "__main__":
    command_line.run(main)

"""Names the action in videos.

    python scripts/predict.py --workdir=W VIDEO... [--top_k=5] [--json]

VIDEO is a video, the folder of its frames, or a folder of videos. Flow is computed for the snippets that the model
looks at, and no others. With --json: one JSON object a line. A video that cannot be used is reported on stderr; the
others are still predicted, and the exit status is 1 where none could be.
"""

import json
import pathlib
import sys

import numpy as np
from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.data.datasets.videos import videos_of
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import make_forward, predict_video
from ccsn_tf.models.build import load_model

flags.DEFINE_bool("json", False, "predict: print one JSON object a video.")


def main(videos):
    if not videos:
        raise UserError("no video given: name one or more files.")
    config = command_line.config_of_run()
    model = load_model(str(pathlib.Path(config.train.workdir, "model.keras")))
    forward, failed = make_forward(model), 0
    videos, notes = videos_of(videos)
    for note in notes:
        print(f"predict: {note}", file=sys.stderr)
    for path in videos:
        try:
            scores = predict_video(path, forward, config)
        except UserError as error:
            print(f"predict: {error}", file=sys.stderr)
            failed += 1
            continue
        best = np.argsort(-scores["fused"], kind="stable")[: config.eval.top_k]
        if flags.FLAGS.json:
            top = [{"class": model.classes[i], **{name: float(s[i]) for name, s in scores.items()}} for i in best]
            print(json.dumps({"video": path, "top": top}), flush=True)
        else:
            print(path)
            for i in best:
                print(f"  {100 * scores['fused'][i]:5.1f} %  {model.classes[i]}", flush=True)
    if failed:
        print(f"predict: {failed} of {len(videos)} videos could not be used.", file=sys.stderr)
    sys.exit(failed == len(videos))


if __name__ == "__main__":
    command_line.run(main)

"""The clips most like a video: an index of a run's training clips, searched exactly by cosine similarity."""

import dataclasses
import hashlib
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.config.settings import STREAMS
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.records.manifest import Manifest, StoredClip
from ccsn_tf.data.records.selection import of_records, select_clips
from ccsn_tf.data.sampling import centre_starts
from ccsn_tf.data.views import InputForm
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.figures import save_contact_sheet
from ccsn_tf.evaluation.predict import average_views, make_forward, score_clips, score_views, video_views
from ccsn_tf.files import whole_file
from ccsn_tf.models.build import load_model

BY = ("both", *STREAMS)
INDEX = "index.npz"  # in the work directory: evaluate.py --report looks for it there
_SHOWN = 3  # frames of a clip


@dataclasses.dataclass(frozen=True)
class Index:
    """`names` and `labels` (N,) of clips, and their embeddings {stream: float32 (N, E), of unit length}.

    A million clips of the default width are 1 GB; a search goes through all of them.
    """

    names: np.ndarray
    labels: np.ndarray
    embeddings: dict[str, np.ndarray]

    def nearest(self, embeddings: dict[str, np.ndarray], by: str, count: int) -> list[tuple[int, float]]:
        """The `count` clips most like one with these embeddings (E,), [(number, cosine similarity)], the most first.

        `by` is of `BY`: by both, the similarity is the mean of the streams'.
        """
        streams = STREAMS if by == "both" else (by,)
        alike = np.mean([self.embeddings[stream] @ embeddings[stream] for stream in streams], axis=0)
        best = np.argpartition(-alike, min(count, len(alike)) - 1)[:count]
        return [
            (int(number), float(alike[number])) for number in sorted(best, key=lambda n: (-alike[n], self.names[n]))
        ]


class Searcher:
    """The model of a run, with an index of its training clips, which is made where it is not there.

    Args:
        config: of the run.
        path: NumPy file of the index.
        progress: called with (clips done, clips in all) where it is made.

    Raises:
        UserError: no finished run or records, or a file that is no index of this model.
    """

    def __init__(self, config: Config, path: str, progress: Callable[[int, int], None] = lambda done, total: None):
        network = load_model(str(pathlib.Path(config.train.workdir, "model.keras")))
        self._config, self._forward = config, make_forward(network)
        if not os.path.exists(path):
            self._make(path, tuple(network.classes), progress)
        self.index = read_index(path, config)

    def _make(self, path, classes, progress):
        config, _ = of_records(self._config)
        _, clips, _ = select_clips(config.replace(classes=classes))
        segments, crops = config.eval.test_segments, config.eval.test_crops
        views = evaluation_views(clips, classes, config.data.record_dir, config.model, segments, crops)
        embeddings = score_clips(self._forward, views, len(clips), segments, crops, progress).embeddings
        names, labels = (np.array([getattr(clip, key) for clip in clips]) for key in ("name", "label"))
        with whole_file(path) as beside, beside.open("wb") as file:
            np.savez(file, model=np.array(_digest(config)), names=names, labels=labels, **embeddings)

    def search(self, video: str, by: str = "both", count: int = 8) -> list[tuple[int, float]]:
        """`Index.nearest` of a video.

        Raises:
            VideoError: it cannot be used.
        """
        views = video_views(video, self._config)
        outputs = average_views(score_views(self._forward, views), len(next(iter(views.values()))))
        return self.index.nearest({stream: outputs[f"{stream}_embedding"][0] for stream in STREAMS}, by, count)

    def draw(self, video: str, found: list[tuple[int, float]], path: str) -> None:
        """Draws a contact sheet: frames of the video, then of the clips that `search` has found, out of their records.

        Raises:
            UserError: the records are not there, or have no such clip; no matplotlib; it cannot be written.
        """
        names, labels = self.index.names, self.index.labels
        stored = stored_clips(self._config)
        clips = stored_frames([names[number] for number, _ in found], stored, self._config, _SHOWN)
        snippets = InputForm(self._config.model).of_video(video, self._config, _SHOWN)
        cells = [(os.path.basename(video), _middles(snippets, self._config))]
        for (number, alike), frames in zip(found, clips, strict=True):
            cells.append((f"{alike:.3f}  {labels[number]}  ({names[number]})", frames))
        save_contact_sheet(cells, path)


def read_index(path: str | pathlib.Path, config: Config) -> Index:
    """The index of a run's model.

    Raises:
        UserError: it is none, or of another model.
    """
    try:
        with open(path, "rb") as file, np.load(file) as found:
            if found["model"] != _digest(config):
                raise UserError(f"--index={path} was made by another model: name another file, or remove it.")
            return Index(found["names"], found["labels"], {stream: found[stream] for stream in STREAMS})
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"--index={path} is no index ({error}): name another file, or remove it.") from None


def stored_clips(config: Config) -> dict[str, StoredClip]:
    """The clips in `record_dir` by name. UserError: see `Manifest.read`, which looks at every record."""
    return {clip.name: clip for clip in Manifest.read(config.data.record_dir).clips}


def stored_frames(
    names: Sequence[str], stored: Mapping[str, StoredClip], config: Config, count: int
) -> list[list[np.ndarray]]:
    """Of each of these clips `count` frames, evenly spaced, uint8 (H, W, 3), out of `record_dir`.

    Raises:
        UserError: `stored`, of `stored_clips`, has no such clip.
    """
    folder, found = config.data.record_dir, []
    for name in names:
        if name not in stored:
            raise UserError(f"--record_dir={folder} has no clip {name} of the index: name the records it is of.")
        clip = stored[name]
        starts = centre_starts(clip.fields, count, config.model.flow_length)
        file = os.path.join(folder, clip.file)
        snippets = InputForm(config.model).of_record(file, clip.directory, clip.fields, starts)
        found.append(_middles(snippets, config))
    return found


def _middles(snippets, config):
    """The middle frame of each snippet."""
    return snippets.get("rgb") or [frames[config.model.flow_length // 2] for frames in snippets["frames"]]


def _digest(config):
    with pathlib.Path(config.train.workdir, "model.keras").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

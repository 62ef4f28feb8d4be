"""Clips to try an exported model with: of the run's records, or rendered where there are none."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.demo.render import render_demo_set
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.plan import refuse_short
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import FILE_NAME, Manifest, StoredClip, stored_settings
from ccsn_tf.data.records.record import read_jpegs
from ccsn_tf.data.records.selection import of_records
from ccsn_tf.data.sampling import centre_starts, middle_frame


@dataclasses.dataclass(frozen=True)
class Clips:
    """N stored clips as requests; `source` says in words where they come from."""

    source: str
    config: Config
    stored: tuple[StoredClip, ...]
    classes: tuple[str, ...]
    record_dir: str

    def arrays(self, num_segments: int) -> dict[str, np.ndarray]:
        """As the test pipeline makes them, centre crop: {name: uint8 (N, K, ...)}, see `InputForm`."""
        views = evaluation_views(self.stored, self.classes, self.record_dir, self.config.model, num_segments, 1)
        parts = [{name: value[0].numpy() for name, value in view.items() if name != "label"} for view in views]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def jpegs(self, num_segments: int) -> dict[str, np.ndarray]:
        """The same snippets as stored, bytes: rgb (N, K) and flow (N, K, L), or frames (N, K, L + 1) alone."""
        length, computed, found = self.config.model.flow_length, self.config.model.flow_source == "graph", []
        for clip in self.stored:
            wanted = range(clip.fields + 1), () if computed else range(clip.fields)
            jpegs = read_jpegs(pathlib.Path(self.record_dir, clip.file), clip.directory, clip.fields, *wanted)
            frames, fields = (np.array([jpeg.tobytes() for jpeg in part], object) for part in jpegs)
            starts = centre_starts(clip.fields, num_segments, length)
            if computed:
                found.append({"frames": frames[starts[:, None] + np.arange(length + 1)]})
            else:
                flow = fields[starts[:, None] + np.arange(length)]
                found.append({"rgb": frames[middle_frame(starts, length)], "flow": flow})
        return {name: np.array([each[name] for each in found], object) for name in found[0]}


@contextlib.contextmanager
def clips_to_try(config: Config, classes: tuple[str, ...], count: int, must_be_real: bool) -> Iterator[Clips]:
    """Yields `count` clips, evenly spaced over the test clips of the run's records; fewer are repeated.

    Of records without test clips, training clips.

    Args:
        classes: the model's label order.
        count: N.
        must_be_real: whether absent records are an error. Otherwise clips of the demo are rendered, prepared with the
            run's settings and used instead: an export must be possible where the training data is not.

    Raises:
        UserError: the records cannot be used, or are absent and `must_be_real`.
    """
    if must_be_real or pathlib.Path(config.data.record_dir, FILE_NAME).is_file():
        own, manifest = of_records(config)
        known = tuple(name for name in classes if name in manifest.classes)
        yield _of_records(dataclasses.replace(own.data, classes=known, mirror_pairs=()), config, count)
        return
    with tempfile.TemporaryDirectory() as folder:
        rendered = _rendered(config, folder)
        yield _of_records(rendered, config, count, "clips rendered for the purpose, as its records are not there")


def _of_records(data: DataConfig, config, count, source=""):
    manifest = Manifest.read(data.record_dir)
    side = "test" if manifest.select(data, "test")[1] else "train"
    classes, clips = manifest.select(data, side)
    long_enough = [clip for clip in clips if clip.fields >= config.model.flow_length]
    if not long_enough:
        refuse_short(clips, config.model.flow_length)
    chosen = tuple(long_enough[index] for index in np.linspace(0, len(long_enough) - 1, count).round().astype(int))
    source = source or f"{'training' if side == 'train' else side} clips of its records"
    return Clips(source, config, chosen, classes, data.record_dir)


def _rendered(config, folder):
    data, flow_length = config.data, config.model.flow_length
    frames = data.flow_stride * (flow_length + 2) + 1  # room for three snippets
    render_demo_set(f"{folder}/set", num_train=4, num_test=8, num_frames=frames, workers=1)
    settings = {**stored_settings(data), "dataset": "demo"}
    if config.model.flow_source == "graph":
        settings["flow"] = "none"
    elif data.flow == "stored":  # elsewhere, for clips of its own
        settings["flow"] = "dis"
    made = DataConfig(**settings, video_dir=f"{folder}/set", record_dir=f"{folder}/records", workers=1)
    prepare(made, flow_length)
    return made

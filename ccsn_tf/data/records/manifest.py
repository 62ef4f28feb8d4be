"""The manifest of a record folder: what it holds, how it was made, and what could not be used."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

from ccsn_tf.config import Config, DataConfig, flag_text
from ccsn_tf.data.datasets.listing import select_classes
from ccsn_tf.data.records.record import record_file
from ccsn_tf.errors import UserError

VERSION = 3
FILE_NAME = "manifest.json"

# Settings that the stored pixels depend on: a run that asks for others is refused.
STORED = ("dataset", "short_side", "flow", "dis_preset", "dis_finest_scale", "flow_side", "flow_stride", "flow_bound")
STORED += ("jpeg_quality",)
_OF_FLOW = {  # those that not every algorithm looks at
    "dis_preset": ("dis",),
    "dis_finest_scale": ("dis",),
    "flow_side": ("dis", "farneback", "tvl1", "tvl1_graph"),
}
_OF_FRAMES = ("short_side", "flow_stride", "jpeg_quality")  # those that the frames depend on


def stored_settings(config: DataConfig) -> dict:
    """The settings of `config` that the records depend on, without those that its flow does not look at; JSON-safe."""
    names = [name for name in STORED if config.flow in _OF_FLOW.get(name, (config.flow,))]
    values = {name: getattr(config, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def input_settings(config: Config) -> dict:
    """Those of `stored_settings` that a model's input depends on: of one that computes its flow, what frames do."""
    names = _OF_FRAMES if config.model.flow_source == "graph" else STORED
    return {name: value for name, value in stored_settings(config.data).items() if name in names and name != "dataset"}


def refuse_other_settings(made_with: dict, config: DataConfig, record_dir: str) -> None:
    """Raises UserError, naming flag, values and remedy, where `config` asks for other records than were made."""
    for name, made, asked in _differences(made_with, stored_settings(config)):
        raise UserError(
            f"--{name}={asked}, but the records in {record_dir} were made with {name}={made}: pass --{name}={made} "
            "or prepare again into another --record_dir."
        )


def refuse_other_input(made_with: dict, config: Config, record_dir: str) -> None:
    """Raises UserError where the records were made otherwise than the model wants its input."""
    for name, made, wanted in _differences(made_with, input_settings(config)):
        raise UserError(
            f"--record_dir={record_dir} was made with {name}={made}, and the model wants {wanted}: prepare the "
            f"videos again with --{name}={wanted} into another folder, or give the videos themselves."
        )


def _differences(made_with, wanted):
    """(name, value in the records, value wanted) of each setting that differs, the values as flags have them."""
    for name, value in wanted.items():
        if made_with.get(name) != value:
            yield name, flag_text(made_with.get(name)), flag_text(value)


@dataclasses.dataclass(frozen=True)
class StoredClip:
    """A clip in the records: `fields` flow fields, one fewer than frames of (height, width).

    `bytes` are those of its file, `directory` is where the directory in it begins. `mirror_label`, filled in by
    `Manifest.select` and not written: the class that the mirror image shows; empty: its own.
    """

    name: str
    label: str
    group: str
    bytes: int
    directory: int
    fields: int
    height: int
    width: int
    mirror_label: str = ""

    @property
    def file(self) -> str:
        """Its record, below the record folder."""
        return record_file(self.name)

    def size_in(self, record_dir: str | os.PathLike) -> int | None:
        """The bytes that its record has now; None where none can be read."""
        try:
            return os.path.getsize(os.path.join(record_dir, self.file))
        except OSError:
            return None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Contents of a record folder.

    `settings` are those of `stored_settings`, `classes` the label order, `splits` {number: {"train"|"test": names}} as
    listed, skipped clips included, `skipped` {clip name: reason}, `skipped_labels` {clip name: class}, `tried` {clip
    name: when its video had been changed last, in ns} of those that are tried again only once it changes, `mirrored`
    and `unused` as in the listing.
    """

    settings: dict
    classes: tuple[str, ...]
    splits: dict[int, dict[str, tuple[str, ...]]]
    clips: tuple[StoredClip, ...]
    skipped: dict[str, str]
    skipped_labels: dict[str, str]
    tried: dict[str, int]
    mirrored: dict[str, str]
    unused: dict[str, int]

    def to_json(self) -> str:
        """What manifest.json says."""
        content = {"version": VERSION, **self.counts(), **dataclasses.asdict(self)}
        for clip in content["clips"]:
            del clip["mirror_label"]
        return json.dumps(content, indent=1) + "\n"

    def counts(self) -> dict:
        """Totals for people: clips, stored frames, skipped clips, bytes."""
        return {
            "num_clips": len(self.clips),
            "num_frames": sum(clip.fields + 1 for clip in self.clips),
            "num_skipped": len(self.skipped),
            "num_bytes": sum(clip.bytes for clip in self.clips),
        }

    @classmethod
    def from_json(cls, content: bytes, path: str) -> Manifest:
        """Reads what `to_json` gave. UserError, naming `path`: it is damaged, or of another version."""
        try:
            read = dict(json.loads(content))
            if read["version"] != VERSION:
                raise UserError(
                    f"{path} is of version {read['version']}, and this program writes and reads {VERSION}: prepare "
                    "again into another --record_dir."
                )
            values = {field.name: read[field.name] for field in dataclasses.fields(cls)}
            values["classes"] = tuple(read["classes"])
            values["clips"] = tuple(StoredClip(**clip) for clip in read["clips"])
            values["splits"] = {
                int(number): {side: tuple(names) for side, names in split.items()}
                for number, split in read["splits"].items()
            }
        except UserError:
            raise
        except (ValueError, AttributeError, KeyError, TypeError):
            raise UserError(f"{path} is damaged: run prepare.py again, which writes it anew.") from None
        return cls(**values)

    @classmethod
    def read(cls, record_dir: str) -> Manifest:
        """Reads manifest.json and checks that every record is there, whole.

        Raises:
            UserError: no manifest (preparation not finished), another version, or a record that was lost or cut.
        """
        if not record_dir:
            raise UserError("--record_dir is not given: name the folder that prepare.py wrote.")
        path = pathlib.Path(record_dir, FILE_NAME)
        try:
            manifest = cls.from_json(path.read_bytes(), str(path))
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"--record_dir={record_dir} holds no finished records: run prepare.py (again).") from None
        for clip in manifest.clips:
            found = clip.size_in(record_dir)
            if found != clip.bytes:
                state = "is missing" if found is None else f"has {found} bytes instead of {clip.bytes}"
                remedy = "run prepare.py again with the same settings, which restores it"
                raise UserError(f"{pathlib.Path(record_dir, clip.file)} {state}: {remedy}.")
        return manifest

    def select(self, config: DataConfig, side: str) -> tuple[tuple[str, ...], list[StoredClip]]:
        """The classes in label order and the clips of one side of the split that `config` names.

        A class may have no test clip: it is learnt and not measured (see `selection.untested`).

        Args:
            config: `classes`, `split`, `mirror_pairs` and the settings that must match.
            side: "train" or "test".

        Raises:
            UserError: other settings, an unknown class or split, a class without a training clip, or pairs that
                contradict one another.
        """
        refuse_other_settings(self.settings, config, config.record_dir)
        classes = select_classes(self.classes, config.classes, f"the record folder {config.record_dir}")
        clips = [clip for clip in self.of_side(config.split, side, config.record_dir) if clip.label in classes]
        empty = sorted(set(classes) - {clip.label for clip in clips})
        if empty and side == "train":
            raise UserError(
                f"Class {', '.join(empty)} has no usable training clip in split {config.split} of {config.record_dir}: "
                "see its manifest.json for what was skipped, or leave the class out with --classes."
            )
        mirrored = self._mirrored_with(config)
        return classes, [dataclasses.replace(clip, mirror_label=mirrored.get(clip.label, "")) for clip in clips]

    def of_side(self, split: int, side: str, record_dir: str) -> list[StoredClip]:
        """The clips of one side of a split, "train" or "test". UserError: `record_dir` has no such split."""
        if split not in self.splits:
            known = ", ".join(map(str, sorted(self.splits)))
            raise UserError(f"--split={split} is not in {record_dir}: give one of {known}.")
        names = set(self.splits[split][side])
        return [clip for clip in self.clips if clip.name in names]

    def _mirrored_with(self, config: DataConfig) -> dict[str, str]:
        """The data set's own pairs and those of --mirror_pairs."""
        mirrored = dict(self.mirrored)
        for pair in config.mirror_pairs:
            left, right = pair.split(":")
            for name, other in ((left, right), (right, left)):
                if name not in self.classes:
                    raise UserError(f"--mirror_pairs names {name}, no class of {config.record_dir}: correct the name.")
                if mirrored.setdefault(name, other) != other:
                    raise UserError(f"--mirror_pairs={pair}: {name} is paired with {mirrored[name]} already.")
        return mirrored

    def count_skipped(self, split: int, side: str, classes: Sequence[str]) -> int:
        """How many clips of these classes the split lists on this side that are not in the records."""
        listed = [name for name in self.splits[split][side] if name in self.skipped]
        return sum(self.skipped_labels[name] in classes for name in listed)

"""What is to be predicted: the videos of a folder or of a list, or the clips of prepared records. No TensorFlow."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from ccsn_tf.config import Config, flag_text
from ccsn_tf.data.datasets.listing import VIDEO_SUFFIXES
from ccsn_tf.data.records.manifest import Manifest, input_settings
from ccsn_tf.errors import UserError
from ccsn_tf.serving.client.clip_input import StoredRecord, VideoFile

SIDES = ("test", "train", "all")


@dataclasses.dataclass(frozen=True)
class Items:
    """Clips with different names; `source` is where the names are to be looked up, an absolute path."""

    source: str
    items: tuple[VideoFile | StoredRecord, ...]


def videos_of_folder(folder: str) -> Items:
    """All video files below a folder, by their names' endings, hidden ones left out; named by their path below it.

    Raises:
        UserError: no such folder, or no video in it.
    """
    if not os.path.isdir(folder):
        raise UserError(f"--video_dir={folder} is no folder: name the folder of the videos.")
    names = []
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = pathlib.Path(path).relative_to(folder)
        found = [name for name in files if pathlib.Path(name).suffix.lower() in VIDEO_SUFFIXES and name[0] != "."]
        names += [(below / name).as_posix() for name in found]
    if not names:
        raise UserError(
            f"--video_dir={folder} holds no video: name a folder with files that end in "
            f"{', '.join(sorted(VIDEO_SUFFIXES))}."
        )
    return _videos(folder, sorted(names))


def videos_of_list(path: str, folder: str = "") -> Items:
    """The videos that a text file names, a path a line, each once; a file that is not there is a matter of its own.

    Args:
        path: the list.
        folder: what paths in it are relative to; empty: the folder of the list.

    Raises:
        UserError: no such file, not text, or no line in it.
    """
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"--video_list={path} cannot be read ({reason}): name a text file, a path a line.") from None
    names = dict.fromkeys(line.strip() for line in lines)
    names.pop("", None)
    if not names:
        raise UserError(f"--video_list={path} is empty: write the path of a video on each line.")
    return _videos(folder or os.path.dirname(path) or ".", names)


def clips_of_records(record_dir: str, split: int, side: str, config: Config) -> Items:
    """The clips of prepared records; named as there.

    Args:
        record_dir: the folder.
        split: which train/test split.
        side: one of `SIDES`; of "all" each clip that is there, whatever the split.
        config: how the model wants its input, from `client_config`.

    Raises:
        UserError: no finished records, records made otherwise, no such split, or no clip.
    """
    manifest = Manifest.read(record_dir)
    for name, wanted in input_settings(config).items():
        made = manifest.settings.get(name)
        if made != wanted:
            made, wanted = flag_text(made), flag_text(wanted)
            raise UserError(
                f"--record_dir={record_dir} was made with {name}={made}, and the model wants {wanted}: prepare the "
                f"videos again with --{name}={wanted} into another folder, or give the videos themselves."
            )
    clips = manifest.clips if side == "all" else manifest.of_side(split, side, record_dir)
    if not clips:
        raise UserError(f"--record_dir={record_dir} has no {side} clip in split {split}: choose another --side.")
    return Items(os.path.abspath(record_dir), tuple(StoredRecord(clip.name, clip, record_dir) for clip in clips))


def _videos(folder, names):
    return Items(os.path.abspath(folder), tuple(VideoFile(name, os.path.join(folder, name)) for name in names))

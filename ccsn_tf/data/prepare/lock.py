"""plan.json: what a record folder is for, noted before the first record, so that no two preparations mix in it."""

from __future__ import annotations

import hashlib
import json

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.listing import Listing
from ccsn_tf.data.records.folder import LocalFolder
from ccsn_tf.data.records.manifest import VERSION, refuse_other_settings, stored_settings
from ccsn_tf.errors import UserError

PLAN = "plan.json"
_VERSION = 2  # of the plan and the shards' indices


def refuse_other_files(folder: LocalFolder) -> None:
    """Raises UserError for a folder of other things than records."""
    names = folder.names()
    if PLAN not in names and any(not name.startswith(".") for name in names):
        raise UserError(f"--record_dir={folder} holds other files: choose an empty or new folder.")


def claim(folder: LocalFolder, config: DataConfig, listing: Listing, min_fields: int) -> None:
    """Notes what the folder is for, or checks that a folder which was begun is for the same.

    Classes, labels and splits are not part of it: they can change without the records.

    Raises:
        UserError: it is for something else; the message names the flag or file.
    """
    layout = {"clips_per_shard": config.clips_per_shard, "flow_length": min_fields}
    names = json.dumps([clip.name for clip in listing.clips]).encode()
    clips = {"num_clips": len(listing.clips), "clips": hashlib.sha256(names).hexdigest()}
    plan = {"version": _VERSION, "manifest_version": VERSION, "settings": stored_settings(config), **layout, **clips}
    content = folder.read(PLAN)
    if content is None:
        with folder.whole(PLAN) as file:
            file.write((json.dumps(plan, indent=1) + "\n").encode())
        return
    try:
        begun = dict(json.loads(content))
    except (ValueError, TypeError):
        raise UserError(f"{folder}/{PLAN} is damaged: empty the folder, or choose another --record_dir.") from None
    if any(begun.get(name, 1) != plan[name] for name in ("version", "manifest_version")):
        raise UserError(f"{folder} was begun by another version of this program: choose another --record_dir.")
    refuse_other_settings(begun["settings"], config, str(folder))
    for name, asked in layout.items():
        if begun[name] != asked:
            raise UserError(
                f"--{name}={asked}, but {folder} was begun with {begun[name]}: pass that, or another --record_dir."
            )
    if any(begun[name] != value for name, value in clips.items()):
        raise UserError(
            f"{folder} holds records of another list of clips, {begun['num_clips']} then and {len(listing.clips)} now: "
            "choose another --record_dir."
        )

"""Folders and settings that do not go together: preparation refuses them."""

import dataclasses
import json
import pathlib

import pytest
from record_folders import contents, into, small_records

from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.errors import UserError


@pytest.fixture
def small(tiny_data, tmp_path):
    return small_records(tiny_data, tmp_path / "records")


def test_no_record_dir(tiny_data):
    with pytest.raises(UserError, match="--record_dir is not given"):
        prepare(into(tiny_data, ""), 5)


def test_folder_that_holds_other_files(tiny_data, tmp_path):
    (tmp_path / "thesis.txt").write_text("dear reader")
    with pytest.raises(UserError, match=f"--record_dir={tmp_path} holds other files: choose an empty or new folder"):
        prepare(into(tiny_data, tmp_path), 5)
    assert contents(tmp_path) == {"thesis.txt": b"dear reader"}


@pytest.mark.parametrize("place", ["file", "file/records"])
def test_file_in_the_place_of_the_folder(tiny_data, tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path / place}.* cannot be written .*choose another folder"):
        prepare(into(tiny_data, tmp_path / place), 5)


@pytest.mark.parametrize(
    "name, other",
    [("flow", "farneback"), ("short_side", 20), ("dis_preset", "medium"), ("jpeg_quality", 80), ("flow_bound", 10.0)],
)
def test_folder_begun_with_other_settings(small, name, other):
    made = getattr(small, name)
    with pytest.raises(UserError, match=f"--{name}={other}, but the records in .* {name}={made}: pass --{name}={made}"):
        prepare(dataclasses.replace(small, **{name: other}), 5)


def test_folder_begun_with_another_layout(small):
    with pytest.raises(UserError, match=r"--clips_per_shard=3, but .* was begun with 4"):
        prepare(dataclasses.replace(small, clips_per_shard=3), 5)
    with pytest.raises(UserError, match=r"--flow_length=6, but .* was begun with 5"):
        prepare(small, 6)


def test_folder_begun_with_other_clips(small):
    with pytest.raises(
        UserError, match="holds records of another list of clips, 10 then and 5 now: choose another --record_dir"
    ):
        prepare(dataclasses.replace(small, classes=("MoveLeft",)), 5)


@pytest.mark.parametrize("content", ["", "{", "null", "[1]"])
def test_damaged_plan(small, content):
    pathlib.Path(small.record_dir, "plan.json").write_text(content)
    with pytest.raises(UserError, match=r"plan\.json is damaged: empty the folder, or choose another --record_dir"):
        prepare(small, 5)


@pytest.mark.parametrize("name", ["version", "manifest_version"])
@pytest.mark.parametrize("change", [lambda plan, name: plan.pop(name), lambda plan, name: plan.update({name: 99})])
def test_folder_begun_by_another_version(small, name, change):
    path = pathlib.Path(small.record_dir, "plan.json")
    plan = json.loads(path.read_text())
    change(plan, name)
    path.write_text(json.dumps({"manifest_version": 0, **plan}))
    with pytest.raises(UserError, match=r"was begun by another version of this program: choose another --record_dir"):
        prepare(small, 5)

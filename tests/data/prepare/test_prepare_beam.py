import dataclasses
import subprocess
import sys

import pytest
from processes import SCRIPTS, full_disk
from record_folders import contents
from videos import moving, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.errors import UserError

pytest.importorskip("apache_beam", reason="the extra `beam` is not installed")

# With more than one worker a bundle may still be at work when another has failed.
IN_MEMORY = "--direct_running_mode=in_memory --direct_num_workers=1"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The config of 5 videos, one of them broken, prepared by the local runner."""
    root = tmp_path_factory.mktemp("beam")
    for number in range(2):
        write_video(root / "videos" / "left" / f"{number}.avi", moving(8 + number, (-2, 0), seed=number))
        write_video(root / "videos" / "right" / f"{number}.mp4", moving(8 + number, seed=number))
    (root / "videos" / "right" / "4.avi").write_bytes(b"no video")
    names = {"dataset": "folder", "video_dir": str(root / "videos"), "record_dir": str(root / "records")}
    config = DataConfig(**names)
    assert prepare(config, 5).counts()["num_skipped"] == 1
    return config


def by_beam(config, folder, **changes):
    options = {"runner": "DirectRunner", "beam_args": IN_MEMORY, **changes}
    return dataclasses.replace(config, record_dir=str(folder), **options)


def visible(folder):
    return {name: content for name, content in contents(folder).items() if name[0] != "."}


def test_several_workers_write_what_the_local_runner_writes(local, tmp_path):
    seen = []
    config = by_beam(local, tmp_path / "records", beam_args="", workers=2)
    manifest = prepare(config, 5, lambda done, total, frames: seen.append((done, total)))
    assert manifest == Manifest.read(local.record_dir)
    assert visible(config.record_dir) == contents(local.record_dir)
    assert seen == [(0, 5), (5, 5)]


def test_full_disk(local, tmp_path):
    config = by_beam(local, f"{tmp_path}/records")
    sentence = r"--runner=DirectRunner ended: .* written.*File too large.*"
    with full_disk(10000), pytest.raises(UserError, match=sentence) as caught:
        prepare(config, 5)
    assert "\n" not in str(caught.value)
    assert list(visible(tmp_path / "records")) == ["settings.json"]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"beam_args": "--direct_running_mode=many"}, "--beam_args=--direct_running_mode=many .*: .*many"),
        ({"beam_args": "--color=red"}, "--beam_args names color, which Apache Beam does not know"),
        ({"beam_args": "--x='"}, "is not understood: No closing quotation"),
        ({"runner": "DataflowRunner", "beam_args": ""}, "--runner=DataflowRunner ended: .*project"),
        ({"record_dir": "gs://records"}, "--record_dir=gs://records is no folder of this machine"),
    ],
)
def test_mistakes(local, tmp_path, changes, sentence):
    config = dataclasses.replace(by_beam(local, tmp_path / "records"), **changes)
    with pytest.raises(UserError, match=sentence) as caught:
        prepare(config, 5)
    assert "\n" not in str(caught.value)


def test_without_beam(local, tmp_path):
    names = f"--dataset=folder --video_dir={local.video_dir} --record_dir={tmp_path / 'records'}"
    arguments = f"{names} --runner=FlinkRunner"
    script = SCRIPTS / "prepare.py"
    code = f"import runpy, sys; sys.modules['apache_beam'] = None; runpy.run_path({str(script)!r}, run_name='__main__')"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(script.parent)!r}); {code}"]
    result = subprocess.run([*command, *arguments.split()], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.endswith(": --runner=FlinkRunner needs Apache Beam: pip install 'ccsn_tf[beam]'.\n")
    assert result.stderr.count("\n") == 1

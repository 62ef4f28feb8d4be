"""Exports that are what was written, and others."""

import shutil
import subprocess

import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.serving.batch.backends import ModelThread, choose
from ccsn_tf.serving.client.local import LocalModel
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.sums import check_sums


def test_a_saved_model_is_checked_by_our_loaders(exported, tmp_path):
    shutil.copytree(exported.path, tmp_path / "1")
    check_sums(tmp_path / "1")
    command = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=tmp_path / "1", check=False, capture_output=True).returncode == 0
    (weights,) = (tmp_path / "1").glob("variables/variables.data*")
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    for load in (check_sums, LocalModel, lambda path: ModelThread(choose([path]))):
        with pytest.raises(UserError, match=r"variables\.data.* is not the file that .*SHA256SUMS"):
            load(str(tmp_path) if load is not check_sums else tmp_path / "1")
    weights.unlink()
    with pytest.raises(UserError, match=r"variables\.data"):
        check_sums(tmp_path / "1")
    (tmp_path / "1" / "SHA256SUMS").unlink()
    check_sums(tmp_path / "1")  # of an export from before there were any


def test_an_onnx_file_is_checked(onnx_export, tmp_path):
    path = onnx_export("fp32").path
    for name in (path.name, f"{path.name}.sha256"):
        shutil.copy(path.with_name(name), tmp_path / name)
    OnnxModel(str(tmp_path / path.name))
    shutil.copy(onnx_export("fp16").path, tmp_path / path.name)
    with pytest.raises(UserError, match=r"is not the file that .*sha256 tells of"):
        OnnxModel(str(tmp_path / path.name))

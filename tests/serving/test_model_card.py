"""Exports that are what was written, and others; and their model cards."""

import shutil
import subprocess

import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.serving.batch.backends import ModelThread, choose
from ccsn_tf.serving.local import LocalModel
from ccsn_tf.serving.model_card import check_sums, model_card, sha256
from ccsn_tf.serving.onnx.session import OnnxModel


def test_a_saved_model_is_checked_by_our_loaders(exported, tmp_path):
    shutil.copytree(exported.path, tmp_path / "1")
    card = tmp_path / "1" / "MODEL_CARD.md"
    assert f"{sha256(card)}  MODEL_CARD.md\n" in (tmp_path / "1" / "SHA256SUMS").read_text()
    command = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=tmp_path / "1", check=False, capture_output=True).returncode == 0
    card.write_text(card.read_text().replace("*fill in*", "CC BY 4.0"))  # as it asks for
    check_sums(tmp_path / "1")
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


def test_a_card_tells_what_the_model_is_made_of(exported):
    figures = {"top1": 0.935, "top5": 0.99, "mean_class": 0.93}
    evaluation = {"dataset": "ucf101", "split": 1, "protocol": "25 segments x 1 crop", "num_clips": 3783}
    evaluation |= {"fused": figures, "most_confused": [{"class": "a|b", "taken_for": "c", "clips": 7}]}
    text = model_card({**exported.metadata, "evaluation": evaluation}, "SavedModel", "on test clips")
    assert text.startswith("# Action recognition: ucf101, 3 classes\n")
    for line in (
        f"| weights, SHA-256 | {exported.metadata['weights_sha256']} |",
        "| form | SavedModel, ",
        "| licence of the weights | *fill in* |",
        "| licence of the training data (ucf101) | *fill in* |",
        "| classes | MoveDown, MoveLeft, MoveRight |",
        "Of the trained model: ucf101, 3783 clips of split 1, 25 segments x 1 crop.",
        "| fused | 93.5 % | 99.0 % | 93.0 % |",
        "a|b for c (7)",
        "--num_segments=2 --embedding_dim=8",
        "| rgb | the middle frame ",
    ):
        assert line in text, line
    written = (exported.path / "MODEL_CARD.md").read_text()
    assert "The run was not evaluated" in written and "every answer within 1e-05" in written
    assert exported.config.data.record_dir not in written

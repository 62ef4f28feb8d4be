"""From a work directory over ONNX to an engine and a Triton repository, with the commands that a user types."""

import json
import os
import re

import pytest
from commands import run_forked


@pytest.fixture(scope="module")
def half(workdir_config, tmp_path_factory):
    """(the ONNX file in fp16, what the command printed)."""
    output = tmp_path_factory.mktemp("script") / "model.fp16.onnx"
    flags = f"--workdir={workdir_config.train.workdir}", f"--output={output}", "--accuracy_clips=0"
    done = run_forked("export/to_onnx.py", *flags, "--precision=fp16", "--min_agreement=0.01")
    return output, done


def test_onnx_reports_what_changed_on_every_test_clip(half):
    output, done = half
    assert "convolutions and matrix products: 22 in fp16, 5 in fp32" in done.stdout
    assert "6 test clips, 2 segments x centre crop:" in done.stdout
    for stream in ("spatial", "temporal", "fused"):
        assert re.search(rf"^{stream} +\d+\.\d\d %  +\d+\.\d\d % +\d+\.\d\d %$", done.stdout, re.MULTILINE)
    assert re.search(rf"{output}: \d+\.\d MB, fp16, verified\.", done.stdout)
    for step in ("score with Keras", "score in fp16"):
        assert f"{step} 100 % 6/6 clips" in done.stderr


def test_tensorrt_builds_and_says_that_it_did_not_run(half, tmp_path):
    plan = tmp_path / "model.plan"
    flags = ("--module=tensorrt_rtx", "--compute_capability=8.6,12.0", "--max_batch=4")
    done = run_forked("export/to_tensorrt.py", f"--onnx={half[0]}", f"--output={plan}", *flags)
    assert re.search(r"^tensorrt_rtx \S+, for compute capability 8.6, 12.0$", done.stdout, re.MULTILINE)
    assert "matrix products: 22 in fp16, 5 in fp32" in done.stdout
    assert "built and NOT RUN" in done.stdout and re.search(r"MB, fp16\.", done.stdout)
    description = json.loads((tmp_path / "model.plan.json").read_text())
    assert (description["model"]["segments"], description["model"]["accuracy_by_segments"]) == (8, None)
    assert description["inputs"]["rgb"]["profile"]["max"] == [4, 25, 32, 32, 3]
    assert description["run"] is None


def test_triton_gets_a_repository_and_its_command(half, tmp_path):
    done = run_forked("export/triton/repository.py", f"--model={half[0]}", f"--repository={tmp_path}")
    assert f"{tmp_path}/ccsn/1 written. To serve it:\ndocker run --rm --gpus=all " in done.stdout
    assert (tmp_path / "ccsn" / "1" / "model.onnx").is_file() and (tmp_path / "ccsn" / "config.pbtxt").is_file()


def test_batch_inference_names_a_provider_that_is_not_there(half, tiny_set, tmp_path):
    flags = (f"--model={half[0]}", f"--video_dir={tiny_set}/videos", f"--output_dir={tmp_path}/p")
    done = run_forked(
        "export/batch_infer.py", *flags, "--providers=TensorrtExecutionProvider,CPUExecutionProvider", code=1
    )
    said = "batch_infer: --providers=TensorrtExecutionProvider is not among those of this ONNX R"
    assert done.stderr.splitlines()[-1].startswith(said)


def test_mistakes_end_in_a_sentence(half, tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "text.plan").write_text("no engine")
    rtx = ("export/to_tensorrt.py", "--module=tensorrt_rtx", f"--output={tmp_path}/x.plan")
    for (script, *arguments), words in (
        (("export/to_onnx.py",), "--workdir is not given"),
        (("export/to_onnx.py", "--precision=fp8"), "fp8"),
        ((*rtx,), "--onnx is not given"),
        ((*rtx, f"--onnx={tmp_path}/text.onnx"), "is damaged or no ONNX file"),
        ((*rtx, f"--onnx={half[0]}", "--compute_capability=9.0"), "is not among those"),
        (("export/triton/repository.py", f"--repository={tmp_path}"), "--model is not given"),
        (("export/triton/repository.py", f"--model={tmp_path}/text.plan", "--repository=r"), "text.plan.json is miss"),
    ):
        result = run_forked(script, *arguments, code=1, cwd=tmp_path)
        name = os.path.basename(script).removesuffix(".py")
        assert result.stderr.startswith(f"{name}: ") and words in result.stderr, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == ["text.onnx", "text.plan"]

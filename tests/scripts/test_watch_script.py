"""watch.py as a user runs it, and ends it."""

import json
import signal
import subprocess

import pytest
import videos
from commands import command, run_forked
from html_pages import Page
from processes import wait_until


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """Six seconds of an MPEG transport stream."""
    path = tmp_path_factory.mktemp("sent") / "a.ts"
    options = {"codec": "libx264", "format": "mpegts", "options": {"bf": "0"}}
    return videos.write_video(path, videos.moving(150, (1, 0)), **options).read_bytes()


def test_ended_by_ctrl_c_it_has_written_everything(workdir_config, sent, tmp_path):
    output, page = tmp_path / "t.jsonl", tmp_path / "t.html"
    words = [f"--model={workdir_config.train.workdir}", "-", f"--output={output}", f"--page={page}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command("scripts/watch.py", *words), **pipes)
    process.stdin.write(sent)  # and no more: the stream is silent, not at its end
    process.stdin.flush()
    wait_until(lambda: output.exists() and output.read_bytes().count(b"\n") >= 2, 240)
    process.send_signal(signal.SIGINT)
    shown, complaints = process.communicate(timeout=240)
    assert process.returncode == 0, complaints.decode()
    assert b"Traceback" not in complaints
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    summary = json.loads(output.with_suffix(".json").read_text())
    assert summary["counts"]["windows"] == len(lines) and summary["source"] == "standard input"
    assert shown.decode().splitlines()[0].startswith("00:00.0 - 00:02.0")
    for path in (output.with_suffix(".vtt"), output.with_suffix(".csv"), page):
        assert path.stat().st_size > 0


def test_an_onnx_file_watches_a_video(onnx_export, moving_video, tmp_path):
    """Its page has what it can show: frame and flow."""
    output, page = tmp_path / "t.jsonl", tmp_path / "t.html"
    words = [f"--model={onnx_export('fp32').path}", moving_video, f"--output={output}", f"--page={page}"]
    shown = run_forked("scripts/watch.py", *words, "--window=0.4", "--every=0.1", "--top_k=2").stdout
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(lines) >= 4 and all(len(line["top"]) == 2 for line in lines)
    assert f"{len(lines)} windows of" in shown
    assert len(Page(page.read_text()).all("figure")) == 2

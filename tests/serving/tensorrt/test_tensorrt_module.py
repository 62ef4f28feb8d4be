"""Which TensorRT is taken, and its log."""

import sys
import types

import pytest
import tensorrt_rtx

from ccsn_tf.errors import UserError
from ccsn_tf.serving.tensorrt.build import is_rtx, load_tensorrt, logger_of


def test_auto_is_the_first_that_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert load_tensorrt() is load_tensorrt("tensorrt_rtx") is tensorrt_rtx and is_rtx(tensorrt_rtx)
    full = types.ModuleType("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", full)
    assert load_tensorrt() is load_tensorrt("tensorrt") is full and not is_rtx(full)
    assert load_tensorrt("tensorrt_rtx") is tensorrt_rtx


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UserError, match=r"--module=tensorrt cannot be imported .*: pip install tensorrt; or use --mod"):
        load_tensorrt("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    for name in ("auto", "tensorrt_rtx"):
        with pytest.raises(
            UserError, match=r"tensorrt_rtx is needed .*: pip install -c constraints.txt -e '.\[tensorrt"
        ):
            load_tensorrt(name)


def test_a_package_that_fails_in_its_own_way_is_as_good_as_missing(monkeypatch, tmp_path):
    """The one on PyPI is a stub that runs code when it is imported."""
    (tmp_path / "tensorrt.py").write_text("raise RuntimeError('needs an index of its own')")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_tensorrt("auto") is tensorrt_rtx
    with pytest.raises(UserError, match="needs an index of its own"):
        load_tensorrt("tensorrt")


def test_each_log_starts_empty_while_another_user_of_it_lives():
    def parse(log):
        builder = tensorrt_rtx.Builder(log)
        network = builder.create_network(0)
        return builder, network, tensorrt_rtx.OnnxParser(network, log).parse(b"no model")

    log = logger_of(tensorrt_rtx)
    alive = parse(log)
    assert not alive[-1] and log.errors
    again = logger_of(tensorrt_rtx)
    assert not again.errors
    assert not parse(again)[-1] and again.errors

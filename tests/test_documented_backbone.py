"""The backbone of docs/WEIGHTS.md, taken from there."""

import pathlib
import re

from ccsn_tf.models import backbones as streams
from ccsn_tf.models.build import build_model
from ccsn_tf.training import train as trainer

DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "WEIGHTS.md"


def test_it_is_registered_and_built(monkeypatch):
    monkeypatch.setattr(streams, "_BUILDERS", dict(streams._BUILDERS))
    built = []
    monkeypatch.setattr(trainer, "train", lambda config, say: built.append(build_model(config.model, ["a", "b"])))
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, str(DOCUMENT), "exec"), {})
    assert built[0].get_config()["backbone"] == "two_convolutions"
    assert built[0].get_config()["connect_at"] == ["near"]

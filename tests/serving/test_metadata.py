"""Metadata that a stranger's server gives: what describes input is followed within bounds, everything else is not."""

import copy

import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.serving.metadata import client_config


@pytest.mark.parametrize(
    "changes",
    [
        {"preprocessing": {"workdir": "/etc"}},
        {"preprocessing": {"plugins": ["/tmp/evil.py"]}},
        {"preprocessing": {"short_side": 10**9}},
        {"preprocessing": {"short_side": "256"}},
        {"preprocessing": ["short_side"]},
        {"segments": 10**9},
        {"segments": -1},
        {"segments": 1000, "image_size": 1024, "flow_length": 64},
        {"top_k": 1000},
        {"classes": [1, 2, 3]},
        {"classes": []},
        {"flow_source": "elsewhere"},
        {"format": 99},
    ],
    ids=str,
)
def test_what_no_model_of_ours_asks_for_is_refused(exported, changes):
    metadata = copy.deepcopy(exported.metadata)
    client_config(metadata)
    for name, value in changes.items():
        if isinstance(value, dict):
            metadata[name].update(value)
        else:
            metadata[name] = value
    with pytest.raises(UserError, match=r"^The model's metadata cannot be followed") as caught:
        client_config(metadata)
    assert "\n" not in str(caught.value)

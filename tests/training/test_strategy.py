import json

import pytest
import tensorflow as tf

from ccsn_tf.config import TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.training.strategy import is_chief, make_strategy


@pytest.mark.parametrize("name", ["auto", "single"])
def test_one_device_without_gpu(name, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = make_strategy(TrainConfig(strategy=name))
    assert strategy is tf.distribute.get_strategy() and strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)


@pytest.mark.parametrize("tf_config", [None, "{", json.dumps({"cluster": {}})])
def test_multiworker_needs_tf_config(tf_config, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if tf_config is not None:
        monkeypatch.setenv("TF_CONFIG", tf_config)
    with pytest.raises(UserError, match="TF_CONFIG"):
        make_strategy(TrainConfig(strategy="multiworker"))


def test_auto_takes_several_gpus(monkeypatch):
    made, gpus = [], [tf.config.PhysicalDevice(f"/gpu:{index}", "GPU") for index in range(2)]
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: made.append(devices))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    make_strategy(TrainConfig())
    assert made == [["/gpu:0", "/gpu:1"]]

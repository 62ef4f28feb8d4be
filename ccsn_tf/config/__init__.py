"""Every setting of the package: frozen dataclasses, checked when they are made.

A field is a command-line flag of the same name in every script; its metadata carries the flag's help. The five groups
have no field name in common, so that a flag file is a flat list.
"""

from ccsn_tf.config.config import RUN_INDEPENDENT, Config, flag_text, settings
from ccsn_tf.config.settings import DataConfig, EvalConfig, LossConfig, ModelConfig, TrainConfig

__all__ = [
    "RUN_INDEPENDENT",
    "Config",
    "DataConfig",
    "EvalConfig",
    "LossConfig",
    "ModelConfig",
    "TrainConfig",
    "flag_text",
    "settings",
]

"""All settings of a run: what one group asks of another, and files."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import re
import sys

from ccsn_tf.config.settings import DataConfig, EvalConfig, LossConfig, ModelConfig, TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text

# What a trained model does not depend on: may differ from one command to the next on the same work directory.
_PLACES = {"video_dir", "split_dir", "train_list", "test_list", "class_file", "record_dir", "feature_cache", "workdir"}
RUN_INDEPENDENT = _PLACES | {"validate_every", "workers", "stall_seconds", "runner", "beam_args", "strategy"}
RUN_INDEPENDENT |= {"checkpoint_minutes", "test_segments", "test_crops", "average", "unknown_classes", "top_k"}

_PATHS = _PLACES | {"init_spatial", "init_temporal", "plugins"}


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = dataclasses.field(default=DataConfig())
    model: ModelConfig = dataclasses.field(default=ModelConfig())
    loss: LossConfig = dataclasses.field(default=LossConfig())
    train: TrainConfig = dataclasses.field(default=TrainConfig())
    eval: EvalConfig = dataclasses.field(default=EvalConfig())

    def __post_init__(self):
        if self.data.dataset == "demo" and self.data.flip and not self.data.mirror_pairs:
            raise UserError(
                "--flip would turn left into right, which are classes of the demo set: pass --noflip, or "
                "--mirror_pairs=MarkedMovesLeft:MarkedMovesRight."
            )
        sides_matter = not self.data.flip or self.data.mirror_pairs or self.data.dataset == "sthv2"
        if self.eval.test_crops == 10 and sides_matter:
            raise UserError(
                "--test_crops=10 scores mirrored clips, but --noflip, --mirror_pairs or --dataset=sthv2 say that a "
                "mirror changes the class: pass --test_crops=5."
            )
        ranks = self.loss.lambda_intra or self.loss.lambda_inter
        if ranks and self.data.sampler == "balanced" and self.data.clips_per_class < 2:
            raise UserError(
                "--clips_per_class=1 leaves no positive pair to rank: raise it, or set --lambda_intra=0 and "
                "--lambda_inter=0."
            )
        if self.data.flow == "none" and self.model.flow_source != "graph":
            raise UserError("--flow=none leaves the temporal stream without flow: pass --flow_source=graph as well.")
        if self.data.flow_stride > 1 and self.model.flow_source == "graph":
            raise UserError(
                f"--flow_source=graph needs frames that follow one another, and --flow_stride={self.data.flow_stride} "
                "leaves some out: prepare with --flow_stride=1."
            )
        segments = self.model.num_segments
        if self.model.consensus == "trn" and self.eval.test_segments != segments:
            raise UserError(
                f"--consensus=trn relates the {segments} segments that it is trained with, not "
                f"{self.eval.test_segments}: pass --test_segments={segments}."
            )
        train = self.train
        if train.feature_cache and not train.lr_mults:
            raise UserError(
                "--feature_cache keeps the features of stages that --lr_mults freezes: pass for example "
                "--lr_mults='^(spatial|temporal)/(stem|block[1-5])/:0'."
            )
        for entry in train.lr_mults:
            _check_lr_mult(entry)

    @classmethod
    def from_flat(cls, values: dict) -> Config:
        """Builds a config from {field name: value} of any of the groups; lists become tuples, plugins are run."""
        for plugin in values.get("plugins", ()):
            load_plugin(plugin)
        groups = {}
        for group in dataclasses.fields(cls):
            names = [field.name for field in dataclasses.fields(group.default)]
            groups[group.name] = type(group.default)(
                **{name: _frozen(values[name]) for name in names if name in values}
            )
        unknown = set(values) - {field.name for _, field in settings()}
        if unknown:
            raise UserError(f"Unknown setting {', '.join(sorted(unknown))}: written by another version of ccsn_tf?")
        return cls(**groups)

    def flat(self) -> dict:
        """{field name: value} over all groups."""
        return {field.name: getattr(getattr(self, group), field.name) for group, field in settings()}

    def replace(self, **values) -> Config:
        """A copy with the named fields changed, whichever group they are in."""
        return Config.from_flat({**self.flat(), **values})

    def differences(self, other: Config) -> list[str]:
        """Names of the fields that a trained model depends on and that differ from `other`'s."""
        mine, theirs, unbound = self.flat(), other.flat(), RUN_INDEPENDENT | (self._unused() & other._unused())
        return [name for name in mine if name not in unbound and not is_same(name, mine[name], theirs[name])]

    def _unused(self):
        """Names of the settings of a flow algorithm that nothing computes."""
        return {name for name in self.flat() if name.startswith("dis_") and self.data.flow != "dis"}

    def write(self, workdir: str | pathlib.Path) -> None:
        """Writes a run's config.json; relative paths are relative to `workdir` there."""
        groups = dataclasses.asdict(self)
        for group in groups.values():
            group |= _with_paths(group, lambda path: os.path.relpath(path, workdir))
        write_text(pathlib.Path(workdir, "config.json"), json.dumps(groups, indent=2) + "\n")

    @classmethod
    def of_run(cls, workdir: str | pathlib.Path) -> Config:
        """Reads a run's config.json, wherever this process works. UserError: it is absent or not one of ours."""
        path = pathlib.Path(workdir, "config.json")
        try:
            groups = json.loads(path.read_text(encoding="utf-8"))
            values = {name: value for group in groups.values() for name, value in group.items()}
            there = _with_paths(values, lambda relative: os.path.normpath(os.path.join(workdir, relative)))
            return cls.from_flat(values | there)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{path} is missing: give the --workdir of a training run.") from None
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError) as error:
            raise UserError(f"{path} is not a configuration written by train.py ({error}).") from None


_LOADED = set()


def load_plugin(path: str) -> None:
    """Runs a Python file that registers backbones, connection blocks or data sets, once per process.

    Raises:
        UserError: no such file, or it fails.
    """
    if os.path.realpath(path) in _LOADED:
        return
    name = f"ccsn_tf_plugin_{pathlib.Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or not pathlib.Path(path).is_file():
        raise UserError(f"--plugins={path} is no Python file: give the path of a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"--plugins={path} fails ({type(error).__name__}: {error}): run it by itself.") from error
    _LOADED.add(os.path.realpath(path))


def _check_lr_mult(entry):
    pattern, _, factor = entry.rpartition(":")
    try:
        re.compile(pattern)
        valid = bool(pattern) and 0 <= float(factor) < float("inf")
    except (re.error, ValueError):
        valid = False
    if not valid:
        raise UserError(f"--lr_mults={entry} is no 'regular expression:factor', as in 'connection:10'.")


def settings() -> list[tuple[str, dataclasses.Field]]:
    """Every setting as (group name, field), in order."""
    return [(group.name, field) for group in dataclasses.fields(Config) for field in dataclasses.fields(group.default)]


def is_same(name: str, one, other) -> bool:
    """Whether two values of a setting are the same; paths are where they lead to the same place."""
    if name not in _PATHS:
        return one == other
    return [os.path.abspath(path) for path in _listed(one)] == [os.path.abspath(path) for path in _listed(other)]


def _listed(value):
    return [value] if isinstance(value, str) else list(value)


def _with_paths(values, place):
    """Those of the settings that are relative paths, put where `place` says."""

    def placed(path):
        return path if not path or "://" in path or os.path.isabs(path) else place(path)

    paths = {name: values[name] for name in _PATHS if name in values}
    return {
        name: placed(value) if isinstance(value, str) else tuple(map(placed, value)) for name, value in paths.items()
    }


def flag_text(value) -> object:
    """A setting's value as one writes it on the command line."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else value


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value

"""The flags, in a process of their own each time: absl's flags are global."""

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys

import pytest

from ccsn_tf.config import Config, settings
from ccsn_tf.models.build import build_model
from ccsn_tf.training.optimizer import lr_factors, make_optimizer

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
FLAG_FILES = sorted([*SCRIPTS.parent.glob("*.flags"), *SCRIPTS.glob("recipes/*.flags")])

# Stands for a script: prints a value as JSON, such as the config that its flags spell, or ends as scripts end.
PROBE = """
import json, sys
sys.path.insert(0, {scripts!r})
from ccsn_tf.config import flags as command_line
sys.argv[0] = "probe.py"
command_line.run(lambda: print(json.dumps({value})))
"""


def probe(*arguments, value="command_line.config_from_flags().flat()"):
    code = PROBE.format(scripts=str(SCRIPTS), value=value)
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def spelled(*arguments, **options):
    result = probe(*arguments, **options)
    assert result.returncode == 0, result.stderr
    return Config.from_flat(json.loads(result.stdout))


def flag(name, value):
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"


def other_value(field):
    """A valid value of the field that is not its default."""
    default = field.default
    if field.metadata["choices"]:
        return next(choice for choice in field.metadata["choices"] if choice != default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, (int, float)):
        return type(default)(default + 1) if field.metadata["maximum"] is None else field.metadata["maximum"]
    if isinstance(default, str):
        return "x"
    numbers = {"step_epochs": (3, 5), "fusion_weights": (1.0, 1.5), "crop_scales": (1.0, 0.5)}
    numbers |= {"lr_mults": ("a:2", "b:0"), "plugins": ()}
    return {**numbers, "mirror_pairs": ("a:b", "c:d")}.get(field.name, ("a", "b"))


def test_every_flag_reaches_the_field_of_its_name():
    values = {field.name: other_value(field) for _, field in settings()}
    values.update(flip=False, validate_on="none", clips_per_class=3, test_segments=values["num_segments"])
    # Not all of them go together.
    for given in (
        {**values, "flow_source": "stored"},
        {**values, "flow_stride": 1},
    ):
        config = spelled(*(flag(name, value) for name, value in given.items()))
        assert config.flat() == given


def test_class_names_that_have_commas():
    names = ("Closing something", "Lifting something up completely, then letting it drop down")
    config = spelled(f'--classes={names[0]},"{names[1]}"', f'--mirror_pairs="{names[1]}:{names[0]}"')
    assert config.data.classes == names and config.data.mirror_pairs == (f"{names[1]}:{names[0]}",)


@pytest.fixture(scope="module")
def configs_of_files():
    """What each flag file spells, by one process."""
    paths = [str(path) for path in FLAG_FILES]
    result = probe(value=f"[command_line.config_with('--flagfile=' + path).flat() for path in {paths}]")
    assert result.returncode == 0, result.stderr
    return dict(zip(FLAG_FILES, map(Config.from_flat, json.loads(result.stdout)), strict=True))


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda path: path.name)
def test_flag_files_are_understood(path, configs_of_files):
    config = configs_of_files[path]
    for line in path.read_text().splitlines():
        name, equals, value = line.removeprefix("--").partition("=")
        if line.startswith("--") and equals:
            found = config.flat()[name]
            assert (",".join(map(str, found)) if isinstance(found, tuple) else str(found)) == value
    assert path.read_text().startswith("#"), "a flag file says what it is for"
    assert make_optimizer(config.train, steps_per_epoch=10).learning_rate > 0
    if config.train.lr_mults:
        alike = {"dropout": 0.5, "temporal_dropout": 0.5, "fusion_weights": (1.0, 1.0), "pretrained": "none"}
        if config.model.consensus == "mean":
            alike["num_segments"] = 3
        model = built(dataclasses.replace(config.model, **alike))
        factors = set(lr_factors(model, config.train.lr_mults).values())
        assert factors and (0.0 in factors or not any(entry.endswith(":0") for entry in config.train.lr_mults))


@functools.cache
def built(model):
    """The network, for all files that differ in nothing that it is made of."""
    return build_model(model, ["a", "b"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--conection=none"], "Unknown command line flag 'conection'"),
        (["--fusion_weights=1,x"], "--fusion_weights must be numbers"),
        (["stray"], "unexpected argument 'stray'"),
        (["--flagfile=/does/not/exist"], "/does/not/exist"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, sentence):
    result = probe(*arguments)
    assert result.returncode == 1
    assert sentence in result.stderr and result.stderr.startswith("probe: ")
    assert len(result.stderr.strip().splitlines()) == 1 and not result.stdout


def test_a_run_keeps_its_settings_but_for_paths_and_protocol(tmp_path):
    Config().replace(epochs=7, record_dir="there").write(tmp_path)
    of_run = {"value": "command_line.config_of_run().flat()"}
    config = spelled(f"--workdir={tmp_path}", "--record_dir=here", "--test_crops=10", **of_run)
    assert (config.train.epochs, config.data.record_dir, config.eval.test_crops) == (7, "here", 10)
    result = probe(f"--workdir={tmp_path}", "--epochs=8", **of_run)
    assert result.returncode == 1
    assert f"--epochs=8 contradicts {tmp_path}, which was trained with 7" in result.stderr
    result = probe(f"--workdir={tmp_path}", "--flow_source=graph", **of_run)
    assert f"--flow_source=graph contradicts {tmp_path}, which was trained with stored: leave" in result.stderr


def test_given_flags_spell_the_same_config():
    given = ["--noflip", "--classes=a,b", "--fusion_weights=1,1.5", "--epochs=3", "--workdir", "w", "--seed=4"]
    spelled_again = json.loads(probe(*given, value="command_line.given_flags('workdir')").stdout)
    assert len(spelled_again) == 5 and not any("workdir" in flag for flag in spelled_again)
    assert spelled(*spelled_again, "--workdir=w") == spelled(*given)


@pytest.mark.parametrize(
    ("workdir", "sentence"), [("", "--workdir is not given"), ("/does/not/exist", "config.json is missing")]
)
def test_a_run_must_exist(workdir, sentence):
    result = probe(f"--workdir={workdir}", value="command_line.config_of_run().flat()")
    assert result.returncode == 1 and sentence in result.stderr and "Traceback" not in result.stderr


def test_an_installed_command_runs_its_script():
    code = "import sys; sys.argv = ['ccsn-check-data', 'word']; from ccsn_tf.config.flags import console; console()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("ccsn-check-data: unexpected argument 'word'"), result.stderr

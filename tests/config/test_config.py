import json
import math
import pathlib

import pytest

from ccsn_tf.config import (
    RUN_INDEPENDENT,
    Config,
    settings,
)
from ccsn_tf.errors import UserError

NAMES = [field.name for _, field in settings()]


@pytest.mark.parametrize("group, field", settings(), ids=NAMES)
def test_range_and_choices_are_checked(group, field):
    make = type(getattr(Config(), group))
    wrong = []
    wrap = (lambda value: (value,)) if isinstance(field.default, tuple) else (lambda value: value)
    if field.metadata["choices"]:
        wrong.append("no such thing")
    if field.metadata["minimum"] is not None:
        wrong.append(wrap(field.metadata["minimum"] - 1))
    if field.metadata["maximum"] is not None:
        wrong.append(wrap(field.metadata["maximum"] + 1))
    if isinstance(field.default, float):
        wrong += [float("nan"), float("inf"), float("-inf")]
    for value in wrong:
        with pytest.raises(UserError, match=f"--{field.name} must be .*Received"):
            make(**{field.name: value})


RELATED = {"consensus": "trn", "num_segments": 8}


@pytest.mark.parametrize(
    ("wrong", "sentence", "right"),
    [
        ({"fusion_weights": (1.0, math.nan)}, "^--fusion_weights must be a finite", {"fusion_weights": (1.0, 2.0)}),
        ({"fusion_weights": (1.0,)}, "^--fusion_weights needs two numbers", {"fusion_weights": (1.0, 0.0)}),
        ({"fusion_weights": (0.0, 0.0), "fusion_features": False}, "nothing to fuse", {"fusion_features": True}),
        ({"crop": "corners", "crop_scales": ()}, "^--crop=corners needs --crop_scales", {"crop": "random"}),
        *(
            ({**RELATED, "num_segments": n}, f"relates 2 to 16 .*--num_segments={n}", {"consensus": "mean"})
            for n in (1, 17)
        ),
        (RELATED, r"relates the 8 segments .*, not 25: pass --test_segments=8\.", {"test_segments": 8}),
        ({"clips_per_class": 1}, "^--clips_per_class=1 leaves no positive", {"lambda_intra": 0, "lambda_inter": 0}),
        ({"clips_per_class": 1}, "^--clips_per_class=1 leaves no positive", {"sampler": "shuffle"}),
        ({"dataset": "demo"}, "--noflip", {"flip": False}),
        ({"dataset": "demo"}, "--noflip", {"mirror_pairs": ("MarkedMovesLeft:MarkedMovesRight",)}),
        ({"fold": 6}, "^--fold=6 .*--folds=5", {"fold": 5}),
        *(
            ({"test_crops": 10, **data}, "^--test_crops=10 scores .*: pass --test_crops=5", {"test_crops": 5})
            for data in ({"flip": False}, {"mirror_pairs": ("A:B",)}, {"dataset": "sthv2"})
        ),
        *(
            ({"mirror_pairs": (pair,)}, f"^--mirror_pairs .* Received: {pair}", {"mirror_pairs": ("A:B",)})
            for pair in ("Left", "Left:", "Left:Left", "a:b:c")
        ),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_flag(wrong, sentence, right):
    with pytest.raises(UserError, match=sentence):
        Config().replace(**wrong)
    Config().replace(**{**wrong, **right})


def changed():
    return Config().replace(split=2, classes=["B", "A"], fusion_weights=[1.0, 1.5], step_epochs=[3, 5], dropout=0.25)


def test_flat_json_and_back(tmp_path):
    assert list(Config().flat()) == NAMES
    assert Config.from_flat(changed().flat()) == changed()
    changed().write(tmp_path)
    assert Config.of_run(tmp_path) == changed()
    assert set(json.loads((tmp_path / "config.json").read_text())) == {"data", "model", "loss", "train", "eval"}


def test_setting_of_another_version_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model": {"number_of_wheels": 4}}))
    with pytest.raises(UserError, match="number_of_wheels"):
        Config.of_run(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"{", b"[1, 2]", b'{"data": 3}', b'{"data": {"split": "one"}}', b"\xff\xfe\x00"],
    ids=["cut", "list", "no group", "text for a number", "binary"],
)
def test_config_file_that_is_none(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json is not a configuration written by train\.py"):
        Config.of_run(tmp_path)


def test_config_file_that_is_absent(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for folder in (tmp_path, file):
        with pytest.raises(UserError, match="--workdir"):
            Config.of_run(folder)


def test_a_run_is_found_from_every_working_directory(tmp_path, monkeypatch):
    """Relative paths lead to the same places from elsewhere, absolute and remote ones are as they were given."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "runs" / "first", here / "data", there):
        folder.mkdir(parents=True)
    (here / "own.py").write_text("")
    monkeypatch.chdir(here)
    given = {"record_dir": "data", "video_dir": str(there), "workdir": "runs/first", "feature_cache": "gs://cache"}
    config = Config().replace(**given, plugins=("own.py",), init_spatial="runs/zeroth", lr_mults=("a:0",))
    config.write("runs/first")
    assert Config.of_run("runs/first") == config
    content = (here / "runs" / "first" / "config.json").read_text()
    assert f'"{there}"' in content and str(here) not in content
    monkeypatch.chdir(there)
    for workdir in ("../here/runs/first", str(here / "runs" / "first")):
        found = Config.of_run(workdir)
        assert found.differences(config.replace(init_spatial="../here/runs/zeroth", plugins=("../here/own.py",))) == []
        assert pathlib.Path(found.data.record_dir).samefile(here / "data")
        assert (found.data.video_dir, found.train.feature_cache) == (str(there), "gs://cache")
        assert found.differences(config.replace(init_spatial="runs/zeroth", plugins=())) == ["plugins", "init_spatial"]


def test_differences_leave_out_what_a_model_does_not_depend_on():
    assert set(NAMES) >= RUN_INDEPENDENT
    moved = Config().replace(record_dir="elsewhere", workers=3, top_k=2)
    assert Config().differences(moved) == []
    assert Config().differences(moved.replace(dropout=0.1, seed=5)) == ["dropout", "seed"]


def test_settings_of_a_flow_that_nothing_computes_do_not_bind():
    dis, graph = Config().replace(flow="dis"), Config().replace(flow="tvl1_graph")
    assert dis.differences(dis.replace(dis_preset="medium")) == ["dis_preset"]
    assert graph.differences(graph.replace(dis_preset="medium")) == []
    assert dis.differences(graph) == ["flow"]

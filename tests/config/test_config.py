import dataclasses
import json
import pathlib

import pytest

from ccsn_tf.config import (
    RUN_INDEPENDENT,
    Config,
    DataConfig,
    EvalConfig,
    LossConfig,
    ModelConfig,
    settings,
)
from ccsn_tf.errors import UserError

NAMES = [field.name for _, field in settings()]


def test_groups_have_no_name_in_common():
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("group, field", settings(), ids=NAMES)
def test_every_setting_can_be_a_flag(group, field):
    assert field.metadata["help"].strip()
    assert isinstance(field.default, (str, int, float, tuple))
    if field.metadata["choices"]:
        assert field.default in field.metadata["choices"]


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


def test_bounds_belong_to_the_range():
    assert DataConfig(jpeg_quality=100, min_crop_scale=1.0, test_fraction=0.95).jpeg_quality == 100


def test_nan_hides_in_no_tuple():
    with pytest.raises(UserError, match="--fusion_weights must be a finite number"):
        ModelConfig(fusion_weights=(1.0, float("nan")))


def test_batch_size_is_p_times_q():
    assert DataConfig(classes_per_batch=5, clips_per_class=3).batch_size == 15


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DataConfig().split = 2


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, 1.0), ()])
def test_fusion_weights_are_two(weights):
    with pytest.raises(UserError, match="--fusion_weights needs two numbers"):
        ModelConfig(fusion_weights=weights)


def test_something_is_fused():
    with pytest.raises(UserError, match="nothing to fuse"):
        ModelConfig(fusion_weights=(0.0, 0.0), fusion_features=False)
    ModelConfig(fusion_weights=(0.0, 0.0), fusion_features=True)


def test_corner_crops_need_scales():
    with pytest.raises(UserError, match=r"^--crop=corners needs --crop_scales, as in "):
        DataConfig(crop="corners", crop_scales=())
    DataConfig(crop="random", crop_scales=())


@pytest.mark.parametrize("segments", [1, 17])
def test_relations_have_2_to_16_segments(segments):
    with pytest.raises(UserError, match=f"relates 2 to 16 segments. Received: --num_segments={segments}"):
        ModelConfig(consensus="trn", num_segments=segments)
    ModelConfig(num_segments=segments)


def test_relations_are_tested_on_the_segments_that_they_were_trained_on():
    related = ModelConfig(consensus="trn", num_segments=8)
    with pytest.raises(UserError, match=r"--consensus=trn relates the 8 segments .*, not 25: pass --test_segments=8\."):
        Config(model=related)
    Config(model=related, eval=EvalConfig(test_segments=8))


def test_ranking_needs_pairs():
    alone = DataConfig(clips_per_class=1)
    with pytest.raises(UserError, match="--clips_per_class=1"):
        Config(data=alone)
    Config(data=alone, loss=LossConfig(lambda_intra=0, lambda_inter=0))
    Config(data=dataclasses.replace(alone, sampler="shuffle"))


def test_demo_set_is_not_flipped():
    with pytest.raises(UserError, match="--noflip"):
        Config(data=DataConfig(dataset="demo"))
    Config(data=DataConfig(dataset="demo", flip=False))


def test_a_fold_is_one_of_those_there_are():
    with pytest.raises(UserError, match=r"--fold=6 .*--folds=5"):
        DataConfig(fold=6)
    DataConfig(fold=5)


def changed():
    return Config().replace(split=2, classes=["B", "A"], fusion_weights=[1.0, 1.5], step_epochs=[3, 5], dropout=0.25)


def test_replace_reaches_every_group_and_makes_tuples():
    config = changed()
    assert config.data.split == 2
    assert config.data.classes == ("B", "A")
    assert config.model.fusion_weights == (1.0, 1.5)
    assert config.train.step_epochs == (3, 5)
    assert config.model.dropout == 0.25
    assert Config().data.split == 1


def test_flat_and_back():
    assert list(Config().flat()) == NAMES
    assert Config.from_flat(changed().flat()) == changed()


def test_json_and_back(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(changed().to_json(), encoding="utf-8")
    assert Config.from_json(path) == changed()
    assert set(json.loads(path.read_text())) == {"data", "model", "loss", "train", "eval"}


def test_setting_of_another_version_is_named(tmp_path):
    path = tmp_path / "config.json"
    content = json.loads(Config().to_json())
    content["model"]["number_of_wheels"] = 4
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="number_of_wheels"):
        Config.from_json(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b"7", b'{"data": 3}', b'{"data": {"split": "one"}}', b"\xff\xfe\x00"],
    ids=["empty", "cut", "list", "number", "no group", "text for a number", "binary"],
)
def test_config_file_that_is_none(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json is not a configuration written by train\.py"):
        Config.from_json(path)


def test_config_file_that_is_absent(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path / "config.json", file / "config.json"):
        with pytest.raises(UserError, match="--workdir"):
            Config.from_json(path)


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


def test_paths_of_a_run_of_an_earlier_version(tmp_path, monkeypatch):
    """It had written what it was given, for its working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "records").mkdir()
    (tmp_path / "run" / "config.json").write_text(Config().replace(record_dir="records").to_json())
    assert Config.of_run("run").data.record_dir == "records"


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


@pytest.mark.parametrize("pair", ["Left", "Left:", ":Right", "Left:Left", "a:b:c", ":"])
def test_mirror_pairs_are_two_classes(pair):
    with pytest.raises(UserError, match=f"--mirror_pairs must be pairs of classes, as in Left:Right. Received: {pair}"):
        DataConfig(mirror_pairs=("A:B", pair))
    DataConfig(mirror_pairs=("A:B", "pull, then push:push, then pull"))


@pytest.mark.parametrize(
    "data",
    [{"flip": False}, {"mirror_pairs": ("A:B",)}, {"dataset": "sthv2"}, {"dataset": "demo", "flip": False}],
    ids=["no flip", "pairs", "sthv2", "demo"],
)
def test_mirrored_views_are_refused_where_a_mirror_changes_the_class(data):
    with pytest.raises(UserError, match=r"--test_crops=10 scores mirrored clips, but .*: pass --test_crops=5"):
        Config(data=DataConfig(**data), eval=EvalConfig(test_crops=10))
    Config(data=DataConfig(**data), eval=EvalConfig(test_crops=5))


def test_demo_set_is_flipped_with_its_pair():
    Config(data=DataConfig(dataset="demo", mirror_pairs=("MarkedMovesLeft:MarkedMovesRight",)))

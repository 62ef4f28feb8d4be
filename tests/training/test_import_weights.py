"""Published weights as a run."""

import functools
import shutil

import numpy as np
import published_bn_inception
import pytest
from torch_files import tensors, write_legacy, write_zip
from torch_layers import RandomState

from ccsn_tf.config import Config, ModelConfig, TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.build import build_model
from ccsn_tf.models.published_weights import Layout
from ccsn_tf.training.import_weights import LAYOUTS, import_weights
from ccsn_tf.training.initial_weights import start_from_runs

SIZE, LENGTH, CLASSES = 32, 2, ("archery", "diving", "surfing")


@functools.cache
def checkpoint(channels, seed):
    """As tsn-pytorch names its weights."""
    state = published_bn_inception.random_state(channels, len(CLASSES), "new_fc", seed)
    return {f"module.{'' if name.startswith('new_fc') else 'base_model.'}{name}": a for name, a in state.items()}, state


@pytest.fixture
def folder(tmp_path, tmp_path_factory, torch):
    """A folder with rgb.pth, flow.pth and classes.txt, which are made once."""
    made = tmp_path_factory.getbasetemp() / "published"
    if not made.is_dir():
        made.mkdir()
        write_zip(made / "rgb.pth", {"epoch": 80, "state_dict": tensors(checkpoint(3, 0)[0])}, torch)
        write_legacy(made / "flow.pth", {"epoch": 340, "state_dict": tensors(checkpoint(2 * LENGTH, 1)[0])}, torch)
        (made / "classes.txt").write_text("\n".join(CLASSES))
    return shutil.copytree(made, tmp_path / "published")


def settings(folder, **changes):
    flat = {"image_size": SIZE, "flow_length": LENGTH, "workdir": str(folder / "run"), **changes}
    return Config.from_flat(flat)


def test_both_streams_predict_as_published(folder):
    config, lines = settings(folder, class_file=str(folder / "classes.txt")), []
    model = import_weights(config, "tsn", str(folder / "rgb.pth"), str(folder / "flow.pth"), lines.append)
    assert [line.split(": ")[0] for line in lines] == ["spatial", "temporal"] and lines[0].endswith("3 classes")
    written = Config.from_json(folder / "run" / "config.json").model
    assert (written.backbone, written.connection, written.fusion_features) == ("bn_inception", "none", False)
    assert tuple(model.classes) == CLASSES
    rng = np.random.default_rng(3)
    inputs = {
        "rgb": rng.integers(0, 256, (1, 1, SIZE, SIZE, 3)).astype("uint8"),
        "flow": rng.integers(100, 156, (1, 1, SIZE, SIZE, 2 * LENGTH)).astype("uint8"),
    }
    outputs = {name: np.asarray(value)[0] for name, value in model(inputs).items()}
    image = inputs["rgb"][0, 0].astype("float32")[..., ::-1] - [104, 117, 128]
    published = [logits(checkpoint(3, 0)[1], image), logits(checkpoint(4, 1)[1], inputs["flow"][0, 0] - 128.0)]
    np.testing.assert_allclose(outputs["spatial_logits"], published[0], rtol=1e-3, atol=1e-3)
    # The border of a field is padded by half a grey level more than it was.
    assert np.abs(outputs["temporal_logits"] - published[1]).max() < 0.02 * np.ptp(published[1])
    np.testing.assert_allclose(outputs["logits"], outputs["spatial_logits"] + outputs["temporal_logits"], rtol=1e-5)


def logits(state, image):
    feature = published_bn_inception.forward(state, image).mean(axis=(0, 1))
    return state["new_fc.weight"] @ feature + state["new_fc.bias"]


def test_others_start_from_the_run_of_an_rgb_checkpoint(tmp_path, torch, monkeypatch):
    """With a layout of a small network: ours by its own names, in PyTorch's shapes."""
    layout = Layout("tiny", lambda path: "classifier" if path == "fc" else path)
    monkeypatch.setitem(LAYOUTS, "small", layout)
    state = RandomState()
    for layer in build_backbone("tiny", SIZE, 3).network.layers:
        if layer.name.endswith("_conv"):
            state.convolution(layer.name, *(layer.kernel.shape[axis] for axis in (3, 2, 0, 1)))
        elif layer.name.endswith("_bn"):
            state.batch_norm(layer.name, layer.gamma.shape[0])
    state.dense("fc", 3, 96)
    write_zip(tmp_path / "rgb.pth", tensors(state), torch)
    config, lines = settings(tmp_path), []
    model = import_weights(config, "small", str(tmp_path / "rgb.pth"), say=lines.append)
    assert [line.rpartition(", ")[2] for line in lines] == ["3 classes", "no classifier"]
    assert model.classes == ["0", "1", "2"]
    spatial, temporal = (model.network(stream).get_weights() for stream in ("spatial", "temporal"))
    np.testing.assert_array_equal(spatial[0][1, 2, 0], state["stem_conv.weight"][:, 0, 1, 2])
    np.testing.assert_allclose(temporal[0][:, :, 3], spatial[0].mean(axis=2), rtol=1e-5)
    for ours, theirs in zip(temporal[1:], spatial[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)

    run = str(tmp_path / "run")
    target = build_model(ModelConfig(image_size=SIZE, flow_length=LENGTH), ["0", "1", "2"])
    start_from_runs(target, TrainConfig(init_spatial=run, init_temporal=run))
    for stream, expected in (("spatial", spatial), ("temporal", temporal)):
        for ours, theirs in zip(target.network(stream).get_weights(), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(target.get_layer("spatial_logits").get_weights()[0], state["fc.weight"].T)
    with pytest.raises(UserError, match=r"model\.keras is there already: give another --workdir"):
        import_weights(config, "small", str(tmp_path / "rgb.pth"))


@pytest.mark.parametrize(
    ("arguments", "changes", "sentence"),
    [
        (("tsn",), {}, "no weights given: pass --spatial=FILE"),
        (("bninception", "rgb.pth", "flow.pth"), {}, "--temporal: there are no weights for flow in the layout bninc"),
        (("tsn", "nowhere.pth"), {}, r"nowhere\.pth does not exist"),
        (("tsn", "flow.pth"), {}, r"^--spatial: .*flow\.pth does not fit bn_inception: .*weight is \(7, 7, 4, 64\)"),
        (("tsn", "rgb.pth"), {"class_file": "two.txt"}, r"two\.txt names 2 classes, the weights are for 3"),
    ],
)
def test_mistakes_end_in_one_sentence(folder, arguments, changes, sentence):
    (folder / "two.txt").write_text("archery\ndiving\n")
    layout, *files = arguments
    if "class_file" in changes:
        changes = {"class_file": str(folder / changes["class_file"])}
    with pytest.raises(UserError, match=sentence):
        import_weights(settings(folder, **changes), layout, *(str(folder / name) if name else "" for name in files))
    assert not (folder / "run").exists()

"""Published weights as a run."""

import functools

import numpy as np
import published_bn_inception
import pytest
from torch_files import tensors, write_legacy, write_zip
from torch_layers import RandomState

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.build import load_model
from ccsn_tf.models.published_weights import Layout
from ccsn_tf.training.import_weights import LAYOUTS, import_weights

SIZE, LENGTH, CLASSES = 32, 2, ("archery", "diving", "surfing")


def settings(folder, **changes):
    flat = {"image_size": SIZE, "flow_length": LENGTH, "workdir": str(folder / "run"), **changes}
    return Config.from_flat(flat)


@functools.cache
def small_state(channels):
    """A checkpoint of our smallest named network: ours by its own names, in PyTorch's shapes."""
    state = RandomState()
    for layer in build_backbone("tiny", SIZE, channels).network.layers:
        if layer.name.endswith("_conv"):
            state.convolution(layer.name, *(layer.kernel.shape[axis] for axis in (3, 2, 0, 1)))
        elif layer.name.endswith("_bn"):
            state.batch_norm(layer.name, layer.gamma.shape[0])
    state.dense("fc", 3, 96)
    return dict(state)


@pytest.fixture
def folder(tmp_path, torch, monkeypatch):
    """A folder with rgb.pth and flow.pth of the layout "small"."""
    monkeypatch.setitem(LAYOUTS, "small", Layout("tiny", lambda path: "classifier" if path == "fc" else path))
    for name, channels in (("rgb", 3), ("flow", 2 * LENGTH)):
        write_zip(tmp_path / f"{name}.pth", tensors(small_state(channels)), torch)
    return tmp_path


def test_the_run_of_an_rgb_checkpoint(folder):
    config, lines, state = settings(folder), [], small_state(3)
    model = import_weights(config, "small", str(folder / "rgb.pth"), say=lines.append)
    assert [line.rpartition(", ")[2] for line in lines] == ["3 classes", "no classifier"]
    assert model.classes == ["0", "1", "2"]
    spatial, temporal = (model.network(stream).get_weights() for stream in ("spatial", "temporal"))
    np.testing.assert_array_equal(spatial[0][1, 2, 0], state["stem_conv.weight"][:, 0, 1, 2])
    np.testing.assert_allclose(temporal[0][:, :, 3], spatial[0].mean(axis=2), rtol=1e-5)
    for ours, theirs in zip(temporal[1:], spatial[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)

    np.testing.assert_array_equal(model.get_layer("spatial_logits").get_weights()[0], state["fc.weight"].T)
    written = load_model(folder / "run" / "model.keras")
    for ours, theirs in zip(written.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(UserError, match=r"model\.keras is there already: give another --workdir"):
        import_weights(config, "small", str(folder / "rgb.pth"))


@pytest.mark.parametrize(
    ("arguments", "classes", "sentence"),
    [
        (("tsn",), "", "no weights given: pass --spatial=FILE"),
        (("bninception", "rgb.pth", "flow.pth"), "", "--temporal: there are no weights for flow in the layout bninc"),
        (("small", "nowhere.pth"), "", r"nowhere\.pth does not exist"),
        (("small", "flow.pth"), "", r"^--spatial: .*flow\.pth does not fit tiny: .*stem_conv"),
        (("small", "rgb.pth"), "archery\ndiving\n", r"two\.txt names 2 classes, the weights are for 3"),
    ],
)
def test_mistakes_end_in_one_sentence(folder, arguments, classes, sentence):
    (folder / "two.txt").write_text(classes)
    layout, *files = arguments
    config = settings(folder, class_file=str(folder / "two.txt") if classes else "")
    with pytest.raises(UserError, match=sentence):
        import_weights(config, layout, *(str(folder / name) for name in files))
    assert not (folder / "run").exists()


@pytest.mark.slow
def test_both_streams_predict_as_published(tmp_path, torch):
    """BN-Inception, named as tsn-pytorch names its weights."""
    published = []
    for stream, channels, write in (("rgb", 3, write_zip), ("flow", 2 * LENGTH, write_legacy)):
        state = published_bn_inception.random_state(channels, len(CLASSES), "new_fc", seed=channels)
        named = {f"module.{'' if name.startswith('new_fc') else 'base_model.'}{name}": a for name, a in state.items()}
        write(tmp_path / f"{stream}.pth", {"epoch": 80, "state_dict": tensors(named)}, torch)
        published.append(state)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    config = settings(tmp_path, class_file=str(tmp_path / "classes.txt"))
    model = import_weights(config, "tsn", str(tmp_path / "rgb.pth"), str(tmp_path / "flow.pth"))
    written = Config.of_run(tmp_path / "run").model
    assert (written.backbone, written.connection, written.fusion_features) == ("bn_inception", "none", False)
    assert tuple(model.classes) == CLASSES
    rng = np.random.default_rng(3)
    inputs = {
        "rgb": rng.integers(0, 256, (1, 1, SIZE, SIZE, 3)).astype("uint8"),
        "flow": rng.integers(100, 156, (1, 1, SIZE, SIZE, 2 * LENGTH)).astype("uint8"),
    }
    outputs = {name: np.asarray(value)[0] for name, value in model(inputs).items()}
    image = inputs["rgb"][0, 0].astype("float32")[..., ::-1] - [104, 117, 128]
    spatial, temporal = map(logits, published, (image, inputs["flow"][0, 0] - 128.0))
    np.testing.assert_allclose(outputs["spatial_logits"], spatial, rtol=1e-3, atol=1e-3)
    # The border of a field is padded by half a grey level more than it was.
    assert np.abs(outputs["temporal_logits"] - temporal).max() < 0.02 * np.ptp(temporal)
    np.testing.assert_allclose(outputs["logits"], outputs["spatial_logits"] + outputs["temporal_logits"], rtol=1e-5)


def logits(state, image):
    feature = published_bn_inception.forward(state, image).mean(axis=(0, 1))
    return state["new_fc.weight"] @ feature + state["new_fc.bias"]

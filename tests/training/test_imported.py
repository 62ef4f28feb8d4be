"""Published weights as a run."""

import numpy as np
import published_bn_inception
import pytest
from torch_files import tensors, write_legacy, write_zip

from ccsn_tf.config import Config, ModelConfig, TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import build_model, load_model
from ccsn_tf.training.imported import import_weights
from ccsn_tf.training.start import start_from_runs

SIZE, LENGTH, CLASSES = 32, 2, ("archery", "diving", "surfing")


def checkpoint(channels, seed):
    """As tsn-pytorch names its weights."""
    state = published_bn_inception.random_state(channels, len(CLASSES), "new_fc", seed)
    return {f"module.{'' if name.startswith('new_fc') else 'base_model.'}{name}": a for name, a in state.items()}, state


@pytest.fixture
def folder(tmp_path, torch):
    """A folder with rgb.pth, flow.pth and classes.txt."""
    write_zip(tmp_path / "rgb.pth", {"epoch": 80, "state_dict": tensors(checkpoint(3, 0)[0])}, torch)
    write_legacy(tmp_path / "flow.pth", {"epoch": 340, "state_dict": tensors(checkpoint(2 * LENGTH, 1)[0])}, torch)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    return tmp_path


def settings(folder, **changes):
    flat = {"image_size": SIZE, "flow_length": LENGTH, "workdir": str(folder / "run"), **changes}
    return Config.from_flat(flat)


def test_both_streams_predict_as_published(folder):
    config, lines = settings(folder, class_file=str(folder / "classes.txt")), []
    import_weights(config, "tsn", str(folder / "rgb.pth"), str(folder / "flow.pth"), lines.append)
    assert [line.split(": ")[0] for line in lines] == ["spatial", "temporal"] and lines[0].endswith("3 classes")
    written = Config.from_json(folder / "run" / "config.json").model
    assert (written.backbone, written.connection, written.fusion_features) == ("bn_inception", "none", False)
    model = load_model(str(folder / "run" / "model.keras"))
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

    target = build_model(ModelConfig(backbone="bn_inception", image_size=SIZE, flow_length=LENGTH), CLASSES)
    start_from_runs(target, TrainConfig(init_spatial=str(folder / "run")))
    np.testing.assert_allclose(np.asarray(target(inputs)["spatial_logits"])[0], published[0], rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match=r"model\.keras is there already: give another --workdir"):
        import_weights(config, "tsn", str(folder / "rgb.pth"), str(folder / "flow.pth"))


def logits(state, image):
    feature = published_bn_inception.forward(state, image).mean(axis=(0, 1))
    return state["new_fc.weight"] @ feature + state["new_fc.bias"]


def test_without_weights_for_flow_the_temporal_stream_starts_from_the_other(folder):
    model = import_weights(settings(folder), "tsn", str(folder / "rgb.pth"))
    spatial, temporal = (model.network(stream).get_weights() for stream in ("spatial", "temporal"))
    np.testing.assert_allclose(temporal[0][:, :, 3], spatial[0].mean(axis=2), rtol=1e-5)
    np.testing.assert_array_equal(temporal[-1], spatial[-1])
    assert model.classes == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("arguments", "changes", "sentence"),
    [
        (("tsn",), {}, "no weights given: pass --spatial=FILE"),
        (("bninception", "rgb.pth", "flow.pth"), {}, "--temporal: there are no weights for flow in the layout bninc"),
        (("tsn", "nowhere.pth"), {}, r"nowhere\.pth does not exist"),
        (("tsn", "flow.pth"), {}, r"^--spatial: .*flow\.pth does not fit bn_inception: .*weight is \(7, 7, 4, 64\)"),
        (("tsn", "", "flow.pth"), {"flow_length": 5}, r"needs \(7, 7, 10, 64\)\. Check --layout, and --flow_length"),
        (("tsn", "rgb.pth"), {"class_file": "two.txt"}, r"two\.txt names 2 classes, the weights are for 3"),
        (("i3d", "rgb.pth"), {}, r"rgb\.pth is no readable TensorFlow checkpoint \(.*as in rgb_imagenet/model\.ckpt"),
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

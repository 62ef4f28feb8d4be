import numpy as np
import pytest

from benchmarks import probe as module
from benchmarks.probe import make_features, probe
from ccsn_tf.config import ModelConfig


def clips(signal, num_clips=120, num_classes=3, seed=0):
    """Features (N, 2, D) in which the class shows by `signal` standard deviations; the sides of a split."""
    rng = np.random.default_rng(seed)
    labels, groups = np.arange(num_clips) % num_classes, np.arange(num_clips) // num_classes % 10
    means = signal * rng.normal(size=(num_classes, 8))
    features = means[labels][:, None] + rng.normal(size=(num_clips, 2, 8))
    scale, shift = 10.0 ** rng.uniform(-2, 3, 8), rng.normal(size=8)  # no unit is special to a standardised feature
    test = groups < 3
    return scale * features + shift, labels, groups, ~test, test


def test_what_is_there_is_found():
    assert probe(*clips(signal=5)) == 1.0


def test_nothing_is_found_where_nothing_is():
    shares = [probe(*clips(signal=0, seed=seed)) for seed in range(20)]
    assert abs(np.mean(shares) - 1 / 3) < 0.06


def test_share_is_that_of_ridge_regression(monkeypatch):
    features, labels, groups, train, test = clips(signal=0.7)
    monkeypatch.setattr(module, "PENALTIES", np.array([30.0]))
    seen, asked = features[train].reshape(-1, 8), features[test].mean(axis=1)
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-3
    inputs = (seen - mean) / spread
    targets = np.eye(3)[np.repeat(labels[train], 2)]
    weights = np.linalg.solve(inputs.T @ inputs + 30 * np.eye(8), inputs.T @ (targets - targets.mean(axis=0)))
    expected = np.mean(((asked - mean) / spread @ weights).argmax(axis=1) == labels[test])
    assert 0.4 < expected < 1
    assert probe(features, labels, groups, train, test) == expected


def test_test_clips_have_no_say_in_the_penalty(monkeypatch):
    features, labels, groups, train, test = clips(signal=0.7)
    chosen = []
    hits = module._hits
    monkeypatch.setattr(module, "_hits", lambda *given: chosen.append(given[-1]) or hits(*given))
    probe(features, labels, groups, train, test)
    others = np.where(test, (labels + 1) % 3, labels)
    probe(np.where(test[:, None, None], -features, features), others, groups, train, test)
    assert len(chosen[4]) == 1 and chosen[4] == chosen[9]


def test_features_are_those_of_the_starting_weights(published):
    features = make_features(ModelConfig(backbone="efficientnet_lite0", pretrained="imagenet", image_size=32))
    flow = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 10)).astype(np.uint8)
    found = features(flow).numpy()
    assert found.shape == (3, 32 + 16 + 24 + 40 + 80 + 112) and found.dtype == np.float32
    # The stem by hand: its kernel averaged over RGB, for every channel of flow.
    kernel = published["_conv_stem.weight"].mean(axis=1)  # (32, 3, 3)
    summed = np.pad((flow.astype(np.float64) - 127.5).sum(axis=-1) / 128, ((0, 0), (0, 1), (0, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(summed, (3, 3), axis=(1, 2))[:, ::2, ::2]
    maps = np.einsum("nhwij,cij->nhwc", windows, kernel)
    scale = published["_bn0.weight"] / np.sqrt(published["_bn0.running_var"] + 1e-3)
    maps = np.clip((maps - published["_bn0.running_mean"]) * scale + published["_bn0.bias"], 0, 6)
    np.testing.assert_allclose(found[:, :32], maps.mean(axis=(1, 2)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shown", [0, 1])
def test_every_view_trains(shown):
    # Of the training clips only one view shows the class: without it nothing could be learned.
    features, labels, groups, train, test = clips(signal=5)
    features[train, 1 - shown] = np.random.default_rng(1).normal(size=(np.count_nonzero(train), 8))
    assert probe(features, labels, groups, train, test) > 0.9

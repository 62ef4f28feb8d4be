import contextlib
import ctypes
import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for tests that import it themselves

import keras
import pytest
import tensorflow as tf
import videos
from tensorflow.python.framework import ops

# Two logical CPUs for the replica tests; TensorFlow takes this only before it is used.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

pytest_plugins = ["serving_fixtures", "onnx_fixtures", "torch_files"]

# What is imported stays: the collector, which TensorFlow's graphs keep busy, need not look at it again and again.
gc.freeze()
gc.set_threshold(50_000, 20, 50)

# Whatever needs one of these is tested in one process of `make test`, so that they are made once; first, as it is most.
SERVED = {"workdir_config", "frames_config", "exported", "exported_frames", "onnx_export"}
# What takes long comes before what does not: the processes end at about the same time.
LONG = ("training", "serving", "test_documented_code.py", "benchmarks", "scripts", "models", "data/prepare")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Groups for `--dist loadgroup`: a file is one, with what its tests share; all that serve are one together."""
    files = {}
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        named = {*item.fixturenames, *(value for value in parameters if isinstance(value, str))}
        files[item.path] = files.get(item.path, False) or not SERVED.isdisjoint(named)
    tests = config.rootpath / "tests"

    def place(item):
        name = item.path.relative_to(tests).as_posix()
        return not files[item.path], next((n for n, part in enumerate(LONG) if name.startswith(part)), len(LONG))

    for item in items:
        item.add_marker(pytest.mark.xdist_group("served" if files[item.path] else item.path.name))
    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def memory_is_returned(request):
    """What a file's tests leave behind is gone when they are done: graphs, and what the C library keeps of them."""
    yield
    for function in vars(request.module).values():
        if hasattr(function, "cache_clear") and function.__module__ == request.module.__name__:
            function.cache_clear()
    # TensorFlow keeps each graph with a custom gradient, as that of every training step is, for as long as it runs.
    for name in [name for name in ops.gradient_registry.list() if name.startswith("CustomGradient")]:
        del ops.gradient_registry._registry[name]
    keras.backend.clear_session()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


CLASSES = ("MoveDown", "MoveLeft", "MoveRight")
STEPS = ((0, 2), (-2, 0), (2, 0))
CLIPS_PER_CLASS = 5


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """A folder with `videos/` and `lists/`: 3 classes x 5 clips of 14 frames, the class is the direction of motion."""
    root = tmp_path_factory.mktemp("tiny") / "set"
    return videos.write_tree(
        root, CLASSES, CLIPS_PER_CLASS, lambda label, group: videos.moving(step=STEPS[label], seed=10 * label + group)
    )


@pytest.fixture(scope="session")
def tiny_data(tiny_set, tmp_path_factory):
    """The DataConfig of the tiny set, with its records prepared."""
    from ccsn_tf.config import DataConfig
    from ccsn_tf.data.prepare.prepare import prepare

    config = DataConfig(
        video_dir=str(tiny_set / "videos"),
        split_dir=str(tiny_set / "lists"),
        record_dir=str(tmp_path_factory.mktemp("tiny") / "records"),
        workers=1,
        classes_per_batch=3,
        clips_per_class=2,
    )
    prepare(config, min_fields=5)
    return config


@pytest.fixture(scope="session")
def tiny_manifest(tiny_data):
    """The manifest of the tiny set's records."""
    from ccsn_tf.data.records.manifest import Manifest

    return Manifest.read(tiny_data.record_dir)


@pytest.fixture(scope="session")
def two_replicas():
    """The one MirroredStrategy of the test process: a second one can break every later use."""
    return tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])


@pytest.fixture(scope="session")
def published():
    """The published EfficientNet-Lite0 weights, as a dict of arrays."""
    from ccsn_tf.errors import UserError
    from ccsn_tf.models.torch_checkpoint import read_torch_checkpoint
    from ccsn_tf.models.weights import find_efficientnet_lite0_checkpoint

    try:
        return read_torch_checkpoint(find_efficientnet_lite0_checkpoint())
    except UserError as error:
        pytest.skip(f"the optional weights package is absent: {error}")

"""Models that are read, and traced as functions, once for all tests that leave them as they are."""

import functools
import os

import tensorflow as tf

from ccsn_tf.evaluation import predict
from ccsn_tf.models import build
from ccsn_tf.serving import agreement

# The network as a function of a batch, without its answers' softmax and with it: once for each model.
make_forward = functools.cache(predict.make_forward)
as_exported = functools.cache(agreement.as_exported)

# A SavedModel by its path.
load_saved_model = functools.cache(tf.saved_model.load)


_LOADED = {}


def load_model(path):
    """`build.load_model`, once for all copies of a file and links to it."""
    try:
        found = os.stat(path)
    except OSError:
        return build.load_model(path)  # which says what is wrong
    key = found.st_size, found.st_mtime_ns
    if key not in _LOADED:
        _LOADED[key] = build.load_model(path)
    return _LOADED[key]


def keep(patch, *modules):
    """Puts these functions in the place of those of the modules, by a `pytest.MonkeyPatch`."""
    for module in modules:
        for name in ("load_model", "make_forward", "as_exported"):
            if hasattr(module, name):
                patch.setattr(module, name, globals()[name])

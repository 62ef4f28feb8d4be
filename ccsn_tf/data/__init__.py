"""Videos to records, records to batches. `training_dataset` and `validation_dataset` are what `CCSN.fit` takes.

Importing this package loads neither TensorFlow nor OpenCV.
"""

import importlib

__all__ = ["class_names", "training_dataset", "validation_dataset"]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module 'ccsn_tf.data' has no attribute {name!r}")
    return getattr(importlib.import_module("ccsn_tf.data.pipeline"), name)

"""A small model as ONNX files of every precision."""

import functools

import kept_models
import pytest


@pytest.fixture(scope="session")
def onnx_export(workdir_config, tmp_path_factory):
    """Exports the small model in a precision, once: returns its `OnnxFile`, which tests leave alone."""
    return exporter(workdir_config, tmp_path_factory.mktemp("onnx"))


def exporter(config, folder):
    """A function of a precision that exports the model of a work directory to `folder`, once.

    The model is read, traced and converted once for all precisions.
    """
    from ccsn_tf.serving import agreement
    from ccsn_tf.serving.onnx import export as module

    to_onnx = functools.cache(module.to_onnx)

    @functools.cache
    def export(precision):
        output = str(folder / f"model.{precision}.onnx")
        # Random weights decide by a hair: no share of agreement is asked of them.
        settings = module.OnnxSettings(output, precision, min_agreement=0.01, calibration_clips=4, must_be_real=True)
        with pytest.MonkeyPatch.context() as patch:
            kept_models.keep(patch, module, agreement)
            patch.setattr(module, "make_forward", kept_models.as_exported)  # which is traced already
            patch.setattr(module, "to_onnx", to_onnx)
            return module.export_onnx(config, settings)

    return export

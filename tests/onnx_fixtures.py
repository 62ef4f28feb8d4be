"""A small model as ONNX files of every precision."""

import pytest


@pytest.fixture(scope="session")
def onnx_export(workdir_config, tmp_path_factory):
    """Exports the small model in a precision, once: returns its `OnnxFile`, which tests leave alone."""
    return exporter(workdir_config, tmp_path_factory.mktemp("onnx"))


def exporter(config, folder):
    """A function of a precision that exports the model of a work directory to `folder`, once."""
    from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx

    done = {}

    def export(precision):
        if precision not in done:
            output = str(folder / f"model.{precision}.onnx")
            # Random weights decide by a hair: no share of agreement is asked of them.
            settings = OnnxSettings(output, precision, min_agreement=0.01, calibration_clips=4, must_be_real=True)
            done[precision] = export_onnx(config, settings)
        return done[precision]

    return export

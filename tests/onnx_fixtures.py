"""A small model as ONNX files of every precision."""

import pytest


@pytest.fixture(scope="session")
def onnx_export(workdir_config, tmp_path_factory):
    """Exports the small model in a precision, once: returns its `OnnxFile`, which tests leave alone."""
    from ccsn_tf.serving.onnx_export import OnnxSettings, export_onnx

    folder, done = tmp_path_factory.mktemp("onnx"), {}

    def export(precision):
        if precision not in done:
            output = str(folder / f"model.{precision}.onnx")
            # Random weights decide by a hair: no share of agreement is asked of them.
            settings = OnnxSettings(output, precision, min_agreement=0.01, calibration_clips=4, must_be_real=True)
            done[precision] = export_onnx(workdir_config, settings)
        return done[precision]

    return export

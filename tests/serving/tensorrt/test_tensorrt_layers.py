"""Both descriptions of an engine, and the check of what it computes in."""

import json

import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.serving.tensorrt.layers import Layer, check_flow, check_precision, layers_of_inspector, layers_of_log


def tensor(dtype, *sizes):
    return f"{{ Name: a.1, Dimensions: {list(sizes)}, Strides: [1], Datatype: {dtype}, Format: (Linear) Row major }}"


def line(name, kind, inputs, constants, outputs, nodes):
    lists = (", ".join(part) for part in (inputs, constants, outputs))
    parts = "Inputs: [ {}], Constants: [ {}], Outputs: [ {}]".format(*lists)
    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return f"Name: {name}, LayerType: {kind}, {parts}, TacticName: t, StreamId: 0, Metadata: {metadata}"


HALF, FLOAT, FACTOR = tensor("Half", -1, 64), tensor("Float", 1, 64, 1, 1), tensor("Float", 1)
LOG = [
    "Layers are counted",
    "\n".join(
        [
            "Layers:",
            line("one, two", "correlation", [HALF], [tensor("Half", 3, 3), FLOAT], [HALF], ["conv", "relu", "conv"]),
            line("weights", "gemm", [HALF], [tensor("Half", 64, 96), FACTOR, FACTOR], [HALF], ["dense"]),
            line("two activations", "gemm", [HALF, HALF], [FACTOR, FACTOR], [tensor("Float", 2)], ["product"]),
            line("scaling", "kgen", [tensor("UInt8", 4)], [FACTOR], [tensor("Int8", 4)], []),
            "Name: wait_1, LayerType: wait, Inputs: [], Constants: [], Outputs: [], TacticName: , Metadata: ",
            "",
            "I/O Tensors:",
        ]
    ),
]


def test_layers_of_the_builders_log():
    assert layers_of_log(LOG) == [
        Layer("one, two", "correlation", ("conv", "relu"), ("fp16",), ("fp16", "fp32"), ("fp16",)),
        Layer("weights", "gemm", ("dense",), ("fp16",), ("fp16", "fp32"), ("fp16",)),
        Layer("two activations", "gemm", ("product",), ("fp16",), ("fp32",), ("fp32",)),
        Layer("scaling", "kgen", (), ("UInt8",), ("fp32",), ("int8",)),
        Layer("wait_1", "wait", (), (), (), ()),
    ]
    assert layers_of_log(["nothing of the kind"]) == []


def test_layers_of_the_inspector():
    def entry(dtype, *sizes):
        return {"Name": "a", "Dimensions": list(sizes), "Format/Datatype": f"Channel major {dtype} format"}

    layers = [
        "only a name",
        {
            "Name": "conv",
            "LayerType": "CaskConvolution",
            "Inputs": [entry("INT8", 1, 8)],
            "Outputs": [entry("FP16", 1, 8)],
            "Weights": {"Type": "Int8", "Count": 72},
            "Metadata": "[ONNX Layer: conv]\x1e[ONNX Layer: relu]",
        },
        {
            "Name": "gemm",
            "LayerType": "gemm",
            "Inputs": [{"Name": "a", "Dimensions": [2, 2], "Datatype": "BFloat16"}],
            "Constants": [{"Name": "alpha", "Dimensions": [1], "Datatype": "Float"}],
            "Outputs": [],
        },
    ]
    assert layers_of_inspector(json.dumps({"Layers": layers})) == [
        Layer("conv", "CaskConvolution", ("conv", "relu"), ("int8",), ("int8",), ("fp16",)),
        Layer("gemm", "gemm", (), ("bf16",), ("fp32",), ()),
    ]


def layer(inputs, constants, *nodes):
    return Layer("l", "k", nodes, tuple(inputs), tuple(constants), ())


@pytest.mark.parametrize(
    ("inputs", "constants", "by_weights", "of_activations"),
    [
        (["fp16"], ["fp16", "fp32"], "fp16", "fp16"),  # weights and bias
        (["fp32"], ["fp32"], "fp32", "fp32"),
        (["fp32"], ["fp16"], "fp32", "fp32"),  # weights that are only stored so
        (["fp16"], ["fp32"], "fp32", "fp16"),  # as attention, whose bias is float32
        (["int8"], ["fp32", "int8"], "int8", "int8"),
        (["bf16"], [], "fp32", "bf16"),
        (["UInt8"], ["fp32"], "fp32", "fp32"),
    ],
)
def test_a_product_is_in_the_type_of_its_factors(inputs, constants, by_weights, of_activations):
    layers = [layer(inputs, constants, "product", "bias"), layer(["fp32"], ["fp32"], "product")]
    for unweighted, computed in (((), by_weights), (("product",), of_activations)):
        assert check_precision(layers, {"product": computed}, unweighted, computed) == {computed: 1}
        other = "fp16" if computed != "fp16" else "fp32"
        sentence = rf"computes product in {computed}, not in {other} as the ONNX file says: not kept"
        with pytest.raises(UserError, match=sentence):
            check_precision(layers, {"product": other}, unweighted, other)


def test_products_are_counted_by_precision():
    layers = [layer(["fp16"], ["fp16"], "a", "b"), layer(["fp32"], ["fp32"], "head")]
    assert check_precision(layers, {"a": "fp16", "b": "fp16", "head": "fp32"}, (), "fp16") == {"fp16": 2, "fp32": 1}


def test_what_is_absent_or_in_nothing_that_was_asked_for_is_an_error():
    layers = [layer(["fp32"], ["fp32"], "head")]
    with pytest.raises(UserError, match="does not say in what it computes conv"):
        check_precision(layers, {"head": "fp32", "conv": "fp16"}, (), "fp16")
    with pytest.raises(UserError, match="no layer in fp16, which was asked for"):
        check_precision(layers, {"head": "fp32"}, (), "fp16")


def test_layers_that_compute_flow_are_float32():
    flow, other = "ccsn_1/temporal_flow_1/mul_3", "ccsn_1/quantized_flow_1/Round"
    whole = [layer(["fp32", "Int32"], ["fp32"], flow), layer(["UInt8"], ["fp32"], flow, "ccsn/temporal_flow/sub")]
    # The last one also leaves it, and hands on half precision; a layer without nodes only waits.
    assert check_flow([*whole, layer(["fp32"], ["fp16"], flow, other), layer(["fp16"], [])]) == 2
    for narrow in ("fp16", "bf16", "int8"):
        with pytest.raises(UserError, match=rf"computes flow in {narrow} \(ccsn_1.*mul_3\), not in fp32: not kept"):
            check_flow([*whole, layer(["fp32"], [narrow], flow)])
    with pytest.raises(UserError, match="does not say in what it computes flow"):
        check_flow([layer(["fp32"], ["fp32"], "ccsn_1/temporal_flower/mul", other)])

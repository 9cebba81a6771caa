"""Export trained networks to ONNX, layer by layer.

Keras's own `export(format="onnx")` needs tf2onnx, which traces TensorFlow's graph; the few kinds of
layer that these networks have are the same few operations of ONNX.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import PluginError

if TYPE_CHECKING:
    from zoo.model import Array

OPSET = 17
ACTIVATIONS = {
    **{"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softmax": "Softmax", "elu": "Elu"},
    **{"selu": "Selu", "softplus": "Softplus", "softsign": "Softsign", "exponential": "Exp"},
}
POOLS = {"AveragePooling2D": "AveragePool", "MaxPooling2D": "MaxPool"}
GLOBAL_POOLS = {
    "GlobalAveragePooling2D": "GlobalAveragePool",
    "GlobalMaxPooling2D": "GlobalMaxPool",
}
TRAINING_ONLY = (
    *("Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
    *("RandomTranslation", "RandomZoom", "RandomShear", "RandomFlip", "RandomRotation"),
    *("RandomContrast", "RandomBrightness", "RandomErasing"),
)


def write(network: Any, path: Path) -> None:
    """Write a Sequential network: `x`, float32, to `label` and `probabilities`.

    A single output unit is the probability of the second of two classes. Raises PluginError for an
    unsupported layer.
    """
    from onnx import TensorProto, checker, helper, save_model

    if type(network).__name__ != "Sequential":
        raise _unsupported("network, which is not Sequential,")
    graph = _Graph()
    if len(network.input_shape) == 4:
        graph.add("Transpose", ["x"], perm=[0, 3, 1, 2])
    for layer in network.layers:
        graph.add_layer(layer)
    if network.output_shape[-1] == 1:
        graph.add_complement()
    graph.add("Identity", [graph.last], "probabilities")
    graph.add("ArgMax", ["probabilities"], "label", axis=1, keepdims=0)
    n_classes = max(2, network.output_shape[-1])
    shape = [None, *network.input_shape[1:]]
    made = helper.make_graph(
        graph.nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, n_classes]),
        ],
        graph.constants,
    )
    # The IR version that matches the operator set, for older readers.
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(made, opset_imports=[opset], ir_version=8, producer_name="zoo-keras")
    checker.check_model(model, full_check=True)
    save_model(model, path)


class _Graph:
    """A chain of nodes; ONNX has channels first, Keras last."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = "x"

    def add(self, operation: str, inputs: list[str], output: str = "", **more: Any) -> None:
        from onnx import helper

        self.last = output or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [self.last], **more))

    def constant(self, array: Array) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add_layer(self, layer: Any) -> None:
        kind = type(layer).__name__
        if kind in TRAINING_ONLY:
            return
        if kind in POOLS:
            self._add_pool(layer, POOLS[kind])
            return
        if kind in GLOBAL_POOLS:
            self._add_global_pool(layer, GLOBAL_POOLS[kind])
            return
        adders = {
            "Dense": self._add_dense,
            "Conv2D": self._add_convolution,
            "Reshape": self._add_reshape,
            "BatchNormalization": self._add_normalization,
            "Activation": self._add_activation,
            "Rescaling": self._add_rescaling,
            **dict.fromkeys(("ReLU", "LeakyReLU"), self._add_relu),
            "Flatten": self._add_flatten,
        }
        if kind not in adders:
            raise _unsupported(f"layer {kind}")
        adders[kind](layer)

    def add_complement(self) -> None:
        """Put the probability of the first class before that of the second."""
        import numpy as np

        second = self.last
        self.add("Sub", [self.constant(np.ones(1, dtype="float32")), second])
        self.add("Concat", [self.last, second], axis=1)

    def _add_dense(self, layer: Any) -> None:
        if len(layer.input.shape) != 2:
            raise _unsupported("Dense layer after images")
        arrays = [layer.kernel, *([layer.bias] if layer.use_bias else [])]
        self.add("Gemm", [self.last, *(self.constant(each.numpy()) for each in arrays)])
        self._add_activation(layer)

    def _add_convolution(self, layer: Any) -> None:
        # Keras: height, width, from, to. ONNX: to, from, height, width.
        kernel = self.constant(layer.kernel.numpy().transpose(3, 2, 0, 1).copy())
        padding = {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]
        inputs, strides = [self.last, kernel], list(layer.strides)
        if layer.use_bias:
            inputs.append(self.constant(layer.bias.numpy()))
        self.add("Conv", inputs, auto_pad=padding, strides=strides, **self._taps(layer))
        self._add_activation(layer)

    def _taps(self, layer: Any) -> dict[str, Any]:
        """The attributes of a convolution with gaps or groups; none of a plain one."""
        found: dict[str, Any] = {}
        if any(each != 1 for each in layer.dilation_rate):
            found["dilations"] = list(layer.dilation_rate)
        if layer.groups != 1:
            found["group"] = layer.groups
        return found

    def _add_normalization(self, layer: Any) -> None:
        import numpy as np

        mean = layer.moving_mean.numpy()
        scale = layer.gamma.numpy() if layer.scale else np.ones_like(mean)
        shift = layer.beta.numpy() if layer.center else np.zeros_like(mean)
        arrays = (scale, shift, mean, layer.moving_variance.numpy())
        inputs = [self.last, *(self.constant(each) for each in arrays)]
        self.add("BatchNormalization", inputs, epsilon=float(layer.epsilon))

    def _add_rescaling(self, layer: Any) -> None:
        import numpy as np

        for operation, value in (("Mul", layer.scale), ("Add", layer.offset)):
            if np.ndim(value):
                raise _unsupported("Rescaling of each channel")
            self.add(operation, [self.last, self.constant(np.array(value, dtype="float32"))])

    def _add_relu(self, layer: Any) -> None:
        if getattr(layer, "max_value", None) is not None or getattr(layer, "threshold", None):
            raise _unsupported("ReLU with bounds")
        self.add("LeakyRelu", [self.last], alpha=float(layer.negative_slope))

    def _add_global_pool(self, layer: Any, operation: str) -> None:
        self.add(operation, [self.last])
        if not layer.keepdims:
            self.add("Flatten", [self.last])

    def _add_pool(self, layer: Any, operation: str) -> None:
        padding = {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]
        size, strides = list(layer.pool_size), list(layer.strides)
        self.add(operation, [self.last], auto_pad=padding, kernel_shape=size, strides=strides)

    def _add_reshape(self, layer: Any) -> None:
        import numpy as np

        self.add("Reshape", [self.last, self.constant(np.array([-1, *layer.target_shape]))])
        if len(layer.target_shape) == 3:
            self.add("Transpose", [self.last], perm=[0, 3, 1, 2])

    def _add_flatten(self, layer: Any) -> None:
        if len(layer.input.shape) == 4:
            self.add("Transpose", [self.last], perm=[0, 2, 3, 1])
        self.add("Flatten", [self.last])

    def _add_activation(self, layer: Any) -> None:
        name = layer.activation.__name__
        if name == "linear":
            return
        if name == "silu":
            inner = self.last
            self.add("Sigmoid", [inner])
            self.add("Mul", [inner, self.last])
            return
        if name == "leaky_relu":
            self.add("LeakyRelu", [self.last], alpha=0.2)
            return
        if name not in ACTIVATIONS:
            raise _unsupported(f"activation {name}")
        more: dict[str, Any] = {"axis": 1} if name == "softmax" else {}
        self.add(ACTIVATIONS[name], [self.last], **more)


def _unsupported(what: str) -> PluginError:
    return PluginError(f"The {what} cannot be exported to ONNX.", "Export it as keras.")

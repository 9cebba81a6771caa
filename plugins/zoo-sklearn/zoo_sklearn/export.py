"""Export trained classifiers to skops and ONNX."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zoo.errors import ArtifactError, PluginError, reason

if TYPE_CHECKING:
    from zoo.model import Array

FORMATS = ("skops", "onnx")

HOW_TO_TRUST = (
    "If they are the model's own, its class names them in `trusted`: TREES of zoo_sklearn are "
    "those of trees."
)
OPSET = {"": 17, "ai.onnx.ml": 3}
"""Versions of ONNX's operator sets, old enough for most readers."""

Kind = Literal["softmax", "shares", "own", "none"]
"""Source of the probabilities: softmax of the scores; normalized sigmoids of the scores, as of one
classifier for each class; the classifier's own; or none."""


def write_skops(estimator: Any, path: Path) -> None:
    """Write an estimator of scikit-learn without a pickle."""
    from skops import io

    io.dump(estimator, path)


def read_skops(path: Path, trusted: Collection[str] = ()) -> Any:
    """Read what `write_skops` has written.

    Args:
        path: The file.
        trusted: Types that are trusted beside those that skops trusts by itself.

    Returns:
        The estimator; what its arrays hold is not checked.

    Raises:
        ArtifactError: The file is damaged, or holds another type.
    """
    from skops import io

    try:
        untrusted = set(io.get_untrusted_types(file=path)) - set(trusted)
        estimator = None if untrusted else io.load(path, trusted=[*trusted])
    # A damaged file raises almost anything: BadZipFile, KeyError, ValueError...
    except Exception as error:
        raise ArtifactError(
            f"{path} cannot be read: {reason(error)}.", "Train the model again."
        ) from None
    if untrusted:
        names = ", ".join(sorted(untrusted))
        raise ArtifactError(f"{path.name} holds types that are not trusted: {names}.", HOW_TO_TRUST)
    return estimator


def predict_skops(
    path: Path, x: Array, n_classes: int, trusted: Collection[str] = ()
) -> tuple[Array, Array | None]:
    """Read an estimator and predict; returns labels, and probabilities if it has any.

    Raises ArtifactError as `read_skops` does.
    """
    estimator = read_skops(path, trusted)
    labels = estimator.predict(x)
    if not hasattr(estimator, "predict_proba"):
        return labels, None
    return labels, expand_classes(estimator.predict_proba(x), estimator.classes_, n_classes)


def expand_classes(found: Array, classes: Array, n_classes: int) -> Array:
    """Return probabilities of all classes, (n, n_classes), from those of the training data."""
    import numpy as np

    # A class without training inputs has the probability 0.
    probabilities = np.zeros((len(found), n_classes), dtype=found.dtype)
    probabilities[:, classes] = found
    return probabilities


def write_onnx(
    estimator: Any,
    path: Path,
    *,
    n_features: int,
    dtype: str,
    classes: Sequence[int],
    n_classes: int,
    kind: Kind,
) -> None:
    """Write a classifier by skl2onnx, with the outputs `label` and `probabilities`.

    Raises PluginError for classes without training inputs, and for a vote of a single pair.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    if list(classes) != list(range(n_classes)):
        raise PluginError("ONNX needs training inputs of each class.")
    tensor = DoubleTensorType if dtype == "float64" else FloatTensorType
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    is_pairwise = type(last).__name__ == "OneVsOneClassifier"
    if is_pairwise and n_classes < 3:
        raise PluginError("A vote of pairs needs three classes or more for ONNX.")
    # OneVsOneClassifier returns scores anyway, and does not have this option.
    raw = kind in ("softmax", "shares") and not is_pairwise
    converted = to_onnx(
        estimator,
        initial_types=[("x", tensor([None, n_features]))],
        target_opset=OPSET,
        options={id(last): {"zipmap": False, **({"raw_scores": True} if raw else {})}},
    )
    if kind in ("softmax", "shares"):
        _replace_outputs(converted.graph, kind)
    elif kind == "none":
        del converted.graph.output[1:]
    path.write_bytes(converted.SerializeToString())


def _replace_outputs(graph: Any, kind: Kind) -> None:
    """Replace the outputs by the class of the highest score, and probabilities of the scores.

    skl2onnx takes the class from probabilities, of which two may be rounded to 1.
    """
    from onnx import TensorProto, helper

    own, scores = (output.name for output in graph.output)
    tensor = graph.output[1].type.tensor_type
    shape = [None, tensor.shape.dim[1].dim_value]
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [{own: "zoo_votes", scores: "zoo_scores"}.get(name, name) for name in names]
    make = helper.make_node
    graph.node.append(make("ArgMax", ["zoo_scores"], ["label"], axis=1, keepdims=0))
    last = "zoo_scores"
    if kind == "shares":
        _add_logarithms(graph, tensor.elem_type)
        last = "zoo_logarithms"
    elif tensor.shape.dim[1].dim_value == 2:
        # Two classes have the scores -s and s, whose difference is to be s.
        graph.initializer.append(helper.make_tensor("zoo_half", tensor.elem_type, [1], [0.5]))
        graph.node.append(make("Mul", ["zoo_scores", "zoo_half"], ["zoo_halves"]))
        last = "zoo_halves"
    graph.node.append(make("Softmax", [last], ["probabilities"], axis=1))
    del graph.output[:]
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
    given = helper.make_tensor_value_info("probabilities", tensor.elem_type, shape)
    graph.output.extend([label, given])


def _add_logarithms(graph: Any, element: int) -> None:
    """Add the logarithm of each score's sigmoid; its softmax are the normalized sigmoids.

    The sigmoids themselves may all be rounded to 0. It is -(max(-s, 0) + log(1 + exp(-|s|)));
    onnxruntime has no Softplus for float64.
    """
    from onnx import helper

    graph.initializer.append(helper.make_tensor("zoo_one", element, [1], [1.0]))
    for operation, *inputs, output in (
        ("Neg", "zoo_scores", "zoo_negated"),
        ("Relu", "zoo_negated", "zoo_line"),
        ("Abs", "zoo_scores", "zoo_size"),
        ("Neg", "zoo_size", "zoo_minus_size"),
        ("Exp", "zoo_minus_size", "zoo_power"),
        ("Add", "zoo_power", "zoo_one", "zoo_sum"),
        ("Log", "zoo_sum", "zoo_bend"),
        ("Add", "zoo_line", "zoo_bend", "zoo_softplus"),
        ("Neg", "zoo_softplus", "zoo_logarithms"),
    ):
        graph.node.append(helper.make_node(operation, inputs, [output]))

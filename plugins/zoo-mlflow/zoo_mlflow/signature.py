"""The signature and the input example of a logged model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.data.contents import Column, Inputs

EXAMPLE, REQUEST = "input_example.json", "serving_input_example.json"
"""Files of the model: the example, and the same as the body of a request to a model server."""
TYPES = {
    "image": {"type": "ndarray", "format": "tf-serving"},
    "table": {"type": "dataframe", "pandas_orient": "split"},
}
"""How MLflow reads the example, by the kind of the inputs."""


def of_inputs(inputs: Inputs) -> Any:
    """Return MLflow's signature: images as a tensor, rows of a table by column; labels int64."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    if inputs.kind == "image":
        taken = Schema([TensorSpec(np.dtype(inputs.dtype), (-1, *inputs.shape))])
    else:
        types = {"number": "double", "category": "string"}
        taken = Schema([ColSpec(types[each.kind], each.name) for each in inputs.columns])
    return ModelSignature(taken, Schema([TensorSpec(np.dtype("int64"), (-1,))]))


def example_info(inputs: Inputs) -> dict[str, str]:
    """Return what MLmodel says of the example."""
    return {"artifact_path": EXAMPLE, "serving_input_path": REQUEST, **TYPES[inputs.kind]}


def input_examples(inputs: Inputs) -> dict[str, Any]:
    """Return the example as JSON, by file: one made-up input.

    None of the dataset: a row of a table may be a person, and has no business on another server.
    """
    if inputs.kind == "table":
        names = [each.name for each in inputs.columns]
        rows = {"columns": names, "data": [[_made_up(each) for each in inputs.columns]]}
        return {EXAMPLE: rows, REQUEST: {"dataframe_split": rows}}
    import numpy as np

    _, width, *channels = inputs.shape
    white = 255 if inputs.dtype == "uint8" else 1.0
    ramp = np.linspace(0, white, width).astype(inputs.dtype)
    image = np.broadcast_to(ramp.reshape(1, width, *[1] * len(channels)), inputs.shape)
    images = image[np.newaxis].tolist()
    return {EXAMPLE: images, REQUEST: {"inputs": images}}


def _made_up(column: Column) -> float | str:
    if column.kind == "number":
        return 0.0
    return column.categories[0] if column.categories else ""

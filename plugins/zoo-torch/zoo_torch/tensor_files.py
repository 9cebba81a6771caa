"""Keep nested values with tensors as safetensors and JSON, without a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import ArtifactError, PluginError, reason

TENSORS, VALUES = "state.safetensors", "state.json"
"""The tensors, by their place in the values, and the values around them."""


def save(folder: Path, value: Any) -> None:
    """Write dictionaries, lists, tuples, numbers, texts and tensors into two files of the folder.

    Raises PluginError for anything else, which would need a pickle.
    """
    tensors: dict[str, Any] = {}
    described = _described(value, "", tensors)
    save_tensors(folder / TENSORS, tensors)
    (folder / VALUES).write_text(json.dumps(described), encoding="utf-8")


def load(folder: Path) -> Any:
    """Return what `save` has written, tensors on the processor; raises ArtifactError."""
    tensors = load_tensors(folder / TENSORS)
    try:
        return _restored(json.loads((folder / VALUES).read_text(encoding="utf-8")), tensors)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder / VALUES, error) from None


def save_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write tensors by name into one file of safetensors.

    Raises PluginError for a value that is no tensor.
    """
    from safetensors.torch import save_file

    # Copied, because two names of one tensor, as of tied weights, are refused.
    save_file({name: _plain(name, each).clone() for name, each in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a file of safetensors, on the processor; raises ArtifactError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from None
    return found


def _plain(name: str, value: Any) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        raise PluginError(
            f"The state '{name}' of the module is {type(value).__name__}, no tensor, and would "
            "need a pickle.",
            "Keep numbers in buffers: register_buffer.",
        )
    return value.detach().cpu().contiguous()


def _described(value: Any, place: str, tensors: dict[str, Any]) -> Any:
    """Put the tensors aside; the rest as JSON that tells tuples and keys that are numbers."""
    import torch

    if isinstance(value, torch.Tensor):
        tensors[place] = value
        return {"tensor": place}
    if isinstance(value, Mapping):
        pairs = [[key, _described(each, f"{place}/{key}", tensors)] for key, each in value.items()]
        return {"map": pairs}
    if isinstance(value, list | tuple):
        items = [_described(each, f"{place}/{i}", tensors) for i, each in enumerate(value)]
        return {type(value).__name__: items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise PluginError(
        f"The state '{place}' of the training is {type(value).__name__}, which would need a pickle."
    )


def _restored(described: Any, tensors: Mapping[str, Any]) -> Any:
    if not isinstance(described, dict):
        return described
    ((kind, inside),) = described.items()
    if kind == "tensor":
        return tensors[inside]
    if kind == "map":
        return {key: _restored(each, tensors) for key, each in inside}
    items = [_restored(each, tensors) for each in inside]
    return items if kind == "list" else tuple(items)


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path} cannot be read: {reason(error)}.", "Train the model again.")

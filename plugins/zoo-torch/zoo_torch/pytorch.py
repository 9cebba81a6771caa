"""Import PyTorch, and hold its global state while a model computes."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.model import Array

CUBLAS_WORKSPACE = ":4096:8"
"""Without a fixed workspace cuBLAS adds up in an order of its own."""


def load_torch() -> Any:
    """Import PyTorch."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    return importlib.import_module("torch")


def find_device() -> Any:
    """Return the GPU that the job was given in CUDA_VISIBLE_DEVICES, else the processor.

    Without CUDA_VISIBLE_DEVICES no GPU is used: it may belong to another job.
    """
    torch = load_torch()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    has_gpu = named not in ("", "-1") and torch.cuda.is_available()
    return torch.device("cuda" if has_gpu else "cpu")


@contextlib.contextmanager
def reproducible(seed: int, device: Any) -> Iterator[None]:
    """Seed PyTorch's generators, take deterministic algorithms, and restore both afterwards.

    On a GPU an operation without such an algorithm warns; on the processor it raises RuntimeError.
    """
    torch = load_torch()
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    is_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if is_gpu else []):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=is_gpu)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)


def random_states(device: Any) -> dict[str, Any]:
    """Return the states of PyTorch's global generators, as tensors."""
    torch = load_torch()
    found = {"cpu": torch.get_rng_state()}
    return found | ({"cuda": torch.cuda.get_rng_state()} if device.type == "cuda" else {})


def restore_random_states(states: dict[str, Any]) -> None:
    """Restore what `random_states` has returned."""
    torch = load_torch()
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def as_tensor(x: Array) -> Any:
    """Return an array as a tensor on the same memory, which must not be changed."""
    import numpy as np

    # PyTorch has no read-only tensors, and warns of an array that is. `owner` keeps it alive.
    seen = x.__array_interface__ | {"data": (x.ctypes.data, False)}
    return load_torch().from_numpy(np.asarray(SimpleNamespace(__array_interface__=seen, owner=x)))

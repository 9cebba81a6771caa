"""The GPUs of this machine, as NVIDIA's driver lists them, and which of them a process may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from zoo.errors import UsageError
from zoo.jobs.environments import GPU_NAME
from zoo.jobs.worker_records import Gpu

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable with the GPUs that a process sees; empty for none, unset for all."""
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""CUDA numbers GPUs by speed unless told to number them as the driver does."""
MEMORY = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
}
"""TensorFlow takes memory as it needs it, not all at once; PyTorch's pieces fit together again.

PyTorch 2.9 ignores the newer name of its variable, PYTORCH_ALLOC_CONF (its issue 183387).
"""


def list_gpus() -> list[Gpu]:
    """List the GPUs of this machine; none without NVIDIA's driver or its Python package."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return []
    try:
        return [_read(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:  # a driver that was updated without a restart, or a lost GPU
        return []
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def list_visible(environ: Mapping[str, str] | None = None) -> list[Gpu]:
    """List the GPUs that a process with this environment may use, by default this one."""
    text = (os.environ if environ is None else environ).get(VISIBLE)
    if text is not None and not text.strip():
        return []
    found = list_gpus()
    if text is None:
        return found
    # CUDA takes indexes and the beginnings of ids, and ignores all that follow an unknown one.
    visible = []
    for each in (part.strip() for part in text.split(",")):
        gpu = next((gpu for gpu in found if _is_called(gpu, each)), None)
        if gpu is None:
            break
        visible.append(gpu)
    return visible


def environment(gpu: Gpu | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a process that may use one GPU, or none, beside `environ`.

    Options of allocators that the user has set are kept.
    """
    if gpu is None:
        return {VISIBLE: ""}
    kept = {name: environ.get(name, value) for name, value in MEMORY.items()}
    return {VISIBLE: str(gpu.index), GPU_NAME: gpu.name, **ORDER, **kept}


def find_gpus(text: str) -> list[Gpu]:
    """Return the GPUs that are named, as `0,1`, or with `auto` all that this process may use.

    Raises UsageError for a GPU that this machine does not have, or one that is named twice.
    """
    names = [name.strip() for name in text.split(",")]
    found = list_visible()
    if not found:
        raise UsageError(
            "This machine has no GPU that NVIDIA's driver lists.",
            "`nvidia-smi` says which GPUs the driver sees.",
        )
    if names == ["auto"]:
        return found
    by_name = {str(gpu.index): gpu for gpu in found}
    for name in names:
        if name not in by_name:
            known = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in found)
            raise UsageError(f"This machine has no GPU '{name}'.", f"It has {known}.")
        if names.count(name) > 1:
            raise UsageError(f"The GPU {name} is named twice.", "One slot owns it.")
    return [by_name[name] for name in names]


def _read(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle).total // 2**20
    return Gpu(index, nvml.nvmlDeviceGetName(handle), memory, nvml.nvmlDeviceGetUUID(handle))


def _is_called(gpu: Gpu, name: str) -> bool:
    return name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name))

"""A stand-in for the Python package of NVIDIA's driver, for machines without a GPU."""

from __future__ import annotations

from pathlib import Path

PYNVML = '''
"""Two GPUs of which the driver knows name, id and memory."""
class NVMLError(Exception):
    pass
class Memory:
    total = 141 * 2**30
NAMES = {names!r}
def nvmlInit():
    if NAMES is None:
        raise NVMLError("Driver Not Loaded")
def nvmlShutdown():
    pass
def nvmlDeviceGetCount():
    return len(NAMES)
def nvmlDeviceGetHandleByIndex(index):
    return index
def nvmlDeviceGetName(handle):
    return NAMES[handle]
def nvmlDeviceGetUUID(handle):
    return f"GPU-{{handle}}abc"
def nvmlDeviceGetMemoryInfo(handle):
    return Memory
'''


def write_pynvml(folder: Path, names: list[str] | None) -> Path:
    """Write a module `pynvml` that lists GPUs of these names; None is a machine without a driver.

    Returns the folder, for the path of a process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pynvml.py").write_text(PYNVML.format(names=names))
    return folder

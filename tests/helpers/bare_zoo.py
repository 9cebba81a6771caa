"""`zoo` as where mnist-zoo alone is installed: no worker, plugin or framework can be imported."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any

ABSENT = ("zoo_workers", "zoo_sklearn", "zoo_keras", "sklearn", "scipy", "keras", "tensorflow")
ABSENT += ("numpy", "PIL", "joblib", "zoo_torch", "torch")


class Absent(MetaPathFinder):
    """Refuses what is not installed there."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        name = fullname.partition(".")[0]
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, Absent())
    from zoo.cli.main import main

    main()

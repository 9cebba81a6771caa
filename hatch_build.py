"""Put the manual page into the wheel if `make wheels` has written it: that needs an install."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGE = "zoo.1"


class ManPage(BuildHookInterface):  # type: ignore[type-arg]
    """Where pip installs it, man(1) finds it: beside the `bin` of the command."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        page = Path(self.root) / PAGE
        if self.target_name == "wheel" and version == "standard" and page.is_file():
            build_data["shared_data"][str(page)] = f"share/man/man1/{PAGE}"

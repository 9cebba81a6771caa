"""The plugin of the README, as an author has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="session")
def example() -> str:
    """The file of a plugin with a pipeline as its model, `pca-boosting`."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)

"""Print what projects need from outside this repository, one requirement in a line.

    python compose/requirements.py '.[postgres,s3]' workers plugins/zoo-keras

A layer of the image that installs these alone stays cached while only our own code changes.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any


def requirements(asked: list[str]) -> list[str]:
    """Return the requirements of projects, each a folder like `plugins/zoo-keras[export]`.

    Projects of this repository are left out, but the extras that they ask of each other count.
    """
    paths = [Path(), Path("workers"), *Path("plugins").iterdir()]
    tables = {str(path): _project(path) for path in paths if (path / "pyproject.toml").is_file()}
    ours = {table["name"]: table for table in tables.values()}
    found: set[str] = set()
    done: set[tuple[str, str]] = set()
    waiting = [(tables[folder]["name"], extras) for folder, extras in map(_split, asked)]
    while waiting:
        name, extras = waiting.pop()
        for extra in {"", *extras} - {extra for known, extra in done if known == name}:
            done.add((name, extra))
            table = ours[name]
            for text in table["optional-dependencies"][extra] if extra else table["dependencies"]:
                other, wanted = _split(re.split(r"[<>=!~;\s]", text, maxsplit=1)[0])
                if other in ours:
                    waiting.append((other, wanted))
                else:
                    found.add(text)
    return sorted(found)


def _project(folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return table


def _split(text: str) -> tuple[str, list[str]]:
    name, _, extras = text.partition("[")
    return name, [each for each in extras.rstrip("]").split(",") if each]


if __name__ == "__main__":
    sys.stdout.write("".join(f"{each}\n" for each in requirements(sys.argv[1:])))

"""Print the changes of a version, after a check that all distributions have it.

python release/notes.py 0.1.0
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def projects() -> dict[str, dict]:
    """Return the table `project` of each distribution by its folder."""
    files = [ROOT / "pyproject.toml", ROOT / "workers" / "pyproject.toml"]
    files += sorted((ROOT / "plugins").glob("*/pyproject.toml"))
    return {str(f.parent): tomllib.loads(f.read_text())["project"] for f in files}


def notes(changelog: str, version: str) -> str:
    """Return the section of a version. Raises ValueError if there is none."""
    found = re.search(rf"^## \[{re.escape(version)}\].*?\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    if found is None:
        raise ValueError(f"CHANGELOG.md has no section [{version}].")
    return found[1].strip()


def main(version: str) -> int:
    other = [f"{f} has {p['version']}" for f, p in projects().items() if p["version"] != version]
    if other:
        sys.stderr.write(f"The tag is {version}, but: {', '.join(other)}\n")
        return 1
    sys.stdout.write(notes((ROOT / "CHANGELOG.md").read_text(), version) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

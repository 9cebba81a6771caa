"""Create a new plugin, a package or one file, with a small working model or dataset."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib import resources
from pathlib import Path
from string import Template
from typing import Literal

from zoo import private_folder, settings
from zoo.errors import UsageError, ZooError, reason, unknown
from zoo.plugins import packages, registry

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40

FILES = {
    "pyproject.toml": "plugin/pyproject.toml.txt",
    "README.md": "plugin/README.md.txt",
    "{package}/__init__.py": "{template}.py.txt",
    "tests/test_{package}.py": "plugin/test_{kind}.py.txt",
}
"""The files of a package and their templates."""
TRAINED = "knn"
"""The model that is trained on a new dataset; it takes tables and images."""

Kind = Literal["model", "dataset"]
BASES = {"keras": "zoo-keras", "sklearn": "zoo-sklearn", "torch": "zoo-torch"}
"""The plugins whose base class a new model may have, by what is typed."""


def train_command(name: str, kind: Kind = "model") -> str:
    """Return the command that trains a new model, or another one on a new dataset."""
    return f"zoo train {name}" if kind == "model" else f"zoo train {TRAINED} --dataset {name}"


def new_package(
    name: str, folder: Path | None = None, kind: Kind = "model", base: str | None = None
) -> Path:
    """Create an installable plugin in the folder, by default ./NAME; returns the folder.

    With a `base`, a key of BASES, its model is built on the base class of that plugin. Raises
    UsageError for an invalid name or base, or a folder that is not empty.
    """
    words = _words(name, kind, base)
    folder = folder or Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} already exists.", "Choose another name, or -o FOLDER.")
    for file, template in FILES.items():
        _write(folder / file.format(**words), template.format(**words), words)
    return folder


def new_file(name: str, kind: Kind = "model", base: str | None = None) -> Path:
    """Create a one-file plugin in the plugins folder; returns the file.

    `base` as for `new_package`, but its plugin must be installed: a file requires nothing. Raises
    UsageError for an invalid name or base, or an existing file.
    """
    file = settings.load().plugins_folder / f"{name}.py"
    if file.exists():
        raise UsageError(f"{file} already exists.", "Choose another name.")
    words = _words(name, kind, base)
    if base and importlib.util.find_spec(BASES[base].replace("-", "_")) is None:
        raise UsageError(
            f"The plugin {BASES[base]} is not installed.",
            f"Install it: pip install {BASES[base]}.{packages.IN_A_CLONE}",
        )
    private_folder.make(file.parent)
    _write(file, f"{words['template']}.py.txt", words)
    return file


def _words(name: str, kind: Kind, base: str | None = None) -> dict[str, str]:
    """The variables of the templates."""
    if base is not None and base not in BASES:
        raise unknown("base", base, BASES)
    if base is not None and kind != "model":
        raise UsageError("Only a model has a base.", "Leave out --base or --dataset.")
    package = name.replace("-", "_")
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"The name '{name}' is invalid.",
            f"Use up to {LONGEST} lower case letters, digits and dashes, a letter first: my-knn.",
        )
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or _is_there(package):
        raise UsageError(f"'{package}' is already a module of Python or an installed package.")
    found = registry.catalogue()
    if name in {*found.models, *(plugin.name for plugin in found.plugins)}:
        raise UsageError(f"A model or plugin named '{name}' already exists.")
    if kind == "dataset" and name in {*found.datasets, *registry.RESERVED["dataset"]}:
        raise UsageError(f"A dataset named '{name}' already exists.")
    return {
        "name": name,
        "kind": kind,
        "template": base or kind,
        "requires": f'"{BASES[base]}"' if base else '"mnist-zoo[data]", "numpy"',
        "package": package,
        "class_name": "".join(word.capitalize() for word in name.split("-")),
        "constant": package.upper(),
        "train": train_command(name, kind),
    }


def _is_there(package: str) -> bool:
    return package in ("test", "tests", "plugins") or importlib.util.find_spec(package) is not None


def _write(path: Path, template: str, words: dict[str, str]) -> None:
    text = resources.files("zoo").joinpath("templates", template).read_text(encoding="utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(words), encoding="utf-8")
    except OSError as error:
        raise ZooError(f"{path} cannot be written: {reason(error)}.") from None

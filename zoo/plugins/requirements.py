"""The distributions that a plugin requires: which ones, their versions, and which are missing."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import re
import sys
from collections.abc import Iterable
from importlib import metadata


@functools.cache
def required(distribution: str) -> list[str]:
    """Return the requirements of a distribution, with those of the plugins among them.

    Without extras. A one-file plugin has none.
    """
    own = [_name(line) for line in _lines(distribution)]
    others = [each for each in own if _is_plugin(each) and each != distribution]
    return list(dict.fromkeys([*own, *(more for each in others for more in required(each))]))


@functools.cache
def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution; empty if it is not there."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(distribution)
    return ""


def has_extra(distribution: str, extra: str) -> bool:
    """Return whether an installed distribution has an extra of this name."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return extra in (metadata.metadata(distribution).get_all("Provides-Extra") or ())
    return False


def missing(distribution: str, imports: Iterable[str] = ()) -> list[str]:
    """Return the requirements of a plugin that are not installed.

    `imports` are the packages that a one-file plugin imports. Requirements of some systems or
    versions of Python only are not looked at.
    """
    found = [name for name in _unconditional(distribution) if not installed_version(name)]
    for package in imports:
        usual = package.replace("_", "-")
        if not _is_importable(package):
            found.append(package)
        elif _is_plugin(usual):
            found += missing(usual)
    return list(dict.fromkeys(found))


def _unconditional(distribution: str) -> list[str]:
    own = [_name(line) for line in _lines(distribution) if ";" not in line]
    others = [each for each in own if _is_plugin(each) and each != distribution]
    return [*own, *(more for each in others for more in _unconditional(each))]


def _lines(distribution: str) -> list[str]:
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
    return [line for line in lines if "extra ==" not in line]


def _name(line: str) -> str:
    return re.split(r"[^\w.-]", line)[0]


def _is_plugin(distribution: str) -> bool:
    return distribution.startswith("zoo-")


def _is_importable(package: str) -> bool:
    # ValueError: a module that was made without a spec.
    with contextlib.suppress(ValueError):
        return package in sys.modules or importlib.util.find_spec(package) is not None
    return True

"""Environments: where an attempt ran, and the code and data that it used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.canonical_json import split_known

GPU_NAME = "ZOO_RUNNER_GPU"
"""Environment variable with the model of the GPU that jobs of a process may use."""


@dataclass(frozen=True)
class CodeVersion:
    """The version of a plugin's code."""

    sha256: str | None = None
    """Hash of the source files; None if unknown."""
    commit: str | None = None
    """Commit of the git checkout; None outside one."""
    dirty: bool | None = None
    """Whether the checkout has uncommitted changes; None outside one."""
    file: str | None = None
    """The job's file with the text of a one-file plugin; None if it has none."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Fields of another version of Zoo."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CodeVersion:
        """Read the code of a stored environment."""
        values, others = split_known(stored, _CODE)
        return cls(**values, others=others)

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name, sorted."""
        found = {name: getattr(self, name) for name in _CODE}
        if self.file is None:
            del found["file"]
        return _sorted(found, self.others)


@dataclass(frozen=True)
class Machine:
    """The machine on which an attempt ran; a field that was not recorded is None."""

    host: str | None = None
    """Its host name."""
    cpu: str | None = None
    """The model of its processor."""
    features: str | None = None
    """Hash of the processor's instruction sets, which decide how numerical libraries round."""
    gpu: str | None = None
    """The model of the GPU that the job had; None without one."""
    cores: int | None = None
    """The number of cores that the process may use."""
    threads: int | None = None
    """The number of threads that numerical libraries may use."""
    system: str | None = None
    """Name and release of the operating system, and the architecture."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Fields of another version of Zoo."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Machine:
        """Read the machine of a stored environment."""
        values, others = split_known(stored, _MACHINE)
        return cls(**values, others=others)

    def to_json(self) -> dict[str, Any]:
        """Return the recorded fields by name, sorted."""
        return _sorted(_recorded({name: getattr(self, name) for name in _MACHINE}), self.others)


@dataclass(frozen=True)
class Environment:
    """The environment of an attempt; a field that was not recorded is None."""

    fingerprint: str | None = None
    """The sha256 of everything known to affect the result."""
    data: str | None = None
    """Fingerprint of the contents of the dataset."""
    plugin: str | None = None
    """The label of the model's plugin: its distribution and version."""
    code: CodeVersion | None = None
    """The version of the plugin's code."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of Python, Zoo, the plugin and its requirements, by name."""
    machine: Machine | None = None
    """The machine that ran the attempt."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Fields of another version of Zoo: unknown ones, and known ones of another type."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Environment:
        """Read an environment as a worker of any version has recorded it."""
        values, others = split_known(stored, _ENVIRONMENT)
        if not all(isinstance(each, str) for each in values.get("versions", {}).values()):
            others["versions"] = values.pop("versions")
        if "code" in values:
            values["code"] = CodeVersion.from_json(values["code"])
        if "machine" in values:
            values["machine"] = Machine.from_json(values["machine"])
        return cls(**values, others=others)

    def to_json(self) -> dict[str, Any]:
        """Return the recorded fields by name, sorted."""
        found = {
            **{name: getattr(self, name) for name in ("fingerprint", "data", "plugin")},
            "code": self.code and self.code.to_json(),
            "versions": dict(self.versions) or None,
            "machine": self.machine and self.machine.to_json(),
        }
        return _sorted(_recorded(found), self.others)


_CODE = {"sha256": str, "commit": str | None, "dirty": bool | None, "file": str | None}
_MACHINE = {
    **dict.fromkeys(("host", "cpu", "features", "gpu", "system"), str),
    **dict.fromkeys(("cores", "threads"), int),
}
_ENVIRONMENT = {
    **dict.fromkeys(("fingerprint", "data", "plugin"), str),
    **dict.fromkeys(("code", "versions", "machine"), dict),
}


def _recorded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _sorted(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted({**values, **others}.items()))

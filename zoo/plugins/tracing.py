"""Print hook calls to stderr, for ZOO_TRACE_PLUGINS=1."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pluggy


def show(manager: pluggy.PluginManager) -> None:
    """Print every hook call of the manager: hook, plugins, duration and outcome."""
    started: list[float] = []

    def before(hook: str, impls: Sequence[pluggy.HookImpl], kwargs: Mapping[str, Any]) -> None:
        started.append(time.perf_counter())

    def after(
        outcome: pluggy.Result[Any],
        hook: str,
        impls: Sequence[pluggy.HookImpl],
        kwargs: Mapping[str, Any],
    ) -> None:
        # Hooks may be nested: the last one started ends first.
        ms = (time.perf_counter() - started.pop()) * 1000
        if not impls:
            return
        whose = ", ".join(impl.plugin_name for impl in reversed(impls))
        error = outcome.exception
        ended = f"raised {type(error).__name__}: {error}" if error else "ok"
        sys.stderr.write(f"hook: {hook} of {whose}, {ms:.1f} ms, {ended}\n")

    manager.add_hookcall_monitoring(before, after)

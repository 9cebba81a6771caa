"""Releases of scikit-learn whose private parts this plugin uses."""

from __future__ import annotations

KNOWN = "1.9."
"""Releases that were compared; tests check that the bits are those of scikit-learn's own `fit`."""


def is_known() -> bool:
    """Return whether this is one of the releases that were compared."""
    import sklearn

    return str(sklearn.__version__).startswith(KNOWN)

"""Conditions of the language of `--where`, as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from zoo.query.expression import Condition, Joined, Not


def conditions(leaf: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    """Conditions over these comparisons."""
    words = st.sampled_from(["and", "or"])

    def deeper(part: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
        some = st.lists(part, min_size=2, max_size=4).map(tuple)
        return st.builds(Not, part) | st.builds(Joined, words, some)

    return st.recursive(leaf, deeper, max_leaves=8)

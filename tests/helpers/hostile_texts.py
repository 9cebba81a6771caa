"""Texts that break listings: control sequences, wide letters, paths and words of 300 letters."""

from __future__ import annotations

from hypothesis import strategies as st

CONTROLS = [
    *("\x1b[31m", "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1b", "\x9b31m"),
    *("\x7f", "\x08", "\r", "\n", "\t", "\x85", "\u202e", "\u2066", "\u200b", "\u2028", "\ufeff"),
    "\U000e0041",
]
WIDE = [
    *("한국어 데이터", "手書き数字認識", "🙂", "👩\u200d🔬", "🇰🇷", "e\u0301", "☃\ufe0f", "ก็", "ﷺ"),
    "a\u0300" * 40,
]
PATHS = [
    "idx:/home/" + "/".join(f"folder-{n}" for n in range(40)),
    "/data/my pictures of digits/" + "x" * 250 + "/2024-05-01.npz",
    "npz:/" + "한글" * 120 + ".npz",
]
PLAIN = [
    "mnist",
    "dense-softmax",
    "no such file",
    "[red]x[/red]",
    "=cmd|' /C calc'!A0",
    "-1",
    "@x",
    "",
]
LONG = ["w" * 300, "word " * 60, "1" * 40, "0.123456789012345678", "loss 0.2793 acc 0.9111 " * 12]

texts = st.lists(
    st.sampled_from([*CONTROLS, *WIDE, *PATHS, *PLAIN, *LONG])
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0…"), max_size=8),
    min_size=1,
    max_size=3,
).map("".join)
names = texts.filter(bool)
values = st.none() | st.booleans() | st.integers(-(10**40), 10**40) | texts
"""Defaults of params."""
cards = st.fixed_dictionaries(
    {
        "name": names,
        "plugin": texts,
        "summary": texts,
        "about": texts,
        "family": texts,
        "paper": texts,
        "layout": st.just("flat"),
        "dtype": st.just("float32"),
        "datasets": st.dictionaries(names, texts, max_size=2),
        "schema": st.fixed_dictionaries(
            {
                "properties": st.dictionaries(
                    names,
                    st.fixed_dictionaries(
                        {"type": st.just("integer"), "default": values, "description": texts}
                    ),
                    max_size=3,
                )
            }
        ),
    }
)
"""Cards of models as workers store them."""

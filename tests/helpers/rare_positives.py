"""A table in which 3 % of the rows are positive, always the same one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ROWS, POSITIVES = 1000, 30


def write_table(file: Path) -> str:
    """Write the table as CSV and return the name of its dataset, with 400 test rows."""
    random = np.random.default_rng(3)
    is_positive = np.arange(ROWS) < POSITIVES
    x = random.normal(size=(ROWS, 4))
    x[is_positive] += [1.5, 1.0, 0.5, 0.0]
    order = random.permutation(ROWS)
    lines = ["a,b,c,d,found"]
    for i in order:
        numbers = ",".join(f"{value:.4f}" for value in x[i])
        lines.append(f"{numbers},{'yes' if is_positive[i] else 'no'}")
    file.write_text("\n".join(lines) + "\n")
    return f"csv:{file}?target=found&test=0.4"

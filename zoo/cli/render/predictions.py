"""Print predictions: a single one drawn, several as a table or as CSV."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zoo.cli.render import console

if TYPE_CHECKING:
    from zoo.inference.predictor import Prediction

BAR = 40
"""Width of the bar of a probability of 1."""
BESIDE = len(" 100.00 % ") + BAR
"""Width needed beside the name of a class."""
SHOWN = 0.005
"""Classes below this probability are not drawn, except the first three."""


def draw(answer: Prediction) -> None:
    """Draw one input, an image before and after preparation, and the predicted probabilities."""
    from zoo.images import render

    subject = answer.subject
    console.out.print(console.one_line(f"{subject.name}: {_verdict(answer)}"))
    if subject.values is not None:
        console.definitions(
            ["column", "value"], [[name, _text(value)] for name, value in subject.values.items()]
        )
        console.out.print()
    else:
        shown = [subject.image] if subject.before is None else [subject.before, subject.image]
        captions = ["before", "as the model sees it"][-len(shown) :]
        console.drawn(render.side_by_side(shown, console.in_colour(), captions))
    ranked = sorted((answer.probabilities or {}).items(), key=lambda each: -each[1])
    likely = [each for number, each in enumerate(ranked) if number < 3 or each[1] >= SHOWN]
    names = console.aligned([name for name, _ in likely], BESIDE)
    for name, (_, probability) in zip(names, likely, strict=True):
        bar = render.bar(probability, BAR)
        console.out.print(f"{name} {100 * probability:6.2f} % {bar}".rstrip(), soft_wrap=True)
    console.out.print()


def _verdict(answer: Prediction) -> str:
    if answer.label is None:
        return answer.predicted
    is_right = answer.predicted == answer.label
    return f"{answer.predicted}, {'correct' if is_right else f'wrong: the label is {answer.label}'}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


class Rows:
    """Predictions as rows: the file or the values of a row, label, class and probabilities."""

    def __init__(self, first: Prediction, all_classes: bool) -> None:
        self._all_classes = all_classes
        self._values = [*(first.subject.values or ())]
        self._has_label = first.label is not None
        self.names = [*(self._values or ["file"]), *(["label"] if self._has_label else [])]
        self.names.append("predicted")
        if first.probabilities is not None:
            self.names.append("probability")
            every = [f"probability_{name}" for name in first.probabilities]
            self.names += every if all_classes else []
        self.rows: list[list[Any]] = []
        self._correct = 0

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, answers: Iterable[Prediction]) -> None:
        """Add predictions of the same kind as the first; their pixels are not kept."""
        for each in answers:
            values = each.subject.values
            row = [each.subject.name] if values is None else [*values.values()]
            row += [each.label] if self._has_label else []
            row.append(each.predicted)
            if each.probabilities is not None:
                row.append(each.probability)
                row += each.probabilities.values() if self._all_classes else []
            self.rows.append(row)
            self._correct += each.label == each.predicted

    def table(self) -> None:
        """Print the rows as a table, and the number of correct ones if labels are known."""
        start = len(self._values or ["file"])
        right = [name for name in self.names[start:] if name.startswith("probability")]
        rows = [
            [
                f"{cell:.4f}" if place >= start and isinstance(cell, float) else _text(cell)
                for place, cell in enumerate(row)
            ]
            for row in self.rows
        ]
        optional = [*reversed(right[1:]), *reversed(self._values)]
        console.table(self.names, rows, right, optional, more="--json shows")
        if self._has_label:
            console.out.print(f"\n{self._correct:,} of {len(rows):,} are correct.")

    def csv(self) -> None:
        """Print the rows as CSV."""
        console.csv_out(self.names, self.rows)

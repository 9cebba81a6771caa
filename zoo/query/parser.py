"""The parser of `--where`; `expression` evaluates a condition, `zoo/jobs/filters.py` makes SQL.

    accuracy > 0.92 and params.learning_rate < 0.01
    status in ("failed", "lost") or (model ~ "dense-*" and not "nightly" in tags)
    0.9 <= metrics.per_class.3.f1 < 0.95 and took > 10min and params.momentum != null

A name is compared with a value, never with another name. As in SQL, a comparison with a value that
is missing or of another type is unknown: such a job does not match, and `not` does not make it
match. Only `== null` and `!= null` test whether there is a value at all.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.errors import UsageError
from zoo.query.expression import Compare, Condition, Joined, Not, Value, evaluate

MAX_LENGTH = 2000
MAX_DEPTH = 30
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
"""Seconds: `10min` is the number 600."""

ORDER = ("<", "<=", ">", ">=")
FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
WORDS = ("and", "or", "not", "in")
CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}

TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?P<unit>(?:min|[smhdw])?)(?![\w.])
  | (?P<name>[A-Za-z_]\w*(?:\.[\w-]*\w)*)
  | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<sign><=|>=|==|!=|!~|[<>=~(),\[\]])
    )""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)


@dataclass(frozen=True)
class Where:
    """A parsed condition."""

    condition: Condition

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Return whether it is true for the values of names, a mapping that may be nested."""
        return evaluate(self.condition, values) is True

    def __str__(self) -> str:
        return str(self.condition)


def parse(text: str, names: Collection[str] | None = None) -> Where:
    """Parse a condition.

    `names` are the names that it may use (`accuracy`; `params.*` for all with this prefix); any by
    default. Raises UsageError, which shows the place, if the text is not a condition.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(
            f"A condition has at most {MAX_LENGTH} characters; this one has {len(text)}."
        )
    return Where(_Parser(text, names).parse())


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int
    value: Value = None


class _Parser:
    """Recursive descent: disjunction -> conjunction -> negation -> comparison."""

    def __init__(self, text: str, names: Collection[str] | None) -> None:
        self.text = text
        self.names = names
        self.tokens = [*self._tokens(), _Token("end", "", len(text.rstrip()))]
        self.depth = 0

    def _tokens(self) -> list[_Token]:
        found, at = [], 0
        end = len(self.text.rstrip())
        while at < end:
            match = TOKEN.match(self.text, at)
            if match is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                raise self._refuse("expected a number, name, text or operator", at)
            found.append(self._token(match))
            at = match.end()
        return found

    def _token(self, match: re.Match[str]) -> _Token:
        kind = "number" if match["number"] else str(match.lastgroup)
        text, at = match[kind], match.start(kind)
        if kind == "number":
            return _Token(kind, text, at, self._number(text, match["unit"], at))
        if kind == "text":
            return _Token(kind, text, at, re.sub(r"\\(.)", _unescaped, text[1:-1], flags=re.S))
        if kind == "name" and text in CONSTANTS:
            return _Token("constant", text, at, CONSTANTS[text])
        return _Token("word" if text in WORDS else kind, "==" if text == "=" else text, at)

    def _number(self, text: str, unit: str, at: int) -> float | int:
        is_whole = text.lstrip("+-").isdigit() and len(text) <= 15
        number = int(text) if is_whole else float(text)
        if not math.isfinite(number):
            raise self._refuse("this number is too large", at)
        seconds = number * UNITS[unit] if unit else number
        return seconds if abs(seconds) < 2**53 else float(seconds)

    def parse(self) -> Condition:
        found = self.disjunction()
        if self.next.kind != "end":
            raise self._refuse("expected `and`, `or` or the end", self.next.at)
        return found

    @property
    def next(self) -> _Token:
        return self.tokens[0]

    def take(self, *texts: str) -> _Token | None:
        """Consume and return the next token if it is one of these operators or words."""
        fits = self.next.kind in ("sign", "word") and self.next.text in texts
        return self.tokens.pop(0) if fits else None

    def disjunction(self) -> Condition:
        return self._joined("or", self.conjunction)

    def conjunction(self) -> Condition:
        return self._joined("and", self.negation)

    def _joined(self, operator: str, parse_part: Callable[[], Condition]) -> Condition:
        parts = [parse_part()]
        while self.take(operator):
            parts.append(parse_part())
        return Joined(operator, tuple(parts)) if len(parts) > 1 else parts[0]

    def negation(self) -> Condition:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._refuse(
                f"brackets and `not` are nested more than {MAX_DEPTH} deep", self.next.at
            )
        found: Condition
        if self.take("not"):
            found = Not(self.negation())
        elif self.take("("):
            found = self.disjunction()
            if not self.take(")"):
                raise self._refuse("expected )", self.next.at)
        else:
            found = self.comparison()
        self.depth -= 1
        return found

    def comparison(self) -> Condition:
        left = self.operand()
        found: list[Condition] = []
        while not found or self.next.text in FLIPPED:
            at = self.next.at
            is_not = self.take("not") is not None
            sign = self.take("in") if is_not else self.take(*FLIPPED, "~", "!~", "in")
            if sign is None:
                raise self._refuse("expected an operator: < <= > >= == != ~ in", at)
            right: _Token | list[_Token]
            if sign.text == "in" and self.next.text in ("(", "["):
                right = self.values()
            else:
                right = self.operand()
            one = self._compare(left, sign, right)
            found.append(Not(one) if is_not or sign.text == "!~" else one)
            if isinstance(right, list):
                break
            left = right
        return found[0] if len(found) == 1 else Joined("and", tuple(found))

    def operand(self) -> _Token:
        token = self.next
        if token.kind not in ("number", "text", "constant", "name"):
            raise self._refuse("expected a name or a value", token.at)
        if token.kind == "name":
            self._known(token)
        return self.tokens.pop(0)

    def values(self) -> list[_Token]:
        end = {"(": ")", "[": "]"}[self.tokens.pop(0).text]
        found = [self.operand()]
        while self.take(","):
            found.append(self.operand())
        if not self.take(end):
            raise self._refuse(f"expected {end}", self.next.at)
        return found

    def _compare(self, left: _Token, sign: _Token, right: _Token | list[_Token]) -> Condition:
        if isinstance(right, list):
            equal = _Token("sign", "==", sign.at)
            each = tuple(self._compare(left, equal, one) for one in right)
            return Joined("or", each) if len(each) > 1 else each[0]
        if (left.kind == "name") == (right.kind == "name"):
            raise self._refuse("compare a name with a value", sign.at)
        text = sign.text.lstrip("!") if sign.text == "!~" else sign.text
        if left.kind != "name":
            if text == "~":
                raise self._refuse("write the name before ~ and the pattern after it", sign.at)
            left, right = right, left
            text = "has" if text == "in" else FLIPPED[text]
        elif text == "in":
            raise self._refuse(
                '`in` takes values in brackets, or a field that is a list: "nightly" in tags',
                sign.at,
            )
        self._fits(text, right, sign.at)
        return Compare(tuple(left.text.split(".")), text, right.value)

    def _fits(self, sign: str, value: _Token, at: int) -> None:
        if sign in ORDER and value.kind != "number":
            raise self._refuse(f"{sign} is for numbers", at)
        if sign == "~" and value.kind != "text":
            raise self._refuse('~ takes a text: model ~ "dense-*"', at)
        if sign == "has" and value.value is None:
            raise self._refuse("null is not allowed here", at)

    def _known(self, token: _Token) -> None:
        names, (first, dot, _) = self.names, token.text.partition(".")
        if names is None or (f"{first}.*" if dot else first) in names:
            return
        near = difflib.get_close_matches(token.text, [n for n in names if "*" not in n], n=1)
        nested = [n.replace("*", first) for n in sorted(names) if "*" in n and not dot]
        meant = " or ".join([*near, *nested])
        raise self._refuse(
            f"unknown name {token.text}" + (f" (did you mean {meant}?)" if meant else ""), token.at
        )

    def _refuse(self, why: str, at: int) -> UsageError:
        line = re.sub(r"\s", " ", self.text)
        return UsageError(f"Invalid condition: {why}.", f"{line}\n{' ' * at}^")


def _unescaped(match: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t"}.get(match[1], match[1])

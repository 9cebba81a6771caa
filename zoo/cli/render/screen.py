"""The console of rich that everything is drawn on: safe text, and lines broken between words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from zoo.cli.render import fitting
from zoo.terminal_text import safe


class Screen(Console):
    """A console on which no text from elsewhere can steer the terminal."""

    @property
    def file(self) -> IO[str]:
        """Where rich writes: past the guard of stderr, also where a live display stands before it.

        rich looks behind one stream that stands for another, and a live display puts its own
        there: what moves the cursor would be removed, and each frame stand beside the last one.
        """
        file = super().file
        while (behind := getattr(file, "rich_proxied_file", None)) is not None:
            file = behind
        return file

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as rich does; of the text, only what is safe. rich's own control codes pass."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(safe(segment.text), segment.style)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print; a terminal gets plain text broken between words, not within one."""
        is_plain = how.keys() <= {"markup"} and all(isinstance(each, str) for each in objects)
        if self.is_terminal and is_plain and objects:
            text = safe(" ".join(objects))
            objects = ("\n".join(fitting.wrap(text, self.width)),)
        super().print(*objects, **how)

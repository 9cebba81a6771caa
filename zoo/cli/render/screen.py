"""A rich console without control sequences in texts, which breaks lines between words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from zoo.cli.render import fitting
from zoo.terminal_text import safe


class Screen(Console):
    """A console that removes control sequences from all texts."""

    @property
    def file(self) -> IO[str]:
        """The stream that rich writes to: the original one behind guard and live display.

        rich itself unwraps only one proxy, and a live display adds its own: the guard would then
        remove cursor movements, and each frame would be printed beside the last one.
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
        """Render as rich does, with safe texts; control codes of rich itself pass."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(safe(segment.text), segment.style)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print; on a terminal plain text is wrapped between words."""
        is_plain = how.keys() <= {"markup"} and all(isinstance(each, str) for each in objects)
        if self.is_terminal and is_plain and objects:
            text = safe(" ".join(objects))
            objects = ("\n".join(fitting.wrap(text, self.width)),)
        super().print(*objects, **how)

"""Hooks of MkDocs for the documentation site (`mkdocs.yml`, `make docs`).

Pages that are not in docs/ are added: README, CHANGELOG and others from the top of the repository,
the README of each plugin, the commands from their `--help` texts, and the API from docstrings.
Links lead to the page of a file, or to the repository if the site does not have it.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import zoo
from zoo.cli import lazy_group
from zoo.cli.main import app

ROOT = Path(__file__).parents[1]
PLUGINS = (
    *("zoo-sklearn", "zoo-keras", "zoo-torch", "zoo-report"),
    *("zoo-web", "zoo-mlflow", "zoo-metrics", "zoo-notify"),
)
LOGO = ROOT / "zoo" / "templates" / "design" / "logo.svg"
BORROWED = {
    "index.md": "README.md",
    "index.ko.md": "README.ko.md",
    "reference/terminal.md": "docs/captures/README.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/changes.md": "CHANGELOG.md",
    "project/security.md": "SECURITY.md",
    "project/conduct.md": "CODE_OF_CONDUCT.md",
    **{f"plugins/{name}.md": f"plugins/{name}/README.md" for name in PLUGINS},
}
"""Page of the site -> file of the repository."""

PANELS = {
    "Train": "train",
    "Look at jobs": "look",
    "Act on jobs": "act",
    "Results": "results",
    "The zoo: models, data, plugins": "zoo",
    "Machinery": "machinery",
}
"""Section of `zoo --help` -> page below reference/commands."""

FOR_MODELS = ("Model", "Params", "param", "Report", "Checkpoint", "Stop")
FOR_DATA = ("Dataset", "Images", "Table", "Step", "Metric")
ELSEWHERE = {*FOR_MODELS, *FOR_DATA, "hookimpl", "__version__"}
FOR_NOTEBOOKS = sorted({*zoo.__all__} - ELSEWHERE, key=lambda name: (name[0].isupper(), name))
"""All other names of `zoo`: functions first, then the classes that they return and raise."""
API = {
    "reference/notebook.md": (
        "Notebook API",
        "The functions of a notebook or script ([how to use them](../notebook.md)).",
        [f"zoo.{name}" for name in FOR_NOTEBOOKS],
    ),
    "reference/models.md": (
        "Models",
        "What a model is made of ([how to write one](../plugins.md)).",
        [*(f"zoo.{name}" for name in FOR_MODELS), "zoo.weights"],
    ),
    "reference/data.md": (
        "Datasets, steps, metrics",
        "What else a plugin can register ([how to](../plugins.md#4-publish-it)).",
        [f"zoo.{name}" for name in FOR_DATA],
    ),
    "reference/hooks.md": (
        "Hooks",
        "The functions that a plugin implements, each with the decorator `zoo.hookimpl`.",
        ["zoo.hookspecs"],
    ),
    "reference/testing.md": (
        "Checks for plugins",
        "The conformance checks as functions, for the tests of a plugin.",
        ["zoo.testing.suite"],
    ),
    "reference/bases.md": (
        "Base classes of the plugins",
        "They bring training, saving and exports to a model of a few lines.",
        ["zoo_sklearn.SklearnModel", "zoo_keras.KerasModel", "zoo_torch.TorchModel"],
    ),
}
"""Page -> title, a sentence, and the names whose docstrings it shows."""

FIRST = "---\nhide:\n  - navigation\n---\n\n"
"""What the first pages begin with: they have no list of pages beside them."""
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s]+)(\))")
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", flags=re.M | re.S)
ESCAPED = re.compile(r"([*_\[\]|])")
BLOCK = re.compile(r"(^```.*?^```$)", flags=re.M | re.S)


@event_priority(100)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that docs/ does not have."""
    for page, text in generated():
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, LOGO.name, abs_src_path=str(LOGO)))
    return files


def generated() -> Iterator[tuple[str, str]]:
    """Yield each page with its Markdown."""
    for page, source in BORROWED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        yield page, FIRST + text if page.startswith("index.") else text
    yield from commands()
    for page, (title, sentence, names) in API.items():
        yield page, "\n\n".join([f"# {title}", sentence, *(f"::: {name}" for name in names)])


def commands() -> Iterator[tuple[str, str]]:
    """Yield a page for each section of `zoo --help`, and one with all of them."""
    lazy_group.load_all(app)
    panels = {name: each.rich_help_panel for name, each in lazy_group.root(app).commands.items()}
    root: Any = typer.main.get_command(app)
    above = click.Context(root, info_name="zoo")
    listed = ["# Commands", _text(root.help), "Every command has `--help`, with the same texts."]
    for panel, page in PANELS.items():
        found = [each for name, each in root.commands.items() if panels[name] == panel]
        listed += [f"## {panel}", "| command | purpose |\n| --- | --- |"]
        for each in found:
            link = f"[`zoo {each.name}`]({page}.md#zoo-{each.name})"
            listed[-1] += f"\n| {link} | {_text(each.get_short_help_str(200))} |"
        parts = [f"# {panel}", *(part for each in found for part in _command(each, above, 2))]
        yield f"reference/commands/{page}.md", "\n\n".join(parts)
    listed += [_text(root.epilog), "## Options of `zoo` itself", *_options(root, above)]
    yield "reference/commands/index.md", "\n\n".join(part for part in listed if part)


def _command(command: Any, above: click.Context, level: int) -> Iterator[str]:
    """Yield the Markdown of a command, and of those below it."""
    context = click.Context(command, info_name=command.name, parent=above)
    yield f"{'#' * level} zoo {context.command_path.removeprefix('zoo ')}"
    yield _text(command.help)
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    yield from _options(command, context)
    yield _text(command.epilog)
    for each in getattr(command, "commands", {}).values():
        if not each.hidden:
            yield from _command(each, context, level + 1)


def _options(command: Any, context: click.Context) -> Iterator[str]:
    for param in command.get_params(context):
        record = None if param.name == "help" else param.get_help_record(context)
        if record:
            names = re.sub(r" <.*>", "", record[0].strip())
            yield f"`{names}`\n:   {_text(record[1])}"


def _text(text: str | None) -> str:
    """Return a help text as Markdown: one line per paragraph, nothing of it read as markup."""
    paragraphs = re.split(r"\n\s*\n", (text or "").replace("\b", "").strip())
    lines = (" ".join(each.split()) for each in paragraphs)
    parts = (re.split(r"(`[^`]*`)", line) for line in lines)
    return "\n\n".join(
        "".join(p if p.startswith("`") else ESCAPED.sub(r"\\\1", html.escape(p)) for p in line)
        for line in parts
    )


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each link to the page of its file, or to the repository."""
    source = BORROWED.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    markdown = MERMAID.sub(lambda found: _floors(found[1]), markdown)
    pages = {name: uri for uri, name in BORROWED.items()}
    pages |= {f"docs/{each.src_uri}": each.src_uri for each in files}

    def lead(found: re.Match[str]) -> str:
        target, hash_, anchor = found[2].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in pages:
            here = posixpath.dirname(page.file.src_uri) or "."
            leads_to = posixpath.relpath(pages[path], here)
        elif (ROOT / path).exists():
            leads_to = f"{config.repo_url}/blob/main/{path}"
        else:
            return found[0]  # MkDocs says so
        return f"{found[1]}{leads_to}{hash_}{anchor}{found[3]}"

    parts = BLOCK.split(markdown)
    return "".join(part if n % 2 else LINK.sub(lead, part) for n, part in enumerate(parts))


def _floors(diagram: str) -> str:
    """Return the drawing of docs/house.py as a table: no library has to draw it in the browser."""
    floors = re.findall(r"subgraph \w+\[floor (\d+)\]\n(.*?)\n  end", diagram, flags=re.S)
    rows = [f"| {n} | {', '.join(f'`{room}`' for room in rooms.split())} |" for n, rooms in floors]
    return "\n".join(["| floor | rooms |", "| --- | --- |", *rows])


def on_page_context(context: Any, page: Page, config: MkDocsConfig, nav: Any) -> Any:
    """Offer the same page in the other language, or the first page of it."""
    name = page.file.src_uri
    english = name.replace(".ko.md", ".md")
    korean = english.replace(".md", ".ko.md")
    found = {each.file.src_uri: each.url for each in nav.pages}
    links = {
        "en": found.get(english, found["index.md"]),
        "ko": found.get(korean, found["index.ko.md"]),
    }
    config.extra["alternate"] = [
        {"name": title, "lang": lang, "link": f"{_up(page)}{links[lang]}"}
        for lang, title in (("en", "English"), ("ko", "한국어"))
    ]
    return context


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Name the language of a Korean page."""
    if page.file.src_uri.endswith(".ko.md"):
        return output.replace('<html lang="en"', '<html lang="ko"', 1)
    return output


def _up(page: Page) -> str:
    return "../" * page.url.count("/") or "./"

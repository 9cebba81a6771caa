"""The manual page has every command and setting, and is roff without a mistake."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import fields

import pytest

from zoo import settings
from zoo.cli import lazy_group, main, man_page
from zoo.errors import UsageError

PAGE = man_page.man_page(lazy_group.root(main.app))
REQUESTS = {"TH", "SH", "SS", "TP", "IP", "PP", "RS", "RE", "B", "nh", "ad"}


def test_it_has_every_command_and_setting() -> None:
    root = lazy_group.root(main.app)
    context = root.context_class(root, info_name="zoo")
    for name in root.list_commands(context):
        command = root.resolve_command(context, [name])[1]
        for path in [name, *(f"{name} {each}" for each in getattr(command, "commands", {}))]:
            shown = path.replace("-", r"\-")
            assert command.hidden or rf"\fBzoo {shown}\fR" in PAGE, path
    assert all(
        rf"\fB{settings.variable(each.name)}\fR" in PAGE for each in fields(settings.Settings)
    )


def test_a_command_has_a_page_of_its_own() -> None:
    root = lazy_group.root(main.app)
    page = man_page.command_page(root, ["data", "add"])
    assert r".TH ZOO\-DATA\-ADD 1" in page and r"\fBzoo data add\fR" in page
    assert {*re.findall(r"^[.'](\S*)", page, flags=re.M)} <= REQUESTS
    for wrong in (["trainn"], ["data", "ad"], ["train", "x"]):
        with pytest.raises(UsageError, match=f"No command is called '{wrong[-1]}'"):
            man_page.command_page(root, wrong)


def test_no_text_is_a_request() -> None:
    assert {*re.findall(r"^[.'](\S*)", PAGE, flags=re.M)} == REQUESTS
    assert man_page.plain(".TH it's \\n") == r"\&.TH it\(aqs \en"


@pytest.mark.skipif(not shutil.which("groff"), reason="there is no groff")
def test_groff_has_nothing_to_say() -> None:
    command = ["groff", "-man", "-ww", "-z", "-Tutf8"]
    done = subprocess.run(command, input=PAGE, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")

"""Completion scripts for bash, zsh and fish, where Typer's own are not sufficient.

bash splits words at COMP_WORDBREAKS, so at the @, : and = of `@best:digits` and `loss=hinge`, and
replaces only the part after the last of them. The script passes the whole line, and gets only
that part back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from typer import _completion_shared
from typer._click.shell_completion import CompletionItem, add_completion_class
from typer._completion_classes import BashComplete, FishComplete, ZshComplete

from zoo.errors import unknown

LINE, BREAKS = "_TYPER_COMPLETE_ARGS", "_ZOO_WORDBREAKS"
BASH = """
%(complete_func)s() {
    mapfile -t COMPREPLY < <(env _TYPER_COMPLETE_ARGS="${COMP_LINE:0:COMP_POINT}" \\
        _ZOO_WORDBREAKS="$COMP_WORDBREAKS" %(autocomplete_var)s=complete_bash "$1" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && -z ${COMPREPLY[0]} ]]; then COMPREPLY=(); fi
    if [[ ${COMPREPLY[0]} == *[=:] ]]; then compopt -o nospace; fi
    return 0
}

complete -o nosort -o default -F %(complete_func)s %(prog_name)s
"""
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
OPTIONS = ("--show-completion", "--install-completion")


class _Bash(BashComplete):
    """Completes the whole word and returns the part after bash's last break character."""

    def get_completion_args(self) -> tuple[list[str], str]:
        if LINE not in os.environ:  # a script that was installed by an older version
            return super().get_completion_args()
        return ZshComplete.get_completion_args(self)  # type: ignore[arg-type]

    def complete(self) -> str:
        args, incomplete = self.get_completion_args()
        # For --dataset=di the items are only values; bash itself splits at the =.
        typed = incomplete.partition("=")[2] if incomplete.startswith("--") else incomplete
        breaks = os.environ.get(BREAKS, "")
        kept = max((typed.rfind(each) for each in breaks), default=-1) + 1
        found: Sequence[CompletionItem] = self.get_completions(args, incomplete)
        words = [item.value for item in found]
        return "\n".join(w[kept:] if w.startswith(typed[:kept]) else w for w in words)


class _Zsh(ZshComplete):
    """Returns `--dataset=digits` for `--dataset=di`, which is one word in zsh."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        return _whole(super().get_completions(args, incomplete), incomplete)


class _Fish(FishComplete):
    """Returns `--dataset=digits` for `--dataset=di`, as for zsh."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        return _whole(super().get_completions(args, incomplete), incomplete)


def _whole(found: list[CompletionItem], incomplete: str) -> list[CompletionItem]:
    option, sign, _ = incomplete.partition("=")
    if not sign or not option.startswith("--"):
        return found
    return [CompletionItem(f"{option}={each.value}", help=each.help) for each in found]


def register() -> None:
    """Register these classes and the bash script with Typer."""
    add_completion_class(_Bash, "bash")
    add_completion_class(_Zsh, "zsh")
    add_completion_class(_Fish, "fish")
    _completion_shared._completion_scripts["bash"] = BASH


def print_or_install(arguments: Sequence[str]) -> bool:
    """Print or install the script of the named shell; False if no shell is named."""
    option, sign, shell = arguments[0].partition("=")
    if option not in OPTIONS or not (sign or len(arguments) == 2):
        return False
    shell = shell if sign else arguments[1]
    if shell not in SHELLS:
        raise unknown("shell", shell, SHELLS)
    register()
    if option == "--show-completion":
        script = _completion_shared.get_completion_script(
            prog_name="zoo", complete_var="_ZOO_COMPLETE", shell=shell
        )
        sys.stdout.write(script + "\n")
    else:
        _, path = _completion_shared.install(shell, prog_name="zoo", complete_var="_ZOO_COMPLETE")
        sys.stdout.write(f"{shell} completion installed in {path}\n")
        sys.stdout.write("Completion will take effect once you restart the terminal\n")
    return True

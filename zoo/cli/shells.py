"""How bash, zsh and fish ask for completions, where Typer's own way falls short.

bash cuts words at COMP_WORDBREAKS, so at the @, : and = of `@best:digits` and `loss=hinge`, and
replaces only what stands after the last of them: it is given the line as typed, and gets the rest.
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
    """Completes the word that was typed, and gives what bash does not have of it yet."""

    def get_completion_args(self) -> tuple[list[str], str]:
        if LINE not in os.environ:  # a script that was installed by an older version
            return super().get_completion_args()
        return ZshComplete.get_completion_args(self)  # type: ignore[arg-type]

    def complete(self) -> str:
        args, incomplete = self.get_completion_args()
        # Of --dataset=di the items are values alone; the break at the = is bash's too.
        typed = incomplete.partition("=")[2] if incomplete.startswith("--") else incomplete
        breaks = os.environ.get(BREAKS, "")
        kept = max((typed.rfind(each) for each in breaks), default=-1) + 1
        found: Sequence[CompletionItem] = self.get_completions(args, incomplete)
        words = [item.value for item in found]
        return "\n".join(w[kept:] if w.startswith(typed[:kept]) else w for w in words)


class _Zsh(ZshComplete):
    """Gives `--dataset=digits` for `--dataset=di`, which zsh takes for one word."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        return _whole(super().get_completions(args, incomplete), incomplete)


class _Fish(FishComplete):
    """As for zsh."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        return _whole(super().get_completions(args, incomplete), incomplete)


def _whole(found: list[CompletionItem], incomplete: str) -> list[CompletionItem]:
    option, sign, _ = incomplete.partition("=")
    if not sign or not option.startswith("--"):
        return found
    return [CompletionItem(f"{option}={each.value}", help=each.help) for each in found]


def register() -> None:
    """Have Typer answer the shells with these classes, and print and install this script."""
    add_completion_class(_Bash, "bash")
    add_completion_class(_Zsh, "zsh")
    add_completion_class(_Fish, "fish")
    _completion_shared._completion_scripts["bash"] = BASH


def tell(words: Sequence[str]) -> bool:
    """Show or install the script of the shell that is named; False if none is named there."""
    option, sign, shell = words[0].partition("=")
    if option not in OPTIONS or not (sign or len(words) == 2):
        return False
    shell = shell if sign else words[1]
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

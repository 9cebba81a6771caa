"""The command `zoo`, from its first moment on."""

import os
import sys


def forget_the_working_directory() -> None:
    """Import nothing from the folder that the command was called in, nor from the script's own.

    Python puts the one in front of `sys.path` for `python -m zoo`, the other for `zoo`; an empty
    or relative part of PYTHONPATH means the first, too.
    """
    # Of os.path alone: what is imported here comes from where it should not come from.
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:  # it was removed
        here = "/"
    script = os.path.dirname(os.path.realpath(sys.argv[0]))  # noqa: PTH120
    if not sys.flags.safe_path and sys.path[0] in ("", here, script):
        del sys.path[0]
    parts = os.environ.get("PYTHONPATH", "/").split(os.pathsep)
    absolute = {os.path.normpath(part) for part in parts if os.path.isabs(part)}  # noqa: PTH117
    relative = {os.path.normpath(os.path.join(here, part)) for part in parts} - absolute  # noqa: PTH118
    sys.path[:] = [each for each in sys.path if each and each not in relative]


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it without a word."""
    try:
        forget_the_working_directory()
        # Whoever could write to a file of Zoo's would decide what code runs and what rows say.
        os.umask(os.umask(0o022) | 0o022)
        from zoo import variables

        variables.ignore()
        from zoo.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

"""The command `zoo`, from its first moment on."""

try:
    # Not `signal`, which takes 6 ms to import: all that time Ctrl-C would end in a traceback.
    import _signal as signal  # type: ignore[import-not-found]
    import os
    import sys

    def _leave(*_: object) -> None:
        os._exit(130)

    # While the command is imported, Ctrl-C ends it without a word; who started it may have it
    # ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
except KeyboardInterrupt:
    raise SystemExit(130) from None


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
    """Run the command line; Ctrl-C before its start and after its end prints no traceback."""
    forget_the_working_directory()
    # Write access to a file of Zoo would allow running code and changing rows.
    os.umask(os.umask(0o022) | 0o022)
    from zoo import environment_variables

    environment_variables.ignore()
    from zoo.cli.main import main as run

    is_listening = signal.getsignal(signal.SIGINT) is _leave
    try:
        if is_listening:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if is_listening:
            signal.signal(signal.SIGINT, _leave)


if __name__ == "__main__":
    main()

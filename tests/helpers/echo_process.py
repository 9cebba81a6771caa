"""A child process that sends back each message, or does what the message asks for."""

from __future__ import annotations

import os
import subprocess

from zoo import child_process


def main() -> None:
    pipe, _, _ = child_process.serve()
    while True:
        message = pipe.recv_bytes()
        if b'"exit"' in message:
            os._exit(7)
        if b'"start"' in message:
            started = subprocess.Popen(["sleep", "600"], start_new_session=True)
            message = f'{{"pid": {started.pid}}}'.encode()
        pipe.send_bytes(message)


if __name__ == "__main__":
    main()

"""`zoo` for shells: hands a command and its streams to the process of the tests.

`python -I -S command_client.py SOCKET WORD...`; it imports nothing of Zoo: 0.03 s.
"""

import json
import os
import socket
import sys


def main() -> int:
    """Have the command run in a fork of `command_server`; return its exit code."""
    address, *words = sys.argv[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.connect(address)
        order = json.dumps([words, dict(os.environ), os.getcwd()])  # noqa: PTH109
        socket.send_fds(channel, [order.encode()], [0, 1, 2])
        return int(channel.recv(20))


if __name__ == "__main__":
    sys.exit(main())

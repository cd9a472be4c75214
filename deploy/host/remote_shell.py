"""The remote shell that rsync, git and hg are given: hands its standard streams to the running deploy, and waits.

It does not connect to anything but the unix socket named by its first argument. The streams travel as file descriptors
(SCM_RIGHTS, unix(7)), so no byte of the transfer passes through here.
"""

import json
import socket
import sys


def main() -> int:
    path, *command = sys.argv[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"\0"], [0, 1, 2])
        connection.sendall(json.dumps(command).encode() + b"\n")
        status = connection.recv(1)
    return status[0] if status else 255


if __name__ == "__main__":
    sys.exit(main())

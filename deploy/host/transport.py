"""What makes a connection quick: small packets that do not wait, a cipher that does two works in one, whole packets."""

from __future__ import annotations

import socket
from typing import Any

import paramiko

PACKET = (1 << 15) - 64
"""Bytes that go to OpenSSH in one packet. A chunk of 64 KiB would be two such packets and one of 128 bytes, each
of them encrypted and sent by itself."""


def open_socket(host: str, port: int, timeout_s: float) -> socket.socket:
    """A connection to *host* whose small packets are sent at once."""
    # Paramiko never sets TCP_NODELAY: without it each small request waits for the delayed acknowledgement of the last.
    connected = socket.create_connection((host.strip("[]"), port), timeout=timeout_s)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def make_transport(*arguments: Any, **keywords: Any) -> paramiko.Transport:
    """Paramiko's transport, with AES-GCM before AES-CTR: it needs no second pass for a MAC.

    What is forbidden by ``disabled_algorithms`` stays so.
    """
    transport = paramiko.Transport(*arguments, **keywords)
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda name: "-gcm" not in name)
    return transport

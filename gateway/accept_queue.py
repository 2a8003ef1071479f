"""The accept queue of a listening socket, emptied before the socket is closed.

To its client a connection is there once the kernel has queued it, before anyone accepts it; and a
socket that is closed takes its queue with it. So it is with a port that several sockets share
(SO_REUSEPORT): what the kernel has once given to a socket stays there.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys

HANDSHAKE_S = 0.2
"""How long a handshake that has begun may take to end: a round trip to a client far away."""

# A classic BPF program over a TCP segment: drop it if it opens a connection, else take it whole.
_ONLY_SYN = struct.pack(
    "=HBBI HBBI HBBI HBBI HBBI",
    *(0x30, 0, 0, 13),  # load the byte of the flags
    *(0x54, 0, 0, 0x12),  # of them SYN and ACK
    *(0x15, 0, 1, 0x02),  # SYN alone?
    *(0x06, 0, 0, 0),  # drop it
    *(0x06, 0, 0, 0xFFFFFFFF),
)
_INSTRUCTIONS = len(_ONLY_SYN) // 8
_SO_ATTACH_FILTER = 26  # socket(7) on Linux; the module `socket` does not have it


def turn_away_newcomers(listening: socket.socket) -> bool:
    """Let no further handshake begin on a shared port; those that have begun go on.

    The kernel ignores the opening segments that it would give to this socket. Their clients send
    them again, by default after a second, when they meet another node's socket. Return whether
    that can be, and so whether it is worth waiting ``HANDSHAKE_S`` for the handshakes under way.
    """
    if sys.platform != "linux" or not _is_shared(listening):
        return False
    program = ctypes.create_string_buffer(_ONLY_SYN, len(_ONLY_SYN))
    filter_program = struct.pack("HP", _INSTRUCTIONS, ctypes.addressof(program))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_program)
    except OSError:  # not in every sandbox
        return False
    return True


def accept_waiting(listening: socket.socket) -> list[socket.socket]:
    """Return all connections that wait in the queue of a socket that does not block."""
    waiting = []
    with contextlib.suppress(OSError):  # BlockingIOError: there are no more
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            waiting.append(connection)
    return waiting


def _is_shared(listening: socket.socket) -> bool:
    return bool(listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))

"""Claims: a name that one process of this machine holds, and that is free again when that process ends.

A claim is an abstract Unix socket bound to its name. The kernel lets one process bind a name, of whatever user, and
frees it when the process and the children that it forked are gone. There is no file: no folder has to be shared, no
permission given, no stale lock removed, no link of another user followed, and no file system has to know locks. Who
waits asks the kernel who holds the name.

What a claim does not cross: network namespaces. Two containers on one machine see each other's claims only if they
share the network of the host.
"""

import contextlib
import errno
import os
import pwd
import socket
import struct
from pathlib import Path

PEOPLE_WHO_ASK = 4096
"""Connections that a claim keeps unanswered; each that waits makes one."""

_CREDENTIALS = struct.Struct("3i")
"""`struct ucred` of unix(7): process, user and group."""


class Claim:
    """A name that this process holds until `release`, or until it ends.

    Processes that it forks hold the name too. Programs that it starts do not: the socket is closed when they start.
    """

    def __init__(self, held: socket.socket) -> None:
        self._held = held

    @classmethod
    def take(cls, name: str) -> "Claim | None":
        """Claim a name without waiting; None if another process holds it.

        Raises:
            OSError: Claims cannot be made here.
        """
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            held.bind(_address(name))
            held.listen(PEOPLE_WHO_ASK)
        except OSError as error:
            held.close()
            if error.errno == errno.EADDRINUSE:
                return None
            raise
        return cls(held)

    def release(self) -> None:
        self._held.close()


def holder(name: str) -> str:
    """Who holds a claim, in words: the process, its user, and whether it is stopped."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ask, contextlib.suppress(OSError):
        ask.setblocking(False)
        ask.connect(_address(name))
        process, user, _group = _CREDENTIALS.unpack(
            ask.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        return f"{_process(process)} of user {_user(user)}"
    return "a process that is not known"


def _address(name: str) -> bytes:
    return b"\0" + os.fsencode(name)


def _process(number: int) -> str:
    if not number:
        return "a process of another container"
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        return (
            f"process {number}, which is stopped (kill -CONT {number} lets it continue),"
            if state in "Tt"
            else f"process {number}"
        )
    return f"a process that process {number} started and left behind"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # of another container, or of a directory that is not reached
        return str(number)

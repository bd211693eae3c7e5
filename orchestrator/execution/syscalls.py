"""The system calls that a sandbox refuses, as a filter for the kernel (classic BPF), which
bubblewrap loads.

Mounts and namespaces do not part the kernel's keyrings: a process of the same user can link any of
them by its number and read its keys. Nor do they part the sockets between a virtual machine and its
host, which are in no network namespace; and what is asked by a ring (io_uring) no filter sees. A
lease needs no more than a file that can be read: while a process has one, nobody else can open the
file, or only after some 45 seconds.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from orchestrator.execution.attempt import CALLS
from orchestrator.records import dataclass

FILE = CALLS  # in the log folder; the supervisor opens it as the descriptor below
DESCRIPTOR = 3
AF_VSOCK = 40
RING = 425  # io_uring_setup, which has the same number everywhere
SETLEASE = 1024  # what fcntl is to do, on every machine
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16  # where they are in what the kernel gives the filter
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_SAME_CALLS = 0xBFFFFFFF  # without the bit that the x32 calls of x86-64 have


@dataclass(frozen=True, slots=True)
class Machine:
    """How the kernel names a kind of program, and the numbers of its calls: of keyrings, of fcntl
    in its forms, of sockets, of many sockets in one."""

    name: int
    keys: tuple[int, int, int]
    fcntl: tuple[int, ...]
    socket: int
    socketcall: int | None = None
    first: int = _FIRST  # where the lower half of the first argument is; the others follow


MACHINES = (
    Machine(0xC000003E, (248, 249, 250), (72,), 41),  # x86-64
    Machine(0x40000003, (286, 287, 288), (55, 221), 359, 102),  # i386
    Machine(0xC00000B7, (217, 218, 219), (25,), 198),  # aarch64
    Machine(0x40000028, (309, 310, 311), (55, 221), 281),  # arm
    Machine(0xC00000F3, (217, 218, 219), (25,), 198),  # riscv64
    Machine(0xC0000015, (269, 270, 271), (55,), 326, 102),  # ppc64le
    Machine(
        0x80000016, (278, 279, 280), (55,), 359, 102, _FIRST + 4
    ),  # s390x, which has the upper half first
)


NAMES = {
    "x86_64": 0xC000003E,
    "aarch64": 0xC00000B7,
    "riscv64": 0xC00000F3,
    "ppc64le": 0xC0000015,
    "s390x": 0x80000016,
}


def here() -> Machine | None:
    """The kind of program that this process is; None if that is not known here, as for one of 32
    bits."""
    name = NAMES.get(os.uname().machine) if struct.calcsize("P") == 8 else None
    return next((machine for machine in MACHINES if machine.name == name), None)


def program(network: bool) -> bytes:
    """The filter. Without a ``network`` the sockets to the host of a virtual machine are refused as
    well, and the rings by which they could be made."""
    words = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for machine in MACHINES:
        body = list(_body(machine, network))
        words += [(_EQUAL, 0, len(body), machine.name), *body]
    words.append(_refusal(errno.ENOSYS))  # of a kind that nobody here knows
    return b"".join(struct.pack("=HBBI", *word) for word in words)


def _body(machine: Machine, network: bool) -> Iterator[tuple[int, int, int, int]]:
    yield _LOAD, 0, 0, _NUMBER
    yield _AND, 0, 0, _SAME_CALLS
    for number in machine.keys:
        yield _EQUAL, 0, 1, number
        yield _refusal(errno.ENOSYS)
    for number in machine.fcntl:  # refused as for a file of another user
        yield from _refused_if(number, machine.first + 8, SETLEASE, errno.EACCES)
    if not network:
        yield _EQUAL, 0, 1, RING
        yield _refusal(errno.ENOSYS)
        if machine.socketcall is not None:
            yield _EQUAL, 0, 1, machine.socketcall
            yield _refusal(errno.ENOSYS)
        yield from _refused_if(machine.socket, machine.first, AF_VSOCK, errno.EAFNOSUPPORT)
    yield _RETURN, 0, 0, _ALLOW


def _refused_if(
    number: int, place: int, value: int, error: int
) -> Iterator[tuple[int, int, int, int]]:
    """A call that is refused if the argument at this place has this value, and else allowed."""
    yield _EQUAL, 0, 4, number
    yield _LOAD, 0, 0, place
    yield _EQUAL, 0, 1, value
    yield _refusal(error)
    yield _RETURN, 0, 0, _ALLOW


def _refusal(number: int) -> tuple[int, int, int, int]:
    return _RETURN, 0, 0, _REFUSE | number

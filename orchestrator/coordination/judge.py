"""The program of the process that judges large files of the inbox; `coordination.largefiles` starts
it and kills it.

Messages are pickled values with their length before them. In: `Rules`, whenever they have changed,
and ``(name, content)``. Out: for each file what it is, or the error that the machine is to blame
for.
"""

from __future__ import annotations

import errno
import os
import pickle
import resource
import socket
import sys
from collections.abc import Collection
from typing import Any

from orchestrator.coordination.intake import Judged, understand
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Content
from orchestrator.model.config import Config
from orchestrator.records import dataclass
from orchestrator.tools.specs import Toolbox

PROCESSOR = 30  # seconds of processor time for one file
MEMORY = 2 << 30  # bytes of address space
LARGEST = 32 << 20  # bytes of an answer: the watcher does nothing else while it unpacks one


class TooLarge(Exception):
    """What a file makes is more than the watcher should hold."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What files are judged by, and in which work directory."""

    layout: Layout
    config: Config
    toolbox: Toolbox
    agents: Collection[str]


def send(channel: socket.socket, message: Any) -> None:
    """Send one message.  `TooLarge` if it is, before anything is sent."""
    body = pickle.dumps(message)
    if len(body) > LARGEST:
        raise TooLarge
    channel.sendall(len(body).to_bytes(8, "big") + body)


def receive(channel: socket.socket) -> Any:
    """The next message. Raises EOFError if there is none to come, and TimeoutError as the channel
    is set."""
    length = int.from_bytes(_exactly(channel, 8), "big")
    return pickle.loads(_exactly(channel, length))


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts, left = [], size
    while left:
        part = channel.recv(min(left, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rules: Any = None
    while True:
        try:
            message = receive(channel)
        except EOFError:
            return
        if isinstance(message, Rules):
            rules = message
        else:
            _answer(channel, rules, *message)


def _answer(channel: socket.socket, rules: Rules, name: str, content: Content) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + PROCESSOR
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    try:
        send(channel, _judge(rules, name, content))
    except (TooLarge, MemoryError) as error:
        send(channel, TooLarge(*error.args))


def _judge(rules: Rules, name: str, content: Content) -> Judged | OSError:
    try:
        return understand(rules.layout, rules, name, content)
    except OSError as error:
        return OSError(error.errno, error.strerror or os.strerror(error.errno or errno.EIO))

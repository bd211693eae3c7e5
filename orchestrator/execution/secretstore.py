"""Secrets of a role, fetched by its own commands when an attempt begins: without a terminal, with a
time limit, never kept."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import BinaryIO

from orchestrator.errors import OrchestratorError
from orchestrator.files.text import one_line
from orchestrator.store import owned
from orchestrator.tools import secrecy

SECONDS = 30.0
LOOK = 0.1  # seconds between looks whether it is still wanted
MOST = 1 << 16  # bytes of a secret, and one more


class NoSecret(OrchestratorError):
    """A secret could not be fetched; the message says which and why, with the last line on standard
    error, in which every secret that is known here is masked."""


def fetch(
    commands: Mapping[str, Sequence[str]],
    root: str,
    hidden: Sequence[str] = (),
    given_up: Callable[[], bool] = lambda: False,
    seconds: float = SECONDS,
) -> dict[str, str]:
    """The values, by name: what each command prints, without the line end. They run in ``root``.
    ``given_up()``: nobody wants them any more.

    Raises `NoSecret`, which tells nothing of ``hidden`` or of the values."""
    values: dict[str, str] = {}
    for name, argv in commands.items():
        known = (*hidden, *values.values())
        values[name] = _fetch(name, list(argv), root, known, given_up, seconds)
    return values


def _fetch(
    name: str,
    argv: list[str],
    root: str,
    hidden: Sequence[str],
    given_up: Callable[[], bool],
    seconds: float,
) -> str:
    shown = one_line(argv[0], 60)
    # Files, not pipes: who leaves a process with its output open must not hold anything up.
    with _memory() as printed, _memory() as errors:
        try:
            process = owned.begin(
                partial(
                    subprocess.Popen,
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=errors,
                    cwd=root,
                    start_new_session=True,
                    env={key: value for key, value in os.environ.items() if key != "GPG_TTY"},
                )
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise NoSecret(f"the secret {name}: {shown} could not be started: {why}") from None
        code = _ended(process, given_up, time.monotonic() + seconds)
        if code is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if given_up():
                raise NoSecret(f"the secret {name}: nobody waits for {shown} any more")
            raise NoSecret(
                f"the secret {name}: {shown} took longer than {seconds:g} s and was ended",
                "it has no terminal to ask on: unlock it before, or give it a longer cache",
            )
        value = _content(printed)
        if len(value) >= MOST:
            raise NoSecret(f"the secret {name}: {shown} printed more than {MOST >> 10} KiB")
        if code:
            said = secrecy.last_line(_content(errors), (*hidden, *_texts(value)))
            more = f": {said}" if said else ""
            raise NoSecret(f"the secret {name}: {shown} ended with {code}{more}")
        return _value(name, shown, value)


def _texts(raw: bytes) -> set[str]:
    """What was printed and its lines."""
    text = raw.decode("utf-8", "surrogateescape")
    return {line.strip() for line in (text, *text.splitlines())} - {""}


def _ended(
    process: subprocess.Popen[bytes], given_up: Callable[[], bool], end: float
) -> int | None:
    """Its exit code; None if it has not ended by then (monotonic), or is given up."""
    while (left := end - time.monotonic()) > 0 and not given_up():
        try:
            return process.wait(min(left, LOOK))
        except subprocess.TimeoutExpired:
            continue
    return process.poll()


def _memory() -> BinaryIO:
    """A file that no disk ever has, of a size that nobody can add to."""
    fd = os.memfd_create("secret", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, MOST + 1)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return os.fdopen(fd, "r+b")


def _content(file: BinaryIO) -> bytes:
    """What was written into it: the rest of it is NULs, which no secret ends with."""
    return os.pread(file.fileno(), MOST + 1, 0).rstrip(b"\0")


def _value(name: str, shown: str, raw: bytes) -> str:
    try:
        value = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise NoSecret(f"the secret {name}: {shown} printed no text") from None
    if not value.strip() or "\0" in value:
        what = "a NUL, which no variable can hold" if "\0" in value else "nothing"
        raise NoSecret(f"the secret {name}: {shown} printed {what}")
    return value

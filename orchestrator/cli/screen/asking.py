"""What a person types: one key, one line, a yes or a no.

No Ctrl-C is lost while it is waited for.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.screen.console import shown
from orchestrator.libraries import later

if TYPE_CHECKING:
    import select
    import signal
else:
    select = later("select")
    signal = later("signal")


def ask_key(question: str) -> str:
    """The one key that a person types after the question is on the screen; what was typed before is
    dropped.

    Empty at the end of input. Raises KeyboardInterrupt for Ctrl-C; the terminal is as before when
    this returns.
    """
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd, termios.TCSAFLUSH)
        click.echo(shown(question), nl=False)
        sys.stdout.flush()
        _until_typed(fd)
        key = os.read(fd, 32).decode("utf-8", "replace")
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
    click.echo(key if key.isprintable() else "")
    return key


def ask_line(question: str, err: bool = False) -> str:
    """The line that is typed, without its end.

    Raises EOFError at the end of input, KeyboardInterrupt for Ctrl-C.
    """
    click.echo(shown(question), nl=False, err=err)
    fd = sys.stdin.fileno()
    line = bytearray()
    while not line.endswith(b"\n"):
        _until_typed(fd)
        byte = os.read(fd, 1)  # no more: what follows answers the next question
        if not byte and not line:
            raise EOFError
        if not byte:
            break
        line += byte
    return line.decode("utf-8", "replace").rstrip("\r\n")


def ask_yes(question: str, default: bool = False) -> bool:
    """Whether the answer is yes; Enter alone, or the end of input, is the default, or no.

    Asked on standard error. Raises KeyboardInterrupt for Ctrl-C.
    """
    while True:
        try:
            said = ask_line(f"{question} [{'Y/n' if default else 'y/N'}]: ", err=True)
        except EOFError:
            return False
        if said.strip().lower() in ("", "y", "yes", "n", "no"):
            return said.strip().lower() in ("y", "yes") or (default and not said.strip())
        click.echo("please answer y or n", err=True)


def _until_typed(fd: int) -> None:
    """Wait until something can be read.

    A signal that arrives between Python's last look for signals and the read itself only leaves a
    mark, and the read would go on until the next key. The handler also writes to this pipe, so
    that `select` returns whenever the signal came.
    """
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    try:
        while fd not in (ready := select.select([fd, woken], [], [])[0]):
            os.read(ready[0], 64)  # a signal that is handled and raises nothing
    finally:
        signal.set_wakeup_fd(before)
        os.close(woken)
        os.close(wakes)

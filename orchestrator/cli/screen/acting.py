"""Doing what a key stands for: each is a verb, run as a command of its own on the same terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.program import itself


def run_verb(app: App, *words: str) -> int:
    """Run a verb here and wait for its end; its exit code."""
    sys.stdout.flush()
    return subprocess.run(itself(app.layout.root, *words), check=False).returncode


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
        click.echo(question, nl=False)
        sys.stdout.flush()
        key = os.read(fd, 32).decode("utf-8", "replace")
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
    click.echo(key if key.isprintable() else "")
    return key

"""``watch --all``: a watcher for each of a person's projects, their lines in one pane, with a
column for the project.

Each is a process of its own, so that a project which is broken, or vanishes, or whose disk hangs
stops no other.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from orchestrator.cli.app import App
from orchestrator.cli.program import itself
from orchestrator.cli.screen.console import say
from orchestrator.errors import FAILED, NotFound
from orchestrator.files import projects
from orchestrator.files.text import one_line
from orchestrator.records import dataclass

LONGEST = 1 << 16  # bytes of one line


@dataclass(slots=True)
class Child:
    """A watcher of one project."""

    name: str
    process: subprocess.Popen[bytes]
    reader: threading.Thread


def run(app: App, options: Sequence[str]) -> int:
    """Watch all projects with these options of ``watch``; the worst exit code. Ctrl-C and signals
    reach every one of them."""
    found = projects.listed()
    if not found:
        raise NotFound("there are no projects", "orchestrator projects add .")
    column = max(len(one_line(item.name, 24)) for item in found)
    printing = threading.Lock()
    children: list[Child] = []
    code = 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: _forward(children, got))
    for item in found:
        head = f"{one_line(item.name, 24):<{column}}  "
        if item.layout is None:
            say(f"{head}{item.problem}")
            code = FAILED
            continue
        children.append(_child(app, item, head, options, printing))
    for child in children:
        ended = child.process.wait()
        child.reader.join()
        if ended and ended > 0:
            code = ended if not code else FAILED
        elif ended:
            with printing:
                say(f"{child.name:<{column}}  its watcher was ended by signal {-ended}")
            code = FAILED
    return code


def _child(
    app: App, item: projects.Project, head: str, options: Sequence[str], printing: threading.Lock
) -> Child:
    words = itself(item.root, "watch", *options)
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,  # Ctrl-C comes to us, and we pass it on
        env={name: value for name, value in os.environ.items() if name != "ORCHESTRATOR_ROOT"},
    )

    def read() -> None:
        assert process.stdout is not None
        while line := process.stdout.readline(LONGEST):
            with printing:
                app.console.out(head + line.decode("utf-8", "replace").rstrip("\n"))
                sys.stdout.flush()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return Child(item.name, process, reader)


def _forward(children: Sequence[Child], number: int) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(number)

"""Transcripts: commands and what they print, executed and compared.

A transcript is text in which lines that begin with ``$ `` are commands (run by ``sh`` in a project of their own) and
the lines after them are what they print.  A line ``...`` stands for any lines.  Moments, durations, pids and the like
are compared by their form only.  ``UPDATE_TRANSCRIPTS=1`` writes what was printed instead of comparing.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

# What to do about a difference.
AGAIN = (
    "If that is what it should print: UPDATE_TRANSCRIPTS=1 and this test again, then read the diff."
)

FORMS = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d{4}"), "<minute>"),
    (re.compile(r"(?<=-)\d{8}T\d{4}"), "<minute>"),
    (re.compile(r"\d{4}-\d\d-\d\d\.[0-9a-f]{4}-"), "<day>.<clone>-"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<clock>"),
    (
        re.compile(r"\b(\d+d)?(\d+h)?(\d+m)?\d+(\.\d+)?m?s\b|\b\d+h\d\dm\b|\btook \d+\.\d s"),
        "<took>",
    ),
    (re.compile(r"\bpid \d+"), "pid <pid>"),
    (re.compile(r"\b\d+ MiB free"), "<n> MiB free"),
    (
        re.compile(r"\((ext4|overlay|tmpfs|btrfs|xfs|unknown file system), \d+ inotify"),
        "(<fs>, <n> inotify",
    ),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12}\b"), "<commit>"),
    (re.compile(r"python \d+\.\d+\.\d+, click [\d.]+"), "python <v>, click <v>"),
    (re.compile(r'duration_s("?): [\d.]+'), r"duration_s\1: <n>"),
    (re.compile(r"just now"), "<took> ago"),
    (re.compile(r"[ \t]+"), " "),
]


FOOTER = re.compile(
    r"\x1b\[\?7l.*?\x1b\[\?7h", re.S
)  # what the pane writes below its lines, and takes away again


def normal(line: str) -> str:
    """A line without what differs from one run to the next."""
    for pattern, stands in FORMS:
        line = pattern.sub(stands, line)
    return line.strip()


class Stage:
    """An empty home with a project folder, and a shell in it, perhaps another user's (``prefix``) with its own ``program``."""

    def __init__(
        self, folder: Path, terminal: bool, prefix: tuple[str, ...] = (), program: str = ""
    ) -> None:
        self.home, self.terminal, self.prefix = folder, terminal, prefix
        self.root = folder / "acme-api"
        self.root.mkdir(parents=True)
        if program:
            self.env = {
                "PATH": f"{os.path.dirname(program)}:/usr/bin:/bin",
                "HOME": str(folder),
                "LANG": "C.UTF-8",
                "TZ": "UTC",
                "COLUMNS": "100",
                "LINES": "30",
                "TERM": "xterm",
                "NO_COLOR": "1",
            }
            return
        programs = folder / "bin"
        programs.mkdir()
        for name, module in (("orchestrator", "orchestrator"),):
            path = programs / name
            path.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
            path.chmod(0o755)
        self.env = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "COLUMNS": "100",
            "LINES": "30",
            "TERM": "xterm",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
            "GIT_AUTHOR_NAME": "ana",
            "GIT_AUTHOR_EMAIL": "ana@example.org",
            "GIT_COMMITTER_NAME": "ana",
            "GIT_COMMITTER_EMAIL": "ana@example.org",
            "EDITOR": "true",
            "GIT_PAGER": "cat",
            "PAGER": "cat",
        }

    def run(self, command: str) -> list[str]:
        """The lines that a command prints, standard error included."""
        if self.terminal:
            raw = self._on_a_terminal(command)
        else:
            raw = subprocess.run(
                [*self.prefix, "sh", "-c", command],
                cwd=self.root,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=120,
                check=False,
            ).stdout
        text = FOOTER.sub("", raw.decode("utf-8", "replace"))
        text = (
            re.sub(r"\x1b\[[0-9;]*[mKJt]|\x1b\](?:2|8);[^\x1b]*\x1b\\|[\a\r]", "", text)
            .replace(str(self.root), "~/acme-api")
            .replace(str(self.home), "~")
        )
        return text.rstrip("\n").split("\n") if text.strip() else []

    def _on_a_terminal(self, command: str) -> bytes:
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [*self.prefix, "sh", "-c", command],
            cwd=self.root,
            env=self.env,
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
        )
        os.close(child)
        found = b""
        while True:
            try:
                data = os.read(parent, 1 << 16)
            except OSError:  # the last writer has closed the terminal
                break
            if not data:
                break
            found += data
        process.wait(120)
        os.close(parent)
        return found


def matches(expected: list[str], actual: list[str]) -> bool:
    """Whether the lines are the same in form; ``...`` stands for any number of lines."""
    if not expected:
        return not actual
    if expected[0].strip() == "...":
        return any(matches(expected[1:], actual[skip:]) for skip in range(len(actual) + 1))
    return (
        bool(actual)
        and normal(expected[0]) == normal(actual[0])
        and matches(expected[1:], actual[1:])
    )


def parse(text: str) -> list[tuple[str, list[str]]]:
    """``(command, expected lines)`` of a transcript; text before the first command belongs to nothing."""
    steps: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif line.startswith("> ") and steps and not steps[-1][1]:
            steps[-1] = (steps[-1][0] + "\n" + line[2:], [])
        elif steps:
            steps[-1][1].append(line)
    for _, lines in steps:
        while lines and not lines[-1].strip():
            lines.pop()
    return steps


def perform(stage: Stage, text: str) -> tuple[str, list[str]]:
    """Run a transcript; its text with what was really printed, and the differences."""
    out, differences = [], []
    for command, expected in parse(text):
        actual = stage.run(command)
        shown = "$ " + command.replace("\n", "\n> ")
        out.append(shown)
        if command.startswith(
            "orchestrator watch"
        ):  # what runs at the same time is told in any order
            same = sorted(map(normal, expected)) == sorted(map(normal, actual))
        else:
            same = matches(expected, actual)
        if same:
            out += expected
        else:
            out += actual
            differences.append("\n".join([shown, "expected:", *expected, "printed:", *actual]))
    return "\n".join(out), differences

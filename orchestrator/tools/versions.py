"""Asking programs for their version: that one is on the PATH proves nothing (half-installed
packages)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from orchestrator.files.layout import data_file
from orchestrator.files.text import one_line
from orchestrator.libraries import later
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.tools.specs import ToolSpec

if TYPE_CHECKING:
    import subprocess
else:
    subprocess = later("subprocess")

SECONDS = 20.0
_NUMBER = regex(r"\d+(?:\.\d+)+\S*")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said of itself. ``error``: why it is of no use (it said nothing, or not that);
    ``version``: the number."""

    said: str = ""
    error: str = ""

    @property
    def version(self) -> str:
        found = _NUMBER.search(self.said)
        return found[0].rstrip(".,;)") if found else ""


def ask(spec: ToolSpec) -> Answer:
    """Have a tool say its version, as its spec knows how."""
    values = {"{python}": sys.executable, "{package}": os.path.dirname(data_file("tools"))}
    argv = [
        word.replace("{python}", values["{python}"]).replace("{package}", values["{package}"])
        for word in spec.version
    ]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        return Answer(error=one_line(str(error), 160))
    said = one_line(
        ((done.stdout.strip() or done.stderr.strip()).splitlines() or ["nothing"])[0], 120
    )
    return Answer(said, f"exit {done.returncode}" if done.returncode else "")


def ask_all(specs: Iterable[ToolSpec]) -> dict[str, Answer]:
    """The answers of several, by name; a few at a time."""
    listed = list(specs)
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip((spec.name for spec in listed), pool.map(ask, listed), strict=True))

"""What a task's tool has printed, as lines for people."""

from __future__ import annotations

from orchestrator.files import journals, results, scan
from orchestrator.files.layout import Layout
from orchestrator.files.logreader import LogReader
from orchestrator.files.text import clean, last_lines, last_states
from orchestrator.tools.activity import Presentation, Renderer, presentation

CHECKS = "checks"  # the folder beside the logs of an attempt
TOLD = 3  # lines of each stream of a check that has failed


def newest(layout: Layout, task_id: str) -> int | None:
    """The number of the last attempt that has a log here; None if none has."""
    numbers = [int(name) for name in scan.names(layout.logs(task_id)) if name.isdecimal()]
    return max(numbers, default=None)


def checks(layout: Layout, task_id: str, number: int) -> list[str]:
    """The checks of an attempt that have printed something here, or could have."""
    return sorted(scan.names(f"{layout.logs(task_id, number)}/{CHECKS}"))


def folder_of_check(name: str) -> str:
    """Where its output lies, from the folder of the attempt."""
    return f"{CHECKS}/{name}"


def last_of_check(layout: Layout, task_id: str, number: int, name: str) -> tuple[str, list[str]]:
    """The stream to begin with, and the last lines of both; no lines if no such check ran here."""
    if name not in checks(layout, task_id, number):
        return "stdout", []
    folder = f"{layout.logs(task_id, number)}/{folder_of_check(name)}"
    out, err = (last_lines(f"{folder}/{stream}.log", TOLD) for stream in ("stdout", "stderr"))
    return "stdout" if out or not err else "stderr", out + err


def how_shown(
    layout: Layout, task_id: str, number: int | None, name: str = "stdout.log"
) -> Presentation:
    """How the output of an attempt is shown: as the tool that ran then prints, unless it ran on a
    terminal."""
    if name != "stdout.log":
        return Presentation()
    journal = journals.of(layout, task_id)
    if journal is None:  # another machine's: the result says which tool it was
        return presentation(layout, str(results.read(layout, task_id).get("tool") or ""))
    read = next((facts.read for facts in journal.attempts if facts.number == number), {})
    return (
        presentation(layout, str(read.get("tool") or journal.claim.get("tool") or ""))
        if journal.claim.get("mode") != "interactive"
        else Presentation()
    )


def lines_of(path: str, how: Presentation, last: int | None = None) -> list[str]:
    """The lines of a log, free of control sequences; ``last``: only so many of its file's from the
    end.

    Raises `OSError` if it cannot be read.
    """
    data = b"".join(LogReader(path, last).pieces())
    if how.show is None:
        return clean(last_states(data.decode("utf-8", "replace"))).splitlines()
    renderer = Renderer(how.show)
    return [line.text for line in (*renderer.feed(data), *renderer.end())]

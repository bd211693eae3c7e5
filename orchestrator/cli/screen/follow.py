"""Following tasks: waiting for their end, and showing what they print. No watcher is asked and none
is needed."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator import lazily
from orchestrator.cli.app import App
from orchestrator.cli.screen.console import say
from orchestrator.errors import FAILED, NEEDS_YOU, TIMED_OUT
from orchestrator.files import asks, results, scan
from orchestrator.files.text import clean, last_states, one_line
from orchestrator.model import question
from orchestrator.model.status import ENDED, Status
from orchestrator.queries import why
from orchestrator.tools import activity

if TYPE_CHECKING:
    from orchestrator.tools.activity import Line, Presentation

INTERVAL = 0.05
OBSTACLE = 1.0  # seconds after which whoever waits is told what stands in the way


def until_ended(
    app: App,
    ids: list[str],
    limit: float | None,
    quiet: bool = True,
    any_of: bool = False,
    told: Iterable[str] = (),
) -> int:
    """Wait until all (or any) of the tasks have ended; the exit code for their outcomes.

    0: all done; 124: one ran out of time, or ``limit`` seconds have passed; 1: one failed, was
    cancelled or withdrawn; 7: none of that, and one is in review. Gates whose names are in ``told``
    are not told again.
    """
    lazily.settle()
    deadline = time.monotonic() + limit if limit is not None else None
    waiting, codes = list(ids), []
    look, said = time.monotonic() + OBSTACLE, set(told)
    while waiting:
        for task_id in list(waiting):
            place = scan.locate(app.layout, task_id)
            if place is not None and place[0] not in ENDED:
                if place[0] is not Status.RUNNING or not (
                    open_ := asks.unanswered(app.layout, task_id)
                ):
                    continue
                waiting.remove(task_id)
                codes.append(NEEDS_YOU)
                say(
                    f"{task_id} asks: {one_line(question.headline(open_[0].question), 160)}"
                    f" (orchestrator reply {task_id})"
                )
                continue
            if place is None and scan.locate(app.layout, task_id) is not None:
                continue  # it moved between two looks
            waiting.remove(task_id)
            codes.append(_code(app, task_id, place[0] if place else None, quiet))
        if any_of and codes:
            break
        if waiting:
            if deadline is not None and time.monotonic() >= deadline:
                say(f"still waiting for {', '.join(waiting[:5])}")
                return TIMED_OUT
            if time.monotonic() >= look:
                said |= _tell_what_is_stuck(app, waiting[:5], said)
                look = time.monotonic() + 10 * OBSTACLE
            time.sleep(INTERVAL)
    return worst(codes)


def worst(codes: Iterable[int]) -> int:
    """The code of several: what ran out of time, what failed, what waits for a person, in this
    order."""
    return max(codes, key=(0, NEEDS_YOU, FAILED, TIMED_OUT).index, default=0)


def _tell_what_is_stuck(app: App, ids: list[str], told: set[str]) -> set[str]:
    """Say of each task what it waits for that only a person can change: its file, a hold, the
    watcher.

    What was ``told`` already (a text, or a gate by its name) is not said again. Returns what was
    said now.
    """
    found = set()
    for task_id in ids:
        place = scan.locate(app.layout, task_id)
        for gate in (
            why.reasons(app.layout, task_id, *place, time.time()).gates if place is not None else ()
        ):
            text = f"{task_id} waits: {one_line(gate.why, 160)}" + (
                f" ({gate.hint})" if gate.hint else ""
            )
            if gate.stuck and gate.name not in told and text not in told:
                say(text)
                found.add(text)
    return found


def _code(app: App, task_id: str, status: Status | None, quiet: bool) -> int:
    if status is None:
        say(f"{task_id} was withdrawn")
        return FAILED
    found = results.read(app.layout, task_id)
    if not quiet or status is not Status.DONE:
        reason = one_line(str(found.get("reason") or ""), 160)
        say(
            f"{app.console.sign(str(status)) if app.console.tty else ''} {task_id} {status}"
            f"{f': {reason}' if reason else ''}".strip()
        )
    if status == Status.DONE or (
        status is Status.ARCHIVE and found.get("outcome", "succeeded") == "succeeded"
    ):
        return 0
    if status is Status.REVIEW and found.get("outcome", "lost") in ("succeeded", "lost"):
        return NEEDS_YOU
    return TIMED_OUT if found.get("outcome") == "timed_out" else FAILED


def ending(app: App, task_id: str, patience: float = 10.0) -> int:
    """Say how a task has ended whose tool ended just now; its exit code."""
    end = time.monotonic() + patience
    while (
        (place := scan.locate(app.layout, task_id)) is not None
        and place[0] is Status.RUNNING
        and time.monotonic() < end
    ):
        time.sleep(INTERVAL)
    if place is not None and place[0] not in ENDED:
        say(f"==> the attempt has ended; {task_id} is in {place[0]}/")
        return FAILED
    return _code(app, task_id, place[0] if place else None, quiet=False)


COLOURS = {"call": "cyan", "print": "dim", "error": "red"}
MARKS = {"print": "  "}


class LogWriter:
    """Shows a log as it comes, in pieces cut at line ends: an agent's events as lines for people,
    anything else as it is, rid of control sequences. ``raw``: the bytes; ``last``: of an agent's
    lines only so many from the end, told by `end`."""

    def __init__(
        self, app: App, how: Presentation, raw: bool = False, last: int | None = None
    ) -> None:
        self._app, self._raw = app, raw
        self._kept: deque[Line] | None = deque(maxlen=last) if last is not None else None
        self._renderer = activity.Renderer(how.show) if how.show is not None and not raw else None

    def write(self, data: bytes) -> None:
        if self._renderer is None:
            write_log(self._app, data, self._raw)
        else:
            self._show(self._renderer.feed(data))

    def end(self) -> None:
        """The log has ended: what was kept back until its line is whole."""
        if self._renderer is not None:
            self._show(self._renderer.end())
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self._show(kept)

    def _show(self, lines: Iterable[Line]) -> None:
        if self._kept is not None:
            self._kept.extend(lines)
            return
        console = self._app.console
        for line in lines:
            console.out(
                console.paint(MARKS.get(line.kind, "") + line.text, COLOURS.get(line.kind, ""))
            )
        sys.stdout.flush()


def write_log(app: App, data: bytes, raw: bool = False) -> None:
    """Show a piece of a log, rid of all control sequences but colours (``raw``: as it is)."""
    if not raw:
        text = clean(last_states(data.decode("utf-8", "replace")), colour=app.console.color)
        data = text.encode(sys.stdout.encoding or "utf-8", "replace")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

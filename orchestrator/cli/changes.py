"""What a verb has done, and what it was refused: lines as it goes on, or one JSON document at the
end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from orchestrator.cli.app import App
from orchestrator.cli.screen.console import Console, say
from orchestrator.errors import FAILED, OrchestratorError
from orchestrator.files import scan
from orchestrator.files.layout import Layout
from orchestrator.model.status import FOLDERS, Status
from orchestrator.records import dataclass, field

T = TypeVar("T")


@dataclass(slots=True)
class Changes:
    """One refusal stops nothing else; it makes the exit code 1."""

    app: App
    as_json: bool = False
    changed: list[dict[str, object]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)

    def done(
        self, name: str, before: str | None, after: str | None, line: str, **facts: object
    ) -> None:
        """Something went from one state to another; ``line`` tells people, ``facts`` programs."""
        self.changed.append({"id": name, "from": before, "to": after, **facts})
        if not self.as_json:
            self.app.console.out(line)

    def refuse(self, name: str, error: OrchestratorError) -> None:
        """Something could not be done, and why."""
        self.refused.append({"id": name, "why": error.message})
        if not self.as_json:
            say_error(error)

    def end(self) -> int:
        """Print the document if one is wanted; the exit code."""
        if self.as_json:
            document = {"changed": self.changed, "refused": self.refused}
            self.app.console.json("change", document)
        return FAILED if self.refused else 0


def for_each(items: Sequence[T], step: Callable[[T], int | None]) -> int:
    """Do a step for each: what one is refused stops no other.

    The largest exit code of all; the error itself if there is only one.
    """
    if len(items) == 1:
        return step(items[0]) or 0
    codes = [0]
    for item in items:
        try:
            codes.append(step(item) or 0)
        except OrchestratorError as error:
            say_error(error)
            codes.append(FAILED)
    return max(codes)


def say_error(error: OrchestratorError) -> None:
    """What could not be done, and what helps, while the verb goes on."""
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint:  {error.hint}")


@contextlib.contextmanager
def aside(app: App, as_json: bool) -> Iterator[None]:
    """While a verb talks as it goes on: if one document is wanted of it, all that it says goes to
    standard error."""
    if not as_json:
        yield
        return
    console = app.console
    app.console = Console("never", plain=True, stream=sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        app.console = console


class Moves:
    """Which tasks went from where to where while a verb ran that moves many."""

    def __init__(self, app: App, as_json: bool) -> None:
        self.app, self.as_json = app, as_json
        self.before = _places(app.layout) if as_json else {}
        self.refused: list[dict[str, str]] = []

    def refuse(self, name: str, error: OrchestratorError) -> int:
        """What could not be done, and why; the exit code."""
        self.refused.append({"id": name, "why": error.message})
        say_error(error)
        return FAILED

    def end(self, code: int) -> int:
        """Print the document if one is wanted; the exit code, as it came."""
        if self.as_json:
            after = _places(self.app.layout)
            names = [
                name
                for name in dict.fromkeys((*self.before, *after))
                if self.before.get(name) != after.get(name)
            ]
            changed = [
                {"id": name, "from": self.before.get(name), "to": after.get(name)} for name in names
            ]
            self.app.console.json("change", {"changed": changed, "refused": self.refused})
        return code


def _places(layout: Layout) -> dict[str, str]:
    return {
        task_id: status.word
        for status in FOLDERS
        if status is not Status.ARCHIVE
        for task_id, _ in scan.task_names(layout.folder(status))
    }

"""What is held beside single tasks: ``work/held/@*.yaml`` and, from before,
``work/parked/<tool>.yaml``.

A tool that has an account elsewhere is held for all listed projects of this person
(`files.projects`): by a file in ``$XDG_STATE_HOME/orchestrator/held``.

The watcher writes such a file when a tool's limit is used up, the verb ``hold`` when a person says
so; anybody may write, edit or delete one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.files import documents, projects, requests, statehome
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.files.scan import Names, names
from orchestrator.files.text import one_line
from orchestrator.model import hold
from orchestrator.model import hold as hold_model
from orchestrator.model.status import Status
from orchestrator.model.units import moment_of, when

if TYPE_CHECKING:
    from orchestrator.files.requests import Check
    from orchestrator.model.gates import Gate
    from orchestrator.model.hold import Scope

HELD, BEFORE = str(Status.HELD), "parked"  # as older versions called it
ENDINGS = (".yaml", ".yml")


def listed(layout: Layout, names: Names = names) -> list[hold_model.Hold]:
    """Every hold there is, those whose time is over included. A file that cannot be understood
    holds until it is mended."""
    found = []
    for scope, path in places(layout, names):
        made = read_hold(layout, scope, path)
        if made is not None:
            found.append(made)
    return found


def shared_folder(layout: Layout) -> str:
    """Where tools are held for all listed projects of this person; empty if this is none of them,
    or there is no home."""
    home = statehome.state_home()
    return f"{home}/{HELD}" if home and projects.includes(layout.root) else ""


def places(layout: Layout, names: Names = names) -> Iterator[tuple[Scope, str]]:
    """What is held by which file."""
    shared = shared_folder(layout)
    for folder in (layout.folder(HELD), *([shared] if shared else ())):
        for name in sorted(names(folder)):
            scope = hold.scope_of(stem_of(name)) if is_hold(name) else None
            if scope is not None and (folder != shared or scope[0] == "tool"):
                yield scope, f"{folder}/{name}"
    for name in sorted(names(layout.folder(BEFORE))):
        if name.endswith(ENDINGS) and not is_draft(name):
            yield ("tool", stem_of(name)), layout.file(BEFORE, name)


def is_hold(name: str) -> bool:
    """Whether a file of this name in held/ is no task but holds something else."""
    return name.startswith(hold_model.MARK) and name.endswith(ENDINGS)


def read_hold(layout: Layout, scope: Scope, path: str) -> hold_model.Hold | None:
    """What one file says; None if it is gone."""
    shown = layout.shown(path)
    try:
        document = documents.parse(requests.read(path).raw)
        if document.problems:
            raise ValueError(document.problems[0].message)
        data = document.data if isinstance(document.data, dict) else {}
        until = when(str(data["not_before"])) if "not_before" in data else None
    except FileNotFoundError:
        return None
    except (OSError, requests.Unreadable, ValueError) as error:
        return hold_model.Hold(scope, shown, problem=one_line(str(error), 80))
    return hold_model.Hold(
        scope, shown, until, _since(data), one_line(str(data.get("reason") or ""), 120)
    )


def judged(path: str, check: Check) -> tuple[documents.Document, list[documents.Problem]]:
    """What is wrong with one file, for who wants to know before it counts."""
    try:
        document = documents.parse(requests.read(path).raw)
    except (OSError, requests.Unreadable) as error:
        return documents.Document(""), [documents.Problem(1, 1, str(error))]
    problems = list(document.problems) or check("hold", document)
    data = document.data if isinstance(document.data, dict) and not problems else {}
    for key in ("held_at", "not_before"):
        try:
            when(str(data[key])) if key in data else None
        except ValueError as error:
            problems.append(document.problem_at((key,), str(error), "write 2026-11-30T08:00:00Z"))
    return document, problems


def gates(layout: Layout, now: float) -> dict[Scope, Gate]:
    """The gate of everything that is held now."""
    return hold.gates(listed(layout), now)


def _since(data: dict[str, object]) -> float | None:
    return moment_of(data.get("held_at") or data.get("parked_at"))

"""What needs you, as rows: the same ones in ``status``, ``review --list`` and without a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.screen.console import Console
from orchestrator.files.text import one_line

if TYPE_CHECKING:
    from orchestrator.queries.needs import Need

SIGNS = {"asks": "review", "budget": "held"}


def rows(console: Console, needs: Sequence[Need], moment: float) -> list[list[str]]:
    """Sign and id, kind, why, for how long, and the command that moves it on."""
    return [
        [
            f"{console.sign(SIGNS.get(need.kind, need.kind))} {one_line(need.id)}"
            if console.tty
            else one_line(need.id),
            console.word(need.kind),
            one_line(need.why),
            console.ago(need.since, moment) if need.since is not None else "",
            one_line(need.command),
        ]
        for need in needs
    ]


def block(console: Console, needs: Sequence[Need], moment: float, most: int = 0) -> None:
    """The whole list, at most so many rows of it."""
    if not needs:
        console.out("nothing needs you")
        return
    shown = needs if not most or len(needs) <= most else needs[: most - 1]
    console.out(f"needs you {len(needs)}")
    console.table(rows(console, shown, moment), "  " if console.tty else "", commands=True)
    if len(shown) < len(needs):
        console.out(f"  {len(needs) - len(shown)} more: orchestrator review --list")


def block_of_all(
    console: Console, projects: Sequence[tuple[str, Sequence[Need]]], moment: float
) -> None:
    """The lists of several projects as one; each row begins with the name of its project."""
    table = [
        [one_line(name), *row] for name, needs in projects for row in rows(console, needs, moment)
    ]
    console.out(f"needs you {len(table)}" if table else "nothing needs you")
    console.table(table, "  " if console.tty else "", commands=True)

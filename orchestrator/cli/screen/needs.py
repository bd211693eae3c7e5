"""What needs you, as rows: the same ones in ``status``, ``review --list`` and without a command."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.cli.screen.console import Console
from orchestrator.files.text import one_line
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
    table = rows(console, shown, moment)
    if console.tty:  # the reason gives way on a narrow terminal, the command does not
        for row, need in zip(table, shown, strict=True):
            room = console.width - 10 - sum(len(one_line(text)) for text in (need.id, need.kind))
            room -= len(row[3]) + len(row[4])
            row[2] = row[2] if len(row[2]) <= room else row[2][: max(room - 1, 8)] + "…"
    console.table(table, indent="  " if console.tty else "")
    if len(shown) < len(needs):
        console.out(f"  {len(needs) - len(shown)} more: orchestrator review --list")

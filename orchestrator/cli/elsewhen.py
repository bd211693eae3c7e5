"""``status --ahead`` and ``status --at``: what is to come, and what was."""

from __future__ import annotations

from collections import Counter

from orchestrator.cli.app import App
from orchestrator.cli.options import now
from orchestrator.cli.screen.console import cost
from orchestrator.files.text import one_line
from orchestrator.model.status import FOLDERS, Status
from orchestrator.model.units import duration, plural, timestamp, when
from orchestrator.queries import past
from orchestrator.queries.ahead import View, ahead

SHOWN = 200  # rows for people


def show_ahead(app: App, as_json: bool, slots: int | None, without: tuple[str, ...]) -> None:
    """The forecast."""
    view = ahead(app.layout, now(), slots, without)
    if as_json:
        app.console.json("ahead", _document(view))
        return
    console = app.console
    rows = [
        [
            f"{place:>3}",
            item.id,
            item.agent,
            f"at {console.clock(item.start)}",
            f"until {console.clock(item.end)}" if item.end is not None else "until ?",
            f"or {console.clock(item.late)}" if item.late is not None else "",
            cost(item.cost_usd),
        ]
        for place, item in enumerate(view.starts[:SHOWN], 1)
    ]
    console.table(rows)
    if len(view.starts) > SHOWN:
        console.out(f"    and {len(view.starts) - SHOWN} more")
    for task_id, gates in sorted(view.never.items()):
        why = "; ".join(one_line(gate.why, 120) for gate in gates) or "the reason is unknown"
        console.out(f"never {task_id}: {why}")
    console.out(_summary(app, view))


def _summary(app: App, view: View) -> str:
    words = [f"{plural(len(view.starts), 'task')} to start"]
    if view.never:
        words.append(f"{len(view.never)} cannot start as things are")
    if view.end is not None and (view.starts or view.running):
        late = view.late if view.late is not None else view.end
        words.append(f"done by {app.console.clock(view.end)}, or {app.console.clock(late)}")
    if view.cost_usd is not None:
        words.append(f"about {cost(view.cost_usd)}")
    return " · ".join(words)


def _document(view: View) -> dict[str, object]:
    return {
        "starts": [item.as_json() for item in view.starts],
        "never": [
            {"id": task_id, "gates": [{"name": str(gate.name), "why": gate.why} for gate in gates]}
            for task_id, gates in sorted(view.never.items())
        ],
        "running": [
            {"id": task_id, "end_p50": timestamp(end)} for task_id, end in view.running.items()
        ],
        "end_p50": timestamp(view.end) if view.end is not None else None,
        "end_p95": timestamp(view.late) if view.late is not None else None,
        "cost_usd": view.cost_usd,
    }


def show_past(app: App, as_json: bool, word: str) -> None:
    """Where everything was."""
    moment = _moment(word)
    if moment is not None:
        found, at = past.at_moment(app.layout, moment), timestamp(moment)
    else:
        found, at = past.at_commit(app.layout, word), word
    counts = Counter(found.values())
    if as_json:
        told = {status.word: counts[status] for status in FOLDERS}
        rows = [{"id": name, "status": status.word} for name, status in sorted(found.items())]
        app.console.json("status_at", {"at": at, "counts": told, "tasks": rows})
        return
    listed = [f"{counts[status]} {status.word}" for status in FOLDERS if counts[status]]
    when_ = app.console.clock(moment) if moment is not None else word
    app.console.out(f"at {when_}: " + (" · ".join(listed) or "nothing was here"))
    quiet = (Status.DONE, Status.ARCHIVE, Status.CANCELLED)
    open_ = [(name, status) for name, status in sorted(found.items()) if status not in quiet]
    app.console.table(
        [[f"{app.console.sign(str(status))} {name}", status.word] for name, status in open_[:SHOWN]]
    )


def _moment(word: str) -> float | None:
    """``2h`` is two hours ago; a date or a time is itself; anything else is for git."""
    try:
        return now() - duration(word)
    except ValueError:
        pass
    try:
        return when(word)
    except ValueError:
        return None

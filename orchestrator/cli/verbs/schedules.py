"""``schedules``: what is made again and again, and one of them now."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import complete_from, dry_run_option, examples, json_option, now
from orchestrator.cli.writing import open_store
from orchestrator.coordination import timetable
from orchestrator.errors import NotFound, Refused, Taken
from orchestrator.files import schemas
from orchestrator.files.layout import Layout
from orchestrator.files.nearness import Near
from orchestrator.files.schedules import load_schedules
from orchestrator.files.schedulestate import state_of
from orchestrator.model.units import timestamp
from orchestrator.queries.schedules import ScheduleView, all_schedules, next_times
from orchestrator.store.transitions import Rehearsed
from orchestrator.store.yamltext import task_text


def schedule_names(layout: Layout) -> list[str]:
    """For completion."""
    return [item.name for item in load_schedules(layout)]


@click.command(
    epilog=examples(
        "orchestrator schedules",
        "orchestrator schedules nightly           # its next times",
        "orchestrator schedules nightly --now     # make its task now",
        "mv work/schedules/nightly.yaml work/schedules/held/     # hold it",
    )
)
@click.argument("name", required=False, shell_complete=complete_from(schedule_names))
@click.option(
    "--now", "at_once", is_flag=True, help="Make its task (or run) now, in addition to its times."
)
@dry_run_option
@json_option
@click.pass_obj
def command(app: App, name: str | None, at_once: bool, dry_run: bool, as_json: bool) -> None:
    """List schedules and their next times, or show more of one schedule's next times.

    A schedule is a file in work/schedules. Its tasks are named <schedule>-<due time>.
    """
    if at_once and name is None:
        raise click.UsageError("--now needs the name of a schedule")
    views = all_schedules(app.layout, now(), schemas.check)
    if name is not None:
        view = _named(views, name)
        if at_once:
            _make(app, view, dry_run, as_json)
        elif as_json:
            app.console.json("schedule", {"schedule": _json(app, view)})
        else:
            _show(app, view)
        return
    if as_json:
        app.console.json("schedules", {"schedules": [view.as_json() for view in views]})
        return
    app.console.table([_row(app, view) for view in views])
    if not views and app.console.tty:
        app.console.out("no schedules; a file in work/schedules makes one")


def _named(views: list[ScheduleView], name: str) -> ScheduleView:
    found = next((view for view in views if view.name == name), None)
    if found is None:
        near = Near(view.name for view in views).close_to(name)
        hint = f"did you mean '{near}'?" if near else "orchestrator schedules   lists them"
        raise NotFound(f"there is no schedule '{name}'", hint)
    return found


def _row(app: App, view: ScheduleView) -> list[str]:
    state = view.why or ("held" if view.held else "")
    following = f"next {_moment(view.next)}" if view.next is not None else ""
    last = f"last {view.last} {view.last_status}".rstrip() if view.last else ""
    left = f"left out: {view.left}" if view.left else ""
    return [view.name, view.said, state or following, last, left]


def _moment(moment: float) -> str:
    return timestamp(moment)[:16] + "Z"


def _times(app: App, view: ScheduleView) -> list[float]:
    if view.schedule is None or view.next is None:
        return []
    state = state_of(app.layout, view.name)
    return next_times(view.schedule, now(), state.first if state else now(), 5)


def _json(app: App, view: ScheduleView) -> dict[str, object]:
    return {**view.as_json(), "next_times": [timestamp(item) for item in _times(app, view)]}


def _show(app: App, view: ScheduleView) -> None:
    app.console.out(f"{view.name}   {view.why or ('held' if view.held else view.said)}")
    if view.last:
        app.console.out(f"last      {view.last} {view.last_status}".rstrip())
    if view.left:
        app.console.out(f"left out  {view.left}")
    for place, moment in enumerate(_times(app, view)):
        app.console.out(f"{'next' if not place else '':<9} {_moment(moment)}")


def _make(app: App, view: ScheduleView, dry_run: bool, as_json: bool) -> None:
    if view.schedule is None:
        raise Refused(f"the schedule '{view.name}' is wrong: {view.why}", "orchestrator validate")
    task_id = view.schedule.id_at(now()) + "now"
    try:
        made = timetable.make(open_store(app, dry_run), view.schedule, task_id)
    except Rehearsed:
        if as_json:
            _changed(app, task_id)
        else:
            app.console.out(f"would write work/inbox/{task_id}.yaml:")
            app.console.block(task_text(view.schedule.body).rstrip())
        return
    if not made:
        raise Taken(f"{task_id} already exists", "it has already been made in this minute")
    if as_json:
        _changed(app, task_id)
    else:
        app.console.out(f"work/inbox/{made[0]}")


def _changed(app: App, task_id: str) -> None:
    changed = [{"id": task_id, "from": None, "to": "waiting"}]
    app.console.json("change", {"changed": changed, "refused": []})

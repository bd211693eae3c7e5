"""``workers``: the machines that take what the watcher offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import complete_from, examples, json_option
from orchestrator.errors import NotFound
from orchestrator.files import pools
from orchestrator.files.layout import Layout
from orchestrator.files.nearness import Near
from orchestrator.model.units import show_duration


def worker_names(layout: Layout) -> list[str]:
    """For completion."""
    return [
        worker["name"]
        for told in pools.read(layout).values()
        for worker in told["workers"].values()
    ]


@click.command(epilog=examples("orchestrator workers", "orchestrator workers big-box"))
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_from(worker_names))
@json_option
@click.pass_obj
def command(app: App, names: tuple[str, ...], as_json: bool) -> None:
    """List the workers on other machines, or those that you name: what they take, how busy they
    are, and how long each has been silent.

    Only a running watcher keeps track of them.
    """
    found = pools.read(app.layout)
    if names:
        found = _of(found, names)
    if as_json:
        app.console.json(
            "workers", {"distributors": [{"name": name, **told} for name, told in found.items()]}
        )
        return
    if not found:
        app.console.out(
            "no watcher with a queue is running here (distributors in work/orchestrator.yaml)"
        )
        return
    rows = []
    waiting = False
    for name, told in found.items():
        if told.get("broker"):
            app.console.out(f"{name}: the broker does not answer: {told['broker']}")
        if told.get("crowded"):
            app.console.out(
                f"{name}: the broker has the cards of more than {told['crowded']} workers; only so"
                " many are read (anyone with the workers' account may write them)"
            )
        jobs = told.get("jobs") or {}
        for says in jobs.values():
            app.console.out(f"{name}: a worker is to be started: {says}")
        waiting = waiting or bool(jobs)
        for worker in told["workers"].values():
            state = (
                f"no word for {show_duration(worker['silent'])}" if worker["silent"] else "ready"
            )
            if not worker["silent"] and worker["busy"]:
                state = "full" if worker["busy"] >= worker["slots"] else "busy"
            labels = "".join(f"+{label}" for label in worker["labels"])
            rows.append(
                [
                    worker["name"],
                    name,
                    f"{worker['busy']}/{worker['slots']}",
                    state,
                    " ".join(worker["tools"]) + labels,
                    worker["version"],
                ]
            )
    if rows:
        app.console.table(rows)
    elif not waiting:
        app.console.out("there is no worker: on another machine, run  orchestrator worker")


def _of(
    pools_: Mapping[str, Mapping[str, Any]], names: tuple[str, ...]
) -> dict[str, Mapping[str, Any]]:
    """The same with only the workers that are named, or all of a queue that is; `NotFound` for a
    name of neither."""
    known = {name for told in pools_.values() for name in map(_name, told["workers"].values())}
    for name in names:
        if name not in known and name not in pools_:
            near = Near([*known, *pools_]).close_to(name)
            hint = f"did you mean '{near}'?" if near else "orchestrator workers   lists them"
            raise NotFound(f"there is no worker '{name}'", hint)
    found: dict[str, Mapping[str, Any]] = {}
    for pool, told in pools_.items():
        of_pool = {
            key: worker
            for key, worker in told["workers"].items()
            if pool in names or _name(worker) in names
        }
        if of_pool or pool in names:
            found[pool] = {**told, "workers": of_pool}
    return found


def _name(worker: dict[str, Any]) -> str:
    return str(worker["name"])

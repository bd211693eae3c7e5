"""``workers``: the machines that take what the watcher offers."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import examples, json_option
from orchestrator.files import pools
from orchestrator.model.units import show_duration


@click.command(epilog=examples("orchestrator workers"))
@json_option
@click.pass_obj
def command(app: App, as_json: bool) -> None:
    """The workers on other machines: what they take, how busy they are, and how long each has been silent.

    The watcher keeps track of them; without a watcher nobody knows.
    """
    found = pools.read(app.layout)
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

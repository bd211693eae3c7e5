"""``reload``: the watcher takes over settings that were changed while tasks ran."""

from __future__ import annotations

import os
import signal
import time

import click

from orchestrator.cli.app import App
from orchestrator.cli.consent import refuse_in_attempt
from orchestrator.cli.options import examples, now
from orchestrator.cli.writing import open_config, open_store, refuse_unsafe
from orchestrator.errors import Refused
from orchestrator.files import card
from orchestrator.store.acceptance import Acceptance, snapshot

PATIENCE = 10.0  # seconds


@click.command(epilog=examples("orchestrator reload"))
@click.pass_obj
def command(app: App) -> None:
    """Let the watcher pick up changes in orchestrator.yaml, work/agents/ and work/tools/.

    You need this only for changes made while tasks were running, because a task could have made them.  Look at them first. Running attempts keep their settings.
    """
    refuse_in_attempt("accept settings")
    refuse_unsafe(app)
    open_config(app)
    before = card.read(app.layout, now())
    if before is None or not before.alive:
        raise Refused(
            "no watcher is running", "it reads the settings when it starts: orchestrator watch"
        )
    if not before.settings_read:  # it would be ended by the signal
        raise Refused(
            f"the watcher (pid {before.pid}) is version {before.version}, which cannot do that",
            "stop it and start it again",
        )
    if not before.here:
        raise Refused(
            f"the watcher (pid {before.pid} on {before.host}) runs in another container",
            "run it there",
        )
    acceptance = Acceptance(app.layout, open_store(app).trust)
    acceptance.accept(snapshot(app.layout))
    os.kill(before.pid, signal.SIGUSR1)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = card.read(app.layout, now())
        if found is None or not found.alive:
            raise Refused("the watcher has ended in the meantime", "orchestrator watch")
        if has_read(found, before, acceptance):
            if found.settings:
                raise Refused(found.settings, "orchestrator validate")
            app.console.out(
                f"{app.console.sign('ok')} the present settings are in effect"
                if app.console.tty
                else "reloaded"
            )
            return
        time.sleep(0.02)
    raise Refused(f"the watcher (pid {before.pid}) does not answer", "orchestrator doctor")


def has_read(found: card.Card, before: card.Card, acceptance: Acceptance) -> bool:
    """Whether the watcher has read the settings since they were accepted.

    It may have been reading them a moment before, on its own: then it holds what is accepted by
    now, and reads again.
    """
    if found.settings_read == before.settings_read:
        return False
    return not (found.settings_held and acceptance.equal())

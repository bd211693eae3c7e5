"""A person's yes to settings that are not known to be a person's: asked on a terminal, waited for
elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from orchestrator.cli.app import App
from orchestrator.cli.screen.asking import ask_yes
from orchestrator.cli.screen.console import say
from orchestrator.cli.writing import open_store, refuse_unsafe
from orchestrator.coordination.consent import HINT, tell, text_of, wait_for_yes, why_of
from orchestrator.errors import Refused, Unusable
from orchestrator.execution.processes import TAG
from orchestrator.files import eventreader, origin, trust
from orchestrator.files.layout import Layout
from orchestrator.files.text import first_few, one_line
from orchestrator.store.acceptance import Acceptance, digest_of, snapshot
from orchestrator.store.provenance import Snapshot
from orchestrator.store.transitions import Store

MOST = 5  # changed files that are named


def obtain(app: App, accept: str = "", wait: bool = False) -> Acceptance:
    """The settings count, or this raises `Refused`. With ``wait`` it waits where nobody can be
    asked.

    ``accept``: the sha256 of settings that somebody has looked at elsewhere, for CI.
    """
    refuse_unsafe(app)
    refuse_tracked(app.layout)
    store = open_store(app)
    acceptance = Acceptance(app.layout, store.trust)
    files = snapshot(app.layout)
    if accept:
        refuse_in_attempt("accept settings")
        _check(accept, digest_of(files))
        acceptance.accept(files)
    reasons = acceptance.review()
    if reasons:
        tell(store, reasons)
    if reasons and sys.stdin.isatty() and app.console.tty:
        _ask(app, acceptance, reasons)
    elif reasons and wait:
        say(text_of(reasons))
        wait_for_yes(store, acceptance)
    elif reasons:
        raise Refused(why_of(reasons), _hint(files))
    tell(store, ())
    files = snapshot(app.layout)
    if not acceptance.equal() and not acceptance.review():
        if edited := acceptance.edited(files):
            _tell_edited(store, edited)
        acceptance.accept(files)
    return acceptance


def _tell_edited(store: Store, edited: list[str]) -> None:
    """A person's own edit counts without a question, but not without a word: nobody may have
    watched when it was made."""
    listed = first_few(edited, MOST)
    say(f"note: the settings have changed since they were last used: {listed}")
    event = store.log.event(
        *("settings_changed", "settings", f"@{int(time.time() * 1000)}"),
        phase="watch",
        summary=one_line(listed, 300),
    )
    with suppress(OSError):  # a full disk is told of by what writes next
        store.log.note(event)


def refusal(layout: Layout) -> str:
    """Why even a look starts no program that these settings name; empty if they count. Asking
    changes nothing."""
    return one_line("; ".join(Acceptance(layout, trust.of(layout)).review()), 200)


def refuse_brought(layout: Layout, template: str) -> None:
    """`Refused` if git brought this template and nobody here has accepted it: what a verb makes of
    it would count without a question."""
    reasons = Acceptance(layout, trust.of(layout)).doubts(template)
    if reasons:
        raise Refused(
            f"the template {template} is not used: " + one_line("; ".join(reasons), 200), HINT
        )


def _check(given: str, found: str) -> None:
    if given.lower() != found:
        raise Unusable(
            f"--accept does not match: the sha256 of the settings is {found}",
            "look at what has changed, then pass this checksum to --accept",
        )


def _hint(files: dict[str, bytes]) -> str:
    return f"{HINT}; in CI: orchestrator watch --accept {digest_of(files)}"


def _ask(app: App, acceptance: Acceptance, reasons: list[str]) -> None:
    refuse_in_attempt("accept settings")  # a terminal is easily made
    files = snapshot(app.layout)
    show(app, acceptance, files)
    for reason in reasons:
        app.console.out(reason)
    said = ask_yes("Accept these settings? They decide which programs run here.")
    if not said:
        raise Refused("the settings were not accepted: nothing starts", HINT)
    if snapshot(app.layout) != files:
        raise Refused("the settings were not accepted: they changed while you were asked", HINT)
    acceptance.accept(files)


def show(app: App, acceptance: Acceptance, files: Snapshot) -> None:
    """What a yes to these files would change."""
    for line in acceptance.difference(files):
        app.console.out(line)


def refuse_tracked(layout: Layout) -> None:
    """`Unusable` if git tracks what this machine believes: then a pull could write it."""
    if path := origin.tracked_below(*trust.believed_below(layout)):
        shown = layout.shown(path)
        raise Unusable(
            f"git tracks {shown}: a pull could change what this machine trusts",
            f"git rm -r --cached {origin.top_of(shown)}, and commit that",
        )


def refuse_in_attempt(what: str) -> None:
    """`Refused` if an attempt calls: what a person decides, no agent does."""
    if os.environ.get(TAG):
        raise Refused(
            f"an agent cannot {what}: only a person can",
            "at the end of your turn, say what you would decide",
        )


def refuse_serving(layout: Layout) -> None:
    """`Refused` if an attempt would start whatever waits in its own project; in another one it may,
    as in a test of this program."""
    if os.environ.get("ORCHESTRATOR_WORK") == layout.work:
        refuse_in_attempt("start the tasks of others")


def refuse_of_others(layout: Layout, task_ids: Iterable[str], what: str) -> None:
    """`Refused` if an attempt would do this to a task that is neither its own nor one that it has
    made: stopping the others' work is no tightening, it is harm."""
    if not os.environ.get(TAG):
        return
    me = os.environ.get("ORCHESTRATOR_TASK_ID", "")
    for task_id in task_ids:
        if not is_child(layout, task_id, me) and task_id != me:
            raise Refused(
                f"an agent cannot {what} {task_id}: it did not make that task",
                "at the end of your turn, say what you would do",
            )


def is_child(layout: Layout, task_id: str, parent: str) -> bool:
    """Whether this task, or the run it belongs to, was made by an attempt of ``parent``."""
    parts = task_id.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return bool(parent) and any(
        event.get("parent") == parent
        for name in names
        for event in eventreader.about(layout, "task_id", name)
    )

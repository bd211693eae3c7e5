"""``review``: walk through everything that needs you, one key each."""

from __future__ import annotations

import sys
from collections.abc import Collection

import click

from orchestrator.cli.app import App
from orchestrator.cli.consent import refuse_in_attempt
from orchestrator.cli.everywhere import refuse_none, warn_of_broken
from orchestrator.cli.options import examples, ids_argument, json_option, now
from orchestrator.cli.screen.acting import run_verb
from orchestrator.cli.screen.asking import ask_key, ask_line
from orchestrator.cli.screen.console import Console
from orchestrator.cli.screen.needs import block, block_of_all
from orchestrator.cli.selecting import named
from orchestrator.errors import INTERRUPTED, NEEDS_YOU
from orchestrator.files.text import clean, one_line
from orchestrator.model.question import options
from orchestrator.queries import runs
from orchestrator.queries.needs import GIVE_BACK, Need, needs_you
from orchestrator.queries.projects import in_each

KEYS = {
    "diff": "d",
    "show": "s",
    "reply": "r",
    GIVE_BACK: "f",
    "approve": "a",
    "reject": "x",
    "retry": "t",
    "edit": "e",
}
MOST = 9  # options that one key takes
DECIDE = ("approve", "reject", "reply", GIVE_BACK, "retry")  # what ends a question of the walk


@click.command(
    epilog=examples(
        "orchestrator review",
        "orchestrator review --list        # print it; in a pipe it always does",
        "orchestrator review --json | jq -r '.needs[].id'",
        "orchestrator review --all         # print it for all your projects",
    )
)
@ids_argument(required=False, runs=True)
@click.option("--list", "listed", is_flag=True, help="Print what needs you, and do nothing.")
@click.option(
    "--all", "everywhere", is_flag=True, help="Print what needs you in all your projects."
)
@json_option
@click.pass_obj
def command(app: App, tasks: tuple[str, ...], listed: bool, everywhere: bool, as_json: bool) -> int:
    """Walk through everything that needs you: questions, work in review, failures, tasks that came
    through git. Or only through the tasks and runs that you name.

    One key decides each; a digit takes that option of a question. Every key runs a verb, so your
    decisions count even if you lose the terminal. n skips one, q quits. The exit code is 0 if
    nothing needs you, else 7.

    With --all it only prints; decide in the project itself (orchestrator -C DIR review).
    """
    if everywhere and tasks:
        raise click.UsageError("--all prints every project; name tasks in one of them: -C DIR")
    if everywhere:
        return _show_everywhere(app, as_json)
    only = {task_id for task_id, _, _ in named(app, tasks)} | {
        run[0] for word in tasks if (run := runs.meant(app.layout, word)) is not None
    }
    needs = _needs(app, only)
    if as_json:
        app.console.json("needs", {"needs": [need.as_json() for need in needs]})
    elif listed or not app.console.tty or not sys.stdin.isatty():
        block(app.console, needs, now())
    else:
        refuse_in_attempt("decide anything")
        return _walk(app, only)
    return NEEDS_YOU if needs else 0


def _show_everywhere(app: App, as_json: bool) -> int:
    moment = now()
    found = in_each(lambda layout: needs_you(layout, moment))
    refuse_none(found)
    if as_json:
        told = [
            item.as_json(lambda needs: {"needs": [need.as_json() for need in needs]})
            for item in found
        ]
        app.console.json("projects", {"projects": told})
    else:
        block_of_all(app.console, [(item.name, item.found or []) for item in found], moment)
        warn_of_broken(found)
    return NEEDS_YOU if any(item.found for item in found) else 0


def _needs(app: App, only: Collection[str]) -> list[Need]:
    """What needs a person; of these tasks and runs alone, if there are any."""
    return [need for need in needs_you(app.layout, now()) if not only or need.id in only]


def _walk(app: App, only: Collection[str]) -> int:
    passed: set[tuple[str, str]] = set()
    while True:
        needs = _needs(app, only)  # again: others decide, too
        left = [need for need in needs if (need.id, need.kind) not in passed]
        if not left:
            block(app.console, needs, now())
            return NEEDS_YOU if needs else 0
        need = left[0]
        _present(app.console, need, len(passed) + 1, len(passed) + len(left))
        try:
            if not _decide(app, need):
                passed.add((need.id, need.kind))
        except (EOFError, KeyboardInterrupt):
            app.console.out()
            return INTERRUPTED
        except StopIteration:
            app.console.out()
            return NEEDS_YOU


def _present(console: Console, need: Need, number: int, total: int) -> None:
    console.out()
    since = f"  {console.ago(need.since, now())}" if need.since is not None else ""
    sign = console.sign("review" if need.kind == "asks" else need.kind)
    console.out(
        f"{number} of {total}  {sign} {one_line(need.id)}  {console.word(need.kind)} "
        f" {need.why}{since}"
    )
    if need.title:
        console.out(f"        {console.cut(need.title)}")
    if need.question:
        for line in clean(need.question).splitlines():
            console.out(f"        {line}")
    elif need.plan:
        for line in need.plan.splitlines():
            console.out(f"        {line}")
    elif need.said:
        console.out(f"        {console.cut(need.said)}")


def _decide(app: App, need: Need) -> bool:
    """Ask for a key until something was decided; False if the person passes over it. StopIteration
    ends the walk."""
    if not need.verbs:
        app.console.out(f"        {need.command}")
    while True:
        keys = {KEYS[verb]: verb for verb in need.verbs if verb in KEYS}
        offered = options(need.question)[:MOST] if "reply" in need.verbs else []
        words = [f"1-{len(offered)} answer"] if len(offered) > 1 else []
        words += [f"{key} {verb}" for key, verb in keys.items()]
        key = ask_key(f"{'  '.join((*words, 'n next', 'q quit'))} > ")
        if key in ("", "\x04", "q"):
            raise StopIteration
        if key in ("n", " ", "\r", "\n"):
            return False
        takes = key.isdecimal() and 1 <= int(key) <= len(offered)
        verb = "reply" if takes else keys.get(key)
        if verb is None:
            continue
        done = run_verb(app, verb, need.id, key) == 0 if takes else _act(app, verb, need)
        stands = _again(app, need)
        if (done or stands is None) and verb in DECIDE:
            return True
        need = stands or need


def _again(app: App, need: Need) -> Need | None:
    """What it is by now: a merge may have met a conflict. None if it needs nobody any more: two
    people may walk at the same time."""
    found = needs_you(app.layout, now())
    return next((it for it in found if (it.id, it.kind) == (need.id, need.kind)), None)


def _act(app: App, verb: str, need: Need) -> bool:
    """Run the verb; whether it did what was asked."""
    if verb == "edit":
        click.edit(filename=f"{app.layout.root}/{need.command.partition(' ')[2]}")
        return True
    words = [*verb.split(), need.id]
    if verb in ("reply", "reject"):
        question = "reply: " if verb == "reply" else "why (Enter for none): "
        said = ask_line(question).strip()
        if not said and verb == "reply":
            return False
        if verb == "reject" and said and " " not in said:
            said += " "
        words += [said] if said else []
    return run_verb(app, *words) == 0

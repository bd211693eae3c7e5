"""``show``: the whole story of one task."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import examples, ids_argument, json_option, now
from orchestrator.cli.screen.console import Console, cost, tokens
from orchestrator.cli.verbs import runs as runs_verb
from orchestrator.cli.verbs import why as why_verb
from orchestrator.errors import NotFound
from orchestrator.files.layout import Layout
from orchestrator.files.results import waiting_plan
from orchestrator.files.text import clean, one_line
from orchestrator.model import isolation
from orchestrator.model.status import Status
from orchestrator.model.units import plural, show_duration, when
from orchestrator.queries import chains, runs, story, whereabouts

if TYPE_CHECKING:
    from orchestrator.queries.runs import RunView
    from orchestrator.queries.story import Story

SAID = 400  # characters of a line of the agent's last words, in a pipe


@click.command(
    epilog=examples(
        "orchestrator show review-retry",
        "orchestrator show retry          # any unique part of the id",
        "orchestrator show retry --why    # what it waits for",
        "orchestrator show retry --json | jq .result.outcome",
    )
)
@ids_argument(runs=True, name="words")
@click.option("--full", is_flag=True, help="The whole prompt and message.")
@click.option("--why", "reasons", is_flag=True, help="Only what it waits for, as  why  tells it.")
@json_option
@click.pass_obj
def command(app: App, words: tuple[str, ...], full: bool, reasons: bool, as_json: bool) -> None:
    """Everything about a task: where it is, how it went, where its files are.  Of a run, its tasks."""
    if reasons:
        why_verb.tell(app, words, as_json)
    elif as_json:
        app.console.documents([_document(app.layout, word) for word in words])
    else:
        for place, word in enumerate(words):
            if place:
                app.console.out()
            _tell(app, word, full)


def _meant(layout: Layout, word: str) -> RunView | tuple[str, Status, str]:
    """The run or the task that ``word`` names: a run's whole name comes before a part of its tasks'
    names."""
    try:
        task_id, status, name = whereabouts.find(layout, word)
    except NotFound:
        view = _run(layout, word)
        if view is None:
            raise
        return view
    view = _run(layout, word) if task_id != word else None
    return view if view is not None and view.id == word else (task_id, status, name)


def _tell(app: App, word: str, full: bool) -> None:
    layout, found = app.layout, _meant(app.layout, word)
    if not isinstance(found, tuple):
        runs_verb.show_run(app, found)
        return
    moment = now()
    told = story.of(layout, *found, moment)
    _show(app.console, told, found[1], moment, full, layout, _links(layout, told))


def _document(layout: Layout, word: str) -> tuple[str, dict[str, Any]]:
    """The kind of the document, and what is in it."""
    meant = _meant(layout, word)
    if not isinstance(meant, tuple):
        return "run", {"run": meant.as_json()}
    found = story.of(layout, *meant, now())
    links = _links(layout, found)
    return "task", {
        "task": found.row.as_json(),
        "request": found.text,
        "result": dict(found.result),
        "note": found.note,
        "events": found.history,
        "chain": [link.as_json() for link in links[0]],
        "follow_ups": [link.as_json() for link in links[1]],
    }


def _links(layout: Layout, found: Story) -> Links:
    asked = found.request.task if found.request else None
    return chains.before(layout, asked), chains.after(layout, asked, found.result)


def _run(layout: Layout, run: str) -> RunView | None:
    """The run that ``run`` names, if there is one."""
    known = runs.find_run(layout, run)
    return runs.view_of(layout, *known, now()) if known else None


Links = tuple[list[chains.Link], list[chains.Link]]


def _chain(links: Links) -> list[tuple[str, str]]:
    """What it follows, and what follows it."""
    before = " -> ".join(link.id for link in links[0])
    after = [
        f"{link.id} {link.status}" if link.status else f"{link.id} once {_ONCE[link.on]}"
        for link in links[1]
    ]
    return [("follows", one_line(before, 300)), ("then", one_line(" · ".join(after), 300))]


_ONCE = {
    "proven": "it is proven",
    "done": "it is done",
    "failed": "it has failed",
    "changed": "it has changed something",
    "always": "it has ended",
}


def _show(
    console: Console,
    found: Story,
    status: Status,
    moment: float,
    full: bool,
    layout: Any,
    links: Links,
) -> None:
    row, result = found.row, found.result
    state = "retrying" if "retrying" in row.flags else row.status
    tail = ""
    if row.ended is not None:
        tail = f" {console.ago(row.ended, moment)}"
    elif row.seconds is not None:
        tail = f" for {show_duration(row.seconds)}" + (
            f" of {show_duration(row.timeout)}" if row.timeout else ""
        )
    console.out(
        f"{console.sign(state)} {row.id}   {console.word(state)}{tail}"
        + (f" · attempt {row.attempt}" if row.attempt else "")
    )
    if row.title:
        console.hang("", row.title)
    console.out()
    claim = found.journal.claim if found.journal else {}
    agent, tool, model = _acting(found)
    facts: list[tuple[str, str]] = []
    facts.append(
        (
            "agent",
            agent
            + (
                f" ({', '.join(part for part in (tool if tool != agent else '', model) if part)})"
                if model or tool not in ("", agent)
                else ""
            ),
        )
    )
    if tool == "demo":
        facts[-1] = ("agent", f"{agent} (a stand-in: no model was called)")
    facts.append(("run", row.run))
    facts += _chain(links)
    if result.get("started_at") and result.get("finished_at"):
        facts.append(
            (
                "time",
                (
                    f"{console.clock(when(str(result['started_at'])))} -> "
                    f"{console.clock(when(str(result['finished_at'])))}  "
                    f"{_took(result)}"
                ),
            )
        )
    facts.append(
        ("why", one_line(str(result.get("why") or claim.get("why") or ""), 200) if full else "")
    )
    facts.append(
        (
            "cost",
            _cost(
                result
                or {
                    "cost_usd": row.cost_usd,
                    "cost_source": "so far" if row.cost_usd else "",
                    "usage": row.usage,
                }
            ),
        )
    )
    facts.append((_label(row.status, status), row.detail))
    facts += [*_change(result, found, layout), ("plan", _plan(result, row.id))]
    if result.get("session"):
        resume = one_line(str(result.get("resume") or ""), 200)
        facts.append(
            (
                "session",
                one_line(str(result["session"]), 120) + (f"   resume: {resume}" if resume else ""),
            )
        )
    for note in result.get("notes") or (
        found.request.task.notes if found.request and found.request.task else ()
    ):
        facts.append(("note", one_line(str(note))))
    for warning in result.get("warnings") or ():
        facts.append(("warning", one_line(str(warning))))
    for item in result.get("artifacts") or ():
        state_of = "missing" if item.get("missing") else f"{item.get('bytes', 0)} bytes"
        facts.append(("artifact", f"{one_line(str(item.get('path')))} ({state_of})"))
    changed = [one_line(str(path)) for path in result.get("files_changed") or ()]
    facts.append(
        (
            "changed",
            (
                "\n".join(changed)
                if full
                else " · ".join(changed[:5])
                + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
            ),
        )
    )
    facts.append(
        (
            "files",
            " · ".join(
                console.link(os.path.join(layout.root, path), path)
                for path in _files(found, layout)
            ),
        )
    )
    lines = clean(found.prompt).strip().splitlines()
    if lines:
        more = (
            f"  … {plural(len(lines) - 1, 'more line')} (--full)"
            if len(lines) > 1 and not full
            else ""
        )
        facts.append(("prompt", "\n".join(lines) if full else console.cut(lines[0]) + more))
    facts += _replies(console, found, full)
    message = clean(str(result.get("message") or "")).strip().splitlines()
    if message:
        facts.append(
            ("said", "\n".join(message) if full else "\n".join(_few(console, message[-3:])))
        )
    if result.get("data") is not None:
        data = json.dumps(result["data"], indent=None if not full else 2, ensure_ascii=False)
        facts.append(("data", clean(data) if full else console.cut(clean(data))))
    facts.append(("history", " · ".join(_history(console, found))))
    _print(console, facts)


def _print(console: Console, facts: list[tuple[str, str]]) -> None:
    for name, value in facts:
        if value:
            first, *others = value.split("\n")
            console.hang(f"{name:<9} ", first)
            for other in others:
                console.hang(f"{'':<9} ", other)


def _label(word: str, status: Status) -> str:
    """What stands before the line that says the most useful thing about a task now."""
    if word == "invalid":
        return "error"
    words = {Status.INBOX: "waiting", Status.HELD: "held", Status.RUNNING: "now"}
    return words.get(status, "reason")


def _acting(found: Story) -> tuple[str, str, str]:
    """Agent, tool and model of the attempt that acted last, or is to act next: after a fallback not
    the first of the chain."""
    row, result = found.row, found.result
    acting = dict(found.journal.acting) if found.journal else {}
    if row.ended is not None or "outcome" in result:
        acting |= {name: result.get(name) for name in ("agent", "tool", "model")}
    agent, tool, model = (
        str(acting.get(name) or getattr(row, name) or "") for name in ("agent", "tool", "model")
    )
    return agent, tool, "" if acting.get("tool") and not acting.get("model") else model


def _took(result: Mapping[str, Any]) -> str:
    """``88ms``; with several attempts their sum, which is not the time between start and end:
    ``88ms in 2 attempts``."""
    took = show_duration(float(result.get("duration_s", 0)))
    attempts = len(result.get("attempts") or ())
    return took if attempts < 2 else f"{took} in {attempts} attempts"


def _few(console: Console, lines: list[str]) -> list[str]:
    """Lines cut to `SAID` characters each, or to two rows of the terminal: what an agent says may
    be one line without end."""
    most = max(2 * (console.width - 10), 60) if console.width else SAID
    return [one_line(line, most) if len(line) > most else line for line in lines]


def _replies(console: Console, found: Story, full: bool) -> list[tuple[str, str]]:
    """What people have said to its agent, and by which attempt that was told; what waits last."""
    facts = []
    for record in found.journal.replies if found.journal else ():
        lines = clean(str(record.get("text", ""))).strip().splitlines() or [""]
        more = "" if full or len(lines) == 1 else f"  … {plural(len(lines) - 1, 'more line')}"
        text = "\n".join(lines) if full else console.cut(lines[0]) + more
        facts.append(("replied", f"attempt {record['to']}: {text}"))
    return facts + [("replied", f"not delivered yet: {path}") for path in found.untold]


def _change(result: Mapping[str, Any], found: Story, layout: Any) -> list[tuple[str, str]]:
    """Its branch, what is on it, its checks and its tree; nothing for a task without a tree."""
    journal = found.journal
    change = isolation.change_from(journal.change) if journal is not None else None
    facts = []
    if change is not None:
        state = isolation.summary(change) if change.files else f"no change on {change.branch}"
        merged = (
            f" · merged as {journal.merged[:12]}" if journal is not None and journal.merged else ""
        )
        facts.append(
            ("change", one_line(f"{state}{merged}", 200) + f"   orchestrator diff {found.row.id}")
        )
    elif journal is not None and journal.tree:
        facts.append(("branch", one_line(str(journal.tree.get("branch", "")), 200)))
    checks = [item for item in result.get("checks") or () if isinstance(item, dict)]
    signs = [f"{item.get('check')} {'✓' if item.get('passed') else '✗'}" for item in checks]
    facts.append(("checks", one_line(" · ".join(signs), 200)))
    if journal is not None and journal.earlier:
        before = " · ".join(journal.earlier[-5:])
        facts.append(("before", one_line(f"{before}, from which it began anew", 200)))
    if os.path.isdir(layout.tree(found.row.id)):
        facts.append(("tree", layout.shown(layout.tree(found.row.id))))
    return facts


def _plan(result: Mapping[str, Any], task_id: str) -> str:
    """Where its plan is, and what is to be done about it."""
    if waits := waiting_plan(result):
        return f"{one_line(waits, 200)}   orchestrator approve {task_id}"
    plan = result.get("plan") or {}
    return f"{one_line(str(plan['file']), 200)} (approved)" if plan.get("file") else ""


def _cost(result: Mapping[str, Any]) -> str:
    """``$0.40 reported · 48.1k in (39.8k cached) · 2.2k out``; what is not known is not $0.00."""
    usage = result.get("usage") or {}
    source = str(result.get("cost_source") or "")
    known = result.get("cost_usd")
    if source == "unknown":
        source, known = ("in part unknown", known) if known else ("unknown", None)
    parts = [" ".join(part for part in (cost(known), source) if part)]
    if usage.get("input"):
        parts.append(
            f"{tokens(usage['input'])} in"
            + (f" ({tokens(usage['cached'])} cached)" if usage.get("cached") else "")
        )
    if usage.get("output"):
        parts.append(f"{tokens(usage['output'])} out")
    return " · ".join(part for part in parts if part)


def _files(found: Story, layout: Any) -> list[str]:
    files = [found.row.file]
    if found.result:
        files.append(layout.shown(layout.result(found.row.id)))
    log = str(found.result.get("log") or "")
    if not log and found.journal and found.journal.attempt:
        log = layout.shown(layout.logs(found.row.id, found.journal.attempt.number)) + "/"
    if log and not os.path.exists(os.path.join(layout.root, log)):
        log = ""
    return [part for part in (*files, log) if part]


def _history(console: Console, found: Story) -> list[str]:
    words = {
        "task_submitted": "created",
        "attempt_started": "started",
        "attempt_dispatched": "offered",
        "task_finished": "",
        "attempt_finished": None,
        "task_cancel_requested": "asked to stop",
        "task_foreign": "put in review",
        "question_asked": "asked you",
        "question_answered": "answered",
    }
    parts = []
    for event in found.history:
        kind = str(event.get("event"))
        word = words.get(kind, kind.removeprefix("task_").replace("_", " "))
        if kind == "tool_parked":
            word = f"{event.get('tool') or 'its tool'} held"
        if word is None:
            continue
        word = word or str(event.get("status") or "finished")
        if kind == "attempt_started" and (event.get("attempt") or 1) > 1:
            word += f" (attempt {event['attempt']})"
        try:
            moment = console.clock(when(str(event.get("ts"))))
        except ValueError:
            continue
        parts.append(f"{moment} {word}")
    return parts

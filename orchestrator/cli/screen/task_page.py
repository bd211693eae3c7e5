"""The page of one task, as ``show`` draws it: a headline, and a line for each fact that there
is."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, assert_never

from orchestrator.cli.screen.console import Console, cost, tokens
from orchestrator.files import conflicts, git
from orchestrator.files.layout import Layout
from orchestrator.files.results import waiting_plan
from orchestrator.files.text import clean, one_line
from orchestrator.model import isolation
from orchestrator.model.status import Status
from orchestrator.model.units import plural, show_duration, when
from orchestrator.queries import differences, elsewhere, printed
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.queries.chains import Link
    from orchestrator.queries.story import Story

Fact = tuple[str, str]  # what stands in front, and what is said; nothing is said: no line
SAID = 400  # characters of a line of the agent's last words, in a pipe
_ONCE = {
    "proven": "it is proven",
    "done": "it is done",
    "failed": "it has failed",
    "changed": "it has changed something",
    "always": "it has ended",
}
# What the history calls an event; None leaves it out, no words: its status.  Others say their name.
_HISTORY = {
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


@dataclass(frozen=True, slots=True)
class TaskPage:
    """``before`` and ``after`` are the tasks of its chain; ``full`` cuts nothing, ``moment`` is
    now."""

    console: Console
    layout: Layout
    found: Story
    status: Status
    before: Sequence[Link]
    after: Sequence[Link]
    full: bool
    moment: float

    def show(self) -> None:
        """Print it."""
        self.console.out(self._headline())
        if self.found.row.title:
            self.console.hang("", self.found.row.title)
        self.console.out()
        for name, value in self._facts():
            for place, line in enumerate(value.split("\n") if value else ()):
                self.console.hang(f"{'' if place else name:<9} ", line)

    def _facts(self) -> Iterator[Fact]:
        """Everything that can be said, in the order in which it is read."""
        row, result = self.found.row, self.found.result
        yield "agent", _who(self.found)
        yield "on", self._where()
        yield "run", row.run
        yield from _chain(self.before, self.after)
        yield "time", self._time()
        yield "why", self._why()
        yield "cost", _cost(result or _so_far(self.found))
        journal = self.found.journal
        rejected = journal.rejected if journal is not None else ""
        yield _label(row.status, self.status), rejected or row.detail
        yield from _change(result, self.found, self.layout)
        yield "plan", _plan(result, row.id)
        yield "session", _session(result)
        yield from (("note", one_line(str(note))) for note in _notes(self.found))
        for warning in result.get("warnings") or ():
            yield "warning", one_line(str(warning))
        yield from (("artifact", _artifact(item)) for item in result.get("artifacts") or ())
        yield "changed", self._changed()
        yield "files", self._files()
        yield "prompt", self._text(clean(self.found.prompt).strip().splitlines(), " (--full)")
        yield from self._replies()
        yield "said", self._said()
        yield "data", self._data()
        yield "history", " · ".join(self._history())

    def _headline(self) -> str:
        console, row = self.console, self.found.row
        state = "retrying" if "retrying" in row.flags else row.status
        words = f"{console.sign(state)} {row.id}   {console.word(state)}"
        if row.ended is not None:
            words += f" {console.ago(row.ended, self.moment)}"
        elif row.seconds is not None:
            words += f" for {show_duration(row.seconds)}"
            words += f" of {show_duration(row.timeout)}" if row.timeout else ""
        return f"{words} · attempt {row.attempt}" if row.attempt else words

    def _where(self) -> str:
        """``farm/second``: who had its last attempt, if that was not this machine."""
        last = self.found.journal.attempt if self.found.journal else None
        return one_line(elsewhere.place(last), 120) if last is not None else ""

    def _time(self) -> str:
        result = self.found.result
        if not result.get("started_at") or not result.get("finished_at"):
            return ""
        began, ended = (
            self.console.clock(when(str(result[name]))) for name in ("started_at", "finished_at")
        )
        return f"{began} -> {ended}  {_took(result)}"

    def _why(self) -> str:
        """Why this tool acts."""
        claim = self.found.journal.claim if self.found.journal else {}
        why = str(self.found.result.get("why") or claim.get("why") or "")
        return one_line(why, 200) if self.full else ""

    def _changed(self) -> str:
        changed = [one_line(str(path)) for path in self.found.result.get("files_changed") or ()]
        if self.full:
            return "\n".join(changed)
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        return " · ".join(changed[:5]) + more

    def _files(self) -> str:
        """Its file, its result, its log: those that are there."""
        found, layout = self.found, self.layout
        result = layout.shown(layout.result(found.row.id)) if found.result else ""
        log = str(found.result.get("log") or "")  # that of the last attempt that has ended
        if found.journal and found.journal.attempt:
            log = layout.shown(layout.logs(found.row.id, found.journal.attempt.number)) + "/"
        if not os.path.exists(os.path.join(layout.root, log)):
            log = ""
        paths = [path for path in (found.row.file, result, log) if path]
        link = self.console.link
        return " · ".join(link(os.path.join(layout.root, path), path) for path in paths)

    def _text(self, lines: Sequence[str], hint: str = "") -> str:
        """The first of the lines, and how many follow; ``hint`` says how to see those."""
        if self.full or not lines:
            return "\n".join(lines)
        more = f"  … {plural(len(lines) - 1, 'more line')}{hint}" if len(lines) > 1 else ""
        return self.console.cut(lines[0]) + more

    def _replies(self) -> Iterator[Fact]:
        """What people have said to its agent, and by which attempt that was told; what waits
        last."""
        for record in self.found.journal.replies if self.found.journal else ():
            lines = clean(str(record.get("text", ""))).strip().splitlines() or [""]
            yield "replied", f"attempt {record['to']}: {self._text(lines)}"
        yield from (("replied", f"not delivered yet: {path}") for path in self.found.untold)

    def _said(self) -> str:
        """The end of what the agent said."""
        message = clean(str(self.found.result.get("message") or "")).strip().splitlines()
        return "\n".join(message if self.full else _few(self.console, message[-3:]))

    def _data(self) -> str:
        data = self.found.result.get("data")
        if data is None:
            return ""
        text = clean(json.dumps(data, indent=2 if self.full else None, ensure_ascii=False))
        return text if self.full else self.console.cut(text)

    def _history(self) -> Iterator[str]:
        for event in self.found.history:
            kind = str(event.get("event"))
            word = _HISTORY.get(kind, kind.removeprefix("task_").replace("_", " "))
            if kind == "tool_parked":
                word = f"{event.get('tool') or 'its tool'} held"
            if word is None:
                continue
            word = word or str(event.get("status") or "finished")
            if kind == "attempt_started" and (event.get("attempt") or 1) > 1:
                word += f" (attempt {event['attempt']})"
            try:
                yield f"{self.console.clock(when(str(event.get('ts'))))} {word}"
            except ValueError:
                continue


def _who(found: Story) -> str:
    """``reviewer (claude, opus)``: the agent, and what does not go without saying."""
    agent, tool, model = _acting(found)
    if tool == "demo":
        return f"{agent} (a stand-in: no model was called)"
    more = ", ".join(part for part in (tool if tool != agent else "", model) if part)
    return f"{agent} ({more})" if more else agent


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


def _chain(before: Iterable[Link], after: Iterable[Link]) -> Iterator[Fact]:
    """What it follows, and what follows it."""
    then = (
        f"{link.id} {link.status}" if link.status else f"{link.id} once {_ONCE[link.on]}"
        for link in after
    )
    yield "follows", one_line(" -> ".join(link.id for link in before), 300)
    yield "then", one_line(" · ".join(then), 300)


def _took(result: Mapping[str, Any]) -> str:
    """``88ms``; with several attempts their sum, which is not the time between start and end:
    ``88ms in 2 attempts``."""
    took = show_duration(float(result.get("duration_s", 0)))
    attempts = len(result.get("attempts") or ())
    return took if attempts < 2 else f"{took} in {attempts} attempts"


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


def _so_far(found: Story) -> Mapping[str, Any]:
    """What a task without a result has cost, as a result would say it."""
    row = found.row
    source = "so far" if row.cost_usd else ""
    return {"cost_usd": row.cost_usd, "cost_source": source, "usage": row.usage}


def _label(word: str, status: Status) -> str:
    """What stands before the line that says the most useful thing about a task now."""
    if word == "invalid":
        return "error"
    match status:
        case Status.INBOX | Status.HELD:
            return status.word
        case Status.RUNNING:
            return "now"
        case Status.REVIEW | Status.DONE | Status.FAILED | Status.CANCELLED | Status.ARCHIVE:
            return "reason"
        case _:
            assert_never(status)


def _change(result: Mapping[str, Any], found: Story, layout: Any) -> list[tuple[str, str]]:
    """Its branch, what is on it, its checks and its tree; nothing for a task without a tree."""
    journal = found.journal
    change = isolation.change_from(journal.change) if journal is not None else None
    facts = []
    if change is not None:
        state = isolation.summary(change) if change.files else f"none on {change.branch}"
        merged = (
            f" · merged as {journal.merged[:12]}" if journal is not None and journal.merged else ""
        )
        look = f"   orchestrator diff {found.row.id}" if change.files else ""
        facts.append(("change", one_line(f"{state}{merged}", 200) + look))
        if collides := conflicts.told(layout, found.row.id):
            command = f"   orchestrator reply {found.row.id} --conflict"
            facts.append(("conflict", collides + command))
        elif found.row.status == Status.REVIEW:
            facts.append(("target", _since(change, found.row.id, layout)))
    elif journal is not None and journal.tree:
        facts.append(("branch", one_line(str(journal.tree.get("branch", "")), 200)))
    facts.append(("checks", _checks(result, found, layout)))
    if journal is not None and journal.earlier:
        before = " · ".join(journal.earlier[-5:])
        facts.append(("before", one_line(f"{before}, where it started over", 200)))
    if os.path.isdir(layout.tree(found.row.id)):
        facts.append(("tree", layout.shown(layout.tree(found.row.id))))
    return facts


def _since(change: isolation.Change, task_id: str, layout: Layout) -> str:
    """How its target has moved on while it worked and waited; empty if it has not."""
    try:
        moved = differences.since(layout, change)
    except git.Unclear:
        return ""
    if not moved.commits:
        return ""
    text = f"{change.target} moved {plural(moved.commits, 'commit')}"
    if not moved.both:
        return one_line(f"{text}, in other files", 200)
    files = ", ".join(moved.both[:5]) + (", ..." if len(moved.both) > 5 else "")
    return one_line(f"{text}, also in {files}", 200) + f"   orchestrator approve -n {task_id}"


def _checks(result: Mapping[str, Any], found: Story, layout: Layout) -> str:
    """How they ended; of the first that failed the last it said, and how to read all of it."""
    checks = [item for item in result.get("checks") or () if isinstance(item, dict)]
    signs = [f"{item.get('check')} {'✓' if item.get('passed') else '✗'}" for item in checks]
    text = one_line(" · ".join(signs), 200)
    red = next((str(item.get("check")) for item in checks if not item.get("passed")), "")
    number = found.journal.attempt.number if found.journal and found.journal.attempt else 0
    stream, lines = printed.last_of_check(layout, found.row.id, number, red)
    if not lines:
        return text
    command = f"orchestrator logs {found.row.id} --check {shlex.quote(red)}"
    more = " --stderr" if stream == "stderr" else ""
    return "\n".join((f"{text}   {command}{more}", *(one_line(line, SAID) for line in lines)))


def _plan(result: Mapping[str, Any], task_id: str) -> str:
    """Where its plan is, and what is to be done about it."""
    if waits := waiting_plan(result):
        return f"{one_line(waits, 200)}   orchestrator approve {task_id}"
    plan = result.get("plan") or {}
    return f"{one_line(str(plan['file']), 200)} (approved)" if plan.get("file") else ""


def _session(result: Mapping[str, Any]) -> str:
    """Its id, and how it is gone on with."""
    if not result.get("session"):
        return ""
    resume = one_line(str(result.get("resume") or ""), 200)
    return one_line(str(result["session"]), 120) + (f"   resume: {resume}" if resume else "")


def _notes(found: Story) -> Sequence[object]:
    """Those of its result; before there is one, those of its file."""
    asked = found.request.task if found.request else None
    return found.result.get("notes") or (asked.notes if asked else ())


def _artifact(item: Mapping[str, Any]) -> str:
    state = "missing" if item.get("missing") else f"{item.get('bytes', 0)} bytes"
    return f"{one_line(str(item.get('path')))} ({state})"


def _few(console: Console, lines: list[str]) -> list[str]:
    """Lines cut to `SAID` characters each, or to two rows of the terminal: what an agent says may
    be one line without end."""
    most = max(2 * (console.width - 10), 60) if console.width else SAID
    return [one_line(line, most) if len(line) > most else line for line in lines]

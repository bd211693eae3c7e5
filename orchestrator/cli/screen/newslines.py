"""What each news of the watcher says: a line about a task, a sentence, or nothing.

How a line is fitted to a terminal is in `cli.screen.lines`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from orchestrator.cli.screen.console import SIGNS, Console, cost
from orchestrator.cli.screen.lines import Line
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import (
    About,
    Begun,
    Cancelling,
    Draining,
    Finished,
    Held,
    Internal,
    Interrupting,
    Left,
    Moved,
    News,
    Recovered,
    Remark,
    Requeued,
    Resumed,
    Retrying,
    RunBegun,
    RunFinished,
    Started,
    Stuck,
    Suspended,
)
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.gates import Gate
from orchestrator.model.isolation import Change, CheckResult
from orchestrator.model.question import headline
from orchestrator.model.run import Run
from orchestrator.model.status import Outcome, Status
from orchestrator.model.units import plural, show_duration, show_wait
from orchestrator.records import dataclass
from orchestrator.store.recovery import Step

LONGEST = 500  # columns of a remark

RECOVERED: Mapping[Step, str] = {
    Step.ADOPT: "still running: adopted",
    Step.REATTACH: "still running on another machine",
    Step.LOST: "its supervisor was killed",
    Step.FINISH: "finished in the meantime",
    Step.START: "was claimed, not started",
    Step.RETRY: "another attempt is due",
}


@dataclass(frozen=True, slots=True)
class Look:
    """How a remark is shown: colour and sign by ``status``, ``word`` if it is not the status,
    ``fact`` is its name in a pipe, ``name`` stands where no task is named."""

    status: str
    fact: str = ""
    word: str = ""
    text: str = "{}"
    name: str = ""


REMARKS: Mapping[About, Look] = {
    About.ANSWERED: Look("running", "answer", text="goes on with your answer: {}"),
    About.APPROVED: Look("ok", "note", "approved"),
    About.ASKED: Look("review", "question", "asks"),
    About.BUDGET: Look("warning", "text", "budget", name="day"),
    About.CANCELLED: Look("cancelled", "reason"),
    About.CONFIGURED: Look("ok", "changed", "settings", "reloaded: {}"),
    About.EDITING: Look("editing", "why", text="{}, not claimed"),
    About.FAULT: Look("problem", "fault", "fault", "{}: nothing new starts; running tasks go on"),
    About.FAULT_OVER: Look("ok", "", "recovered", "tasks start again"),
    About.FOREIGN: Look("review", "note"),
    About.HELD_SETTINGS: Look("review", "held", "settings"),
    About.HOOK: Look("warning", "text", "hook", name="hook"),
    About.IGNORED: Look("warning", "why", "no task"),
    About.INVALID: Look("invalid", "error"),
    About.MISCONFIGURED: Look("problem", "error", "settings"),
    About.MORE: Look("note", "note", "more"),
    About.RELEASED: Look("ok", "", "released", "may start again"),
    About.REPLIED: Look("waiting", "", "replied", "it goes on with your reply"),
    About.RESTORED: Look("warning", "note", "restored"),
    About.REVIEWED: Look("review", "note"),
    About.TIDIED: Look("note", "note", "tidied"),
    About.WARNED: Look("warning", "warning"),
}


def said(news: News, layout: Layout, console: Console) -> Line | str | None:
    """A line, a sentence of its own, or None: then nothing is printed."""
    match news:
        case Remark():
            return _remark(news)
        case Started():
            return _started(news.life)
        case Finished():
            return _finished(news, layout, console)
        case Retrying():
            return _retrying(news)
        case Requeued():
            again = {"attempt": str(news.life.attempt), "held": news.held}
            text = f"not started: {news.held}" if news.held else "interrupted; it starts again"
            return Line("waiting", news.life.id, text, again)
        case Recovered():
            step = {"step": news.step.value}
            return Line("running", news.life.id, RECOVERED[news.step], step, word="recovered")
        case Cancelling():
            text = f"stopping it ({news.by})"
            return Line("cancelled", news.life.id, text, {"by": news.by}, word="stopping")
        case Left():
            text = "keeps running; the next watcher takes it over"
            return Line("running", news.life.id, text, {}, word="left")
        case Moved():
            status = {"approved": "ok", "rejected": "failed"}.get(news.word, news.word)
            status = status if status in SIGNS else "note"
            return Line(status, news.id, news.text, {"note": news.text}, word=news.word)
        case Stuck():
            why = waits_for(news.gates)
            return Line("waiting", news.id, console.local(why), {"why": why})
        case Held():
            return _held(news, console)
        case RunBegun():
            return _run_begun(news.run)
        case RunFinished():
            return _run_finished(news)
        case Internal():
            return _internal(news)
        case Draining():
            return _draining(news)
        case Interrupting():
            how = "SIGINT, then SIGTERM, then SIGKILL · Ctrl-C again to leave at once"
            return f"interrupting {news.running}: {how}"
        case Begun() | Suspended() | Resumed():
            return None
        case _:
            assert_never(news)


def waits_for(gates: Sequence[Gate]) -> str:
    """What keeps it from starting: the first of them, and how many more."""
    return gates[0].why + (f", and {len(gates) - 1} more" if len(gates) > 1 else "")


def _remark(news: Remark) -> Line:
    look = REMARKS[news.about]
    text = one_line(look.text.format(news.text), LONGEST)
    facts = {look.fact: one_line(news.text, LONGEST)} if look.fact else {}
    return Line(look.status, news.id or look.name, text, facts, word=look.word)


def _started(life: Life) -> Line:
    again = {"attempt": str(life.attempt)} if life.attempt > 1 else {}
    more = [f"attempt {life.attempt}"] if again else []
    if life.route.mode == "interactive":
        more.append(f"orchestrator attach {life.id}")
    name = life.route.agent.name
    return Line("running", life.id, name, {"agent": name, **again}, " · ".join(more))


def _finished(news: Finished, layout: Layout, console: Console) -> Line:
    life, reading, status, reason = news.life, news.reading, news.status, news.reason
    lost = reading.outcome is Outcome.LOST  # nobody knows how long it worked
    took = "" if lost else show_duration(reading.duration_ms / 1000)
    log = layout.shown(layout.logs(life.id, life.attempt)) + "/"
    facts = {"agent": life.route.agent.name, "attempt": str(life.attempt)}
    if not lost:
        facts["duration"] = took
    if reading.cost_usd is not None:
        facts["cost_usd"] = f"{reading.cost_usd:.4f}"
    text = " ".join(part for part in (took, cost(reading.cost_usd)) if part)
    if life.attempt > 1 and life.cost > (reading.cost_usd or 0.0):
        text += f" · {cost(life.cost)} in {life.attempt} attempts"
        facts["total_usd"] = f"{life.cost:.4f}"
    spare = ""
    if status is not Status.DONE:
        if reading.exit_code is not None:
            facts["exit"] = str(reading.exit_code)
        facts["log"] = log
        text += f"  {one_line(reason, 200)}"
        spare = f" · {log}"
        if not console.tty:
            facts["reason"] = one_line(reason, 200)
    if status is Status.DONE and life.change is not None and life.change.empty:
        text += " · no change"  # it has a tree, and was free to change something
        facts["change"] = "none"
    text, facts = with_work(text, facts, life.change, life.checks)
    below = headline(reading.message)
    return Line(str(status), life.id, text, facts, below=below, spare=spare)


def with_work(
    text: str, facts: dict[str, str], change: Change | None, checks: Sequence[CheckResult]
) -> tuple[str, dict[str, str]]:
    """What its branch holds and how its checks ended, added to a line and to its facts; the line
    says nothing twice."""
    already = text
    if change is not None and not change.empty:
        figures = f"+{change.insertions} -{change.deletions}"
        text += f" · {figures}" if f"{figures} " not in already else ""
        facts = {**facts, "change": figures}
    for check in checks:
        if check.passed or f"{check.name}: " not in already:
            text += f" · {one_line(check.name, 40)} {'✓' if check.passed else '✗'}"
    if checks:
        red = [check.name for check in checks if not check.passed]
        facts = {**facts, "checks": f"failed: {' '.join(red)}" if red else "passed"}
    return text, facts


def _retrying(news: Retrying) -> Line:
    life, tool = news.life, news.life.route.tool.name
    reason = one_line(news.reading.reason, 120) if news.reading else "an earlier attempt failed"
    if news.renew:
        reason = f"it has a reply: attempt {life.attempt + 1}"
    how = f"with {tool}" if news.fall_back else show_wait(news.after)
    facts = {
        "agent": life.route.agent.name,
        "tool": tool if news.fall_back else "",
        "attempt": str(life.attempt),
        "after": show_duration(news.after),
        "reason": reason,
    }
    return Line("retrying", life.id, f"{how}  {reason}", facts)


def _held(news: Held, console: Console) -> Line:
    name, gate = news.scope, news.gate
    reason = gate.why.partition(": ")[2] or gate.why
    if gate.until is None:
        return Line("held", name, one_line(reason, 120), {"reason": one_line(reason, 200)})
    moment = console.clock(gate.until)
    facts = {"until": moment, "reason": one_line(reason, 200)}
    return Line("held", name, f"until {moment}  {one_line(reason, 120)}", facts)


def _run_begun(run: Run) -> Line:
    count = len(run.members)
    text = f"run of {plural(count, 'task')}: {one_line(run.title, 80)}"
    return Line("waiting", run.id, text, {"tasks": str(count)}, word="run")


def _run_finished(news: RunFinished) -> Line:
    text = f"run {news.status}: {news.done} of {news.total} done"
    facts = {"done": str(news.done), "total": str(news.total)}
    return Line(str(news.status), news.id, text, facts, word="run")


def _internal(news: Internal) -> Line:
    kind, words = type(news.error).__name__, one_line(str(news.error), 160)
    facts = {"error": repr(news.error)}
    return Line("problem", news.id, f"internal error: {kind}: {words}", facts, word="internal")


def _draining(news: Draining) -> str:
    more = " · Ctrl-C again to interrupt them (they go back to the inbox)" if news.running else ""
    if news.fault:
        more = f"; how they end is recorded when this is over: {news.fault}{more}"
    return f"draining: {news.running} running, no new tasks{more}"

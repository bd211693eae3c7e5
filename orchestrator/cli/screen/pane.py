"""What ``watch`` prints: one line for everything that happened.

On a terminal the lines scroll into its history, above a footer that tells what runs now; in a pipe
they carry full times and ``key=value`` pairs.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from orchestrator import __version__
from orchestrator.cli.screen import keyboard
from orchestrator.cli.screen.console import SIGNS, Console, cost
from orchestrator.cli.screen.footer import Doing, Row, View, badge, footer, steady
from orchestrator.cli.screen.hand import STILL
from orchestrator.cli.screen.panefiles import PaneFiles
from orchestrator.cli.screen.printer import REPAINT, Footer, Printer
from orchestrator.cli.screen.steering import Steering
from orchestrator.cli.screen.windows import in_tmux, open_window
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
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.watch import Watcher
from orchestrator.files import quotas
from orchestrator.files.layout import Layout
from orchestrator.files.results import status_of
from orchestrator.files.text import fit, fit_middle, hang, one_line, width
from orchestrator.model import hold
from orchestrator.model.isolation import Change, CheckResult
from orchestrator.model.question import headline
from orchestrator.model.run import Run
from orchestrator.model.status import Status
from orchestrator.model.units import plural, show_duration, show_wait, timestamp
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.store.recovery import Step
from orchestrator.tools.routing import agents_at_hand

KIND = regex(r"(?:error|hint|note|warning): +")  # how a verb begins a line for people
BELLS = ("failed", "review", "problem")  # a failure, or a question
WHOLE = ("failed", "invalid", "problem", "review", "warning")  # told whole: a person has to act
LINES = 4  # what is told whole takes no more than these
INSET = 21  # columns before an id: the time, the sign, the word
LONGEST = 500  # columns of a remark
MUCH = 0.5  # of a window: from here on the footer tells
WAITING_MOST = 200  # waiting tasks that can be selected
RUN_MOST = 200  # members of a run whose progress is looked at
QUIET = (
    "failed",
    "invalid",
    "review",
    "problem",
    "fault",
    "internal",
    "restored",
    "ignored",
    "warned",
    "foreign",
    "draining",
    "held",
    "budget",
    "hook",
)


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


REFUSED = "the disk refuses writes: {}. Nothing is claimed; running tasks go on"
REMARKS: Mapping[About, Look] = {
    About.ANSWERED: Look("running", "answer", text="goes on with your answer: {}"),
    About.ASKED: Look("review", "question", "asks"),
    About.BUDGET: Look("warning", "text", "budget", name="budget"),
    About.CANCELLED: Look("cancelled", "reason"),
    About.CONFIGURED: Look("ok", "changed", "settings", "reloaded: {}"),
    About.EDITING: Look("editing", "why", text="{}, not claimed"),
    About.FAULT: Look("problem", "fault", "fault", REFUSED),
    About.FAULT_OVER: Look("ok", "", "recovered", "the disk accepts writes again"),
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
    About.TIDIED: Look("note", "note", "tidied"),
    About.WARNED: Look("warning", "warning"),
}


class Pane:
    """Turns what the watcher tells into lines, and what it knows into a footer. What the footer
    shows is looked at in a thread of its own, for it reads logs: neither the loop nor a typed key
    waits for a disk. The printer's thread draws what was seen last."""

    def __init__(
        self, console: Console, layout: Layout, settings: Settings, quiet: bool = False
    ) -> None:
        self.console, self.layout, self.settings, self.quiet = console, layout, settings, quiet
        self._watcher: Watcher | None = None
        self._began = time.monotonic()
        self._runs: dict[str, tuple[float, str]] = {}  # by id: when it was looked at, what was seen
        # By id: what was said that it waits for, and nothing since.
        self._waits: dict[str, str] = {}
        self._files = PaneFiles(layout)
        self._view_at, self._last_view = -1.0, View()
        self._view_wanted, self._closing = threading.Event(), False
        self._stopped = False  # by Ctrl-Z
        self._began_watching = False
        self._steering: Steering | None = None
        steers = console.steers and not quiet
        keys = keyboard.of_terminal(console.stream.fileno()) if steers else None
        keys = keys if settings.config.pane.keys else None
        self._printer = Printer(
            console.stream, self._footer if steers else None, keys=keys is not None
        )
        if steers:
            self._files.start()
            threading.Thread(target=self._keep_viewing, name="view", daemon=True).start()
        if keys is not None:
            self._steering = Steering(
                layout,
                self._printer,
                keys,
                lambda: self._last_view,
                self._acted,
                lambda: settings.config.pane.open,
            )

    def attach(self, watcher: Watcher) -> None:
        """Say what is about to be watched."""
        self._watcher = watcher
        agents = " ".join(agents_at_hand(self.settings.config, self.settings.toolbox.tools))
        if not self.quiet:
            slots = self.settings.config.limits.running
            self._prose(f"orchestrator {__version__} · work/ · {plural(slots, 'slot')} · {agents}")

    def goodbye(self) -> None:
        """The last line."""
        if self._watcher is not None and not self.quiet:
            self._prose(f"stopped: {self._watcher.summary()}")

    def close(self) -> None:
        """Print what is left."""
        self._files.close()
        self._closing = True
        self._view_wanted.set()
        if self._steering is not None:
            self._steering.close()
        self._printer.close()

    def hear(self, news: News) -> None:
        """One thing that happened."""
        if not isinstance(news, Stuck):
            self._waits.clear()
        self._show(news)
        self._files.look_soon()

    def _show(self, news: News) -> None:
        match news:
            case Remark():
                self._remark(news)
            case Started():
                self._started(news.life)
            case Finished():
                self._finished(news)
            case Retrying():
                self._retrying(news)
            case Requeued():
                again = {"attempt": str(news.life.attempt), "held": news.held}
                text = f"not started: {news.held}" if news.held else "interrupted; it starts again"
                self._line("waiting", news.life.id, text, again)
            case Recovered():
                text = RECOVERED[news.step]
                self._line(
                    "running", news.life.id, text, {"step": news.step.value}, word="recovered"
                )
            case Cancelling():
                text = f"stopping it ({news.by})"
                self._line("cancelled", news.life.id, text, {"by": news.by}, word="stopping")
            case Left():
                text = "keeps running; the next watcher takes it over"
                self._line("running", news.life.id, text, {}, word="left")
            case Moved():
                self._line("note", news.id, news.text, {"note": news.text}, word=news.word)
            case Stuck():
                self._stuck(news)
            case Held():
                self._held(news)
            case RunBegun():
                self._run_begun(news.run)
            case RunFinished():
                self._run_finished(news)
            case Internal():
                self._internal(news)
            case Draining():
                self._draining(news.running)
            case Interrupting():
                how = "SIGINT, then SIGTERM, then SIGKILL · Ctrl-C again to leave at once"
                self._prose(f"interrupting {news.running}: {how}")
            case Begun():
                self._begun()
            case Suspended():
                self._stopped = True
                self._printer.lend()
            case Resumed():
                self._resumed()
            case _:
                assert_never(news)

    # -- what each of them looks like
    # -----------------------------------------------------------------------------

    def _started(self, life: Life) -> None:
        task_id = life.id
        again = {"attempt": str(life.attempt)} if life.attempt > 1 else {}
        more = [f"attempt {life.attempt}"] if again else []
        if life.route.mode == "interactive":
            more.append(f"orchestrator attach {task_id}")
            if self.settings.config.pane.windows and in_tmux():
                open_window(self.layout, task_id)
        self._line(
            "running",
            task_id,
            life.route.agent.name,
            {"agent": life.route.agent.name, **again},
            " · ".join(more),
        )

    def _finished(self, news: Finished) -> None:
        life, reading, status, reason = news.life, news.reading, news.status, news.reason
        task_id = life.id
        took = show_duration(reading.duration_ms / 1000)
        log = self.layout.shown(self.layout.logs(task_id, life.attempt)) + "/"
        facts = {"agent": life.route.agent.name, "attempt": str(life.attempt), "duration": took}
        if reading.cost_usd is not None:
            facts["cost_usd"] = f"{reading.cost_usd:.4f}"
        text = " ".join(part for part in (took, cost(reading.cost_usd)) if part)
        spare = ""
        if status is not Status.DONE:
            if reading.exit_code is not None:
                facts["exit"] = str(reading.exit_code)
            facts["log"] = log
            text += f"  {one_line(reason, 200)}"
            spare = f" · {log}"
            if not self.console.tty:
                facts["reason"] = one_line(reason, 200)
        text, facts = with_work(text, facts, life.change, life.checks)
        said = headline(reading.message)
        self._line(str(status), task_id, text, facts, said=said, spare=spare)

    def _retrying(self, news: Retrying) -> None:
        life, tool = news.life, news.life.route.tool.name
        reason = one_line(news.reading.reason, 120) if news.reading else "an earlier attempt failed"
        if news.renew:
            reason = f"it has a reply: attempt {life.attempt + 1}"
        after = show_duration(news.after)
        how = f"with {tool}" if news.fall_back else show_wait(news.after)
        facts = {
            "agent": life.route.agent.name,
            "tool": tool if news.fall_back else "",
            "attempt": str(life.attempt),
            "after": after,
            "reason": reason,
        }
        self._line("retrying", life.id, f"{how}  {reason}", facts)

    def _held(self, news: Held) -> None:
        name, gate = news.scope, news.gate
        reason = gate.why.partition(": ")[2] or gate.why
        if gate.until is None:
            self._line("held", name, one_line(reason, 120), {"reason": one_line(reason, 200)})
            return
        moment = self.console.clock(gate.until)
        facts = {"until": moment, "reason": one_line(reason, 200)}
        self._line("held", name, f"until {moment}  {one_line(reason, 120)}", facts)

    def _remark(self, news: Remark) -> None:
        look = REMARKS[news.about]
        text = one_line(look.text.format(news.text), LONGEST)
        facts = {look.fact: one_line(news.text, LONGEST)} if look.fact else {}
        self._line(look.status, news.id or look.name, text, facts, word=look.word)

    def _stuck(self, news: Stuck) -> None:
        gates = news.gates
        why = gates[0].why + (f", and {len(gates) - 1} more" if len(gates) > 1 else "")
        if self._waits.get(news.id) == why:
            return
        self._waits[news.id] = why
        self._line("waiting", news.id, self.console.local(why), {"why": why})

    def _run_begun(self, run: Run) -> None:
        count = len(run.members)
        text = f"run of {plural(count, 'task')}: {one_line(run.title, 80)}"
        self._line("waiting", run.id, text, {"tasks": str(count)}, word="run")

    def _run_finished(self, news: RunFinished) -> None:
        text = f"run {news.status}: {news.done} of {news.total} done"
        facts = {"done": str(news.done), "total": str(news.total)}
        self._line(str(news.status), news.id, text, facts, word="run")

    def _internal(self, news: Internal) -> None:
        kind, words = type(news.error).__name__, one_line(str(news.error), 160)
        facts = {"error": repr(news.error)}
        self._line("problem", news.id, f"internal error: {kind}: {words}", facts, word="internal")

    def _draining(self, running: int) -> None:
        more = " · Ctrl-C again to interrupt them (they go back to the inbox)" if running else ""
        self._prose(f"draining: {running} running, no new tasks{more}")

    def _begun(self) -> None:
        """From here on a signal is understood, so from here on keys count."""
        self._began_watching = True
        if self._steering is not None:
            self._steering.start()

    def _resumed(self) -> None:
        if self._stopped:
            self._stopped = False
            self._printer.redraw_after_loan()
        else:
            self._printer.redraw()

    # -- lines
    # -----------------------------------------------------------------------------------------------------

    def _line(
        self,
        status: str,
        task_id: str,
        text: str,
        facts: dict[str, str],
        more: str = "",
        word: str = "",
        said: str = "",
        spare: str = "",
    ) -> None:
        """One line, and more for what a person has to act on; ``said`` comes below it, ``spare``
        at its end if there is room."""
        word, task_id = word or status, one_line(task_id)
        if self.quiet and status not in QUIET and word not in QUIET:
            return
        now = time.time()
        console = self.console
        if not console.tty:
            pairs = " ".join(f"{key}={_quoted(value)}" for key, value in facts.items() if value)
            self._print(f"{timestamp(now)[:19]}Z {word:<9} {task_id or '-':<24} {pairs}".rstrip())
            return
        painted = console.paint(f"{word:<9}", _colour(status))
        head = f"{time.strftime('%H:%M:%S', time.localtime(now))} {console.sign(status)} {painted} "
        room = max(20, console.width - INSET)
        dots = "…" if console.unicode else "~"
        rest = " ".join(part for part in (text, more) if part)
        name = fit_middle(task_id, name_room(task_id, rest, room), dots)
        beside = max(10, room - width(name) - 1)
        rest += spare if width(rest + spare) <= beside else ""
        first, *further = (
            told(rest, beside, room, dots) if status in WHOLE else [cut(rest, beside, dots)]
        )
        self._print(f"{head}{name} {first}", status in BELLS)
        for line in further:
            self._print(" " * INSET + line)
        if said:
            self._print(" " * INSET + cut(one_line(said), room, dots))

    def _acted(self, ok: bool, text: str) -> None:
        """What came of a key. A refusal is told in whole, with its hint: it says what to do now."""
        sign = self.console.sign("ok" if ok else "problem")
        moment = time.strftime("%H:%M:%S", time.localtime())
        word = self.console.paint(f"{'you':<9}", "cyan")
        head = f"{moment} {sign} {word} "
        for line in text.splitlines():
            kind = KIND.match(line)
            first = head + (kind[0] if kind and not ok else "")
            for row in hang(
                first, line[kind.end() :] if kind and not ok else line, self.console.width
            ):
                self._print(row)
            head = " " * INSET
        self._files.look_soon()
        self._printer.poke()

    def _prose(self, text: str) -> None:
        """A sentence, broken between words."""
        for line in hang("", text, self.console.width):
            self._print(line)

    def _print(self, text: str, bell: bool = False) -> None:
        self._printer.line(text, bell and self.settings.config.pane.bell and self.console.tty)

    # -- the footer: drawn in the printer's thread, looked at in another
    # -------------------------------------------

    def _footer(self, columns: int, rows: int) -> Footer:
        if self._watcher is None or not self._began_watching:
            return Footer()
        hand = self._steering.hand if self._steering is not None else None
        if time.monotonic() - self._view_at >= REPAINT * 0.8:
            self._view_wanted.set()
        if self._view_at < 0:
            return Footer()
        view = self._last_view
        return Footer(
            footer(view, self.console, columns, rows, hand),
            badge(view, self.console) if self.settings.config.pane.title else "",
        )

    def _keep_viewing(self) -> None:
        """Look anew whenever the printer wants it, and have it drawn: a key is shown with what is
        known already."""
        while self._view_wanted.wait() and not self._closing:
            self._view_wanted.clear()
            assert self._watcher is not None
            now = time.monotonic()
            try:
                view = self._view(self._watcher)
            except Exception:  # a file that vanished, a bug: what was seen last stays on the screen
                continue
            hand = self._steering.hand if self._steering is not None else None
            if hand is not None and now - hand.last < STILL:
                view = steady(self._last_view, view)
            self._view_at, self._last_view = now, view
            self._printer.poke()

    def _view(self, watcher: Watcher) -> View:
        now, seen = time.monotonic(), self._files.seen
        tally, waiting, today = watcher.rooms.tally, watcher.rooms.waitlist, watcher.rooms.today
        today.turn()
        listed = sum(
            name not in waiting.tasks.waiting for name in list(waiting.todo)
        )  # after a change of the settings some are in both
        counts = (
            ("waiting", len(waiting.tasks.waiting) + listed + len(waiting.later.open)),
            *(seen.counts or [("done", tally["done"])]),
            ("invalid", len(waiting.complaints.invalid)),
            ("editing", len(waiting.later.open)),
        )
        notes = [
            f"{hold.words(scope)} held"
            + (f" until {self.console.clock(gate.until)}" if gate.until else "")
            for scope, gate in list(watcher.rooms.holds.gates.items())
        ]
        notes += [
            f"{tool} {window.words(watcher.rooms.clock.wall())}"
            for tool, windows in quotas.read(self.layout, watcher.rooms.clock.wall()).items()
            for window in windows
            if window.used >= MUCH
        ]
        if self.settings.problem:
            notes.append("settings held" if self.settings.held else "settings wrong")
        notes += ["no notifications"] if watcher.rooms.hints.silent else []
        lives = sorted(
            watcher.rooms.running.values(),
            key=lambda life: (life.retry_at is not None, life.began or now),
        )
        return View(
            [self._doing(life, now) for life in lives],
            self.settings.config.limits.running,
            counts,
            notes,
            today.cost,
            self.settings.config.budgets.day.hard,
            today.tokens,
            now - self._began,
            watcher.rooms.health.fault,
            watcher.rooms.signals.draining,
            watcher.rooms.signals.interrupted,
            needs=seen.needs,
            waiting=[*_waiting(watcher), *seen.held],
            ended=seen.ended,
            now=time.time(),
            all_held=hold.ALL in watcher.rooms.holds.gates,
        )

    def _doing(self, life: Life, now: float) -> Doing:
        progress, retry_at = life.progress, life.retry_at
        common: dict[str, Any] = {
            "id": life.id,
            "agent": life.route.agent.name,
            "run": self._run_so_far(life, now),
            "model": life.route.model or "",
            "attempt": life.attempt,
            "title": life.task.title or "",
            "branch": life.tree.branch if life.tree is not None else "",
            "interactive": life.route.mode == "interactive",
        }
        if retry_at is not None:
            return Doing(
                **common,
                sign="retrying",
                line=f"attempt {life.attempt + 1} {show_wait(max(0.0, retry_at - now))}",
            )
        asked = watcher.rooms.asking.open.get(life.id) if (watcher := self._watcher) else None
        common["lent"] = bool(asked) and not life.in_slot
        if progress is not None and not asked:
            progress.look()
        if asked:
            line = f"asks you: {headline(asked[0].question)}"
        elif life.route.mode == "interactive":
            line = f"orchestrator attach {life.id}"
        elif progress is not None:
            line = f"{life.where}: {progress.line}" if life.where else progress.line
        else:
            line = life.where or "starting"
        return Doing(
            **common,
            seconds=max(0.0, now - life.began) if life.began else 0.0,
            limit=life.route.timeout,
            line=line,
            cost_usd=life.cost + (progress.cost or 0.0 if progress else 0.0),
            tokens=(
                sum(progress.usage.get(kind, 0) for kind in ("input", "output")) if progress else 0
            ),
        )

    def _run_so_far(self, life: Life, now: float) -> str:
        """``release-0.2 2/4``: looked at every other second, and only while a task of the run is on
        the screen."""
        run_id = life.task.run or ""
        run = self._watcher.rooms.groups.get(run_id) if run_id and self._watcher else None
        if run is None or len(run.members) > RUN_MOST:
            return run_id
        seen = self._runs.get(run_id)
        if seen is None or now - seen[0] > 2:
            done = sum(status_of(self.layout, member) is Status.DONE for member in run.members)
            seen = self._runs[run_id] = (now, f"{run_id} {done}/{len(run.members)}")
        return seen[1]


def _waiting(watcher: Watcher) -> list[Row]:
    """Tasks that wait, and the first thing that each waits for."""
    rows = []
    for waiting in itertools.islice(
        list(watcher.rooms.waitlist.tasks.waiting.values()), WAITING_MOST
    ):
        why = waiting.gates[0].why if waiting.gates else "a free slot"
        rows.append(Row(waiting.id, "waiting", "waiting", one_line(why, 200)))
    return rows


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


def name_room(name: str, rest: str, room: int) -> int:
    """Columns for an id before a text: a third of the room so that the lines stand below each
    other, and what is free."""
    column = min(34, max(16, room // 3))
    return max(column, min(width(name), room - width(rest) - 1))


def told(text: str, first: int, room: int, dots: str) -> list[str]:
    """A text in at most `LINES` lines, broken between words: the first has ``first`` cells, the
    further ones have ``room``."""
    lines, rest = [""], text.split(" ")
    for place, word in enumerate(rest):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and width(longer) > (first if len(lines) == 1 else room):
            if len(lines) == LINES:
                lines[-1] = " ".join([lines[-1], *rest[place:]])
                break
            longer = word
            lines.append("")
        lines[-1] = longer
    return [cut(line, room if place else first, dots) for place, line in enumerate(lines)]


def cut(text: str, cells: int, dots: str) -> str:
    return fit(text, cells, dots).rstrip()


def _colour(status: str) -> str:
    return SIGNS.get(status, ("", "", ""))[2]


def _quoted(value: str) -> str:
    return (
        value
        if value and not any(char in value for char in ' "=')
        else '"' + value.replace('"', "'") + '"'
    )

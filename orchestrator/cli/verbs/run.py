"""``run``: claim one task and run it here, in the foreground; or run a whole run."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import suppress
from typing import assert_never

import click

from orchestrator import waiting
from orchestrator.cli import runhere
from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes, Moves, aside, for_each
from orchestrator.cli.consent import obtain, refuse_of_others
from orchestrator.cli.options import complete_ids, dry_run_option, examples, json_option
from orchestrator.cli.screen.console import say, shown
from orchestrator.cli.screen.follow import LogWriter
from orchestrator.cli.screen.terminal import attach, has_terminal, is_open
from orchestrator.cli.selecting import named
from orchestrator.cli.writing import open_config, refuse_unsafe
from orchestrator.coordination.asking import Asking
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.intake import Intake, Invalid, NotYet, RunFile, TaskFile
from orchestrator.coordination.life import Ended, Life
from orchestrator.coordination.lifecycle import Lives
from orchestrator.coordination.lingering import Lingering
from orchestrator.coordination.news import About, Finished, News, Remark, Retrying, Started
from orchestrator.coordination.remembering import claim_facts
from orchestrator.coordination.settings import Settings
from orchestrator.distributors.registry import distributors
from orchestrator.errors import FAILED, INVALID, TIMED_OUT, NotFound, OrchestratorError, Refused
from orchestrator.files import diagnostics, scan
from orchestrator.files.identity import identity_of
from orchestrator.files.layout import Layout
from orchestrator.files.logreader import LogReader
from orchestrator.model.admission import SLOTS
from orchestrator.model.gates import Gate, GateName
from orchestrator.model.status import Outcome, Status
from orchestrator.model.task import Task
from orchestrator.model.units import show_duration, show_wait
from orchestrator.queries.world import Known
from orchestrator.store.claiming import Vanished, refuse_rerun
from orchestrator.store.eventlog import EventLog, GroupCommit
from orchestrator.store.transitions import Store


@click.command(
    epilog=examples(
        "orchestrator run review-retry",
        "orchestrator run work/inbox/review-retry.yaml",
        "orchestrator run release           # a run: its tasks, and nothing else",
    )
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="TASK...",
    shell_complete=complete_ids(Status.INBOX, runs=True),
)
@click.option(
    "--force", is_flag=True, help="Run it even if it needs other tasks or its time has not come."
)
@dry_run_option
@json_option
@click.pass_obj
def command(app: App, files: tuple[str, ...], force: bool, dry_run: bool, as_json: bool) -> int:
    """Claim one waiting task and run it in the foreground: its output appears here.

    It is claimed and recorded as under watch, but takes no slot. A watcher may run at the same
    time. Ctrl-C cancels the task, and the ones after it do not start. If you name a run, all its
    tasks run, and nothing else; if a watcher is running, it runs them, and this verb waits.
    """
    named(app, files)  # a mistyped name: nothing starts
    if dry_run:
        return _rehearsed(Changes(app, as_json), files, force)
    moves = Moves(app, as_json)
    stopped = threading.Event()

    def one(file: str) -> int:
        try:
            return 0 if stopped.is_set() else _here(app, file, force, stopped)
        except Refused as error:
            if not as_json and len(files) == 1:
                raise
            return moves.refuse(file, error)

    with aside(app, as_json):
        code = for_each(files, one)
    return moves.end(code)


def _here(app: App, file: str, force: bool, stopped: threading.Event) -> int:
    """Run one; the exit code. ``stopped`` is set by Ctrl-C."""
    layout = app.layout
    run = runhere.accepted(layout, file)
    if run is not None:
        refuse_of_others(layout, [run.id], "run")
        return runhere.here(app, run)
    task_id, name = _waiting(layout, file)
    refuse_of_others(layout, [task_id], "run")
    refuse_unsafe(app)
    acceptance = obtain(app)
    settings = Settings(layout, lambda: open_config(app), acceptance)
    look = Intake(layout, settings).look(name, renamed=True)
    if isinstance(look, Invalid):
        found = [(f"work/inbox/{name}", look.document, look.problems)]
        click.echo(shown(diagnostics.render("full", found)), err=True)
        return INVALID
    if isinstance(look, NotYet):
        raise Refused(f"{task_id} is {look.why}", "save and close it first")
    if isinstance(look, RunFile):
        return runhere.here(app, look.run)
    if not isinstance(look, TaskFile):
        raise NotFound(f"there is no task '{task_id}' in the inbox")
    _refuse_closed(Known(layout, time.time()), look.task, name, force)
    if look.route.mode == "interactive" and not has_terminal():
        raise Refused(
            f"{task_id} is interactive, and this is not a terminal",
            "run it in a terminal, or leave it to orchestrator watch",
        )
    log = GroupCommit(EventLog(layout, f"run{os.getpid()}"))
    store = Store(layout, log)
    store.prepare()
    life = Life(task_id, name, look.task, look.route, look.route.lane(look.task), look.chain)
    acceptance.begin()
    try:
        return waiting.run(_run(app, layout, life, look, store, settings, stopped))
    finally:
        log.close()
        acceptance.ended()


def _rehearsed(changes: Changes, files: tuple[str, ...], force: bool) -> int:
    """Say what would run; the exit code."""
    for file in files:
        try:
            _rehearse(changes, file, force)
        except Refused as error:
            changes.refuse(file, error)
    return changes.end()


def _rehearse(changes: Changes, file: str, force: bool) -> None:
    layout = changes.app.layout
    run = runhere.accepted(layout, file)
    if run is not None:
        changes.done(run.id, None, None, f"would run what is left of {run.id} here")
        return
    task_id, name = _waiting(layout, file)
    known = Known(layout, time.time())
    judged = known.judge.file(Status.INBOX, name)
    if judged.told or judged.held or judged.request is None:
        raise Refused(
            f"{task_id} is not ready: {judged.told or judged.held or 'its file is gone'}",
            f"orchestrator validate {task_id}",
        )
    if judged.request.task is not None:
        _refuse_closed(known, judged.request.task, name, force)
    line = f"would run {task_id} here (waiting now)"
    changes.done(task_id, Status.INBOX.word, Status.RUNNING.word, line)


def _refuse_closed(known: Known, task: Task, name: str, force: bool) -> None:
    """`Refused` if something keeps it from starting here."""
    gates = in_the_way(known, task, name)
    _refuse_unapproved(known.layout, task.id, name, gates)
    if gates and not force:
        raise Refused(
            f"{task.id} waits: {gates[0].why}",
            "orchestrator run --force, or see: orchestrator why " + task.id,
        )


def in_the_way(known: Known, task: Task, name: str) -> list[Gate]:
    """What keeps it from starting here: neither limits, which are the watcher's, nor the watcher
    itself."""
    gates = known.gates(task, name, watcher=False)
    return [gate for gate in gates if gate.name not in SLOTS | {GateName.ONLY}]


def _refuse_unapproved(layout: Layout, task_id: str, name: str, gates: list[Gate]) -> None:
    """`Refused` if git may have brought it and nobody has approved it: --force says nothing about
    that."""
    for gate in gates:
        if gate.name is GateName.APPROVAL:
            with suppress(FileNotFoundError):
                refuse_rerun(layout, task_id, identity_of(layout.file(Status.INBOX, name)))
            raise Refused(f"{task_id} waits: {gate.why}", gate.hint or "try again")


def _waiting(layout: Layout, word: str) -> tuple[str, str]:
    """``(id, file name)`` of the waiting task that ``word`` names; says where it is if it does not
    wait."""
    try:
        task_id, _, name = scan.find(layout, word, (Status.INBOX,))
    except NotFound as error:
        try:
            task_id, status, _ = scan.find(layout, word)
        except NotFound:
            raise error from None
        raise Refused(
            f"{task_id} is {status.word}, not waiting", _instead(task_id, status)
        ) from None
    return task_id, name


def _instead(task_id: str, status: Status) -> str:
    """What to do with a task that does not wait, instead of running it."""
    match status:
        case Status.RUNNING:
            return f"orchestrator logs -f {task_id}   shows what it does"
        case Status.HELD:
            return f"orchestrator release {task_id}   lets it run again"
        case Status.INBOX | Status.REVIEW | Status.ARCHIVE:
            return f"orchestrator retry {task_id}   lets it run again"
        case Status.DONE | Status.FAILED | Status.CANCELLED:
            return f"orchestrator retry {task_id}   lets it run again"
        case _:
            assert_never(status)


async def _run(
    app: App,
    layout: Layout,
    life: Life,
    look: TaskFile,
    store: Store,
    settings: Settings,
    stopped: threading.Event,
) -> int:
    told, hints = Told(), Hints()
    health = Health(told, hints, store.clock)
    where = distributors(settings.config, app.layout)
    lives = Lives(layout, settings, store, where, health, told, hints)
    try:
        entry = store.claim(life.id, life.name, look.content, claim_facts(look.task, look.route))
    except Vanished:
        raise Refused(
            f"{life.id} was changed or claimed in the meantime", "orchestrator show " + life.id
        ) from None
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, _cancel, store, life, stopped)
    stop = threading.Event()
    shows = _lend if look.route.mode == "interactive" else _print
    printer = threading.Thread(
        target=shows, args=(app, layout, life, entry.journal.next_attempt, stop), daemon=True
    )
    printer.start()
    lingering = Lingering().keep_looking(layout, life, settings)
    looking = asyncio.ensure_future(lingering)
    asking = asyncio.ensure_future(Asking(layout, store, told, settings).keep_looking(life))
    try:
        await lives.start(life, entry)
        while life.retry_at is not None:
            while (wait := life.retry_at - time.monotonic()) > 0 and store.cancel_request(
                life.id
            ) is None:
                await asyncio.sleep(min(wait, 0.1))
            again = store.ledger.open(life.id)
            if again is None or not again.lock():
                raise OrchestratorError(
                    f"{life.id} is being run by somebody else", "orchestrator show " + life.id
                )
            await lives.start(life, again)
    finally:
        looking.cancel()
        asking.cancel()
        stop.set()
        printer.join()
        where.close()
    status = life.stage.status if isinstance(life.stage, Ended) else Status.RUNNING
    words = [f"==> {status}"]
    if told.finished is not None:
        words.append(show_duration(told.finished.reading.duration_ms / 1000))
        words += [told.finished.reason] if told.finished.reason else []
    say(" · ".join(words))
    if status is Status.DONE:
        return 0
    timed_out = told.finished is not None and told.finished.reading.outcome is Outcome.TIMED_OUT
    return TIMED_OUT if timed_out else FAILED


class Told:
    """Says what becomes of the one task; ``finished`` is how it ended."""

    def __init__(self) -> None:
        self.finished: Finished | None = None

    def hear(self, news: News) -> None:
        """What somebody who waits for one task wants to know."""
        if isinstance(news, Finished):
            self.finished = news
        elif isinstance(news, Started):
            life = news.life
            leave = "Ctrl-\\ leaves it" if life.route.mode == "interactive" else "Ctrl-C cancels it"
            say(f"==> {life.id} · attempt {life.attempt} · {life.route.agent.name} · {leave}")
        elif isinstance(news, Retrying) and news.reading is not None:
            say(f"==> another attempt {show_wait(news.after)}: {news.reading.reason}")
        elif isinstance(news, Remark):
            self._remark(news)

    def _remark(self, news: Remark) -> None:
        if news.about is About.ASKED:
            say(f"==> it asks: {news.text}  orchestrator reply {news.id}")
        elif news.about is About.RESTORED:
            say(f"note: {news.text}")
        elif news.about is About.FAULT:
            say(f"{news.text}: nothing new starts")
        elif news.about is About.FAULT_OVER:
            say("tasks start again")


def _cancel(store: Store, life: Life, stopped: threading.Event) -> None:
    stopped.set()
    if store.request_cancel(life.id, "Ctrl-C"):
        say("==> stopping it: SIGINT, then SIGTERM, then SIGKILL")
    if life.handle is not None:
        life.handle.cancel()


def _lend(app: App, layout: Layout, life: Life, first: int, stop: threading.Event) -> None:
    """Lend this terminal to the attempts, one after the other; who leaves one by Ctrl-\\ leaves it
    to be waited for."""
    number = first
    while not stop.is_set():
        folder = layout.logs(life.id, number)
        if is_open(folder):
            try:
                if not attach(folder):
                    say(
                        f"==> detached; waiting for it to end. Again: orchestrator attach {life.id}"
                    )
                    return
            except OSError:  # it has ended in the meantime
                pass
            number += 1
        stop.wait(0.02)


def _print(app: App, layout: Layout, life: Life, first: int, stop: threading.Event) -> None:
    """Show the log as it grows, from the first of these attempts on."""
    number = first
    reader = LogReader(f"{layout.logs(life.id, number)}/stdout.log")
    writer = LogWriter(app, life.route.tool.presentation)
    while True:
        last, following = stop.is_set(), os.path.isdir(layout.logs(life.id, number + 1))
        for piece in reader.pieces(last or following):
            writer.write(piece)
        if last or following:
            writer.end()
        if following:
            number += 1
            writer = LogWriter(app, life.route.tool.presentation)
            reader = LogReader(f"{layout.logs(life.id, number)}/stdout.log")
        elif last:
            return
        else:
            stop.wait(0.05)

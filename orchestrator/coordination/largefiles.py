"""Files of the inbox that exceed the cheap limits: each is judged in a process that can be killed,
one after the other, while the loop goes on. That process is `coordination.judge`; all other files
are judged in `coordination.intake`.

A file that cannot be judged within the limits is set aside with a note. What the machine is to
blame for is raised as such: the file waits and is judged again.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from orchestrator.coordination import judge
from orchestrator.coordination.intake import Invalid, Judged, Rules, RunFile, TaskFile, signature_of
from orchestrator.files.documents import Document, Problem
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Content
from orchestrator.records import dataclass
from orchestrator.store import owned

LOOK = 0.05  # seconds between two looks at whether a file has been judged
# for one file, whatever keeps it; its processor time is limited as well (judge.PROCESSOR)
SECONDS = 120.0
LINGER = 10.0  # seconds after which a process that has nothing to do is let go
TRIES = 3  # processes that may be killed by somebody else over one file
BOOT = "from orchestrator.coordination.judge import main; main()"
ENDING = 5.0  # seconds for a process to end that has closed its socket
HINT = "make several files of it"
KILLED = "the process that judges it was ended before it had an answer"
AFTER_UPGRADE = "the watcher tries again; after an upgrade, restart it"
# A process that ends itself so was brought to it by what it read; any other end is somebody else's
# doing.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)


@dataclass(frozen=True, slots=True)
class Case:
    """A file to be judged, and by what."""

    name: str
    content: Content
    rules: judge.Rules


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file is, or (``error``) what keeps it from being judged now."""

    case: Case
    look: Judged | None = None
    error: Exception | None = None
    outdated: bool = False  # the rules have changed meanwhile


class LargeFiles:
    """Judges files beside the loop.  ``seconds``: how long one may take."""

    def __init__(self, layout: Layout, rules: Rules, seconds: float = SECONDS) -> None:
        self._layout, self._rules, self.seconds = layout, rules, seconds
        self._cases: SimpleQueue[Case] = SimpleQueue()
        self._verdicts: SimpleQueue[Verdict] = SimpleQueue()
        self._names: set[str] = set()
        self._current: judge.Rules | None = None
        self._thread: threading.Thread | None = None
        self._process: _Process | None = None  # the thread's own
        self._closed = False

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __bool__(self) -> bool:
        return bool(self._names)

    def begin(self, name: str, content: Content) -> None:
        """Judge a file of the inbox that was read."""
        if self._thread is None:
            thread = threading.Thread(target=self._serve, daemon=True, name="judge")
            thread.start()  # RuntimeError where the machine has none left
            self._thread = thread
        self._names.add(name)
        self._cases.put(Case(name, content, self._rules_now()))

    def ended(self) -> list[Verdict]:
        """What was judged since the last call."""
        found = []
        while not self._verdicts.empty():
            found.append(self._verdicts.get())
        self._names -= {verdict.case.name for verdict in found}
        now = self._rules_now() if found else None
        return [
            Verdict(item.case, item.look, item.error, item.case.rules is not now) for item in found
        ]

    def close(self) -> None:
        """End what is being judged; nothing is to be judged any more."""
        self._closed = True
        if self._process is not None:
            self._process.kill()

    def _rules_now(self) -> judge.Rules:
        rules, before = self._rules, self._current
        if before is None or (before.config, before.toolbox) != (rules.config, rules.toolbox):
            self._current = judge.Rules(
                self._layout, rules.config, rules.toolbox, tuple(rules.agents)
            )
        assert self._current is not None
        return self._current

    # -- in the thread
    # ----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            try:
                case = self._cases.get(timeout=LINGER)
            except Empty:
                self._let_go()
                case = self._cases.get()
            self._verdicts.put(self._verdict(case))

    def _verdict(self, case: Case) -> Verdict:
        try:
            for _ in range(TRIES):
                answer = None if self._closed else self._asked(case)
                if answer is not None:
                    break
            else:
                answer = _refused(case, KILLED, AFTER_UPGRADE, again=True)
        except Exception as error:  # no process to be had, or an answer that is none
            self._let_go()
            return Verdict(case, error=error)
        if isinstance(answer, OSError):
            return Verdict(case, error=answer)
        return Verdict(case, answer)

    def _asked(self, case: Case) -> Judged | OSError | None:
        """What the process says; None if somebody else has ended it."""
        if self._process is None:
            self._process = _Process()
        try:
            return _own(case, self._process.ask(case, self.seconds))
        except TimeoutError:
            why = f"it took longer than {self.seconds:g} s to judge"
        except judge.TooLarge:
            return _refused(case, "what it makes is too large")
        except (EOFError, ConnectionError):
            why = self._process.why()
        self._let_go()
        return _refused(case, why) if why else None

    def _let_go(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


class _Process:
    """The process, and the socket to it.  OSError if there is none to be had."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._rules: judge.Rules | None = None
        with theirs:
            number = str(theirs.fileno())
            # -P: nothing in the current folder, which may be the project, is a module.
            argv = [sys.executable, "-P", "-c", BOOT, number]
            try:
                self._process = owned.begin(
                    lambda: subprocess.Popen(
                        argv,
                        pass_fds=(theirs.fileno(),),
                        start_new_session=True,
                        cwd="/",
                        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
            except BaseException:
                self._channel.close()
                raise

    def ask(self, case: Case, seconds: float) -> Any:
        """What it says of a file. Raises TimeoutError, EOFError or ConnectionError: it is of no
        more use then."""
        self._channel.settimeout(seconds)
        if self._rules is not case.rules:
            judge.send(self._channel, case.rules)
            self._rules = case.rules
        judge.send(self._channel, (case.name, case.content))
        return judge.receive(self._channel)

    def why(self) -> str:
        """What it died of, if that was the file's doing; empty if somebody killed it."""
        try:
            code = self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            return ""
        if code == -signal.SIGXCPU:
            return f"it took longer than {judge.PROCESSOR} s of processor time to judge"
        if -code in CRASHES:
            return f"the process that judged it crashed ({signal.Signals(-code).name})"
        return ""

    def kill(self) -> None:
        with suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        self._channel.close()
        self.kill()
        self._process.wait()


def _own(case: Case, answer: Any) -> Judged | OSError:
    """An answer, with the content that is here already.  Raises TooLarge if it is that."""
    if isinstance(answer, judge.TooLarge):
        raise answer
    if isinstance(answer, TaskFile):
        return TaskFile(answer.signature, case.content, answer.task, answer.chain, answer.warnings)
    if isinstance(answer, RunFile):
        return RunFile(answer.signature, case.content, answer.run)
    if isinstance(answer, Invalid | OSError):
        return answer
    raise EOFError


def _refused(case: Case, why: str, hint: str = HINT, again: bool = False) -> Invalid:
    """The file is set aside; ``again``: every full listing looks at it once more."""
    problem, content = Problem(1, 1, why, hint), case.content
    signature = signature_of(content.stat)
    if again:
        signature = (signature[0], -1, signature[2])
    return Invalid(signature, Document(""), (problem,), content.sha256)

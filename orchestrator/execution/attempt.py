"""One execution of one tool, from its record that it started to its record how it ended.

1. ``started`` is appended to the journal, fsynced, *before* the tool is executed: from then on the task has run;
2. the tool runs in a session of its own, with default signals, the prompt file as standard input, or on a terminal of its
   own (``execution.terminal``);
3. the time limit and cancel requests are enforced by SIGINT, SIGTERM, SIGKILL;
4. everything that the tool left behind is ended: as child subreaper the supervisor is the parent of every orphan, so "I
   have no children" means "nothing is left";
5. ``exit`` is appended, fsynced: the result's commit point.

Code of the supervisor: standard library only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time

from orchestrator.execution import plainfiles
from orchestrator.execution.attemptjournal import AttemptJournal
from orchestrator.execution.attemptlimits import AttemptLimits
from orchestrator.execution.descendants import boot_id, signal_all, start_time, sweep
from orchestrator.execution.escalation import Escalation
from orchestrator.execution.logs import Logs, sealed
from orchestrator.execution.mask import Mask
from orchestrator.execution.neighbours import neighbour

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from collections.abc import Callable
    from typing import Any

WAKE = (signal.SIGCHLD, signal.SIGTERM)
SCARCE = (
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,
    errno.ENOSPC,
    errno.EIO,
    errno.EROFS,
    errno.EDQUOT,
)
DEFAULTS = [
    number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)
]
# In the log folder: the system calls that a sandbox refuses (execution.syscalls).
CALLS = "seccomp.bpf"
# What builds a sandbox must outlive the tool in it: it ignores what we ignore, and gives the tool
# its signals back.
SANDBOX_DEFAULTS = [
    number
    for number in DEFAULTS
    if number
    not in (
        *(signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP),
        *(signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM),
    )
]
SANDBOX_ENDS = 1.0  # seconds for an empty sandbox to go by itself


class Attempt:
    """``cause`` says why it was stopped: cancelled, timeout, silence, settled, leash, log_limit;
    start: it never began."""

    def __init__(self, job: dict[str, Any], journal: int) -> None:
        self.job = job
        self.began = time.monotonic()
        self.journal = AttemptJournal(journal)
        self.logs = Logs(job)
        self.limits = AttemptLimits(job, self.logs, self.began)
        self.escalation = Escalation(job)
        self.masks: list[Mask] = []
        self.cause = ""
        self.pid = 0
        self.opening = True  # files of ours; a fault that is not the task's
        self.terminal: Any = None
        self.feed: Any = None
        self.pins: list[int] = []

    def run(self, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Run the job to its end; returns the ``exit`` record, which is in the journal by then."""
        while signal.sigtimedwait(WAKE, 0):
            pass  # left over from the attempt before
        status, trouble = self._act(say)
        leftovers = sweep(self.logs.trim, SANDBOX_ENDS if self.job["sandboxed"] else 0.0)
        self._close()
        record = self._exit(status) | trouble
        if leftovers:
            record["leftovers"] = leftovers
        self.journal.append_exit(record, say)
        return record

    # -- from the start to the end of the tool
    # ------------------------------------------------------------------------

    def _act(self, say: Callable[[dict[str, Any]], None]) -> tuple[int | None, dict[str, Any]]:
        """Start the tool and wait for its end: its wait status, and for the record what went
        wrong."""
        try:
            if self.limits.cancel_requested():
                self.cause = "cancelled"
            elif self.limits.leash_ended():
                self.cause = "leash"
            else:
                self.journal.append(self._started())
                self.pid = self._spawn()
                say({"started": self.pid})
                return self._wait(), {}
            return None, {}
        except OSError as error:
            trouble: dict[str, Any] = {
                "message": f"{error.strerror}: {error.filename or self.job['argv'][0]}"
            }
            if self.pid:  # a log could not be looked at or the like: the tool must not go on
                return self._abandon(), trouble
            self.cause = "start"
            if error.errno and (self.opening or error.errno in SCARCE):
                trouble["errno"] = error.errno
            return None, trouble

    def _started(self) -> dict[str, Any]:
        return {
            "record": "started",
            "attempt": self.job["attempt"],
            "at": time.time(),
            "supervisor": os.getpid(),
            "supervisor_start": start_time("self"),
            "boot": boot_id(),
            "tag": self.job["tag"],
            **self.job["facts"],
        }

    def _exit(self, status: int | None) -> dict[str, Any]:
        record = {
            "record": "exit",
            "attempt": self.job["attempt"],
            "at": time.time(),
            "cause": self.cause,
            "code": None,
            "signal": None,
            "duration_ms": round((time.monotonic() - self.began) * 1000),
        }
        if status is not None and os.WIFEXITED(status):
            record["code"] = os.waitstatus_to_exitcode(status)
        elif status is not None:
            record["signal"] = os.WTERMSIG(status)
        return record

    # -- starting
    # ----------------------------------------------------------------------------------------------

    def _spawn(self) -> int:
        """Start the tool; its pid.  Everything it inherits is named here."""
        job = self.job
        self.opening = False
        os.chdir(job["cwd"])
        self.opening = True
        self._open_logs()
        stdin = self._input()
        if job["sandboxed"] and self.feed is None:
            stdin = sealed(stdin)
        try:
            actions = self._inherited(stdin)
            self.opening = False
            actions += self._pinned()
            pid = os.posix_spawn(
                job["program"],
                job["argv"],
                job["env"],
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=SANDBOX_DEFAULTS if job["sandboxed"] else DEFAULTS,
            )
            if self.terminal is not None:
                self.terminal.started()
            if self.feed is not None:
                self.feed.started(self.logs.files[0])
            return pid
        finally:
            os.close(stdin)
            os.chdir("/")

    def _open_logs(self) -> None:
        for path in (self.job["stdout"], self.job["stderr"]):
            log = self.logs.open(path)
            if self.job["secrets"]:
                self.masks.append(Mask(path, self.job["secrets"], log, self.job["log_limit"]))

    def _input(self) -> int:
        """What the tool reads: its prompt, or a pipe by which it is told more."""
        if not self.job["words"]:
            return self._prompt()
        self.feed = neighbour("feeding").Feed(self.job["run_dir"], **self.job["words"])
        reader: int = self.feed.reader
        return reader

    def _prompt(self) -> int:
        if not self.job["stdin"]:
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        prompt = plainfiles.descriptor(self.job["stdin"])
        os.set_blocking(prompt, True)
        return prompt

    def _inherited(self, stdin: int) -> list[Any]:
        job, (stdout, stderr) = self.job, self.logs.files
        actions: list[Any] = [
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
        ]
        if job["terminal"]:
            terminal = neighbour("terminal")  # only who needs it pays for it
            self.terminal = terminal.Terminal(job["run_dir"], stdout, WAKE)
            actions = self.terminal.actions()
            os.chdir(job["cwd"])
        if job["sandboxed"]:
            actions.append((os.POSIX_SPAWN_OPEN, 3, f"{job['run_dir']}/{CALLS}", os.O_RDONLY, 0))
        return actions

    def _pinned(self) -> list[Any]:
        """Folders for whoever builds the walls, open at 4 and up: no link in place of one of them
        is followed."""
        for path in self.job["pins"]:
            found = os.open(path, os.O_PATH | os.O_CLOEXEC)
            self.pins.append(fcntl.fcntl(found, fcntl.F_DUPFD_CLOEXEC, 64))
            os.close(found)
            if os.readlink(f"/proc/self/fd/{self.pins[-1]}") != path:
                raise OSError(errno.ELOOP, "it leads elsewhere by now", path)
        return [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(self.pins, 4)]

    # -- while it runs
    # ----------------------------------------------------------------------------------------------

    def _wait(self) -> int:
        """Until the tool itself has ended (never until the end of a pipe); its wait status."""
        while (status := self._reap()) is None:
            now = time.monotonic()
            self._look(now)
            pause = self._pause(now)
            self._mask()
            if self._nap(max(pause, 0.001)) == signal.SIGTERM and not self.escalation.step:
                self._obey()
        return status

    def _look(self, now: float) -> None:
        """Whether it is to be stopped, or to be stopped more sternly."""
        if self.escalation.step:
            if now >= self.escalation.next_step:
                self.escalation.go_on(self.pid, now)
            else:
                self.logs.too_much(stopping=True)
            return
        cause = self.limits.passed(self.pid, now)
        if not cause and self.logs.too_much(stopping=False):
            cause = "log_limit"
        if not cause and self.limits.cancel_requested():
            cause = "cancelled"  # also without a signal: none reaches us from another container
        if cause:
            self._stop(cause, now)

    def _pause(self, now: float) -> float:
        """Seconds until the next look."""
        pause = self.logs.pause(now)
        if self.feed is not None:
            pause = min(pause, self.feed.serve())
        if self.escalation.step:
            return min(pause, self.escalation.next_step - now)
        if self.limits.deadline is not None:
            return min(pause, self.limits.deadline - now)
        return pause

    def _nap(self, seconds: float) -> int | None:
        """Wait for a signal, so long at most; its number.  A terminal is served meanwhile."""
        if self.terminal is not None:
            number: int | None = self.terminal.serve(seconds)
            return number
        info = signal.sigtimedwait(WAKE, seconds)
        return info.si_signo if info is not None else None

    def _obey(self) -> None:
        """Somebody has said: look now."""
        if self.limits.cancel_requested():
            self._stop("cancelled", time.monotonic())
        elif neighbour("stirring").settled(f"{self.job['run_dir']}/settled", self.logs.files[0]):
            self._stop("settled", time.monotonic())

    def _stop(self, cause: str, now: float) -> None:
        self.cause = cause
        # The signal comes first: the end of its input is for many a tool the end of its work, and
        # it would print a result that nobody wants any more.
        self.escalation.go_on(self.pid, now)
        if self.feed is not None:
            self.feed.stop()

    def _reap(self) -> int | None:
        """Collect what has ended; the tool's status once it has."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == self.pid:
                return status
            if pid == 0:
                return None

    def _abandon(self) -> int:
        while True:
            signal_all(signal.SIGKILL)
            status = self._reap()
            if status is not None:
                return status
            signal.sigtimedwait((signal.SIGCHLD,), 0.05)

    def _mask(self) -> None:
        for mask in self.masks:
            try:
                mask.run()
            except OSError:
                pass  # a disk that refuses it must not end the tool; the next look tries again

    def _close(self) -> None:
        """Nothing of the attempt is left that could write."""
        if self.terminal is not None:
            self.terminal.close()
        if self.feed is not None:
            self.feed.close()
        self._mask()
        for mask in self.masks:
            mask.finish()
        for fd in self.pins:
            os.close(fd)
        self.logs.finish()

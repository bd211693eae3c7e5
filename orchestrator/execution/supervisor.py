"""The supervisor: a small process that runs one tool at a time and outlives the watcher that asked for it.

It imports nothing but the standard library and has one thread.  It is a fresh process, or forked from a warm one
(``execution.nursery``); ``execution.pool`` has the watcher's side.  Over a socket it says that it is there and receives jobs, each with the descriptor of the task's journal, on which the liveness lock is
held.  For every job it

1. appends ``started`` to the journal, fsynced, *before* the tool is executed: from then on the task has run;
2. runs the tool in a session of its own, with default signals, the prompt file as standard input, or on a terminal of its
   own (``execution.terminal``);
3. enforces the time limit and cancel requests by SIGINT, SIGTERM, SIGKILL;
4. ends everything the tool left behind: as child subreaper it is the parent of every orphan, so "I have no
   children" means "nothing is left";
5. appends ``exit``, fsynced (the result's commit point), closes the journal and so frees the lock, and says so.

When the watcher is gone the socket ends, and the supervisor leaves once its attempt is over.  A cancel request is
a file; SIGTERM only says "look now".
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from collections.abc import Callable
    from typing import Any

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
POLL, POLL_MIN = 0.5, 0.025  # seconds between looks at the size of the logs
LEFTOVER_GRACE = 2.0  # seconds from SIGTERM to SIGKILL for what a tool left behind
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
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
WAKE = (signal.SIGCHLD, signal.SIGTERM)
DEFAULTS = [
    number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)
]


CALLS = (
    "seccomp.bpf"  # in the log folder: the system calls that a sandbox refuses (execution.syscalls)
)
# What builds a sandbox must outlive the tool in it: it ignores what we ignore, and gives the tool its signals back.
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

LATER: dict[
    str, Any
] = {}  # code of neighbours, as it was when the watcher began (`execution.program`)


def neighbour(name: str) -> Any:
    """A module beside this one."""
    module = type(signal)(name)
    exec(LATER[name], module.__dict__)
    return module


def main(fd: int) -> None:
    """Serve jobs until the socket ends."""
    ignore_signals()
    serve(fd)


def ignore_signals() -> None:
    """Ctrl-C, a closed terminal and the like are the watcher's; what wakes us is taken with sigtimedwait."""
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGPIPE,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGXFSZ,
    ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked as it is below, it is still taken; but what builds the walls of a sandbox inherits that it is ignored.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, WAKE)  # no handler, no race


def serve(fd: int) -> None:
    """Say that we are there, and run one job after the other until the socket ends."""
    become_subreaper()
    call_oneself("orch-supervisor")
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    tell(control, {"born": os.getpid()})
    while True:
        job, lock = receive(control)
        if job is None:
            return
        if os.getsid(0) != os.getpid():
            # Only now: a forked one is of the warm process's session until the watcher knows it, or it would be
            # taken for something that an attempt has left behind.
            os.setsid()
        record = Attempt(job, lock).run(lambda message: tell(control, message))
        os.close(lock)  # the last descriptor of the journal: the liveness lock is free now
        tell(control, {"ended": record})


def become_subreaper() -> bool:
    """Be the parent of every orphan below; whether the system allows that."""
    return bool(prctl()(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def call_oneself(name: str) -> None:
    """The name by which ``ps`` and ``top`` show this process; 15 characters at most."""
    prctl()(PR_SET_NAME, name.encode(), 0, 0, 0)


def prctl(found: list[Any] = []) -> Any:  # noqa: B006
    """The system's function of that name, looked up once: a forked supervisor has it already."""
    if not found:
        found.append(ctypes.CDLL(None).prctl)
    return found[0]


def receive(control: socket.socket) -> tuple[dict[str, Any] | None, int]:
    """The next job and the journal's descriptor; (None, -1) when the watcher is gone."""
    descriptors = array.array("i")
    try:
        head, ancillary, _, _ = control.recvmsg(4, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None, -1
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) // 4 * 4])
    if not head or not descriptors:
        return None, -1
    while len(head) < 4:
        head += control.recv(4 - len(head))
    size = int.from_bytes(head, "big")
    body = bytearray()
    while len(body) < size:
        piece = control.recv(size - len(body))
        if not piece:  # cut off in the middle: nothing has started
            os.close(descriptors[0])
            return None, -1
        body += piece
    return json.loads(body), descriptors[0]


def tell(control: socket.socket, message: dict[str, Any]) -> None:
    """A line to the watcher, if there still is one; the journal has it in any case."""
    try:
        control.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        pass


class Attempt:
    """One execution of one tool."""

    def __init__(self, job: dict[str, Any], journal: int) -> None:
        self.job, self.journal = job, journal
        self.cause = ""  # why it was stopped: cancelled, timeout, silence, settled, leash ...
        self.said = (0, time.monotonic())  # size of its logs, and since when
        self.worked: tuple[float, float] | None = None  # processor time of its commands, and when
        self.looked = time.monotonic()  # whether it asks
        self.step = 0  # of the escalation: 0 none, 1 INT sent, 2 TERM sent, 3 KILL sent
        self.next_step = 0.0
        self.pid = 0
        self.logs: list[int] = []
        self.masks: list[Mask] = []
        self.grown = (0, time.monotonic())  # the larger log's size at the last look
        self.pause = POLL_MIN
        self.swept = False
        self.opening = True  # files of ours; a fault that is not the task's
        self.terminal: Any = None
        self.feed: Any = None

    def run(self, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Run the job to its end; returns the ``exit`` record, which is in the journal by then."""
        began = time.monotonic()
        status, message, number = None, "", 0
        while signal.sigtimedwait(WAKE, 0):
            pass  # left over from the attempt before
        try:
            if self.cancel_requested():
                self.cause = "cancelled"
            elif self.leash_ended():
                self.cause = "leash"
            else:
                self.record(
                    {
                        "record": "started",
                        "attempt": self.job["attempt"],
                        "at": time.time(),
                        "supervisor": os.getpid(),
                        "supervisor_start": start_time("self"),
                        "boot": boot_id(),
                        "tag": self.job["tag"],
                        **self.job["facts"],
                    }
                )
                self.pid = self.spawn()
                say({"started": self.pid})
                status = self.wait(began)
        except OSError as error:
            if not self.pid:
                self.cause = "start"
                number = error.errno or 0 if self.opening or error.errno in SCARCE else 0
            message = f"{error.strerror}: {error.filename or self.job['argv'][0]}"
            if (
                self.pid and status is None
            ):  # a log could not be looked at or the like: the tool must not go on
                status = self.abandon()
        self.swept = True
        leftovers = sweep(self.trim, SANDBOX_ENDS if self.job["sandboxed"] else 0.0)
        if self.terminal is not None:
            self.terminal.close()
        if self.feed is not None:
            self.feed.close()
        self.mask()
        for mask in self.masks:
            mask.finish()
        for log in self.logs:
            try:
                size = os.fstat(log).st_size
                if size > self.job["log_limit"]:
                    os.ftruncate(log, self.job["log_limit"])
                if size:
                    os.fdatasync(log)
            except OSError:
                pass
            os.close(log)
        record = {
            "record": "exit",
            "attempt": self.job["attempt"],
            "at": time.time(),
            "cause": self.cause,
            "code": None,
            "signal": None,
            "duration_ms": round((time.monotonic() - began) * 1000),
        }
        if status is not None:
            record["code" if os.WIFEXITED(status) else "signal"] = (
                os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else os.WTERMSIG(status)
            )
        if message:
            record["message"] = message
        if number:
            record["errno"] = number
        if leftovers:
            record["leftovers"] = leftovers
        self.record_exit(record, say)
        return record

    def record(self, record: dict[str, Any]) -> None:
        """Append to the journal, on disk when this returns."""
        data = json.dumps(record).encode() + b"\n"
        size = os.fstat(self.journal).st_size
        if size and os.pread(self.journal, 1, size - 1) != b"\n":
            data = b"\n" + data
        written = os.write(self.journal, data)
        if written != len(data):  # a disk that fills up says so by a short write first
            raise OSError(28, "No space left on device", "journal")
        os.fsync(self.journal)

    def record_exit(self, record: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
        """How it ended must not be lost: while the disk refuses, say so, and try again with a fresh descriptor."""
        while True:
            try:
                self.record(record)
                return
            except OSError as error:
                say({"fault": error.strerror or str(error)})
                # The descriptor that failed may report a success that never happened: open the file anew, but
                # keep the old one, which holds the lock.
                signal.sigtimedwait((), 1.0)
                try:
                    fresh = os.open(
                        f"/proc/self/fd/{self.journal}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
                    )
                except OSError:
                    continue
                try:
                    if not torn_or_absent(fresh, record):
                        os.fsync(fresh)
                        return
                    data = b"\n" + json.dumps(record).encode() + b"\n"
                    if os.write(fresh, data) == len(data):
                        os.fsync(fresh)
                        return
                except OSError:
                    pass
                finally:
                    os.close(fresh)

    def spawn(self) -> int:
        """Start the tool; its pid.  Everything it inherits is named here."""
        job = self.job
        self.opening = False
        os.chdir(job["cwd"])
        self.opening = True
        for path in (job["stdout"], job["stderr"]):
            self.logs.append(
                new_log(path) if path else os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            )
            if job["secrets"]:
                self.masks.append(Mask(path, job["secrets"], self.logs[-1]))
        stdin = self.input()
        if job["sandboxed"] and self.feed is None:
            stdin = sealed(stdin)
        try:
            actions: list[Any] = [
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_DUP2, self.logs[0], 1),
                (os.POSIX_SPAWN_DUP2, self.logs[1], 2),
            ]
            if job["terminal"]:
                terminal = neighbour("terminal")  # only who needs it pays for it
                self.terminal = terminal.Terminal(job["run_dir"], self.logs[0], WAKE)
                actions = self.terminal.actions()
                os.chdir(job["cwd"])
            if job["sandboxed"]:
                calls = f"{job['run_dir']}/{CALLS}"
                actions.append((os.POSIX_SPAWN_OPEN, 3, calls, os.O_RDONLY, 0))
            self.opening = False
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
                self.feed.started(self.logs[0])
            return pid
        finally:
            os.close(stdin)
            os.chdir("/")

    def input(self) -> int:
        """What the tool reads: its prompt, or a pipe by which it is told more."""
        if not self.job["words"]:
            return os.open(self.job["stdin"] or os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.feed = neighbour("feeding").Feed(self.job["run_dir"], **self.job["words"])
        reader: int = self.feed.reader
        return reader

    def wait(self, began: float) -> int:
        """Until the tool itself has ended (never until the end of a pipe); its wait status."""
        limit = self.job["timeout"]
        deadline = began + limit if limit else None
        while True:
            status = self.reap()
            if status is not None:
                return status
            now = time.monotonic()
            if not self.step and asking(self.job["run_dir"]):
                # A person is asked: time and silence stand still until then.
                stood, self.worked = now - self.looked, None
                self.said = (self.said[0], self.said[1] + stood)
                deadline = deadline + stood if deadline is not None else None
            self.looked = now
            if self.step and now >= self.next_step:
                self.escalate(now)
            elif not self.step and deadline is not None and now >= deadline:
                self.stop("timeout", now)
            elif not self.step and self.silent(now):
                self.stop("silence", now)
            elif not self.step and self.leash_ended():
                self.stop("leash", now)
            elif self.too_much_output():
                self.stop("log_limit", now)
            elif not self.step and self.cancel_requested():
                # Also without a signal: none reaches us from another container.
                self.stop("cancelled", now)
            pause = self.next_look(now)
            if self.feed is not None:
                pause = min(pause, self.feed.serve())
            if self.step:
                pause = min(pause, self.next_step - now)
            elif deadline is not None:
                pause = min(pause, deadline - now)
            self.mask()
            if self.nap(max(pause, 0.001)) == signal.SIGTERM and not self.step:
                if self.cancel_requested():
                    self.stop("cancelled", time.monotonic())
                elif neighbour("stirring").settled(f"{self.job['run_dir']}/settled", self.logs[0]):
                    self.stop("settled", time.monotonic())

    def nap(self, seconds: float) -> int | None:
        """Wait for a signal, so long at most; its number.  A terminal is served meanwhile."""
        if self.terminal is not None:
            number: int | None = self.terminal.serve(seconds)
            return number
        info = signal.sigtimedwait(WAKE, seconds)
        return info.si_signo if info is not None else None

    def reap(self) -> int | None:
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

    def stop(self, cause: str, now: float) -> None:
        self.cause = cause
        if self.feed is not None:
            self.feed.stop()
        self.escalate(now)

    def escalate(self, now: float) -> None:
        """The next sterner signal: to the tool's process group, as Ctrl-C would, and in the end to everything."""
        self.step += 1
        if self.step == 1:
            self.signal_group(signal.SIGINT)
            self.next_step = now + self.job["interrupt_grace"]
        elif self.step == 2:
            self.signal_group(signal.SIGTERM)
            signal_all(signal.SIGTERM)
            self.next_step = now + self.job["terminate_grace"]
        else:
            signal_all(signal.SIGKILL)
            self.next_step = now + 0.1

    def signal_group(self, number: int) -> None:
        # The tool is not reaped yet (only `reap` does that), so its pid, and with it the group, is still its own.
        try:
            os.killpg(self.pid, number)
            os.killpg(self.pid, signal.SIGCONT)  # a stopped process must be able to obey
        except ProcessLookupError:
            pass

    def abandon(self) -> int:
        while True:
            signal_all(signal.SIGKILL)
            status = self.reap()
            if status is not None:
                return status
            signal.sigtimedwait((signal.SIGCHLD,), 0.05)

    def trim(self) -> None:
        """Keep what is left of the attempt from filling the disk."""
        try:
            self.too_much_output()
        except OSError:
            pass

    def mask(self) -> None:
        for mask in self.masks:
            try:
                mask.run()
            except (
                OSError
            ):  # a disk that refuses it must not end the tool; the next look tries again
                pass

    def cancel_requested(self) -> bool:
        return os.path.exists(self.job["cancel"])

    def leash_ended(self) -> bool:
        """Whether nobody has touched the leash for too long.  Its clock goes on while the machine sleeps."""
        if not self.job["leash"]:
            return False
        try:
            with open(self.job["leash"], "rb") as file:
                touched = float(file.read(40) or 0.0)
        except (OSError, ValueError):
            return True
        return time.clock_gettime(time.CLOCK_BOOTTIME) - touched > float(self.job["leash_limit"])

    def silent(self, now: float) -> bool:
        """Whether the tool has printed nothing for longer than it may."""
        limit = self.job["silence"]
        if not limit:
            return False
        size = sum(os.fstat(log).st_size for log in self.logs)
        quiet = now - self.said[1]
        if size != self.said[0]:
            self.said, self.worked = (size, now), None
        elif quiet >= limit:
            return not self.at_work(now)
        elif quiet >= limit / 2 and self.worked is None:
            self.at_work(now)
        return False

    def at_work(self, now: float) -> bool:
        """Whether its commands have used the processor since the last such look: a long build prints nothing."""
        stirring = neighbour("stirring")
        below = [pid for pid, _ in descendants()]
        before = self.worked
        self.worked = (stirring.worked(self.pid, below, self.job["sandboxed"]), now)
        if before is None or self.worked[0] - before[0] < stirring.BUSY * (now - before[1]):
            return False
        self.said = (self.said[0], now)
        return True

    def too_much_output(self) -> bool:
        """Whether the attempt is to end because a log is over its limit.

        Otherwise such a log is cut: if that is wanted, and while the tool is being stopped, however long it resists.
        """
        limit = self.job["log_limit"]
        for log in self.logs:
            if os.fstat(log).st_size > limit:
                if self.job["on_log_limit"] == "end" and not self.step and not self.swept:
                    return True
                os.ftruncate(
                    log, limit // 2
                )  # it is written in append mode, so writing goes on from here
        return False

    def next_look(self, now: float) -> float:
        """Seconds until the logs are looked at again: soon at first, and in time for a log that grows fast."""
        size = max((os.fstat(log).st_size for log in self.logs), default=0)
        before, then = self.grown
        self.grown = (size, now)
        self.pause = (
            min(POLL, self.pause * 2) if size >= before else POLL_MIN
        )  # it was cut: it floods
        if size > before and now > then:
            left = max(self.job["log_limit"] - size, 0) / ((size - before) / (now - then))
            self.pause = min(self.pause, max(left / 2, POLL_MIN))
        return self.pause


def asking(run_dir: str) -> bool:
    """Whether the tool waits for a person: a question that has no answer, and whose asker holds its lock."""
    try:
        names = os.listdir(f"{run_dir}/asked")
    except OSError:
        return False
    for name in names:
        if name.startswith(".") or os.path.lexists(f"{run_dir}/answers/{name}"):
            continue
        try:
            fd = os.open(
                f"{run_dir}/asked/{name}",
                os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK,
            )
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False


class Mask:
    """Overwrites secrets in a log with as many ``*``, a moment after the tool has written them."""

    BLOCK = 1 << 20

    def __init__(self, path: str, secrets: list[str], log: int) -> None:
        # Not the tool's descriptor: in append mode even a positioned write goes to the end.
        self.fd = os.open(f"/proc/self/fd/{log}", os.O_RDWR | os.O_CLOEXEC)
        self.marker = path + ".masked"  # up to where readers may look, see files/masked.py
        self.looked = new_log(self.marker, append=False)
        os.pwrite(self.looked, b"0".ljust(20), 0)
        self.secrets = [secret.encode("utf-8", "surrogateescape") for secret in secrets]
        self.overlap = max(len(secret) for secret in self.secrets) - 1
        self.position = 0

    def run(self) -> None:
        """Mask what has come since the last look; a secret whose rest is still to come is found by the next."""
        size = os.fstat(self.fd).st_size
        start = max(0, min(self.position, size) - self.overlap)
        while start < size:
            block = os.pread(self.fd, self.BLOCK + self.overlap, start)
            for secret in self.secrets:
                at = block.find(secret)
                while at >= 0:
                    os.pwrite(self.fd, b"*" * len(secret), start + at)
                    at = block.find(secret, at + len(secret))
            start += self.BLOCK
        self.position = size
        os.pwrite(self.looked, b"%-20d" % (size - self.begun(size)), 0)

    def begun(self, size: int) -> int:
        """How many bytes at the end may be the beginning of a secret whose rest is still to come."""
        end = os.pread(self.fd, self.overlap, max(0, size - self.overlap))
        return max(begun_at_end(secret, end) for secret in self.secrets)

    def finish(self) -> None:
        """The log is whole and looked through: all of it may be shown."""
        try:
            self.run()
            os.unlink(self.marker)
        except OSError:  # then its end stays hidden
            pass

    def __del__(self) -> None:
        os.close(self.fd)
        os.close(self.looked)


def begun_at_end(secret: bytes, end: bytes) -> int:
    """How many bytes at the end of a text are the beginning of a secret, and not all of it."""
    head = secret[:8]
    at = end.find(head, max(0, len(end) - len(secret) + 1))
    while at >= 0:
        if secret.startswith(end[at:]):
            return len(end) - at
        at = end.find(head, at + 1)
    few = range(min(len(head), len(secret)) - 1, 0, -1)
    return next((count for count in few if end.endswith(secret[:count])), 0)


def new_log(path: str, append: bool = True) -> int:
    """A log that nobody else has made.  What lies in its place (a pipe, a link, another's file) is moved aside."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    flags |= os.O_APPEND if append else 0
    for _ in range(3):
        try:
            return os.open(path, flags, 0o644)
        except FileExistsError:
            os.rename(path, f"{path}.displaced-{time.time_ns()}")
    return os.open(path, flags, 0o644)


def sealed(fd: int) -> int:
    """The same text in memory, where nobody can change it: through a descriptor of a file its reader could reach the file.

    ``fd`` is closed.
    """
    try:
        memory = os.memfd_create("prompt", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        while data := os.read(fd, 1 << 20):
            while data:
                data = data[os.write(memory, data) :]
        os.lseek(memory, 0, os.SEEK_SET)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)
        return memory
    finally:
        os.close(fd)


def sweep(meanwhile: Callable[[], object], patience: float = 0.0) -> int:
    """End everything the tool left behind; how many processes that were.  ``meanwhile()`` is called while it lasts.

    Every orphan of the attempt is our child, so without children there is nothing left.  ``patience`` is how long they
    may go by themselves: the first process of a sandbox does, as soon as there is no other in it.
    """
    end = time.monotonic() + patience
    while patience and time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                signal.sigtimedwait((signal.SIGCHLD,), 0.02)
        except ChildProcessError:
            return 0
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0
    found: set[int] = set()
    kill_at = time.monotonic() + LEFTOVER_GRACE
    signal_all(signal.SIGTERM, found)
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return max(len(found) - bool(patience), 0)
        if pid == 0:
            if time.monotonic() >= kill_at:
                signal_all(signal.SIGKILL, found)
            meanwhile()
            signal.sigtimedwait((signal.SIGCHLD,), 0.05)


def signal_all(number: int, found: set[int] | None = None) -> None:
    """Send a signal to all descendants: the same parent and start time mean that it still is the one that was found."""
    for pid, identity in descendants():
        if signal_one(pid, number, lambda pid=pid, was=identity: parent_and_start(pid) == was):
            if number == signal.SIGTERM:
                signal_one(
                    pid, signal.SIGCONT, lambda pid=pid, was=identity: parent_and_start(pid) == was
                )
            if found is not None:
                found.add(pid)


def signal_one(pid: int, number: int, still: Any) -> bool:
    """Send a signal to a process if it ``still()`` is the one that is meant; whether it was.

    A pid could pass to a stranger between the look and the signal, so the process is pinned by a pidfd first.  Where
    the system refuses those (old kernels, some sandboxes), the look comes as shortly before the signal as can be.
    """
    try:
        pinned = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except (OSError, AttributeError):
        pinned = -1
    try:
        if not still():
            return False
        if pinned >= 0:
            signal.pidfd_send_signal(pinned, number)
        else:
            os.kill(pid, number)
        return True
    except OSError:
        return False
    finally:
        if pinned >= 0:
            os.close(pinned)


def descendants(root: int = 0) -> list[tuple[int, tuple[int, int]]]:
    """Every process below this one (or ``root``), with its parent and start time."""
    children: dict[int, list[int]] = {}
    facts: dict[int, tuple[int, int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            identity = parent_and_start(int(name))
            if identity:
                facts[int(name)] = identity
                children.setdefault(identity[0], []).append(int(name))
    result, waiting = [], [root or os.getpid()]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            result.append((pid, facts[pid]))
            waiting.append(pid)
    return result


def parent_and_start(pid: int) -> tuple[int, int] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            rest = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(rest[1]), int(rest[19])


def start_time(pid: int | str) -> int:
    """Clock ticks from boot to the start of a process: with the pid and the boot id it names a process for ever."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def torn_or_absent(fd: int, record: dict[str, Any]) -> bool:
    """Whether the record is not (wholly) in the journal."""
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    return not data.endswith(json.dumps(record).encode() + b"\n")

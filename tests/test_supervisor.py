"""Supervision with real processes: ends, time limits, cancels, and nothing left behind."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import alive, wait_until

from orchestrator.distributors.base import Order
from orchestrator.distributors.direct import DirectDistributor
from orchestrator.execution import processes
from orchestrator.execution.pool import IDLE_MAX
from orchestrator.files import journals, jsonlines
from orchestrator.model.journal import Phase


class Bench:
    """Starts attempts under a real supervisor, with a real journal and lock.

    Their tags are nobody else's: what has one that has ended is ended with it, whoever began it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    @property
    def journal(self) -> str:
        return str(self.folder / "journal.jsonl")

    def order(self, *argv: str, **more) -> Order:
        self.number += 1
        run_dir = self.folder / str(self.number)
        run_dir.mkdir()
        (run_dir / "prompt.md").write_text("the prompt\n")
        fd = os.open(self.journal, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        if not os.fstat(fd).st_size:
            os.write(fd, b'{"record":"claim","id":"t"}\n')
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        settings = {
            "timeout": 20.0,
            "interrupt_grace": 0.5,
            "terminate_grace": 0.5,
            "log_limit": 1 << 20,
            "on_log_limit": "end",
            "env": {"PATH": os.environ["PATH"], processes.TAG: str(run_dir)},
            **more,
        }
        return Order(
            task_id="t",
            attempt=self.number,
            program=argv[0] if argv[0].startswith("/") else "/bin/sh",
            argv=argv,
            cwd=str(self.folder),
            run_dir=str(run_dir),
            stdin=str(run_dir / "prompt.md"),
            tag=str(run_dir),
            journal=fd,
            cancel=str(self.folder / "cancel"),
            **settings,
        )

    def sh(self, script: str, **more) -> Order:
        return self.order("/bin/sh", "-c", script, **more)

    def out(self, name: str = "stdout.log") -> str:
        return (self.folder / str(self.number) / name).read_text()

    def locked(self) -> bool:
        with open(self.journal) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def run(order: Order, meanwhile=None):
    """Dispatch, optionally do something while it runs, and return how it ended."""

    async def go():
        where = DirectDistributor()
        try:
            pids: list[int] = []
            handle = where.dispatch(order, pids.append)
            waiting = asyncio.ensure_future(handle.wait())
            if meanwhile is not None:
                await meanwhile(handle, pids)
            return await asyncio.wait_for(waiting, 30)
        finally:
            where.close()

    return asyncio.run(go())


def test_success_reads_the_prompt_and_says_so(bench):
    end = run(bench.sh("cat; echo err >&2; pwd"))
    assert (end.cause, end.code, end.signal) == ("", 0, None)
    assert bench.out() == f"the prompt\n{bench.folder}\n" and bench.out("stderr.log") == "err\n"
    journal = journals.read(bench.journal)
    assert journal.phase is Phase.ENDED and journal.attempt.started["tag"] == str(
        bench.folder / "1"
    )
    assert not bench.locked()


@pytest.mark.parametrize(
    "script, code, number",
    [("exit 3", 3, None), ("kill -9 $$", None, 9), ("kill -TERM $$", None, 15)],
)
def test_codes_and_signals(bench, script, code, number):
    end = run(bench.sh(script))
    assert (end.code, end.signal) == (code, number)


def test_a_program_that_is_not_there(bench):
    end = run(bench.order("/no/such/program"))
    assert end.cause == "start" and "No such file" in end.message


def test_signals_and_session_are_fresh(bench):
    """A watcher started in the background has SIGINT ignored; its tools must not inherit that."""
    code = (
        "import os, signal; assert os.getsid(0) == os.getpid(); "
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler; "
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL; "
        "assert not signal.pthread_sigmask(signal.SIG_BLOCK, []); "
        "fds = [f for f in os.listdir('/proc/self/fd')]; assert len(fds) <= 4, fds"
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        end = run(bench.order(sys.executable, "-c", code))
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.code == 0, bench.out("stderr.log")


def test_timeout_escalates_to_kill(bench):
    began = time.monotonic()
    end = run(bench.sh("trap '' INT TERM; echo up; while :; do sleep 0.05; done", timeout=0.3))
    assert end.cause == "timeout" and end.signal == signal.SIGKILL
    assert 1.2 < time.monotonic() - began < 6


def test_timeout_by_sigint_lets_the_tool_say_goodbye(bench):
    end = run(bench.sh("trap 'echo bye; exit 7' INT; while :; do sleep 0.05; done", timeout=0.3))
    assert end.cause == "timeout" and end.code == 7 and bench.out() == "bye\n"


def test_cancel(bench):
    order = bench.sh("trap 'exit 5' INT; echo up; while :; do sleep 0.05; done")

    async def cancel(handle, pids):
        while "up" not in (bench.out() if pids else ""):
            await asyncio.sleep(0.01)
        handle.cancel()  # without a request it is only a look: nothing happens
        await asyncio.sleep(0.1)
        assert handle.is_running()
        Path(order.cancel).write_text("{}")
        handle.cancel()

    end = run(order, cancel)
    assert end.cause == "cancelled" and end.code == 5


def test_cancel_before_the_start_starts_nothing(bench):
    order = bench.sh("echo ran")
    Path(order.cancel).write_text("{}")
    end = run(order)
    assert end.cause == "cancelled" and not (Path(order.run_dir) / "stdout.log").exists()
    assert journals.read(bench.journal).attempts[0].started == {}


LEFTOVERS = {
    "background": "sleep 300 & echo $! >> pids",
    "own session": "setsid sh -c 'echo $$ >> pids; exec sleep 300' & sleep 0.2",
    "double fork": "(setsid sh -c 'sleep 300 & echo $! >> pids' &) ; sleep 0.2",
    "ignores signals": "(trap '' INT TERM HUP; sh -c 'trap \"\" INT TERM HUP; echo $$ >> pids; while :; do sleep 1; done' &) ; sleep 0.2",
    "empty environment": "(env -i setsid sh -c 'echo $$ >> pids; exec sleep 300' &) ; sleep 0.2",
    "stopped": "(sh -c 'echo $$ >> pids; kill -STOP $$; sleep 300' &) ; sleep 0.2",
}


@pytest.mark.parametrize("script", LEFTOVERS.values(), ids=LEFTOVERS)
def test_nothing_outlives_its_attempt(bench, script):
    end = run(bench.sh(f"cd {bench.folder}; {script}; exit 0"))
    assert end.code == 0 and end.leftovers >= 1
    pids = [int(word) for word in (bench.folder / "pids").read_text().split()]
    assert pids
    for pid in pids:
        assert not alive(pid), f"{pid} is still there"


def test_cancel_reaches_the_whole_tree(bench):
    order = bench.sh(
        "(setsid sh -c 'trap \"\" INT TERM; echo $$ > pid; while :; do sleep 1; done' &); sleep 0.2; "
        "trap '' INT TERM; echo up; while :; do sleep 0.05; done"
    )

    async def cancel(handle, pids):
        while "up" not in (bench.out() if pids else ""):
            await asyncio.sleep(0.01)
        Path(order.cancel).write_text("{}")
        handle.cancel()

    end = run(order, cancel)
    assert end.cause == "cancelled" and end.signal == signal.SIGKILL
    assert not alive(int((bench.folder / "pid").read_text()))


def test_waits_for_the_tool_not_for_its_pipes(bench):
    began = time.monotonic()
    end = run(bench.sh("sleep 300 & exit 0"))
    assert end.code == 0 and time.monotonic() - began < 10


def test_log_limit_ends_it(bench):
    end = run(bench.sh("yes", log_limit=100_000))
    assert end.cause == "log_limit" and not journals.read(bench.journal).last.get("code")


def test_log_limit_truncates_and_goes_on(bench):
    end = run(
        bench.sh(
            "head -c 3000000 /dev/zero; sleep 1.2; echo end",
            log_limit=100_000,
            on_log_limit="truncate",
        )
    )
    size = (bench.folder / "1" / "stdout.log").stat().st_size
    assert end.code == 0 and size < 3_000_000
    assert (bench.folder / "1" / "stdout.log").read_bytes().endswith(b"end\n")


def test_a_killed_supervisor_is_a_lost_attempt_and_leaves_nothing(bench):
    order = bench.sh("echo $$ > pid; sleep 300")

    async def kill(handle, pids):
        while not pids or not (bench.folder / "pid").exists():
            await asyncio.sleep(0.01)
        os.kill(journals.read(bench.journal).attempt.started["supervisor"], signal.SIGKILL)

    end = run(order, kill)
    assert end.cause == "lost" and end.leftovers >= 1
    wait_until(lambda: not alive(pid_in(bench)), "the tool is gone")
    assert not bench.locked()


def pid_in(bench) -> int:
    return int((bench.folder / "pid").read_text())


def test_attempts_go_on_without_the_watcher_and_keep_their_limits(bench):
    """A process dispatches and is killed; supervisor, time limit and records do not mind."""
    script = f"""
import asyncio, os, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from pathlib import Path
from test_supervisor import Bench
from orchestrator.distributors.direct import DirectDistributor
async def go():
    bench = Bench(Path({str(bench.folder)!r}))
    def started(pid):
        os.kill(os.getpid(), 9)
    DirectDistributor().dispatch(bench.sh("trap 'echo bye; exit 9' INT; echo up; while :; do sleep 0.05; done", timeout=1.0), started)
    await asyncio.sleep(20)
asyncio.run(go())
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=30)
    assert done.returncode == -9
    bench.number = 1
    journal = wait_until(
        lambda: (found := journals.read(bench.journal)).attempt and found.attempt.ended and found,
        "exit record",
    )
    assert journal.attempt.ended["cause"] == "timeout" and journal.attempt.ended["code"] == 9
    started = journal.attempt.started
    wait_until(
        lambda: (
            processes.pin(started["supervisor"], started["supervisor_start"], started["boot"])
            is None
            or not alive(started["supervisor"])
        ),
        "the supervisor leaves",
    )
    assert not bench.locked()


def test_the_lock_is_held_exactly_while_it_runs(bench):
    order = bench.sh("echo up; sleep 0.3")

    async def look(handle, pids):
        while not pids:
            await asyncio.sleep(0.01)
        assert bench.locked()

    run(order, look)
    assert not bench.locked()


def test_a_remembered_pid_is_never_signalled(bench):
    own = os.getpid()
    assert not processes.send(own, 12345, processes.boot_id(), signal.SIGKILL)
    assert not processes.send(own, processes.start_time(own), "another boot", signal.SIGKILL)


def test_secrets_do_not_stay_in_the_logs(bench):
    """Masked while it runs, across pieces and looks; everything else stays as it is, byte for byte."""
    secret = "sk-very-secret-0123456789"
    script = (
        f"printf 'key {secret} end\\n'; printf 'half sk-very-' ; echo later >&2; while ! test -e {bench.folder}/go; do sleep 0.02; done; "
        f"printf 'secret-0123456789\\n'; head -c 1100000 /dev/zero | tr '\\0' 'x'; printf '{secret}{secret}\\nshort\\n'; printf '{secret}' >&2"
    )
    order = bench.sh(script, secrets=(secret,), log_limit=1 << 22)

    async def meanwhile(handle, pids):
        while not (bench.folder / "1/stdout.log").exists() or "key *" not in bench.out():
            await asyncio.sleep(0.02)
        assert secret not in bench.out()
        (bench.folder / "go").touch()

    assert run(order, meanwhile).code == 0
    stars = "*" * len(secret)
    assert (
        bench.out()
        == f"key {stars} end\nhalf {stars}\n" + "x" * 1100000 + f"{stars}{stars}\nshort\n"
    )
    assert bench.out("stderr.log") == f"later\n{stars}"


@pytest.mark.parametrize(
    "script",
    [
        "trap '' INT TERM; while :; do head -c 20000000 /dev/zero; done",  # resists every polite request
        "(trap '' INT TERM; while :; do head -c 20000000 /dev/zero; done) & sleep 0.2",  # is left behind, and resists
    ],
)
def test_a_flood_is_stopped_before_it_fills_the_disk(bench, script):
    """However long the flood resists: far less than the gigabytes it could write, and in the end no more than the limit."""
    largest = 0

    async def meanwhile(handle, pids):
        nonlocal largest
        while handle.is_running():
            try:
                largest = max(largest, (bench.folder / "1/stdout.log").stat().st_size)
            except FileNotFoundError:
                pass
            await asyncio.sleep(0.005)

    end = run(
        bench.sh(script, interrupt_grace=1.0, terminate_grace=1.0, log_limit=10 << 20), meanwhile
    )
    assert end.cause in ("log_limit", "") and largest < 1 << 30
    assert (bench.folder / "1/stdout.log").stat().st_size <= 10 << 20


def test_supervisors_are_used_again_and_those_above_what_is_needed_go(project, watch):
    """Many short tasks: all supervisors are idle for a moment, again and again, and none is started anew for that."""
    project.config("limits: {running: 8}\nagents: {t: {tool: shell, command: [/bin/true]}}\n")
    for number in range(150):
        project.drop(f"t{number:03d}.yaml", "agent: t\nprompt: x\n")
    watcher = watch("--quiet")
    project.settled("t149", "done")
    closed = project.work / ".state" / "closed"
    wait_until(lambda: len(list(closed.iterdir())) == 150, "all are put away")
    journals = [jsonlines.read(str(path))[0] for path in closed.iterdir()]
    used = Counter(
        record["supervisor"]
        for records in journals
        for record in records
        if record["record"] == "started"
    )
    assert used.total() == 150 and len(used) <= 12, used
    wait_until(
        lambda: sum(alive(pid) for pid in used) <= IDLE_MAX,
        "the rest have gone",
    )
    assert watcher.process.poll() is None

"""Supervisors that are forked from a warm process are as fresh ones are, and lose nothing when that process is killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import alive, wait_until
from test_supervisor import Bench

from orchestrator.distributors.direct import DirectDistributor
from orchestrator.execution import births, pool, processes
from orchestrator.files import journals, jsonlines
from orchestrator.model.attempt import AttemptEnd

# What a process has from its parent, in /proc/PID/status.
INHERITED = r"(?:Umask|TracerPid|Uid|Gid|Groups|Sig(?:Blk|Ign|Cgt)|Cap\w+|NoNewPrivs|Seccomp|Cpus_allowed):.*"


def children(pid: int, name: str) -> list[int]:
    """Pids of living children that call themselves so."""
    found = []
    for each in os.listdir("/proc"):
        try:
            words = Path(f"/proc/{each}/stat").read_text() if each.isdigit() else ""
        except OSError:
            continue
        if f"({name})" in words and int(words.rpartition(")")[2].split()[1]) == pid:
            found.append(int(each))
    return [each for each in found if alive(each)]


def nurseries(parent: int = 0) -> list[int]:
    """Of a process, or ours.  What was forked a moment ago has its name, but not a session of its own."""
    return [pid for pid in children(parent or os.getpid(), "orch-nursery") if os.getsid(pid) == pid]


class Place:
    """Attempts of several tasks, each with its own journal.  They run until they are all let ``go``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.benches = folder, []

    def order(self, script: str = "exit 0"):
        folder = self.folder / f"t{len(self.benches)}"
        folder.mkdir()
        self.benches.append(Bench(folder))
        script = f"while ! test -e {self.folder}/go; do sleep 0.02; done; {script}"
        env = {"PATH": os.environ["PATH"], processes.TAG: str(folder)}
        return replace(self.benches[-1].sh(script, timeout=60.0, env=env), tag=str(folder))

    def go(self) -> None:
        (self.folder / "go").touch()

    async def all_run(self) -> list[dict]:
        """Every attempt has been started, exactly once."""
        await until(lambda: len(self.started()) == len(self.benches))
        for bench in self.benches:
            kinds = [record["record"] for record in jsonlines.read(bench.journal)[0]]
            assert kinds.count("started") == 1
        return self.started()

    def started(self) -> list[dict]:
        """The records of all starts."""
        found = [journals.read(bench.journal).attempt for bench in self.benches]
        return [facts.started for facts in found if facts is not None and facts.started]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def play(work, warm: bool = True):
    """Run ``work(distributor)``."""

    async def go():
        where = DirectDistributor(warm)
        try:
            return await asyncio.wait_for(work(where), 60)
        finally:
            where.close()
            assert not nurseries()

    return asyncio.run(go())


async def until(check):
    while not (value := check()):
        await asyncio.sleep(0.01)
    return value


def looked_at(pid: int) -> dict[str, object]:
    """What a supervisor has of its parent, and of memory that it shares with nobody."""
    proc = Path(f"/proc/{pid}")
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    private = re.findall(r"Private_\w+: +(\d+)", (proc / "smaps_rollup").read_text())
    kinds = (os.path.basename(os.readlink(each)) for each in (proc / "fd").iterdir())
    return {
        "parent": int(fields[1]),
        "leads its group and session": (int(fields[2]), int(fields[3])) == (pid, pid),
        "terminal, nice": (fields[4], fields[16]),
        "inherited": re.findall(INHERITED, (proc / "status").read_text()),
        "limits": (proc / "limits").read_text(),
        "cgroup": (proc / "cgroup").read_text(),
        "oom": (proc / "oom_score_adj").read_text(),
        "cwd": os.readlink(proc / "cwd"),
        "environ": (proc / "environ").read_bytes(),
        "descriptors": sorted(re.sub(r"\d+", "", kind) for kind in kinds),
        "private": sum(map(int, private)),
    }


@pytest.fixture
def other(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("other"))


def test_a_forked_supervisor_is_as_a_fresh_one_and_takes_little(place, other):
    async def work(where, here):
        handle = where.dispatch(here.order("exit 3"), lambda _: None)
        (started,) = await here.all_run()
        await until(lambda: children(started["supervisor"], "sh"))
        found = looked_at(started["supervisor"])
        here.go()
        assert (await handle.wait()).code == 3
        return found

    one = play(lambda where: work(where, place))
    fresh = play(lambda where: work(where, other), warm=False)
    assert one["parent"] == os.getpid() and one["leads its group and session"]
    less, more = one.pop("private"), fresh.pop("private")
    assert one == fresh
    assert less < more / 2, (less, more)


def test_what_a_tool_leaves_behind_comes_to_its_forked_supervisor(place):
    async def work(where):
        place.go()
        handle = where.dispatch(place.order("(setsid sleep 300 &); exit 0"), lambda _: None)
        return await handle.wait()

    assert play(work).leftovers == 1


async def warmed(where) -> int:
    """The warm process, once a supervisor has come from it."""
    where.prepare(1)
    await until(lambda: children(os.getpid(), "orch-supervisor"))
    (nursery,) = nurseries()
    return nursery


def test_the_warm_process_is_killed_while_it_owes_supervisors(place):
    """All of them run, each once; and the next ones come from another warm process."""

    async def work(where):
        nursery = await warmed(where)
        os.kill(nursery, signal.SIGSTOP)
        handles = [where.dispatch(place.order("exit 7"), lambda _: None) for _ in range(6)]
        os.kill(nursery, signal.SIGKILL)
        await place.all_run()
        handles += [where.dispatch(place.order("exit 7"), lambda _: None) for _ in range(4)]
        await place.all_run()
        (another,) = nurseries()
        place.go()
        assert another != nursery
        assert [(await handle.wait()).code for handle in handles] == [7] * 10
        assert len({started["supervisor"] for started in place.started()}) == 10
        await until(lambda: not Path(f"/proc/{nursery}").exists())

    play(work)


def test_killing_the_warm_process_concerns_no_supervisor(place):
    async def work(where):
        handles = [where.dispatch(place.order("exit 5"), lambda _: None) for _ in range(3)]
        started = await place.all_run()
        (nursery,) = nurseries()
        os.kill(nursery, signal.SIGKILL)
        os.kill(started[0]["supervisor"], signal.SIGKILL)  # its attempt alone is lost
        lost = await handles[0].wait()
        place.go()
        return [lost, await handles[1].wait(), await handles[2].wait()]

    ends = play(work)
    assert [(end.cause, end.code) for end in ends] == [("lost", None), ("", 5), ("", 5)]


def test_a_warm_process_that_is_stopped_is_not_waited_for(place, monkeypatch):
    async def work(where):
        nursery = await warmed(where)
        monkeypatch.setattr(pool, "OVERDUE", 0.3)
        os.kill(nursery, signal.SIGSTOP)
        handles = [where.dispatch(place.order("exit 6"), lambda _: None) for _ in range(3)]
        monkeypatch.undo()  # fresh ones may take their time
        await place.all_run()
        assert not alive(nursery)
        place.go()
        return [(await handle.wait()).code for handle in handles]

    assert play(work) == [6, 6, 6]


def test_warm_processes_that_bear_nothing_are_given_up(place, monkeypatch):
    """They end at once: after a few, supervisors are started afresh."""
    tried = []
    start = births.program.start

    def broken(theirs, *words):
        tried.append(words)
        process = start(theirs, *words)
        if words:
            process.kill()
        return process

    monkeypatch.setattr(births.program, "start", broken)

    async def work(where):
        handles = [where.dispatch(place.order("exit 4"), lambda _: None) for _ in range(8)]
        await place.all_run()
        place.go()
        return [(await handle.wait()).code for handle in handles]

    assert play(work) == [4] * 8
    assert tried.count(("nursery",)) <= births.FAILURES


def test_who_changes_the_watchers_limits_changes_those_of_new_supervisors(place):
    """As with fresh ones: the warm process that was started before is replaced."""
    code = """
import asyncio, os, resource, sys
sys.path.insert(0, os.environ["TESTS"])
from pathlib import Path
from test_warm import Place, nurseries, warmed
from orchestrator.distributors.direct import DirectDistributor
async def go():
    where = DirectDistributor()
    first = await warmed(where)
    resource.setrlimit(resource.RLIMIT_NOFILE, (777, 777))
    os.nice(3)
    place = Place(Path(os.environ["PLACE"]))
    handles = [where.dispatch(place.order("ulimit -n; nice"), lambda _: None) for _ in range(2)]
    await place.all_run()
    (second,) = nurseries()
    assert second != first
    place.go()
    for handle in handles:
        await handle.wait()
    print(*(bench.out().split() for bench in place.benches))
    where.close()
asyncio.run(go())
"""
    env = {**os.environ, "TESTS": os.path.dirname(__file__), "PLACE": str(place.folder)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    nice = min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)
    assert f"['777', '{nice}']" in done.stdout


def test_the_watcher_is_killed_and_nothing_of_it_stays_but_the_attempt(project, watch):
    watcher = watch()
    go = project.root.parent / "go"
    project.drop("a.yaml", f"agent: sh\nprompt: while ! test -e {go}; do sleep 0.02; done\n")
    wait_until(lambda: project.events("attempt_started", "a"), "it runs")
    (nursery,) = nurseries(watcher.process.pid)
    idle = children(watcher.process.pid, "orch-supervisor")
    watcher.send(signal.SIGKILL)
    watcher.wait()
    wait_until(lambda: not alive(nursery), "the warm process has gone")
    wait_until(lambda: sum(map(alive, idle)) == 1, "so have idle supervisors")
    go.touch()
    watch()
    project.settled("a", "done")
    assert len(project.events("attempt_started", "a")) == 1
    assert [event["outcome"] for event in project.events("attempt_finished", "a")] == ["succeeded"]


def test_no_room_for_a_process_is_told_by_who_waits(place, monkeypatch):
    """As it was with the call itself: the machine's fault, not the task's."""

    def none(*_: object):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    async def work(where):
        monkeypatch.setattr(births.program, "start", none)
        place.go()
        order = place.order()
        with pytest.raises(BlockingIOError):
            await where.dispatch(order, lambda _: None).wait()
        assert not place.benches[0].locked()
        monkeypatch.undo()
        end: AttemptEnd = await where.dispatch(place.order("exit 2"), lambda _: None).wait()
        return end.code

    assert play(work) == 2


def test_a_fresh_supervisor_that_is_stopped_before_it_is_there_is_woken(place, monkeypatch):
    monkeypatch.setattr(pool, "OVERDUE", 0.1)
    monkeypatch.setattr(pool, "WAKES", 10_000)
    start = births.program.start

    def stopped(theirs, *words):
        process = start(theirs, *words)
        process.send_signal(signal.SIGSTOP)
        return process

    monkeypatch.setattr(births.program, "start", stopped)

    async def work(where):
        place.go()
        return await where.dispatch(place.order("exit 9"), lambda _: None).wait()

    assert play(work, warm=False).code == 9


def test_a_process_that_was_forked_for_us_is_signalled_only_while_it_is_ours():
    process = subprocess.Popen(["sleep", "60"])
    child = births.Child(process.pid)
    assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.send_signal(signal.SIGKILL)  # nobody: the number may be another's by now
    assert child.poll() == -signal.SIGKILL

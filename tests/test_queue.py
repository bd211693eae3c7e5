"""Attempts on other machines, with real brokers: watcher, workers and broker are processes that are killed, frozen and wiped."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from brokers import ALL, KINDS, Broker, Link, broker_of, missing
from conftest import PATIENCE, ROOT, wait_until
from farms import LEASE, LEASH, Farm, at_broker, opened

from orchestrator.distributors.base import Distributor, Order
from orchestrator.distributors.dispatches import (
    OFFERED,
    TOPIC,
    Piece,
    State,
    record_name,
    state_from,
)
from orchestrator.distributors.engines.base import Engine
from orchestrator.distributors.queue import QueueDistributor
from orchestrator.testing import DistributorContract

pytestmark = pytest.mark.engines


@pytest.fixture(params=ALL)
def farm(request, tmp_path) -> Iterator[Farm]:
    if request.param == "folder" and "FOLDER_TOO" not in os.environ:
        pytest.skip("./scripts/test-engines folder runs these over a shared folder, too")
    if why := missing(request.param):
        pytest.skip(why)
    broker = broker_of(request.param, tmp_path / "broker")
    made = Farm(tmp_path, broker)
    yield made
    made.close()
    broker.close()


class TestContract(DistributorContract):
    """What every distributor promises, with a worker behind it."""

    @pytest.fixture(autouse=True)
    def _farm(self, farm: Farm) -> None:
        farm.worker()
        self.farm, self.made = farm, 0

    def make(self) -> Distributor:
        return QueueDistributor(
            "farm",
            self.farm.near.layout,
            {"url": self.farm.broker.url, "lease": f"{LEASE}s", "leash": f"{LEASH}s"},
        )

    def order(self, run_dir: str, journal: int, script: str) -> Order:
        return replace(super().order(run_dir, journal, script), portable=portable(script))


def portable(script: str, **more: object) -> dict[str, object]:
    return {
        "dispatch": os.urandom(16).hex(), "task": "a", "attempt": 1, "agent": "sh", "tool": "shell", "model": None,
        "permissions": "default", "labels": [], "pool": "shell", "where": "farm", "prompt": script, "cwd": ".", "env": {},
        "timeout": 30.0, "silence": 0.0, "log_limit": 1 << 20, "artifacts": [], **more,
    }  # fmt: skip


def test_a_dirty_tree_goes_out_and_a_branch_comes_back(farm):
    (farm.near.root / "f").write_text("one\n")
    (farm.near.root / "notes").write_text("not tracked\n")
    farm.git(farm.near, "add", "f")
    farm.git(farm.near, "commit", "-qm", "base")
    (farm.near.root / "f").write_text("one\nuncommitted\n")
    before = farm.git(farm.near, "status", "--porcelain")
    big = "x" * 70_000  # more than an envelope holds
    farm.drop(
        "seen",
        f"cat f notes; echo odd >&2; echo made > $ORCHESTRATOR_ARTIFACTS/a.txt\nexit 0\n{big}",
        more="context: [notes]\n",
    )
    farm.drop(
        "changed", "echo more >> f; echo new > g; mkdir -p work/inbox; echo no > work/x", agent="ed"
    )
    farm.worker()
    farm.near.run("watch", "--until-empty")
    assert farm.log("seen").decode().splitlines()[:3] == ["one", "uncommitted", "not tracked"]
    assert farm.near.log("seen", name="stderr.log") == "odd\n"
    assert (Path(farm.near.layout.logs("seen", 1)) / "artifacts" / "a.txt").read_text() == "made\n"
    result = farm.near.result("changed")
    assert result["outcome"] == "succeeded" and result["files_changed"] == ["f", "g"]
    assert farm.git(farm.near, "show", "task/changed:f") == "one\nmore\n"
    assert farm.git(farm.near, "status", "--porcelain") == before
    assert "refs/orchestrator/offers" not in farm.git(farm.near, "for-each-ref")
    spool = farm.workers[0].spool
    wait_until(lambda: len(os.listdir(spool)) == 3, f"nothing is left: {os.listdir(spool)}")
    kinds = [item["event"] for item in farm.near.events(task_id="seen")]
    assert kinds.index("attempt_dispatched") < kinds.index("attempt_started")


def test_what_travels_beside_the_commit(farm):
    """A prompt in a file, files that are to be read first, files that trees get, and commits that the worker fetches by itself."""
    origin = farm.folder / "origin.git"
    near, far = farm.near, farm.far
    farm.git(near, "init", "-q", "--bare", str(origin))
    for project in (near, far):
        farm.git(project, "remote", "add", "origin", str(origin))
    (near.root / ".gitignore").write_text("keys.env\nnotes/\nwork/\n")
    (near.root / "f").write_text("one\n")
    (near.root / "ask.md").write_text("cat f keys.env notes/a.txt\ncat keys.env > made\nexit 0\n")
    farm.git(near, "add", ".gitignore", "ask.md", "f")
    farm.git(near, "commit", "-qm", "base")
    farm.git(near, "push", "-q", "origin", "HEAD:refs/heads/main")
    farm.git(near, "fetch", "-q", "origin")
    (near.root / "keys.env").write_text("lent=yes\n")
    (near.root / "notes").mkdir()
    (near.root / "notes" / "a.txt").write_text("read me first\n")
    text = (near.work / "orchestrator.yaml").read_text()
    near.config(f"{text}trees: {{copy: [keys.env, notes/a.txt]}}\n")
    near.drop("a.yaml", "agent: ed\non: farm\nprompt_file: ask.md\ncontext: [notes/a.txt]\n")
    worker = farm.worker()
    near.run("watch", "--until-empty")
    assert farm.log("a").decode() == "one\nlent=yes\nread me first\n"
    result = near.result("a")
    assert result["outcome"] == "succeeded" and result["files_changed"] == ["made"], result
    store = f"--git-dir={worker.spool}/code.git"
    fetched = farm.git(far, store, "rev-parse", "refs/remotes/origin/main")
    assert fetched == farm.git(near, "rev-parse", "HEAD")  # nobody had to send it


def test_attempts_open_nothing_that_stays_open(farm):
    """Connections, files and threads are those of a watcher and a worker, however many attempts there were."""
    worker, watcher = farm.worker("w1", "--slots", "4"), farm.watch("--quiet")
    few = opened(farm, worker, watcher, 12)
    many = opened(farm, worker, watcher, 36)  # scripts/faults --kind queue does it with 1,000
    # A pool of connections or threads may still grow to its size; one for each attempt would be 24 more.
    assert all(late <= early + 10 for early, late in zip(few, many, strict=True)), (few, many)


def test_a_watcher_that_was_asleep_buries_nobody(farm):
    """Nothing counts that passed while it could not look, however long that was."""
    farm.worker()
    watcher = farm.watch()
    go = farm.folder / "go"
    runs = farm.folder / "runs"
    farm.drop(
        "a", f"echo run >> {runs}; echo begun; while [ ! -e {go} ]; do sleep 0.05; done; echo end"
    )
    farm.until_printed("a", b"begun")
    watcher.send(signal.SIGSTOP)
    time.sleep(8 * LEASE)
    go.write_text("")
    watcher.send(signal.SIGCONT)
    farm.near.settled("a", "done")
    assert farm.log("a") == b"begun\nend\n" and runs.read_text() == "run\n"


def test_whoever_dies_nothing_is_lost_and_nothing_runs_twice(farm):
    """Watcher, worker and broker are killed one after the other while a task runs, and the broker is away for three leases."""
    runs = farm.folder / "runs"
    worker = farm.worker()
    watcher = farm.watch()
    go = farm.folder / "go"
    farm.drop(
        "a",
        f"echo begun >> {runs}\nseq 1 2000\nwhile [ ! -e {go} ]; do sleep 0.05; done\nseq 2001 4000",
    )
    farm.until_printed("a", b"2000\n")
    watcher.send(signal.SIGKILL)
    watcher.wait()
    worker.kill()
    worker = farm.worker()
    farm.broker.kill()
    time.sleep(3 * LEASE)
    farm.broker.start()
    watcher = farm.watch()
    farm.broker.freeze()  # as a link that is cut: nothing arrives, nothing is refused
    time.sleep(3 * LEASE)
    farm.broker.thaw()
    go.write_text("")
    farm.near.settled("a", "done")
    assert runs.read_text() == "begun\n"
    assert farm.log("a") == b"".join(b"%d\n" % number for number in range(1, 4001))


def test_a_broker_that_loses_its_data_costs_nothing(farm):
    """What runs is told again; what waited is offered again, once nobody can have it any more."""
    farm.set_leash(3.0)
    runs = farm.folder / "runs"
    farm.worker("w1", "--slots", "1")
    farm.watch()
    go = farm.folder / "go"
    farm.drop(
        "a", f"echo a >> {runs}; seq 1 500; while [ ! -e {go} ]; do sleep 0.05; done; seq 501 600"
    )
    farm.until_printed("a", b"500\n")
    farm.drop("b", f"echo b >> {runs}")
    wait_until(lambda: "it has waited at farm" in farm.near.run("why", "b").stdout, "b is queued")
    farm.broker.wipe()
    go.write_text("")
    farm.near.settled("a", "done")
    farm.near.settled("b", "done")
    assert sorted(runs.read_text().split()) == ["a", "b"]
    assert farm.log("a") == b"".join(b"%d\n" % number for number in range(1, 601))


def test_data_that_is_lost_between_watchers_starts_nothing_twice(farm):
    """A worker took the offer while no watcher was there; then the broker lost its data, and each watcher meets that anew."""
    runs, go = farm.folder / "runs", farm.folder / "go"
    watcher = farm.watch()

    async def offered(third: Engine) -> None:
        heard = asyncio.Event()
        await third.connect()
        await third.listen(TOPIC, lambda _: heard.set())
        farm.drop("a", f"echo a >> {runs}; while [ ! -e {go} ]; do sleep 0.05; done")
        await asyncio.wait_for(heard.wait(), PATIENCE)

    at_broker(farm, offered)
    watcher.send(signal.SIGKILL)
    watcher.wait()
    first = farm.worker("w1")
    wait_until(runs.exists, "a runs")
    first.send(signal.SIGSTOP)  # it cannot say so again
    farm.broker.wipe()
    farm.worker("w2", "--slots", "2")
    for task in ("b", "c"):
        watcher = farm.watch()
        farm.drop(task, "exit 0")
        farm.near.settled(task, "done")
        watcher.send(signal.SIGKILL)
        watcher.wait()
    assert runs.read_text() == "a\n"
    first.send(signal.SIGCONT)
    go.write_text("")
    farm.watch()
    farm.near.settled("a", "done")
    assert runs.read_text() == "a\n"


def test_what_ran_before_the_data_was_lost_is_not_offered_again(farm):
    """Its worker never came back: it counts as lost, and nobody asked for a second attempt."""
    farm.set_leash(2.0)
    runs = farm.folder / "runs"
    first = farm.worker("w1")
    farm.watch()
    farm.drop("a", f"echo a >> {runs}; echo begun; while :; do sleep 0.05; done")
    farm.until_printed("a", b"begun")
    first.kill()
    farm.broker.wipe()
    farm.worker("w2")
    farm.near.settled("a", "review")
    assert farm.near.result("a")["outcome"] == "lost"
    assert "w1 (farm) has not said again what it runs" in farm.near.result("a")["reason"]
    assert runs.read_text() == "a\n"


@pytest.mark.parametrize("fate", ["frozen", "killed"])
def test_a_worker_that_is_gone_for_good_is_given_up_and_never_meets_its_successor(farm, fate):
    farm.near.config(
        (farm.near.work / "orchestrator.yaml").read_text()
        + "on_lost: retry\ndefaults: {retries: 1}\n"
    )
    farm.set_leash(2.0)
    first = farm.worker("w1")
    farm.watch()
    lives, second_run = farm.folder / "lives", farm.folder / "second"
    farm.drop(
        "a",
        f"if [ -e {second_run} ]; then date +%s.%N >> {lives}; echo again; exit 0; fi\n"
        f"touch {second_run}; echo first\nwhile :; do date +%s.%N >> {lives}.first; sleep 0.05; done",
    )
    farm.until_printed("a", b"first")
    first.send(signal.SIGSTOP if fate == "frozen" else signal.SIGKILL)
    wait_until(
        lambda: "no word for" in farm.near.run("workers").stdout, "it is told that w1 is silent"
    )
    farm.worker("w2")
    farm.near.settled("a", "done")
    whole = Path(f"{lives}.first").read_text().rpartition("\n")[0]  # it was killed at any moment
    assert float(lives.read_text()) > float(whole.splitlines()[-1])
    assert farm.log("a", 2) == b"again\n"
    (lost,) = farm.near.events("task_retrying", "a")
    assert "its worker w1 (farm) has not been heard of for" in lost["summary"]
    if fate == "frozen":
        first.send(signal.SIGCONT)
        first.says("had given up on it")


def test_cancel_in_every_phase(farm):
    farm.broker.kill()
    watcher = farm.watch()
    farm.drop("z", "echo never")
    wait_until(
        lambda: "does not answer" in farm.near.run("why", "z").stdout, "it is said why it waits"
    )
    farm.near.run("cancel", "z")
    farm.near.settled("z", "cancelled")
    farm.broker.start()
    farm.drop("a", "echo never")
    wait_until(  # as soon as the watcher has the broker again
        lambda: "no worker" in farm.near.run("why", "a").stdout, "it is said who is missing"
    )
    why = farm.near.run("why", "a").stdout
    assert "it has waited at farm" in why and "shell" in why
    farm.near.run("cancel", "a")
    farm.near.settled("a", "cancelled")
    farm.worker()
    farm.drop("b", "echo begun; while :; do sleep 0.05; done")
    farm.until_printed("b", b"begun")
    wait_until(lambda: "w1" in farm.near.run("status").stdout, "the worker is named")
    wait_until(lambda: "w1" in farm.near.run("workers").stdout, "what it said of itself was read")
    farm.near.run("cancel", "b")
    farm.near.settled("b", "cancelled")
    assert not farm.log("a")
    watcher.stop()


def test_what_another_sends_is_refused_in_words(farm):
    """An order of another version, of an agent that is not here, or with permissions that the worker's settings do not give."""
    worker = farm.worker()

    async def offer(third: Engine, document: dict) -> State:
        dispatch = document["dispatch"]
        assert await third.write(record_name(dispatch), State(OFFERED).bytes(), None)
        for _ in range(2):  # the same offer twice
            await third.push("shell", dispatch, json.dumps(document).encode())
            await third.notify("offers", "shell")
        while True:
            record = await third.read(record_name(dispatch))
            assert record is not None
            state = state_from(record.value)
            if state.state == "finished":
                return state
            await asyncio.sleep(0.02)

    plain = {
        **{key: value for key, value in portable("echo x").items() if key not in ("pool", "where")},
        "v": 1, "project": "0" * 32, "interrupt_grace": 0.2, "terminate_grace": 0.2, "lease": LEASE, "leash": LEASH,
        "code": {"kind": "none"}, "given": False,
    }  # fmt: skip
    cases = [
        ({"v": 2}, "version"),
        ({"argv": ["rm"]}, "schema"),
        ({"agent": "nobody"}, "unknown agent 'nobody'"),
        ({"tool": "claude"}, "claude"),
        ({"cwd": "../.."}, "schema"),
        ({"env": {"PATH": "/tmp"}}, "may not set PATH"),
        ({"code": {"kind": "shared", "nonce": "0" * 64}}, "not the watcher's folder"),
        ({"timeout": float("nan")}, "not JSON"),
        ({"task": "a\n"}, "schema"),
        ({"code": {"kind": "git"}}, "schema"),
        ({"code": {"kind": "none", "below": ".git/hooks"}}, "no folder of the code"),
        ({"env": {"ORCHESTRATOR_VAR_X": "a\0b"}}, "schema"),
        ({"agent": "sh\x1b[31m"}, "unknown agent"),
        ({"tool": "demo"}, "'demo' is unknown"),  # it is here, and the worker serves another one
    ]
    for change, words in cases:
        document = {**plain, **change, "dispatch": os.urandom(16).hex()}
        state = at_broker(farm, lambda third, document=document: offer(third, document))
        cause, said = state.end["cause"], state.end["message"]
        assert cause in ("start", "not_installed") and words in said, (change, state)
    document = {**plain, "dispatch": os.urandom(16).hex()}
    state = at_broker(farm, lambda third: offer(third, document))
    assert state.end["code"] == 0
    assert state.end["stdout"] == {"size": 2, "sha256": hashlib.sha256(b"x\n").hexdigest()}
    assert worker.process.poll() is None


def test_a_worker_that_never_stops_sending_is_cancelled_all_the_same(farm):
    """It claims, runs, and floods; it also asks for the code again and again, which is sent a few times."""
    farm.watch()
    farm.drop("a", "exit 0")

    async def lie(third: Engine) -> None:
        while (offer := await third.pull("shell")) is None:
            await asyncio.sleep(0.05)
        name = record_name(offer.dispatch)
        record = await third.read(name)
        running = State("running", "e" * 32, "liar", 1)
        revision = await third.write(name, running.bytes(), record.revision)
        await third.acknowledge(offer)
        flood = [asyncio.create_task(_flood(third, offer.dispatch)) for _ in range(4)]
        await asyncio.sleep(4 * LEASE)
        asking = asyncio.create_task(asyncio.to_thread(farm.near.run, "cancel", "a"))
        async with asyncio.timeout(PATIENCE):
            while not (state := state_from((record := await third.read(name)).value)).cancel:
                await asyncio.sleep(0.05)
        ended = state.but(state="finished", end={"cause": "cancelled"})
        assert await third.write(name, ended.bytes(), record.revision)
        for one in flood:
            one.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        assert revision
        await asking

    at_broker(farm, lie)
    farm.near.settled("a", "cancelled")


async def _flood(third: Engine, dispatch: str) -> None:
    pieces = [Piece("stdout", 1 << 39, data=b"x").bytes(), Piece(has=("a" * 40,)).bytes()]
    while True:
        for piece in pieces:
            await third.append(dispatch, piece)


def test_two_watchers_and_a_large_log(farm):
    """Two projects at one broker, and more output than fits into many events."""
    other = Farm(farm.folder / "other", farm.broker)
    try:
        farm.worker("w1", "--slots", "3")
        farm.drop("same", "head -c 5000000 /dev/zero | tr '\\0' x; echo end")
        other.drop("same", "echo other")
        watcher = other.watch()
        farm.near.run("watch", "--until-empty")
        other.near.settled("same", "done")
        watcher.stop()
        assert farm.log("same") == b"x" * 5_000_000 + b"end\n" and other.log("same") == b"other\n"
    finally:
        other.close()


def test_code_on_a_file_system_that_both_have(farm):
    shared = Farm(farm.folder / "shared", farm.broker, code="shared")
    try:
        shared.far = shared.near
        shared.worker()
        shared.drop("a", "echo here > made; cat f")
        (shared.near.root / "f").write_text("untouched by git\n")
        shared.near.run("watch", "--until-empty")
        assert shared.log("a") == b"untouched by git\n"
        assert (shared.near.root / "made").read_text() == "here\n"
    finally:
        shared.close()


def test_a_second_machine_in_ten_minutes(farm):
    """What the page says, on two machines that share nothing."""
    page = (ROOT / "docs/how-to/a-second-machine.md").read_text()
    blocks = dict(re.findall(r"```sh\n# (\w+)\n(.*?)```", page, re.S))
    (farm.near.root / "README").write_text("words\n")
    farm.git(farm.near, "add", "README")
    farm.git(farm.near, "commit", "-qm", "base")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    far = subprocess.Popen(
        ["sh", "-c", blocks["far"]],
        cwd=farm.far.root,
        env={**farm.far.env, "PATH": path},
        start_new_session=True,
    )
    try:
        done = subprocess.run(
            ["sh", "-c", blocks["near"]], cwd=farm.near.root, env={**farm.near.env, "PATH": path},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        os.killpg(far.pid, signal.SIGINT)
        far.wait(20)
    assert "words" in done.stdout and "+better" in done.stdout, done.stdout + done.stderr
    assert "\non        farm/second\n" in farm.near.run("show", "far").stdout


@pytest.fixture
def wire() -> Iterator[tuple[str, str]]:
    """Two network namespaces, connected with each other and with nothing else; they have 10.213.77.1 and .2."""
    near, far = (f"orc-{side}-{os.getpid()}" for side in ("near", "far"))
    steps = [
        f"netns add {near}", f"netns add {far}",
        f"-n {near} link add wire type veth peer name wire netns {far}",
        f"-n {near} addr add 10.213.77.1/24 dev wire", f"-n {far} addr add 10.213.77.2/24 dev wire",
        *(f"-n {side} link set {device} up" for side in (near, far) for device in ("lo", "wire")),
    ]  # fmt: skip
    try:
        for step in steps:
            done = subprocess.run(
                ["ip", *step.split()], capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
        yield near, far
    finally:
        for side in (near, far):
            subprocess.run(["ip", "netns", "delete", side], capture_output=True, check=False)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip"), reason="only root makes network namespaces"
)
@pytest.mark.parametrize("kind", KINDS)
def test_two_network_namespaces_without_shared_files(kind, wire, tmp_path):
    """The worker's side cannot see the watcher's files at all: a dirty tree goes out, a branch comes back."""
    if why := missing(kind):
        pytest.skip(why)
    near, far = (("ip", "netns", "exec", side) for side in wire)
    broker = Broker(kind, tmp_path / "broker", host="10.213.77.1", prefix=near)
    farm = Farm(tmp_path, broker)
    try:
        (farm.near.root / "f").write_text("one\n")
        farm.git(farm.near, "add", "f")
        farm.git(farm.near, "commit", "-qm", "base")
        (farm.near.root / "f").write_text("one\ndirty\n")
        hide = f'mount -t tmpfs none {farm.near.root} && exec "$@"'
        farm.worker("w1", prefix=(*far, "unshare", "--mount", "sh", "-c", hide, "sh"))
        farm.drop("seen", f"cat f; ls -A {farm.near.root} | wc -l")
        farm.drop("changed", "echo more >> f", agent="ed")
        farm.watch("--until-empty", prefix=near)
        farm.near.settled("seen", "done")
        farm.near.until("changed", "done")
        assert farm.log("seen") == b"one\ndirty\n0\n"
        assert farm.git(farm.near, "show", "task/changed:f") == "one\nmore\n"
    finally:
        farm.close()
        broker.close()


@pytest.mark.parametrize("direction", [Link.THERE, Link.BACK])
@pytest.mark.parametrize("kind", KINDS)
def test_a_link_that_is_cut_in_one_direction(kind, direction, tmp_path):
    """The worker still hears but is not heard, or the other way round: it ran once, and its log is whole."""
    if why := missing(kind):
        pytest.skip(why)
    broker = Broker(kind, tmp_path / "broker")
    link = Link(broker)
    farm = Farm(tmp_path, broker)
    try:
        farm.worker("w1", url=link.url)
        go, runs, ended = (tmp_path / name for name in ("go", "runs", "ended"))
        wait = f"while [ ! -e {go} ]; do sleep 0.05; done"
        farm.drop("a", f"echo run >> {runs}; echo begun; {wait}; echo end; touch {ended}")
        farm.watch()
        farm.until_printed("a", b"begun")
        link.cut(direction)
        time.sleep(8 * LEASE)
        go.touch()
        wait_until(ended.exists, "the tool ends while its worker is cut off")
        link.mend()
        farm.near.settled("a", "done")
        assert farm.log("a") == b"begun\nend\n" and runs.read_text() == "run\n"
    finally:
        farm.close()
        link.close()
        broker.close()


@pytest.mark.skipif(not shutil.which("faketime"), reason="there is no faketime here")
def test_a_worker_whose_clock_is_off_by_an_hour(farm):
    """What is recorded here goes by the clock here."""
    farm.worker("w1", prefix=("faketime", "-f", "+1h"))
    farm.drop("a", "echo done")
    began = time.time()
    farm.near.run("watch", "--until-empty")
    (started,) = [item for item in farm.near.events("attempt_started") if item["task_id"] == "a"]
    moment = datetime.datetime.fromisoformat(started["ts"])
    assert began - 1 <= moment.timestamp() <= time.time() + 1
    assert farm.log("a") == b"done\n"


def test_a_worker_killed_before_the_first_record_begins_nothing_twice(farm):
    """Its supervisor has the attempt, and has not written yet: the next worker waits for its word."""
    starts = farm.folder / "starts"
    worker = farm.worker()
    farm.drop("warm", "true")
    farm.watch()
    wait_until(lambda: farm.near.where("warm") == "done", "a first task")
    below = _below(worker.process.pid)
    for pid in below:
        os.kill(pid, signal.SIGSTOP)
    farm.drop("a", f"echo a >> {starts}; sleep 1")
    wait_until(lambda: list(worker.spool.glob("*/journal.jsonl")), "the attempt is handed over")
    time.sleep(0.5)  # what lies in a socket cannot be seen
    worker.kill()
    farm.worker()
    for pid in below:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: farm.near.where("a") == "done", "its end")
    assert starts.read_text() == "a\n"


def _below(pid: int) -> list[int]:
    """Its children, and theirs."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, children) for each in (child, *_below(child))]

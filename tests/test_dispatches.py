"""What watcher and worker say to each other, in a test tube: what is wrong is refused, what is right comes back as it was."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shlex
import socket
import struct
import threading
import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.coordination.elsewhere import worker
from orchestrator.coordination.elsewhere.spool import Spool
from orchestrator.coordination.elsewhere.worker import Worker, pools_of
from orchestrator.coordination.elsewhere.workorder import order_of, route_of
from orchestrator.distributors import dispatching, packing
from orchestrator.distributors.dispatches import (
    ENVELOPE_MOST,
    Nonsense,
    Piece,
    State,
    envelope,
    opened,
    piece_from,
    state_from,
)
from orchestrator.distributors.dispatching import QueueHandle
from orchestrator.distributors.farm import Farm
from orchestrator.distributors.launcher import LauncherDistributor
from orchestrator.distributors.launchers.base import Refuses, Seen, Start, holes, job_from
from orchestrator.distributors.launchers.commands import commands_from, run
from orchestrator.distributors.launchers.kestra import Kestra
from orchestrator.distributors.queue import _card, _project, options_from
from orchestrator.errors import Unusable
from orchestrator.files.layout import Layout
from orchestrator.model.config import config_from
from orchestrator.model.place import DIRECT, Place, place_from
from orchestrator.tools.invocation import CannotStart
from orchestrator.tools.specs import load_tools

PLAIN = {
    "v": 1, "dispatch": "0" * 32, "project": "1" * 32, "task": "a", "attempt": 1, "agent": "sh", "tool": "shell",
    "timeout": 1.0, "log_limit": 1 << 20, "interrupt_grace": 1.0, "terminate_grace": 1.0, "lease": 1.0, "leash": 4.0,
    "code": {"kind": "none"},
}  # fmt: skip
W = "b" * 32  # the id of a worker
ANY = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8)  # fmt: skip


@given(st.binary(max_size=300) | ANY.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_understood_or_refused(data):
    for read in (state_from, piece_from, opened):
        try:
            read(data)
        except Nonsense:
            pass
    try:
        packing.unpack(data)
    except ValueError:
        pass


@given(
    st.sampled_from(
        ["state", "worker", "beat", "cancel", "started", "end", "done", "again", "told"]
    ),
    ANY,
)
def test_a_record_with_anything_in_it_is_a_record_or_refused(key, value):
    state = State("finished", W, "w1", 3, end={"cause": "", "code": 0})
    told = {**json.loads(state.bytes()), key: value}
    try:
        found = state_from(json.dumps(told).encode())
    except Nonsense:
        return
    assert found.state in ("offered", "claimed", "running", "finished", "lost")
    assert isinstance(found.beat, int) and isinstance(found.end, dict)
    assert all(0 <= number <= 1 << 53 for number in (found.beat, found.again, found.told))


@pytest.mark.parametrize("name", ["beat", "again", "told"])
def test_one_more_of_a_number_in_a_record_can_be_written(name):
    """Python neither reads nor writes one of more than 4,300 digits, and the watcher's loop ended with that."""
    told = {**json.loads(State("running", W).bytes()), name: int("9" * 4300)}
    with pytest.raises(Nonsense):
        state_from(json.dumps(told).encode())


@pytest.mark.parametrize("session", ["--yolo", "a b", "", "x" * 300])
def test_a_session_that_a_worker_names_is_one_or_none(session):
    told = {**json.loads(State("running", W, "w1", 3).bytes()), "session": session}
    assert state_from(json.dumps(told).encode()).session == ""


@pytest.mark.parametrize("worker", ["w", "B" * 32, "x" * 32, "b" * 31 + "\n", f"{W} 0\r\n\r\nPUB orc.offer.x.y 1\r\nx", "../../x", 7])  # fmt: skip
def test_a_worker_s_id_is_one_or_the_record_is_refused(worker):
    """It becomes a topic at the broker, which the watcher writes with its own rights."""
    told = {**json.loads(State("running", W, "w1", 3).bytes()), "worker": worker}
    with pytest.raises(Nonsense):
        state_from(json.dumps(told).encode())


def test_what_a_worker_is_called_is_one_short_line():
    told = json.loads(State("running", W, "w1", 3).bytes())
    name = state_from(json.dumps({**told, "name": "a\x1b[2J\nb\u202e" + "x" * 9000}).encode()).name
    assert name.startswith("a b") and name.isprintable() and len(name) == 100


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_no_number_is_none(value):
    """A limit that is NaN is neither shorter nor longer than any other."""
    order = json.dumps({**PLAIN, "timeout": "HERE"}).replace('"HERE"', value)
    record = json.dumps({**json.loads(State("running", W).bytes()), "started": "HERE"})
    with pytest.raises(Nonsense):
        opened(order.encode())
    with pytest.raises(Nonsense):
        state_from(record.replace('"HERE"', value).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"task": "a\n"}, {"cwd": "x\n/../.."}, {"cwd": "a\n"}, {"code": {"kind": "git"}}, {"env": {"A": "\0"}}, {"timeout": True},
        {"argv": ["rm"]}, {"cwd": "/etc"}, {"cwd": "a/../../b"}, {"task": "../x"}, {"dispatch": "x"}, {"permissions": "root"},
        {"code": {"kind": "git", "commit": "HEAD"}}, {"code": {"kind": "git", "below": "../.."}}, {"leash": 0}, {"attempt": 0},
    ],
)  # fmt: skip
def test_an_order_has_nothing_that_is_not_in_its_schema(change):
    assert opened(envelope(PLAIN)) == PLAIN
    with pytest.raises(Nonsense):
        envelope({**PLAIN, **change})


SETTINGS = {
    "limits": {"timeout": "2h"}, "tools": {"shell": {"allow": ["sh"]}},
    "agents": {
        "sh": {"tool": "shell", "command": ["sh"], "timeout": "10m", "silence": "1m"},
        "cl": {"tool": "claude", "permissions": "full"}, "plain": {"tool": "claude"},
    },
}  # fmt: skip


def _route(**change):
    told = opened(envelope({**PLAIN, "prompt": "x", **change}))
    return route_of(told, config_from(SETTINGS), load_tools(None).tools)[1]


def test_a_whole_number_is_one_however_it_is_written():
    """A log limit of 1.0 ended the supervisor."""
    order = json.dumps({**PLAIN, "log_limit": 0.5}).replace("0.5", "1048576.0")
    assert isinstance(opened(order.encode())["log_limit"], int)


def test_of_two_limits_the_shorter_counts():
    """That of the worker's agent, and that of the order, whichever names none."""
    assert _route(timeout=60.0).timeout == 60.0
    assert _route(timeout=3600.0).timeout == _route(timeout=0).timeout == 600.0
    assert _route(agent="plain", tool="claude", timeout=1e6).timeout < 7201
    assert _route(silence=5.0).silence == 5.0
    assert _route(silence=600.0).silence == _route(silence=0).silence == _route().silence == 60.0


def test_of_two_permissions_the_stricter_counts():
    for agent, asked, has in (("cl", "full", "full"), ("cl", "default", "default"), ("plain", "full", "default")):  # fmt: skip
        assert _route(agent=agent, tool="claude", permissions=asked).agent.permissions == has
    assert _route(agent="cl", tool="claude").agent.permissions == "default"
    assert _route(agent="cl", tool="codex", permissions="full").agent.permissions == "default"


def test_an_agent_that_is_to_have_a_sandbox_here_is_refused():
    """Workers build none, so it would run without."""
    settings = {**SETTINGS, "agents": {"sh": {**SETTINGS["agents"]["sh"], "sandbox": "project"}}}
    told = opened(envelope({**PLAIN, "prompt": "x"}))
    with pytest.raises(CannotStart, match="workers build none"):
        route_of(told, config_from(settings), load_tools(None).tools)


def test_what_a_worker_has_taken_runs_there_whatever_its_own_settings_say():
    """They may be those of a watcher's machine, whose agents are to run on others."""
    agent = {**SETTINGS["agents"]["sh"], "on": "farm"}
    settings = {**SETTINGS, "agents": {"sh": agent}, "distributors": {"farm": {"kind": "queue"}}}
    told = opened(envelope({**PLAIN, "prompt": "x"}))
    task, route = route_of(told, config_from(settings), load_tools(None).tools)
    assert task.on == "direct" and route.place == DIRECT


@pytest.mark.parametrize("asked, has", [(1 << 10, 1 << 10), (1 << 40, 2 << 20)])
def test_of_two_log_limits_the_smaller_counts(tmp_path, asked, has):
    """It ends the attempt: a log that is cut again and again would be sent again and again."""
    entry = Spool(str(tmp_path / "spool")).create("0" * 32, b"{}")
    os.mkdir(entry.tree)
    told = opened(envelope({**PLAIN, "prompt": "x", "log_limit": asked}))
    config = config_from({**SETTINGS, "limits": {"log_mb": 2, "on_log_limit": "truncate"}})
    order = order_of(told, config, load_tools(None).tools, entry, str(tmp_path), entry.tree)
    assert order.log_limit == has and order.on_log_limit == "end"


def test_what_is_too_long_or_no_commit_is_no_event():
    assert piece_from(Piece("stdout", 0, data=b"x" * (256 << 10)).bytes()).data
    assert len(piece_from(Piece(has=("a" * 40,) * 300).bytes()).has) == 200
    longest = b'{"has": []' + b" " * (16 << 10) + b"}"
    for wrong in (Piece("stdout", 0, data=b"x" * (257 << 10)), Piece(has=("--all",)), Piece("../x")):  # fmt: skip
        with pytest.raises(Nonsense):
            piece_from(wrong.bytes())
    for read in (piece_from, state_from):
        with pytest.raises(Nonsense, match="at most"):
            read(longest)


def test_an_order_of_another_version_or_size_is_refused_in_words():
    with pytest.raises(Nonsense, match="version 2 and this worker's is 1"):
        opened(json.dumps({**PLAIN, "v": 2}).encode())
    with pytest.raises(Nonsense, match=f"{ENVELOPE_MOST} at most"):
        envelope({**PLAIN, "prompt": "x" * ENVELOPE_MOST})
    with pytest.raises(Nonsense):
        opened(b"[" * 30_000)


def test_states_and_pieces_come_back_as_they_were():
    state = State("running", W, "w1", 7, True, 1.5, "s", told=2)
    assert state_from(state.bytes()) == state
    for piece in (
        Piece("stdout", 12, data=b"a\n\0"),
        Piece("stderr", 3, cut=True),
        Piece(has=("a" * 40,)),
    ):
        assert piece_from(piece.bytes()) == piece


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "a//b", ".git/config", "a/.GIT/x", "", "a\0", "."]
)
def test_a_name_that_leads_elsewhere_is_refused(name):
    blob = json.dumps([[name, 1, False]]).encode() + b"\nx"
    with pytest.raises(ValueError):
        packing.unpack(blob)


def test_files_are_placed_through_no_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine")
    base = tmp_path / "base"
    base.mkdir()
    (base / "folder").symlink_to(outside)
    (base / "file").symlink_to(outside / "kept")
    packing.place(str(base), "file", b"theirs")
    with pytest.raises(OSError):
        packing.place(str(base), "folder/x", b"theirs")
    assert (outside / "kept").read_text() == "mine" and os.listdir(outside) == ["kept"]
    assert (base / "file").read_text() == "theirs" and not (base / "file").is_symlink()


def test_files_come_back_as_they_were(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"\0\n")
    (tmp_path / "run").write_text("#!")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("run")
    names = [
        *packing.found_below(str(tmp_path), "a"),
        *packing.found_below(str(tmp_path), "run"),
        *packing.found_below(str(tmp_path), "link"),
    ]
    blob = packing.pack([(name, str(tmp_path), name) for name in names], 100)
    assert packing.unpack(blob) == [("a/b", b"\0\n", False), ("run", b"#!", True)]
    with pytest.raises(packing.TooMuch):
        packing.pack([("run", str(tmp_path), "run")], 1)


def test_what_a_blob_of_files_costs_is_bounded():
    """Each file was cut off the rest, which was copied; a head of lists was 27 times as large in memory."""
    head = json.dumps([[f"artifacts/{number}", 1, False] for number in range(packing.MOST_FILES)])
    blob = head.encode() + b"\n" + b"x" * (4 << 20)
    lists = b"[" + b"[]," * (2 << 20) + b"[]]\n"
    tracemalloc.start()
    try:
        assert {data for _, data, _ in packing.unpack(blob)} == {b"x"}
        with pytest.raises(ValueError, match="too long"):
            packing.unpack(lists)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_spool_that_has_no_room_takes_nothing_and_says_so_once(tmp_path, monkeypatch):
    told: list[str] = []
    spool = Spool(str(tmp_path / "spool"))
    made = Worker(SimpleNamespace(spool=spool, tell=told.append), ["shell"], [], 1)
    monkeypatch.setattr(worker, "ROOM", 1 << 62)
    assert not any(asyncio.run(made._fill()) for _ in range(3))
    assert len(told) == 1 and "has room" in told[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            spool.create("0" * 32, b"order")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert spool.create("0" * 32, b"order").order() == b"order"


def test_a_worker_serves_every_choice_of_its_labels():
    pools = pools_of(["claude", "shell"], ["gpu", "big"])
    assert pools[0] == "claude+big+gpu" and pools[-1] == "shell" and len(pools) == 8
    place: Place = place_from("farm+gpu+big")
    assert place.pool("claude") in pools
    with pytest.raises(Unusable):
        pools_of(["claude"], list("abcdefg"))


@pytest.mark.parametrize(
    "given, words",
    [
        ({"leash": "30s"}, "shorter than four leases"), ({"lease": "soon"}, "soon"), ({"code": "svn"}, "git or shared"),
        ({"colour": "red"}, "no option colour"), ({"url": "nats://me:secret@h"}, "password"),
    ],
)  # fmt: skip
def test_a_queue_that_is_configured_wrongly_says_what_is_wrong(given, words):
    with pytest.raises(Unusable) as told:
        options_from("farm", given)
    assert words in told.value.message and "secret" not in told.value.message


def test_what_passes_while_a_watcher_cannot_look_counts_as_one_lease_at_most(monkeypatch):
    """A watcher that was stopped, or asleep, gives a worker all its time again; one that looks all the time gives it up in the end."""
    now = [1000.0]
    monkeypatch.setattr(dispatching.time, "monotonic", lambda: now[0])
    order = SimpleNamespace(
        portable={"dispatch": "0" * 32}, journal=-1, interrupt_grace=1.0, terminate_grace=1.0
    )
    farm = SimpleNamespace(leash=8.0, lease=2.0)

    async def work() -> QueueHandle:
        return QueueHandle(farm, order, lambda _: None)

    handle = asyncio.run(work())
    assert handle._passed() == 0.0
    for hours in (1, 10, 100):
        now[0] += hours * 3600
        assert handle._passed() == 2.0
    now[0] += 0.5
    assert handle._passed() == 0.5
    assert handle._patience > farm.leash + 2 * farm.lease


def test_who_may_read_is_no_sign_that_others_may_write():
    """As a watcher with the workers' account: it sees their cards, and makes no offers."""
    made = Farm("farm", SimpleNamespace(), "0" * 32, 1.0, 4.0, "git", None, None)
    made.tell("d1", "no permission")
    made.tell("cards", "")
    assert made.trouble == "no permission"
    made.tell("d1", "")
    assert not made.trouble


START = Start("0" * 32, ("orchestrator", "-C", "/a b", "worker", "--once", "0" * 32), ("gpu",))


@pytest.mark.parametrize(
    "preset, words",
    [
        ("slurm", ["--gres=gpu:1", "exec orchestrator -C '/a b' worker --once " + "0" * 32, "--output=/s/log/" + START.name + ".log"]),
        ("ssh", ["gpu1"]),
        ("kubernetes", ["--image=i", "/a b", "--once", "--gres=gpu:1"]),
        ("dagu", ["dag", 'WORKER="' + START.line + '"']),
    ],
)  # fmt: skip
def test_an_engine_is_given_a_command_and_no_word_of_a_task(preset, words):
    given = {"host": "gpu1", "image": "i", "dag": "dag"}
    made = commands_from("at", preset, {}, given, {"gpu": ["--gres=gpu:1"]}, "/s/log")
    argv = made.filled("submit", "", START)
    assert set(words) <= set(argv), argv
    for part in ("status", "cancel"):
        assert not any(holes(word) for word in made.filled(part, "17", START))
    if preset == "ssh":
        assert shlex.split(argv[-1].partition("sh -lc")[2])[2:8] == list(START.words)


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, "needs submit, or a preset"), ({"preset": "lsf"}, "no preset 'lsf'"), ({"preset": "ssh"}, "needs host"),
        ({"preset": "ssh", "host": "-oProxyCommand=x"}, "do not begin with -"), ({"submit": ["x", "{jobb}"]}, "{jobb}"),
        ({"submit": ["x", "a {words}"]}, "{words}"), ({"preset": "slurm", "folder": "x"}, "begins with /"),
        ({"preset": "slurm", "colour": "red"}, "no option colour"), ({"preset": "slurm", "lease": "1m", "leash": "1m"}, "shorter than four"),
        ({"preset": "kestra", "url": "http://me:secret@h"}, "password"), ({"preset": "kestra", "url": "ftp://h"}, "http://"),
        ({"preset": "kestra", "url": "http://h:secret"}, "cannot be read"), ({"preset": "kestra", "url": "http://[secret"}, "cannot be read"),
    ],
)  # fmt: skip
def test_a_launcher_that_is_configured_wrongly_says_what_is_wrong(given, words, tmp_path):
    with pytest.raises(Unusable) as told:
        LauncherDistributor("far", Layout(str(tmp_path)), given)
    assert words in told.value.message + told.value.hint and "secret" not in told.value.message


def test_a_launcher_without_what_carries_its_logs_says_so(tmp_path, monkeypatch):
    for name in ("ORCHESTRATOR_QUEUE", "KESTRA_URL"):
        monkeypatch.delenv(name, raising=False)
    made = LauncherDistributor("far", Layout(str(tmp_path)), {"preset": "slurm"})
    assert "folder: /shared" in made.fault()
    made = LauncherDistributor("far", Layout(str(tmp_path)), {"preset": "slurm", "folder": "/x"})
    assert not made.fault()
    made = LauncherDistributor("far", Layout(str(tmp_path)), {"preset": "kestra", "folder": "/x"})
    assert "KESTRA_URL" in made.fault()


@pytest.mark.parametrize(
    "said, job",
    [("17\n", "17"), ("17;cluster\n", "17"), ("pod/x created\n", "pod/x"), ("", ""), ("-rf /\n", ""), ("$(x)\n", ""), ("x" * 300, "")],
)  # fmt: skip
def test_the_name_of_a_job_is_harmless(said, job):
    assert job_from(said) == job


@pytest.mark.parametrize(
    "script, words",
    [
        ("yes", "more than 1 MiB"), ("yes >&2", "more than 1 MiB"), ("sleep 60", "longer than"),
        ("echo broken >&2; exit 3", "ended with 3: broken"), ("kill -9 $$", "ended with -9"),
    ],
)  # fmt: skip
def test_a_command_of_an_engine_costs_so_much_and_no_more(script, words):
    with pytest.raises(Refuses, match=words):
        asyncio.run(run(["sh", "-c", script], 1.0 if "longer" in words else 60.0))


def test_a_command_of_an_engine_does_not_get_the_brokers_address(monkeypatch):
    """Slurm, say, hands its environment on to the job."""
    monkeypatch.setenv("FARM_URL", "nats://me:secret@h")
    given = {"submit": ["sh", "-c", "echo ${FARM_URL:-none}"], "queue_env": "FARM_URL"}
    made = LauncherDistributor("far", Layout("/nowhere"), given)
    assert asyncio.run(made._launcher.submit(Start("0" * 32, ("x",)))) == "none"


def test_kestra_that_breaks_off_in_what_it_says_of_an_error_has_refused():
    """Now and then the line was gone before its words were read, and that counted as nothing we know."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            near, _ = server.accept()
            near.recv(65536)
            near.sendall(b"HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\n{")
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            near.close()

        threading.Thread(target=serve, daemon=True).start()
        kestra = Kestra(f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(Refuses, match="500|reset"):
            asyncio.run(kestra.submit(START))


@pytest.mark.parametrize("answer", [b"HELLO\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n[1", b"HTTP/1.1 200 OK\r\n\r\n[]", b'HTTP/1.1 200 OK\r\n\r\n{"id": "-rf /"}', b'HTTP/1.1 200 OK\r\n\r\n{"pad": "' + b"x" * (1 << 20) + b'", "id": "abc"}', b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd\r\n\r\n"])  # fmt: skip
def test_whatever_kestra_answers_it_refuses_in_words(answer):
    """A worker that could not be started is started later; an exception would end the watcher's interest in it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    near, _ = server.accept()
                except OSError:
                    return
                with near, contextlib.suppress(OSError):
                    near.recv(65536)
                    near.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        kestra = Kestra(f"http://me:secret@127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(Refuses) as told:
            asyncio.run(kestra.submit(START))
        assert "secret" not in told.value.message
        server.shutdown(socket.SHUT_RDWR)
    with pytest.raises(Refuses):
        asyncio.run(Kestra("http://me:secret@127.0.0.1:port").submit(START))


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_kestra_that_never_comes_to_an_end_holds_nobody_else(begun, monkeypatch):
    """A byte now and then: each came in time, and held one of the few threads that a watcher has."""
    monkeypatch.setattr("orchestrator.distributors.launchers.kestra.WHOLE", 0.5)
    over = threading.Event()

    def drip(near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            near.sendall(begun)
            while not over.wait(0.02):
                near.sendall(b"x")

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()

    async def ask(url: str) -> None:
        asking = [Kestra(url).cancel("1", START) for _ in range(40)]
        for told in await asyncio.gather(*asking, return_exceptions=True):
            assert isinstance(told, Refuses) and "longer than" in told.message, told
        await asyncio.to_thread(over.is_set)

    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        try:
            asyncio.run(ask(f"http://127.0.0.1:{server.getsockname()[1]}"))
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("word", ["COMPLETED", "Succeeded", "KILLED", "WARNING", "NODE_FAIL"])
def test_engines_have_many_words_for_over(word):
    assert Seen(word).over and not Seen("RUNNING").over and not Seen("").over


@pytest.mark.parametrize(
    "card",
    [
        b"\xff",
        b"[" * 9000,
        b"[1]",
        json.dumps({"slots": "many", "busy": -1, "tools": "sh", "labels": [["x"] * 9]}).encode(),
        json.dumps({"slots": 10**9, "busy": 1e300, "name": "n" * 999, "pools": ["p" * 999] * 999}).encode(),
    ],
)  # fmt: skip
def test_of_a_worker_s_card_only_what_is_known_and_short_is_shown(card):
    shown = _card(card, 0.0, 15.0)
    assert shown["slots"] == shown["busy"] == 0
    texts = [shown["name"], shown["version"], *shown["tools"], *shown["labels"], *shown["pools"]]
    assert all(isinstance(text, str) and len(text) <= 100 for text in texts) and len(texts) <= 102


def test_a_damaged_name_of_the_project_is_made_anew_and_kept(tmp_path):
    """It names this work directory to workers: a part of one would be another's, or nobody's."""
    layout = Layout(str(tmp_path))
    path = tmp_path / "work/.state/queues/q.json"
    path.parent.mkdir(parents=True)
    (tmp_path / "work/.state/tmp").mkdir()
    for damaged in ("", "[]", '{"project": "abc"}'):
        path.write_text(damaged)
        made = _project(layout, "q")
        assert len(made) == 32 and _project(layout, "q") == made

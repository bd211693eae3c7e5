"""The six primitives, over each broker that there is: the real ones, on the loopback."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from brokers import ALL, KINDS, Broker, Link, broker_of, free_port, missing
from conftest import ROOT

from orchestrator.distributors.engines import choice, nats
from orchestrator.distributors.engines.base import (
    CARDS_MOST,
    Down,
    Engine,
    epoch,
    has_password,
    shown,
)
from orchestrator.distributors.engines.choice import engine, lacking


@pytest.fixture(params=ALL, scope="module")
def broker(request, tmp_path_factory):
    if why := missing(request.param):
        pytest.skip(why)
    made = broker_of(request.param, tmp_path_factory.mktemp(request.param))
    yield made
    made.close()


def ask(url: str, work: Callable[[Engine, Engine], Awaitable[Any]]) -> Any:
    """Two connections to one broker, as a watcher's and a worker's."""

    async def run() -> Any:
        here, there = engine(url, "here"), engine(url, "there")
        await here.connect()
        try:
            return await asyncio.wait_for(work(here, there), 60)
        finally:
            await here.close()
            await there.close()

    return asyncio.run(run())


@pytest.mark.engines
def test_an_offer_is_taken_once(broker):
    async def work(here: Engine, there: Engine) -> None:
        assert await there.pull("shell+x.y") is None
        await here.push("shell+x.y", "d1", b"one")
        await here.push("shell+x.y", "d1", b"two")  # the same dispatch again
        offer = await there.pull("shell+x.y")
        assert offer is not None and (offer.dispatch, offer.data) == ("d1", b"two")
        assert await here.pull("shell+x.y") is None
        await there.acknowledge(offer)
        assert await here.pull("shell+x.y") is None and await here.pull("shell") is None

    ask(broker.url, work)


@pytest.mark.engines
def test_a_folder_where_an_offer_belongs_keeps_none_back(tmp_path):
    """What another program made in the shared folder, and what was taken of it before."""
    url = f"folder://{tmp_path}/shared"

    async def work(here: Engine, there: Engine) -> None:
        await here.push("shell", "d1", b"one")
        (offer,) = (tmp_path / "shared").glob("offer/*/d1")
        taken = tmp_path / "shared/taken" / offer.parent.name
        for folder in (offer.with_name("a"), taken / "a", taken / "d2"):
            (folder / "x").mkdir(parents=True)
            os.utime(folder, (1, 1))
        await here.push("shell", "d2", b"two")
        found = [await there.pull("shell") for _ in range(3)]
        assert {offer.data for offer in found if offer is not None} == {b"one", b"two"}

    ask(url, work)


@pytest.mark.engines
def test_what_else_lies_in_the_folder_is_in_nobody_s_way(tmp_path):
    """Folders of a file server, pipes, links, names that look like ours."""
    url, shared = f"folder://{tmp_path}/shared", tmp_path / "shared"

    async def work(here: Engine, there: Engine) -> None:
        await here.append("d1", b"one")
        await here.write("d.1", b"value", None)
        await here.show("w1", b"card")
        for place in (shared / "event/d1", shared / "record/d.1", shared / "card"):
            (place / "@eaDir").mkdir()
            os.mkfifo(place / "pipe")
            (place / "link").symlink_to("/etc/passwd")
            (place / "\u0661".ljust(12, "\u0661")).touch()
        await there.append("d1", b"two")
        found, cursor = [], ""
        while part := await there.events("d1", cursor):
            found += [data for _, data in part]
            cursor = part[-1][0]
        assert sorted(found) == [b"one", b"two"]
        assert (await there.read("d.1")).value == b"value"
        assert (await there.cards())["w1"] == b"card"

    ask(url, work)


@pytest.mark.engines
def test_an_offer_of_a_machine_whose_clock_is_years_ahead_is_taken(tmp_path):
    url = f"folder://{tmp_path}/shared"

    async def work(here: Engine, there: Engine) -> None:
        await here.push("shell", "d1", b"one")
        (offer,) = (tmp_path / "shared").glob("offer/*/d1")
        os.utime(offer, (4e9, 4e9))
        assert (await there.pull("shell")).dispatch == "d1"

    ask(url, work)


@pytest.mark.engines
def test_a_record_is_written_by_one_of_many(broker):
    async def work(here: Engine, there: Engine) -> None:
        both = [here, there] * 5
        done = await asyncio.gather(
            *(side.write("d.1", b"%d" % number, None) for number, side in enumerate(both))
        )
        (revision,) = [item for item in done if item is not None]
        known = await there.read("d.1")
        assert known is not None and known.revision == revision
        assert await here.write("d.1", b"next", revision)
        assert await there.write("d.1", b"late", revision) is None
        assert (await there.read("d.1")).value == b"next"
        assert await here.read("none") is None
        assert await here.write("none", b"x", 7) is None
        assert await epoch(here) == await epoch(there) != ""

    ask(broker.url, work)


@pytest.mark.engines
def test_events_and_blobs_come_back_as_they_were(broker):
    async def work(here: Engine, there: Engine) -> None:
        for number in range(40):
            await there.append("d2", b"%d" % number)
        await there.append("d3", b"another")
        found, cursor = [], ""
        while part := await here.events("d2", cursor):
            found += [int(data) for _, data in part]
            cursor = part[-1][0]
        assert found == list(range(40))
        large = os.urandom(2_000_000)
        await there.store("d2.work", large)
        assert await here.load("d2.work", len(large)) == large
        assert await here.load("d2.work", len(large) - 1) is None
        assert await here.load("none", 1 << 20) is None
        await here.drop("d2", ["d2.work", "none"])
        assert await here.events("d2", "") == [] and await here.load("d2.work", 1 << 30) is None
        assert len(await here.events("d3", "")) == 1

    ask(broker.url, work)


@pytest.mark.engines
def test_whoever_spoils_the_name_of_the_data_gives_it_another(broker):
    """A watcher writes that name into its journals."""

    async def work(here: Engine, there: Engine) -> None:
        first = await epoch(here)
        for spoilt in (b"", b"\xff" * 40, b"A" * 32, f"{first}\n".encode(), b"a" * 500_000):
            known = await there.read("epoch")
            assert known is not None and await there.write("epoch", spoilt, known.revision)
            named = await epoch(here)
            assert len(named) == 32 and named != first and named == await epoch(there)

    ask(broker.url, work)


async def _into_redis(url: str, rubbish: bytes) -> None:
    from redis.asyncio import Redis

    async with Redis.from_url(url) as redis:
        await redis.xadd("orc:offer:p", {"x": rubbish})
        await redis.xadd("orc:offer:p", {"d": rubbish})
        await redis.xadd("orc:event:d1", {"x": rubbish})
        await redis.set("orc:blob:d1.work", rubbish)
        await redis.hset("orc:rec:d.d1", mapping={"r": rubbish, "v": rubbish})
        await redis.hset("orc:cards", rubbish[:100], rubbish)


async def _into_nats(url: str, rubbish: bytes) -> None:
    import nats

    there = await nats.connect(url)
    blob = base64.urlsafe_b64encode(b"d1.work").decode()
    names = ("$KV.orc_records.d.d1", "$KV.orc_cards.w", "orc.event.d1", f"$O.orc_blobs.M.{blob}")
    for name in names:
        await there.jetstream().publish(name, rubbish)
    await there.close()


@pytest.mark.engines
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "rubbish", [b"", b"\xff{", b"null", b'{"size":"x","chunks":-1}', b"9" * 5000]
)
def test_what_another_program_put_there_is_skipped_or_the_broker_is_down(kind, rubbish, tmp_path):
    """Whatever the client makes of it: nothing else is raised, and each question has an end."""
    if why := missing(kind):
        pytest.skip(why)
    broker = Broker(kind, tmp_path)

    async def work(here: Engine, there: Engine) -> None:
        await (_into_redis if kind == "redis" else _into_nats)(broker.url, rubbish)
        assert [data for _, data in await here.events("d1", "")] in ([b""], [rubbish])
        assert rubbish in (await here.cards()).values()
        while offer := await here.pull("p"):
            await here.acknowledge(offer)
        for asked in (here.read("d.d1"), here.load("d1.work", 1 << 20), here.drop("d1", ["d1.work"])):  # fmt: skip
            with suppress(Down):
                await asked
        await there.append("d1", b"after")
        assert (await here.events("d1", ""))[-1][1] == b"after"

    try:
        ask(broker.url, work)
    finally:
        broker.close()


@pytest.mark.engines
def test_what_is_too_large_does_not_leave_the_broker(tmp_path):
    """Redis holds values of 512 MB: a worker's account may fill the broker, and not who reads it."""
    if why := missing("redis"):
        pytest.skip(why)
    broker, large = Broker("redis", tmp_path), b"x" * (8 << 20)

    async def work(here: Engine, there: Engine) -> None:
        from redis.asyncio import Redis

        third = Redis.from_url(broker.url)
        await third.hset("orc:rec:d.d1", mapping={"v": large, "r": "7"})
        await third.hset("orc:rec:d.d2", mapping={"v": "x", "r": large})
        await third.xadd("orc:event:d1", {large: "x", "v": large})
        await third.set("orc:blob:d1.work", large)
        await third.set("orc:blob:d2.work", "1 5")
        await third.set("orc:blob:d2.work:1", large)
        await third.hset("orc:cards", mapping={"w1": large, large: "x", "w2": "card"})
        before = (await third.info("stats"))["total_net_output_bytes"]
        known = await here.read("d.d1")
        assert known is not None and (known.value, known.revision) == (b"", 7)
        with pytest.raises(Down):
            await here.read("d.d2")
        await there.append("d1", b"after")
        assert [data for _, data in await here.events("d1", "")] == [b"", b"after"]
        assert [await here.load(f"{name}.work", 1 << 20) for name in ("d1", "d2")] == [None, None]
        assert await here.cards() == {"w2": b"card"}
        await here.drop("d2", ["d2.work"])
        assert (await third.info("stats"))["total_net_output_bytes"] - before < 1 << 20
        await third.aclose()

    try:
        ask(broker.url, work)
    finally:
        broker.close()


@pytest.mark.engines
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_large_comes_over_a_long_line_too(kind, tmp_path, monkeypatch):
    """It takes as long as its pieces do: each of them has the time of an answer."""
    if why := missing(kind):
        pytest.skip(why)
    broker = Broker(kind, tmp_path)
    link, large = Link(broker), os.urandom(6 << 20)

    async def work(here: Engine, there: Engine) -> None:
        await there.connect()
        link.delay = 0.01
        monkeypatch.setattr(nats, "PATIENCE", 0.1)  # 6 of it are over long before
        await here.store("d1.work", large)
        assert await there.load("d1.work", 1 << 26) == large

    try:
        ask(link.url, work)
    finally:
        link.close()
        broker.close()


@pytest.mark.engines
@pytest.mark.parametrize("kind", ALL)
def test_of_a_flood_of_cards_so_many_are_read(kind, tmp_path):
    if why := missing(kind):
        pytest.skip(why)
    broker = broker_of(kind, tmp_path)

    async def flood(there: Engine) -> None:
        await there.show("w", b"card")
        names = [f"w{number}" for number in range(2 * CARDS_MOST)]
        if kind == "folder":
            for name in names:
                (tmp_path / "mounted/orchestrator/card" / name).write_bytes(b"card")
        elif kind == "redis":
            await there._client.hset("orc:cards", mapping=dict.fromkeys(names, "card"))
        else:
            for name in names:
                await there._nats.publish(f"$KV.orc_cards.{name}", b"card")
        await there.show("last", b"card")  # acknowledged: those before are there as well

    async def work(here: Engine, there: Engine) -> None:
        await flood(there)
        found = await here.cards()
        assert len(found) == CARDS_MOST + 1 and set(found.values()) == {b"card"}

    try:
        ask(broker.url, work)
    finally:
        broker.close()


@pytest.mark.engines
def test_words_and_cards(broker):
    async def work(here: Engine, there: Engine) -> None:
        heard: list[str] = []
        come = asyncio.Event()

        def hear(word: str) -> None:
            heard.append(word)
            come.set()

        await there.listen("one", hear)
        while not come.is_set():  # a word may be lost before the other side listens
            await here.notify("one", "hello")
            await asyncio.sleep(0.05)
        await here.notify("two", "not for us")
        assert set(heard) == {"hello"}
        await there.show("w1", b"busy")
        await there.show("w2", b"idle")
        assert await here.cards() == {"w1": b"busy", "w2": b"idle"}
        await there.show("w2", b"")
        assert await here.cards() == {"w1": b"busy"}

    ask(broker.url, work)


@pytest.mark.engines
def test_who_leaves_in_the_middle_of_a_question_leaves_nothing_behind(broker):
    """As a watcher that stops: what was asked is cancelled, and no error of it turns up later on stderr."""
    told: list[dict[str, Any]] = []

    async def work(here: Engine, there: Engine) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        for turns in range(12):
            one = engine(broker.url, "leaves")
            await one.connect()
            await one.append("d9", b"x")
            asked = asyncio.ensure_future(one.drop("d9", ["d9.work", "d9.made"]))
            for _ in range(turns):
                await asyncio.sleep(0)
            closing = asyncio.ensure_future(one.close())
            await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, closing, return_exceptions=True)
        gc.collect()
        await asyncio.sleep(0.1)

    ask(broker.url, work)
    gc.collect()
    assert not told


@pytest.mark.engines
@pytest.mark.parametrize("kind", ALL)
def test_a_broker_goes_and_comes_back(kind, tmp_path):
    """Killed: `Down`, in words.  Back: everything is there.  Wiped: another epoch, and everything works."""
    if why := missing(kind):
        pytest.skip(why)
    broker = broker_of(kind, tmp_path)

    async def until(work: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await work()
            except Down:
                await asyncio.sleep(0.05)

    async def work(here: Engine, there: Engine) -> None:
        known = await epoch(here)
        await here.write("d.1", b"kept", None)
        await there.connect()
        broker.kill()
        with pytest.raises(Down) as told:
            await there.read("d.1")
        assert broker.url.removeprefix("folder://") in told.value.message
        broker.start()
        assert (await until(lambda: here.read("d.1"))).value == b"kept"
        assert await until(lambda: epoch(there)) == known
        broker.wipe()
        assert await until(lambda: epoch(here)) != known
        await until(lambda: there.push("p", "d2", b"x"))
        assert (await until(lambda: here.pull("p"))).dispatch == "d2"

    try:
        ask(broker.url, work)
    finally:
        broker.close()


CONFIGS = {
    "nats": "authorization {users: [{user: w, password: right-password}]}\n",
    "redis": "user default off\nuser w on >right-password ~* &* +@all\n",
}

WORDS = {"nats": "authorization", "redis": "invalid username-password pair"}


@pytest.mark.engines
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_credentials_are_told_without_them(kind, tmp_path):
    if why := missing(kind):
        pytest.skip(why)
    broker = Broker(kind, tmp_path, CONFIGS[kind])

    async def connect(password: str) -> None:
        one = engine(broker.url.replace("//", f"//w:{password}@"), "x")
        try:
            await one.connect()
        finally:
            await one.close()

    try:
        asyncio.run(connect("right-password"))
        with pytest.raises(Down) as told:
            asyncio.run(connect("wrong-password"))
        assert "wrong-password" not in told.value.message
        assert WORDS[kind] in told.value.message.lower(), told.value.message
    finally:
        broker.close()


PAGE = (ROOT / "docs/how-to/operate-a-broker.md").read_text()


def accounts(kind: str) -> str:
    """The broker's configuration with one account for each role, as the documentation has it."""
    if kind == "nats":
        (block,) = re.findall(r"^authorization \{.*?^\}", PAGE, re.S | re.M)
        return block.replace("$WATCHER", "secret-of-watcher").replace("$WORKER", "secret-of-worker")
    lines = [line for line in PAGE.splitlines() if line.startswith("user ")]
    text = "\n".join(lines).replace("watcher on >...", "watcher on >secret-of-watcher")
    return text.replace("worker on >...", "worker on >secret-of-worker") + "\n"


async def _has_the_broker_offer(worker: Any, subject: str) -> None:
    """Ask it for what one has put there, and for more, with an offer's subject for its answers."""
    order = b"an order of a worker's own"
    asked = {
        "$JS.API.DIRECT.GET.orc_events": b'{"last_by_subj": "orc.event.d2"}',
        "$JS.API.STREAM.MSG.GET.orc_events": b'{"last_by_subj": "orc.event.d2"}',
        "orc.event.d2": order,
        "again.d2": order,
    }
    republish = {"src": "again.d2", "dest": f"{subject}again"}
    stream = {"name": "again", "subjects": ["again.d2"], "republish": republish}
    await worker.append("d2", order)
    await worker._nats.request("$JS.API.STREAM.CREATE.again", json.dumps(stream).encode())
    for number, (topic, words) in enumerate(asked.items()):
        await worker._nats.publish(topic, words, reply=f"{subject}{number}")
    while (await worker._js.stream_info("orc_offers")).state.messages < len(asked):
        await asyncio.sleep(0.02)


@pytest.mark.engines
@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_s_account_can_do_its_work_and_make_no_offers(kind, tmp_path):
    if why := missing(kind):
        pytest.skip(why)
    broker = Broker(kind, tmp_path, accounts(kind))

    def account(role: str) -> Engine:
        return engine(broker.url.replace("//", f"//{role}:secret-of-{role}@"), role)

    async def work() -> None:
        watcher, worker = account("watcher"), account("worker")
        await watcher.connect()
        await watcher.push("p", "d1", b"x")
        await watcher.write("d.d1", b"offered", None)
        await worker.connect()
        offer = await worker.pull("p")
        assert offer is not None
        known = await worker.read("d.d1")
        assert known is not None and await worker.write("d.d1", b"claimed", known.revision)
        await worker.acknowledge(offer)
        heard = asyncio.Event()
        await worker.listen("k.w", lambda _: heard.set())
        await worker.append("d1", b"log")
        await worker.store("d1.work", b"work")
        await worker.show("w", b"card")
        while not heard.is_set():
            await watcher.notify("k.w", "d1")
            await asyncio.sleep(0.05)
        assert (
            await watcher.load("d1.work", 100) == b"work"
            and len(await watcher.events("d1", "")) == 1
        )
        with pytest.raises(Down):
            await worker.push("p", "d2", b"an order of a worker's own")
        if kind == "nats":
            await _has_the_broker_offer(worker, "orc.offer.148de9c5a7a44d19.d2")
        assert await watcher.pull("p") is None
        await watcher.push("p", "d3", b"x")
        offer = await worker.pull("p")
        assert offer is not None and offer.dispatch == "d3"
        await watcher.drop("d1", ["d1.work"])
        await watcher.close()
        await worker.close()

    try:
        asyncio.run(asyncio.wait_for(work(), 60))
    finally:
        broker.close()


@pytest.mark.engines
@pytest.mark.parametrize("kind", KINDS)
def test_tls_and_whom_it_trusts(kind, tmp_path, monkeypatch):
    """The broker's certificate must be signed by whom this machine, or SSL_CERT_FILE, trusts."""
    if why := missing(kind):
        pytest.skip(why)
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=broker"
    )
    subprocess.run(
        [
            "openssl",
            *words.split(),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    plain = Broker(kind, tmp_path / "broker")
    plain.kill()
    if kind == "nats":
        plain.more = f"tls {{cert_file: {cert}, key_file: {key}}}\n"
        url = plain.url.replace("nats://", "tls://")
    else:
        tls = free_port()
        plain.more = f"tls-port {tls}\ntls-cert-file {cert}\ntls-key-file {key}\ntls-ca-cert-file {cert}\ntls-auth-clients no\n"
        url = f"rediss://127.0.0.1:{tls}"
    plain.start()

    async def connect() -> None:
        one = engine(url, "x")
        try:
            await one.connect()
            assert await epoch(one)
        finally:
            await one.close()

    try:
        with pytest.raises(Down):
            asyncio.run(connect())
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        asyncio.run(connect())
    finally:
        plain.close()


@pytest.mark.fast
def test_an_address_says_which_client_is_missing(monkeypatch):
    assert "begin with nats://" in lacking("http://u:secret@host")
    assert "secret" not in lacking("http://u:secret@host")
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert lacking("nats://h").endswith(f"{sys.executable} -m pip install nats-py")
    assert lacking("rediss://h").endswith(f"{sys.executable} -m pip install redis")
    assert shown("tls://u:p@h:1: no") == "tls://h:1: no"


@pytest.mark.fast
@pytest.mark.parametrize(
    "password",
    ["secret", "a secret one", "sec@ret@", "sécret", "%2Fsecret", "sec:ret,", "@", "\"'`"],
)
def test_a_password_is_never_shown(password):
    """The page of the second machine has one with spaces in it."""
    for address in (f"nats://me:{password}@h:1", f"redis://:{password}@h:1", f"tls://{password}@h"):
        assert has_password(address) and not lacking(address).startswith("the address")
        assert shown(address).partition("://")[2].startswith("h")


@pytest.mark.fast
@pytest.mark.parametrize(
    "address",
    [
        *("nats://me:sec/ret@h:1", "redis://:sec?ret@h", "tls://sec#ret@h", "redis://:sec[ret@h"),
        *("nats://me:sec\nret@h", "nats://me:sec\tret@h", "redis://h?password=secret"),
        *("me:sec/ret@h:4222", "http://me:sec ret@h", "nats:me:secret@h", "redis://h:secret"),
    ],
)
def test_an_address_that_programs_read_differently_is_refused_without_a_word_of_it(address):
    said = lacking(address)
    assert said and not any(part in said for part in ("sec", "ret", "h:4222")), said


@pytest.mark.fast
def test_an_at_sign_in_a_folder_is_no_password():
    assert not has_password("folder:///a@b/c") and not lacking("folder:///a@b/c")


@pytest.mark.process
def test_status_and_the_watcher_import_no_client():
    """Nobody pays for brokers who has none."""
    program = (
        "import sys\nimport orchestrator.cli.verbs.status, orchestrator.cli.verbs.watch\n"
        "print([n for n in ('nats', 'redis') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr

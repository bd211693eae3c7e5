"""Attempts on other machines, over a broker: what the watcher's side of a queue does.

The broker holds nothing that cannot be lost: what was offered is in the journals here, what runs is
in a spool folder there.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator import waiting
from orchestrator.distributors.base import ExecutionHandle, Order
from orchestrator.distributors.dispatches import watcher_topic
from orchestrator.distributors.dispatching import QueueHandle
from orchestrator.distributors.engines.base import CARDS_MOST, Down, Engine, epoch, has_password
from orchestrator.distributors.engines.choice import engine, lacking
from orchestrator.distributors.farm import Farm
from orchestrator.distributors.home import Home
from orchestrator.distributors.offering import Offering, Pools
from orchestrator.errors import Unusable
from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.files.pools import workers_file
from orchestrator.model.journal import AttemptFacts
from orchestrator.model.units import duration
from orchestrator.records import dataclass
from orchestrator.store import atomic, smallfiles

URL_ENV = "ORCHESTRATOR_QUEUE"
CARDS = 1.0  # seconds between looks at the workers' cards, at least, if there is no news
SETTLES = 0.2  # seconds for which news is let gather
FORGOTTEN = 86400.0  # seconds of silence after which a worker's card is taken away


@dataclass(frozen=True, slots=True)
class Options:
    """What ``distributors`` in orchestrator.yaml says of a queue.  Times are seconds."""

    url: str = ""
    url_env: str = URL_ENV
    lease: float = 15.0
    leash: float = 600.0
    code: str = "git"


def options_from(name: str, given: Mapping[str, Any]) -> Options:
    """The options.  Raises `Unusable`."""
    at = f"distributors.{name}"
    unknown = sorted(set(given) - set(Options.__dataclass_fields__))
    if unknown:
        raise Unusable(
            f"{at}: a queue has no option {unknown[0]}",
            "url, url_env, lease, leash, code, in_flight",
        )
    try:
        lease = duration(str(given.get("lease", "15s")))
        leash = duration(str(given.get("leash", "10m")))
    except ValueError as error:
        raise Unusable(f"{at}: {error}") from None
    found = Options(
        str(given.get("url", "")),
        str(given.get("url_env", URL_ENV)),
        lease,
        leash,
        str(given.get("code", "git")),
    )
    if lease <= 0 or leash < 4 * lease:
        raise Unusable(
            f"{at}: a leash of {leash:g} s is shorter than four leases of {lease:g} s",
            "lease: 15s, leash: 10m",
        )
    if found.code not in ("git", "shared"):
        raise Unusable(f"{at}: code is git or shared, not '{found.code[:40]}'")
    if has_password(found.url):
        raise Unusable(
            f"{at}: an address with a password does not belong in a file",
            f"export {found.url_env}=...; url_env: {found.url_env}",
        )
    return found


class QueueDistributor:
    """Offers attempts to workers, and brings home what they send."""

    portable = True

    def __init__(self, name: str, layout: Layout, given: Mapping[str, Any]) -> None:
        self.name, self.layout = name, layout
        self.options = options_from(name, given)
        self._url = self.options.url or os.environ.get(self.options.url_env, "")
        self._farm: Farm | None = None
        self._handles: set[QueueHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def fault(self) -> str:
        if not self._url:
            return (
                f"{self.name}: no broker is named: export {self.options.url_env}=nats://... or"
                " redis://..."
            )
        return lacking(self._url)

    def prepare(self, slots: int) -> None:
        if not self.fault() and self._farm is None:
            self._open()

    def dispatch(self, order: Order, on_started: Callable[[int], None]) -> ExecutionHandle:
        return self._follow(order, on_started)

    def adopt(self, facts: AttemptFacts, journal: str) -> ExecutionHandle:
        raise AssertionError("an attempt on another machine is reattached")

    def reattach(
        self, order: Order, facts: AttemptFacts, on_started: Callable[[int], None]
    ) -> ExecutionHandle:
        return self._follow(order, on_started, facts)

    def _follow(
        self,
        order: Order,
        on_started: Callable[[int], None],
        facts: AttemptFacts | None = None,
    ) -> ExecutionHandle:
        farm = self._open()
        handle = QueueHandle(farm, order, on_started, facts)
        self._handles.add(handle)
        handle.begin(lambda: self._handles.discard(handle))
        return handle

    def _open(self) -> Farm:
        if self._farm is None:
            if why := self.fault():
                raise Unusable(why)
            project = _project(self.layout, self.name)
            broker = engine(self._url, f"watcher-{project[:8]}")
            self._farm = Farm(
                self.name,
                broker,
                project,
                self.options.lease,
                self.options.leash,
                self.options.code,
                Home(self.layout),
                self._offering(broker),
            )
            self._start(self._listen(self._farm))
            self._start(self._watch_workers(self._farm))
        return self._farm

    def _offering(self, engine: Engine) -> Offering:
        """How offers get to workers."""
        return Pools(engine)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, farm: Farm) -> None:
        """Wake who follows the dispatch that a word names, until we leave."""

        def heard(word: str) -> None:
            for handle in self._handles:
                if handle.dispatch == word:
                    handle.wake()

        while True:
            try:
                await farm.engine.connect()
                farm.epoch = await epoch(farm.engine)
                farm.ready.set()
                for handle in self._handles:
                    handle.wake()
                await farm.engine.listen(watcher_topic(farm.project), heard)
                farm.tell("words", "")
                return
            except Down as error:
                farm.tell("words", error.message)
                await asyncio.sleep(min(1.0, farm.lease))

    async def _watch_workers(self, farm: Farm) -> None:
        """Leave what workers say of themselves where readers find it."""
        seen: dict[str, tuple[bytes, float]] = {}
        loop = asyncio.get_running_loop()
        while True:
            try:
                cards = await farm.engine.cards()
                now = loop.time()
                farm.crowded = len(cards) > CARDS_MOST
                seen = {worker: seen[worker] for worker in cards if worker in seen}
                for worker, card in cards.items():
                    if worker not in seen or seen[worker][0] != card:
                        seen[worker] = (card, now)
                    elif now - seen[worker][1] > FORGOTTEN:
                        await farm.engine.show(worker, b"")
                farm.workers = {
                    worker: _card(card, now - seen[worker][1], farm.lease)
                    for worker, card in cards.items()
                }
                await epoch(farm.engine)  # it does not expire while somebody watches
                farm.tell("cards", "")
            except Down as error:
                farm.tell("cards", error.message)
            _write_workers(self.layout, farm)
            await _news(farm, max(CARDS, farm.lease / 2))

    def close(self) -> None:
        for handle in list(self._handles):
            handle.release()
        for task in self._tasks:
            task.cancel()
        if self._farm is not None:
            self._farm.offering.close()
            atomic.remove(workers_file(self.layout, self.name))
            closing = asyncio.get_running_loop().create_task(self._farm.engine.close())
            self._tasks.add(closing)


async def _news(farm: Farm, seconds: float) -> None:
    """Wait until a worker has taken or ended something, or for these seconds."""
    if await waiting.happened(farm.news, seconds):
        await asyncio.sleep(SETTLES)
    farm.news.clear()


def _card(card: bytes, silent: float, lease: float) -> dict[str, Any]:
    """What readers are told of a worker; of what it says only what is known, short."""
    try:
        told = json.loads(card)
        if not isinstance(told, dict):
            told = {}
    except (ValueError, RecursionError):
        told = {}

    def words(key: str) -> list[str]:
        value = told.get(key)
        return [str(item)[:100] for item in value[:100]] if isinstance(value, list) else []

    def number(key: str) -> int:
        value = told.get(key)
        return value if isinstance(value, int) and 0 <= value < 10_000 else 0

    return {
        "name": str(told.get("name", "?"))[:100],
        "version": str(told.get("version", "?"))[:40],
        "tools": words("tools"),
        "labels": words("labels"),
        "pools": words("pools"),
        "slots": number("slots"),
        "busy": number("busy"),
        "silent": round(silent, 1) if silent > 2 * max(lease, CARDS) else 0.0,
    }


def _write_workers(layout: Layout, farm: Farm) -> None:
    jobs = farm.offering.waiting()
    document: dict[str, Any] = {"broker": farm.trouble, "workers": farm.workers, "jobs": jobs}
    if farm.crowded:
        document["crowded"] = CARDS_MOST
    path = workers_file(layout, farm.name)
    try:
        smallfiles.put(layout, path, json.dumps(document).encode(), "workers", sync=False)
    except OSError:
        pass  # only readers lack it


def _project(layout: Layout, name: str) -> str:
    """What names this work directory to workers."""
    path = f"{layout.state}/queues/{name}.json"
    try:
        known = jsonlines.loads(opening.read_bytes(path))
        if isinstance(known, dict) and len(str(known.get("project", ""))) == 32:
            return str(known["project"])
    except (OSError, ValueError):
        pass
    made = uuid.uuid4().hex
    smallfiles.replace(layout, path, {"project": made}, "project")
    return made

"""The watcher in a test tube: real files, a fake clock, a fake distributor; time passes only when
nothing else is to be done."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.coordination.arrivals import Arrivals
from orchestrator.coordination.news import About, Internal, News, Remark, Started
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.watch import Watcher
from orchestrator.distributors.base import Distributor
from orchestrator.distributors.registry import Distributors
from orchestrator.files import eventreader, results, scan, schemas
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import Layout
from orchestrator.model.config import Config
from orchestrator.store.eventlog import EventLog
from orchestrator.store.transitions import Store
from orchestrator.testing.fakes import End, FakeClock, FakeDistributor
from orchestrator.tools.specs import Toolbox, load_tools

AGENTS = (
    "agents:\n  ok: {tool: shell, command: [/bin/true]}\n  two: {tool: shell, command:"
    " [/bin/true]}\n"
)
Kind = TypeVar("Kind")
NOON = 1_800_000_000.0 - 1_800_000_000.0 % 86400 + 43200.0


class NoArrivals(Arrivals):
    """Notifications come from `Tube.drop`; everything else is found by the listing."""

    def start(self) -> str:
        return ""

    def stop(self) -> None:
        pass

    def refresh(self) -> bool:
        return False


class Tube:
    """A work directory below ``root``. ``config`` is added to a configuration that has the agents
    ``ok`` and ``two``.

    ``news`` is what the watcher told (`orchestrator.coordination.news`), ``started`` the attempts:
    seconds since the beginning, task, number.
    """

    arrivals: type[Arrivals] = NoArrivals

    def __init__(self, root: str | os.PathLike[str], config: str = "", start: float = NOON) -> None:
        self.layout = Layout(str(root))
        self.clock = FakeClock(start)
        self.fake = FakeDistributor(self.clock)
        self.elsewhere: dict[str, Distributor] = {}  # by name of `distributors`
        self.news: list[News] = []
        self.started: list[tuple[float, str, int]] = []
        self.watcher: Watcher | None = None
        self._failure: BaseException | None = None
        self._dropped = 0
        self._actions: list[tuple[float, Callable[[], object]]] = []
        self._log = EventLog(self.layout, "watch", self.clock)
        self.store = Store(self.layout, self._log, self.clock)
        self.store.prepare()
        self.configure(config)

    def configure(self, config: str) -> None:
        """Write orchestrator.yaml, with the agents."""
        text = AGENTS + config
        Path(self.layout.config).write_text(text, encoding="utf-8")

    def plan(self, task_id: str, *ends: End) -> None:
        """As `FakeDistributor.plan`."""
        self.fake.plan(task_id, *ends)

    def drop(self, task_id: str, text: str = "agent: ok\nprompt: x\n") -> None:
        """Put a file into the inbox; of two, the one that was dropped first is the older one."""
        path = self.layout.file("inbox", f"{task_id}.yaml")
        hidden = self.layout.file("inbox", f".{task_id}.tmp")
        Path(hidden).write_text(text, encoding="utf-8")
        self._dropped = self._dropped + 1
        moment = self.clock.wall() - 10.0 + self._dropped / 1000
        os.utime(hidden, (moment, moment))
        os.rename(hidden, path)
        if self.watcher is not None:
            self.watcher.rooms.hints.add(path, renamed=True)

    def move(self, task_id: str, source: str, target: str) -> None:
        """As ``mv`` does: the file of a task from one folder to another."""
        path = self.layout.file(target, f"{task_id}.yaml")
        os.rename(self.layout.file(source, f"{task_id}.yaml"), path)
        if self.watcher is not None:
            self.watcher.rooms.hints.add(path, renamed=True)

    def events(self) -> list[dict[str, Any]]:
        """What the log says, each fact once, in order."""
        return eventreader.events(self.layout)[0]

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something when so much time has passed since the beginning; if nobody watches then, as
        soon as somebody does."""
        self._actions.append((seconds, action))

    def run(self, until_empty: bool = True, most: float = 7 * 86400.0, slots: int = 0) -> None:
        """Watch until it ends by itself or, after ``most`` seconds, for ever: then
        AssertionError."""

        def load() -> tuple[Config, Toolbox]:
            config = load_config(self.layout, schemas.check)
            limits = config.limits if not slots else replace(config.limits, running=slots)
            return replace(config, limits=limits), _tools(self.layout)

        settings = Settings(self.layout, load)
        self.watcher = Watcher(
            self.layout,
            settings,
            Distributors(self.fake, settings.config.distributors, self.elsewhere),
            self.store,
            self,
            self.clock,
            signals=False,
            arrivals=self.arrivals,
        )
        loop = _Loop(self.clock, most)
        try:
            for seconds, action in self._actions:
                loop.call_at(1000.0 + seconds, self._act, (seconds, action))
            loop.run_until_complete(self.watcher.run(until_empty))
            if self._failure is not None:
                raise self._failure
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            self._log.close()

    def _act(self, due: tuple[float, Callable[[], object]]) -> None:
        self._actions.remove(due)
        try:
            due[1]()
        except BaseException as error:
            self._failure = error
            if self.watcher is not None:
                self.watcher.signalled(signal.SIGTERM)

    def where(self, task_id: str) -> str:
        """The folder a task lies in; empty if it is nowhere."""
        place = scan.locate(self.layout, task_id)
        return str(place[0]) if place is not None else ""

    def result(self, task_id: str) -> dict[str, Any]:
        """Its result."""
        return results.read(self.layout, task_id)

    def remarks(self, about: About) -> list[str]:
        """The tasks (or runs, or names) of which this was remarked."""
        return [item.id for item in self.news if isinstance(item, Remark) and item.about is about]

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The news of this kind."""
        return [item for item in self.news if isinstance(item, kind)]

    def hear(self, news: News) -> None:
        """Keep what the watcher tells; its own bugs are raised."""
        self.news.append(news)
        if isinstance(news, Internal):
            raise AssertionError(f"internal error: {news.error!r}") from news.error
        if isinstance(news, Started):
            passed = round(self.clock.elapsed, 3)
            self.started.append((passed, news.life.id, news.life.attempt))


@cache
def _built_in() -> Toolbox:
    return load_tools(None)


def _tools(layout: Layout) -> Toolbox:
    return load_tools(layout) if scan.names(layout.tools) else _built_in()


class _Selector(selectors.SelectSelector):
    """Where others would wait, time passes."""

    def __init__(self, clock: FakeClock, most: float) -> None:
        super().__init__()
        self._clock, self._most = clock, most

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; if nothing is, the clock moves to the next moment at which something
        is due."""
        ready = super().select(0)
        if ready or timeout is None or timeout <= 0:
            return ready
        if self._clock.elapsed > self._most:
            raise AssertionError(f"it goes on for more than {self._most:.0f} seconds")
        self._clock.move(max(timeout, 0.001))  # a finer step could vanish in the seconds since 1970
        return []


class _Loop(asyncio.SelectorEventLoop):
    """A loop that lives by a fake clock; what others do in threads is done at once."""

    def __init__(self, clock: FakeClock, most: float) -> None:
        self._fake = clock
        super().__init__(_Selector(clock, most))

    def time(self) -> float:
        """The fake clock's."""
        return self._fake.monotonic()

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run it here and now."""
        done: Future[Any] = Future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return asyncio.wrap_future(done, loop=self)

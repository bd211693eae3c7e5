"""Distributors by name: the built-in one, those that installed packages provide, and several of
them at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.distributors.base import Distributor, ExecutionHandle, Order
from orchestrator.distributors.direct import DirectDistributor
from orchestrator.distributors.launcher import LauncherDistributor
from orchestrator.distributors.queue import QueueDistributor
from orchestrator.errors import OrchestratorError, Unusable
from orchestrator.files.layout import Layout
from orchestrator.libraries import later
from orchestrator.model.attempt import AttemptEnd
from orchestrator.model.config import Config
from orchestrator.model.journal import AttemptFacts

if TYPE_CHECKING:
    from importlib import metadata
else:
    metadata = later("importlib.metadata")

GROUP = "orchestrator.distributors"
# The kinds that come with us, beside direct.
OURS = {"queue": QueueDistributor, "launcher": LauncherDistributor}
PLAIN = frozenset(("kind", "in_flight"))  # options of every kind


def distributor(name: str) -> Distributor:
    """The distributor of this kind, without options; `Unusable` if none is installed."""
    if name == "direct":
        return DirectDistributor()
    return _made(name, name, {})


def _made(
    name: str, kind: str, options: Mapping[str, Any], layout: Layout | None = None
) -> Distributor:
    if kind in OURS and layout is not None:
        given = {key: value for key, value in options.items() if key not in PLAIN}
        return OURS[kind](name, layout, given)
    for entry in metadata.entry_points(group=GROUP):
        if entry.name == kind:
            given = {key: value for key, value in options.items() if key not in PLAIN}
            made: Distributor = entry.load()(name, **given) if given else entry.load()()
            return made
    raise Unusable(
        f"there is no distributor '{kind}'",
        "distributor: direct   in orchestrator.yaml is the default",
    )


class Distributors:
    """Those of one configuration: ``default`` executes what names no other; the others are made
    when first asked for."""

    def __init__(
        self,
        default: Distributor,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        made: Mapping[str, Distributor] | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.default, self._layout = default, layout
        self._settings = dict(settings or {})
        self._made: dict[str, Distributor] = dict(made or {})

    def at(self, name: str) -> Distributor:
        """The distributor of this name; one that says what is missing if the configuration has
        none."""
        if name in ("", "direct"):
            return self.default
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Distributor:
        options = self._settings.get(name)
        if options is None:
            return Missing(name, f"the distributor '{name}' is no longer configured")
        try:
            return _made(name, str(options.get("kind", "")), options, self._layout)
        except OrchestratorError as error:
            return Missing(name, error.message + (f"; {error.hint}" if error.hint else ""))

    def begin(self) -> None:
        """Look at the queues already: what their workers say of themselves is there for readers
        before a task asks for one."""
        for name, options in self._settings.items():
            if options.get("kind") in OURS:
                self.at(name).prepare(0)

    def fault(self) -> str:
        """Why nothing should be claimed now, as far as this machine's distributor knows: the others
        wait by themselves."""
        return self.default.fault()

    def close(self) -> None:
        """Let go of everything that is idle."""
        for one in (self.default, *self._made.values()):
            one.close()


def distributors(config: Config, layout: Layout) -> Distributors:
    """Those that a configuration names; `Unusable` if the default one is not installed.

    One of ``distributors`` whose package is missing says so to the tasks that ask for it.
    """
    named = config.distributor in config.distributors
    default = DirectDistributor() if named else distributor(config.distributor)
    return Distributors(default, config.distributors, layout=layout)


class Missing:
    """Stands for a distributor that is not there: it starts nothing, and what it has is waited for
    until a person acts."""

    portable = True

    def __init__(self, name: str, why: str) -> None:
        self.name, self.why = name, why
        self._known: list[Unknown] = []

    def prepare(self, slots: int) -> None:
        """Nothing to prepare."""

    def dispatch(self, order: Order, on_started: Callable[[int], None]) -> ExecutionHandle:
        raise Unusable(self.why)

    def adopt(self, facts: AttemptFacts, journal: str) -> ExecutionHandle:
        raise Unusable(self.why)

    def reattach(
        self, order: Order, facts: AttemptFacts, on_started: Callable[[int], None]
    ) -> ExecutionHandle:
        self._known.append(Unknown(order, self.why))
        return self._known[-1]

    def fault(self) -> str:
        return self.why

    def close(self) -> None:
        """Let go of the journals; what runs goes on."""
        for handle in self._known:
            handle.release()


class Unknown:
    """An attempt that may run where nobody can be asked: it is neither lost nor started again until
    a person cancels it."""

    def __init__(self, order: Order, why: str) -> None:
        self.where = why
        self._journal = order.journal
        self._over = asyncio.Event()

    def cancel(self) -> None:
        self._over.set()

    def is_running(self) -> bool:
        return not self._over.is_set()

    async def wait(self) -> AttemptEnd:
        await self._over.wait()
        self.release()
        return AttemptEnd("cancelled", message=self.where)

    def release(self) -> None:
        """Let go of the journal, and so of its lock."""
        if self._journal >= 0:
            os.close(self._journal)
            self._journal = -1

"""What will start, in which order, and when: the future played through with the one admission and
the one choice.

Pure.  It is assumed that every task succeeds at its first attempt and takes as long as it is told.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from orchestrator.model.admission import Ask, World, admit, standing_gates
from orchestrator.model.choice import Candidate, choose
from orchestrator.model.gates import Gate, InUse, Lane, Limits
from orchestrator.model.status import Status
from orchestrator.records import dataclass, field, replace

LONGEST = 3650 * 86400.0  # seconds that are played through


@dataclass(frozen=True, slots=True)
class Coming:
    """A task that waits: who asks, its place in the order, and how many seconds it will take."""

    candidate: Candidate
    ask: Ask
    seconds: float


@dataclass(frozen=True, slots=True)
class Going:
    """A task that runs, and in how many seconds it will end."""

    id: str
    lane: Lane
    left: float


@dataclass(frozen=True, slots=True)
class Start:
    """A task starts, and ends: moments in seconds since the epoch."""

    id: str
    lane: Lane
    at: float
    end: float


@dataclass(slots=True)
class Forecast:
    """Starts in their order, the ends of what runs, and what never starts, with the gates that stay
    closed."""

    starts: list[Start] = field(default_factory=list)
    ends: dict[str, float] = field(default_factory=dict)
    never: dict[str, list[Gate]] = field(default_factory=dict)


def forecast(waiting: Sequence[Coming], running: Sequence[Going], world: World) -> Forecast:
    """Play it through from ``world.now`` on; ``world.use`` counts what runs."""
    play = _Play(waiting, running, world)
    while play.step():
        pass
    return play.ending()


class _Play:
    """The state of the future at ``now``: what is ``left`` to start, when what runs ends, and who
    has ended how."""

    def __init__(self, waiting: Sequence[Coming], running: Sequence[Going], world: World) -> None:
        self.world, self.now, self.use = world, world.now, world.use.copy()
        self.left = {item.candidate.id: item for item in waiting}
        self.ends: list[tuple[float, str, Lane]] = [
            (world.now + max(item.left, 0.0), item.id, item.lane) for item in running
        ]
        self.status: dict[str, Status] = {item.candidate.id: Status.INBOX for item in waiting}
        self.status |= {item.id: Status.RUNNING for item in running}
        self.found = Forecast(ends={name: end for end, name, _ in self.ends})
        self.wake: list[float] = []

    def step(self) -> bool:
        """Start what may start now, and go to the next moment at which something changes; whether
        there is one."""
        limits, world = self._limits(), self._world()
        shut = [*limits.held.values(), *itertools.chain.from_iterable(limits.closed.values())]
        self.wake = [gate.until for gate in shut if gate.until is not None]
        for candidate in choose(self._lanes(world), limits, self.use):
            item = self.left.pop(candidate.id)
            end = self.now + item.seconds
            self.found.starts.append(Start(candidate.id, candidate.lane, self.now, end))
            self.ends.append((end, candidate.id, candidate.lane))
            self.status[candidate.id] = Status.RUNNING
            self.use.count(candidate.lane)
        if not self.left:
            return False
        moments = [end for end, _, _ in self.ends] + [at for at in self.wake if at > self.now]
        if not moments or min(moments) > self.world.now + LONGEST:
            return False
        self.now = max(min(moments), self.now)
        for entry in [entry for entry in self.ends if entry[0] <= self.now]:
            self.ends.remove(entry)
            self.status[entry[1]] = Status.DONE
            self.use.count(entry[2], -1)
        return True

    def ending(self) -> Forecast:
        """What was found; what is left never starts."""
        world = replace(self._world(), limits=self._limits(), use=InUse())
        for name, item in self.left.items():
            self.found.never[name] = admit(item.ask, world)
        return self.found

    def _world(self) -> World:
        known = self.world.status_of

        def status_of(task_id: str) -> Status | None:
            return self.status.get(task_id) or known(task_id)

        return replace(self.world, now=self.now, status_of=status_of)

    def _limits(self) -> Limits:
        limits = self.world.limits

        def lasts(gate: Gate) -> bool:
            return gate.until is None or gate.until > self.now

        held = {scope: gate for scope, gate in limits.held.items() if lasts(gate)}
        closed = {scope: tuple(filter(lasts, gates)) for scope, gates in limits.closed.items()}
        return replace(limits, held=held, closed=closed)

    def _lanes(self, world: World) -> dict[Lane, list[Candidate]]:
        found: dict[Lane, list[Candidate]] = {}
        for item in self.left.values():
            gates = standing_gates(item.ask, world)
            self.wake += [gate.until for gate in gates if gate.until is not None]
            if not gates:
                found.setdefault(item.candidate.lane, []).append(item.candidate)
        return {lane: sorted(candidates) for lane, candidates in found.items()}

"""``status --ahead``: what will start, in which order, when it will end, and what it will cost. A
pure read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.files import editing, eventreader, scan
from orchestrator.files.layout import Layout
from orchestrator.model.admission import Ask, Watching, World
from orchestrator.model.choice import Candidate
from orchestrator.model.forecast import Coming, Forecast, Going, forecast
from orchestrator.model.gates import Gate, GateName, Lane, in_held_gate
from orchestrator.model.journal import Journal, Phase
from orchestrator.model.run import Run
from orchestrator.model.status import Status
from orchestrator.model.units import timestamp
from orchestrator.queries.usage import percentile
from orchestrator.queries.world import Known, lane_of, request_of
from orchestrator.records import dataclass, field, replace

PAST = 2000  # attempts that are looked at
UNKNOWN = 60.0  # seconds, for what nobody has ever seen run
ACTING = (Phase.CLAIMED, Phase.DISPATCHED, Phase.STARTED, Phase.ENDED)


@dataclass(frozen=True, slots=True)
class Past:
    """What attempts have taken: seconds in order, and dollars on average."""

    seconds: Sequence[float] = ()
    dollars: float | None = None

    def takes(self, part: float) -> float | None:
        """A percentile of the seconds; None if there are none."""
        return percentile(list(self.seconds), part) if self.seconds else None


@dataclass(frozen=True, slots=True)
class Ahead:
    """One task. ``end`` is expected (the median of the past), ``late`` what it will be if
    everything takes as long as the slowest twentieth did; both None if nobody knows."""

    id: str
    agent: str
    start: float
    end: float | None
    late: float | None
    cost_usd: float | None

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        moments = {"start": self.start, "end_p50": self.end, "end_p95": self.late}
        told = {key: timestamp(at) if at is not None else None for key, at in moments.items()}
        return {"id": self.id, "agent": self.agent, **told, "cost_usd": self.cost_usd}


@dataclass(frozen=True, slots=True)
class View:
    """All of it: what starts, in order; what never will, with its gates; when the last one ends."""

    starts: list[Ahead] = field(default_factory=list)
    never: dict[str, list[Gate]] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)

    @property
    def end(self) -> float | None:
        """When the last one ends; None if that is not known."""
        moments = [item.end for item in self.starts]
        known = [moment for moment in moments if moment is not None] + list(self.running.values())
        return max(known) if known and None not in moments else None

    @property
    def late(self) -> float | None:
        """The same if everything is slow."""
        moments = [item.late for item in self.starts]
        known = [moment for moment in moments if moment is not None]
        return max(known) if known and None not in moments else None

    @property
    def cost_usd(self) -> float | None:
        """What all that is known to cost something comes to."""
        costs = [item.cost_usd for item in self.starts if item.cost_usd is not None]
        return sum(costs) if costs else None


def ahead(
    layout: Layout, now: float, slots: int | None = None, without: Iterable[str] = ()
) -> View:
    """What is to come; as it would be with so many ``slots``, and ``without`` these tools and
    agents."""
    known = Known(layout, now)
    past = _past(layout)
    found = list(_waiting(known, layout))
    runs = {run.id: run for run in _runs(known, found)}
    world = _world(known, runs, slots, without)
    median, slow = (_play(known, world, found, past, part) for part in (0.5, 0.95))
    late = {item.id: item.end for item in slow.starts}
    starts = []
    for item in median.starts:
        seen = _of(past, item.lane)
        sure = bool(seen.seconds)
        end = item.end if sure else None
        slowest = late.get(item.id) if sure else None
        starts.append(Ahead(item.id, item.lane.agent, item.at, end, slowest, seen.dollars))
    held = {task_id: [in_held_gate(task_id)] for task_id, _ in known.tasks_in(Status.HELD)}
    return View(starts, {**median.never, **held}, median.ends)


def _world(
    known: Known, runs: Mapping[str, Run], slots: int | None, without: Iterable[str]
) -> World:
    limits = known.limits_of(runs.values())
    if slots is not None:
        limits = replace(limits, running=slots)
    gone = {
        (kind, name): Gate(GateName.TOOL_HELD, f"without {name}", stuck=True)
        for name in without
        for kind in ("tool", "agent")
    }
    limits = replace(limits, held={**limits.held, **gone})
    return replace(
        known.world(Lane("", "")),
        run_of=lambda run_id: runs.get(run_id) or known.run_of(run_id),
        limits=limits,
        watching=Watching(),
    )


def _play(
    known: Known,
    world: World,
    found: Iterable[tuple[Ask, int]],
    past: Mapping[tuple[str, str], Past],
    part: float,
) -> Forecast:
    waiting = [
        Coming(
            Candidate(ask.task.rank, submitted, ask.task.id, ask.lane),
            ask,
            _of(past, ask.lane).takes(part) or UNKNOWN,
        )
        for ask, submitted in found
    ]
    running = [_going(journal, past, part, known.now) for journal in _acting(known)]
    return forecast(waiting, running, world)


def _acting(known: Known) -> Iterator[Journal]:
    return (journal for journal in known.journals if journal.phase in ACTING)


def _going(
    journal: Journal, past: Mapping[tuple[str, str], Past], part: float, now: float
) -> Going:
    lane, attempt = lane_of(journal), journal.attempt
    began = attempt.started.get("at", now) if attempt is not None else now
    takes = _of(past, lane).takes(part) or UNKNOWN
    return Going(journal.task_id, lane, max(0.0, began + takes - now))


def _waiting(known: Known, layout: Layout) -> Iterator[tuple[Ask, int]]:
    """Who asks to start, and since when (nanoseconds): files of the inbox, tasks of runs there, due
    retries."""
    for _, name in known.tasks_in(Status.INBOX):
        request = request_of(layout, Status.INBOX, name)
        if request is None or name in known.invalid:
            continue
        try:
            submitted = os.lstat(layout.file(Status.INBOX, name)).st_mtime_ns
        except OSError:
            continue
        verdict, held = known.verdicts.of(request, name), editing.held(layout.file("inbox", name))
        for task in request.tasks:
            yield Ask(task, known.in_force.lane(task), verdict.gate, held), submitted
    for journal in known.journals:
        if journal.phase is Phase.RETRYING:
            yield known.asks_again(journal), int(journal.claim.get("mtime_ns") or 0)


def _runs(known: Known, found: Iterable[tuple[Ask, int]]) -> Iterator[Run]:
    """The runs whose tasks wait, also those that are not accepted yet."""
    for run_id in {ask.task.run for ask, _ in found if ask.task.run}:
        run = known.run_of(run_id) or _offered(known.layout, run_id)
        if run is not None:
            yield run


def _offered(layout: Layout, run_id: str) -> Run | None:
    place = scan.locate(layout, run_id, (Status.INBOX,))
    request = request_of(layout, *place) if place is not None else None
    return request.run if request is not None else None


def _past(layout: Layout) -> dict[tuple[str, str], Past]:
    """What the last attempts took, by agent, by tool, and all together."""
    seconds: dict[tuple[str, str], list[float]] = {}
    dollars: dict[tuple[str, str], list[float]] = {}
    ends = eventreader.last(layout, PAST, lambda event: event.get("event") == "attempt_finished")
    for event in ends:
        for scope in (("agent", str(event.get("agent"))), ("tool", str(event.get("tool")))):
            if isinstance(event.get("duration_ms"), int | float):
                seconds.setdefault(scope, []).append(event["duration_ms"] / 1000)
            if isinstance(event.get("cost_usd"), int | float):
                dollars.setdefault(scope, []).append(float(event["cost_usd"]))
    return {
        scope: Past(
            sorted(seconds.get(scope, ())),
            sum(dollars[scope]) / len(dollars[scope]) if scope in dollars else None,
        )
        for scope in {*seconds, *dollars}
    }


def _of(past: Mapping[tuple[str, str], Past], lane: Lane) -> Past:
    return past.get(("agent", lane.agent)) or past.get(("tool", lane.tool)) or Past()

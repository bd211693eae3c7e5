"""When a watcher that is to leave an empty inbox may go, and what it says of what is left."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.clock import Clock
from orchestrator.coordination.asking import Asking
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.life import Life
from orchestrator.coordination.liveworld import LiveWorld
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.reviews import Reviews
from orchestrator.coordination.signals import Signals
from orchestrator.coordination.starts import Starts
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.files.layout import stem_of
from orchestrator.model.admission import Ask, Retry, World, admit, editing_gate, hopeless
from orchestrator.model.gates import Gate, GateName, limit_gates

TOLD_MOST = 20  # waiting tasks that are told


class Leaving:
    """Looks at what runs, what waits, and what has been told and not looked at yet."""

    def __init__(
        self,
        running: Mapping[str, Life],
        waitlist: Waitlist,
        starts: Starts,
        asking: Asking,
        replies: Replies,
        reviews: Reviews,
        liveworld: LiveWorld,
        health: Health,
        signals: Signals,
        hints: Hints,
        clock: Clock,
    ) -> None:
        self.running, self.waitlist, self.starts = running, waitlist, starts
        self.asking, self.replies, self.reviews = asking, replies, reviews
        self.liveworld, self.health, self.signals = liveworld, health, signals
        self.hints, self.clock = hints, clock

    def due(self, until_empty: bool) -> bool:
        """Whether the watcher goes now: it was told to, or nothing is left to do (``until_empty``,
        or once)."""
        if self.signals.leave:
            return True
        if self.health.lasting and (until_empty or self.starts.once or self.signals.draining):
            return not self._acting()
        if self.signals.draining:
            return not self._busy()
        if self.health.fault:
            return False
        if self.starts.once:
            self.starts.over = not self.waitlist.resting
            return self.starts.over and not self._goes_on() and not self._retries_to_come()
        return until_empty and self._nothing_to_do()

    def what_waits(self) -> list[tuple[str, list[Gate]]]:
        """Tasks that are left, and what each waits for."""
        world = self.liveworld.world()
        first = list(self.waitlist.tasks.waiting.values())[:TOLD_MOST]
        found = [(waiting.id, admit(self.waitlist.tasks.ask(waiting), world)) for waiting in first]
        found += [(life.id, self._gates(life, world)) for life in self._between()]
        found += [
            (stem_of(name), [editing_gate(why)]) for name, why in self.waitlist.later.open.items()
        ]
        return [
            (task_id, gates)
            for task_id, gates in found
            if gates and gates[0].name is not GateName.ONLY
        ]

    def _busy(self) -> bool:
        """Whether an attempt runs, and does not only wait for a person."""
        return any(
            life.retry_at is None and not self.asking.waits(life) for life in self.running.values()
        )

    def _acting(self) -> bool:
        """The same, of those whose attempt or check has not ended yet."""
        return any(
            life.handle is not None and not self.asking.waits(life)
            for life in self.running.values()
        )

    def _goes_on(self) -> bool:
        """The same, or whether it asks and will go on without an answer (``ask: 10m``)."""
        return self._busy() or any(
            life.retry_at is None and life.route.agent.role.ask != "person"
            for life in self.running.values()
        )

    def _nothing_to_do(self) -> bool:
        unsettled = (
            self._goes_on()
            or self.waitlist.resting
            or self.hints.any
            or self.replies.resting
            or self.reviews.busy
        )
        return not unsettled and not self._retries_to_come() and not self._starts_to_come()

    def _between(self) -> list[Life]:
        return [life for life in self.running.values() if life.retry_at is not None]

    def _retries_to_come(self) -> bool:
        """Whether another attempt will follow without a person's doing."""
        world = self.liveworld.world()
        return any(not hopeless(self._gates(life, world)) for life in self._between())

    def _starts_to_come(self) -> bool:
        """Whether one of the tasks that wait for nothing but limits will start without a person's
        doing."""
        world = self.liveworld.world()
        lanes = self.waitlist.tasks.ready.lanes
        return any(not hopeless(limit_gates(lane, world.limits, world.use)) for lane in lanes)

    def _gates(self, life: Life, world: World) -> list[Gate]:
        """What keeps the next attempt of a claimed task from starting."""
        due = world.now + max(0.0, (life.retry_at or 0.0) - self.clock.monotonic())
        return admit(Ask(life.task, life.lane, retry=Retry(life.attempt + 1, due)), world)


def summary(
    tally: Mapping[str, int], reviewed: int, lives: Collection[Life], waitlist: Waitlist
) -> str:
    """``12 done, 1 failed, 0 left running, 1 invalid``: how what was started ended, how many of
    them are in review, and what is left."""
    ended = {name: tally[name] for name in ("done", "failed", "cancelled")} | {"review": reviewed}
    counts = [f"{count} {name}" for name, count in ended.items() if count or name == "done"]
    left = sum(life.retry_at is None for life in lives)
    retrying = len(lives) - left
    rest = {
        "to be retried": retrying,
        "waiting": len(waitlist.tasks.waiting)
        + len(waitlist.runs.waiting)
        + len(waitlist.later.open),
        "invalid": len(waitlist.complaints.invalid),
    }
    more = "".join(f", {count} {name}" for name, count in rest.items() if count)
    return ", ".join(counts) + f", {left} left running{more}"

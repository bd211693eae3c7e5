"""When a watcher that is to leave an empty inbox may go, and what it says of what is left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from orchestrator.coordination.life import Life
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.files.layout import stem_of
from orchestrator.model.admission import Ask, Retry, World, admit, editing_gate, hopeless
from orchestrator.model.gates import Gate, GateName, limit_gates

TOLD_MOST = 20  # waiting tasks that are told


def retries_to_come(lives: Iterable[Life], world: World, monotonic: float) -> bool:
    """Whether another attempt will follow without a person's doing."""
    return any(
        not hopeless(admit(ask_again(life, world, monotonic), world))
        for life in lives
        if life.retry_at is not None
    )


def starts_to_come(waitlist: Waitlist, world: World) -> bool:
    """Whether one of the tasks that wait for nothing but limits will start without a person's doing."""
    return any(
        not hopeless(limit_gates(lane, world.limits, world.use)) for lane in waitlist.ready.lanes
    )


def what_waits(
    waitlist: Waitlist, lives: Iterable[Life], world: World, monotonic: float
) -> list[tuple[str, list[Gate]]]:
    """Tasks that are left, and what each waits for."""
    found = [
        (waiting.id, admit(waitlist.ask(waiting), world))
        for waiting in list(waitlist.waiting.values())[:TOLD_MOST]
    ]
    found += [
        (life.id, admit(ask_again(life, world, monotonic), world))
        for life in lives
        if life.retry_at is not None
    ]
    found += [(stem_of(name), [editing_gate(why)]) for name, why in waitlist.open.items()]
    return [
        (task_id, gates) for task_id, gates in found if gates and gates[0].name is not GateName.ONLY
    ]


def summary(tally: Mapping[str, int], lives: Collection[Life], waitlist: Waitlist) -> str:
    """``12 done, 1 failed, 0 left running, 1 invalid``: how what was started ended, and what is left."""
    counts = [
        f"{tally[name]} {name}"
        for name in ("done", "failed", "cancelled", "review")
        if tally[name] or name == "done"
    ]
    left = sum(life.retry_at is None for life in lives)
    retrying = len(lives) - left
    rest = {
        "to be retried": retrying,
        "waiting": len(waitlist.waiting) + len(waitlist.runs) + len(waitlist.open),
        "invalid": len(waitlist.invalid),
    }
    more = "".join(f", {count} {name}" for name, count in rest.items() if count)
    return ", ".join(counts) + f", {left} left running{more}"


def ask_again(life: Life, world: World, monotonic: float) -> Ask:
    """The next attempt of a claimed task, as admission sees it."""
    due = world.now + max(0.0, (life.retry_at or 0.0) - monotonic)
    return Ask(life.task, life.lane, retry=Retry(life.attempt + 1, due))

"""What runs next.  The choice is a pure function of what waits, what runs and the limits."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence

from orchestrator.model.gates import InUse, Lane, Limits, limit_gates
from orchestrator.records import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A task that could start now. The order of candidates is the order of choice: priority, age,
    id."""

    rank: int
    submitted: int  # nanoseconds since the epoch: when the file was last written
    id: str
    lane: Lane = field(compare=False)


def choose(
    lanes: Mapping[Lane, Sequence[Candidate]], limits: Limits, use: InUse, most: int = 1 << 30
) -> list[Candidate]:
    """The candidates to start now, first the most urgent.

    ``lanes`` holds them sorted; within a lane all are equal to the limits, so only the first of
    each lane that has room is looked at, and the cost does not depend on how many wait.
    """
    use = use.copy()
    position = dict.fromkeys(lanes, 0)
    chosen: list[Candidate] = []
    while len(chosen) < most:
        heads = [
            candidates[position[lane]]
            for lane, candidates in lanes.items()
            if position[lane] < len(candidates) and not limit_gates(lane, limits, use)
        ]
        if not heads:
            break
        best = min(heads)
        chosen.append(best)
        position[best.lane] += 1
        use.count(best.lane)
    return chosen


class Ready:
    """The candidates by lane, kept sorted as they come and go."""

    def __init__(self) -> None:
        self.lanes: dict[Lane, list[Candidate]] = {}
        self._by_id: dict[str, Candidate] = {}

    def add(self, candidate: Candidate) -> None:
        """Add a candidate; one with the same id is replaced."""
        self.remove(candidate.id)
        insort(self.lanes.setdefault(candidate.lane, []), candidate)
        self._by_id[candidate.id] = candidate

    def remove(self, task_id: str) -> None:
        """Take a candidate out, if it is there."""
        candidate = self._by_id.pop(task_id, None)
        if candidate is None:
            return
        lane = self.lanes[candidate.lane]
        place = bisect_left(lane, candidate)
        assert lane[place].id == task_id
        del lane[place]
        if not lane:
            del self.lanes[candidate.lane]

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._by_id

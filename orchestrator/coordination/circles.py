"""Tasks of several files that wait for each other: none of the files is wrong, and none of the
tasks ever starts."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.run import cycle, way_round

MOST = 10  # circles that are told of at one look


class Circles:
    """Finds them among the tasks that wait, each once."""

    def __init__(self) -> None:
        self._told: set[frozenset[str]] = set()

    def news(self, needs: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
        """A task of each circle that is new, and what is to be told of it. ``needs``: of every task
        that waits for others."""
        left, found = dict(needs), list[list[str]]()
        while len(found) < MOST and (circle := cycle(left)):
            found.append(circle)
            for task_id in circle:
                left.pop(task_id, None)
        news = [circle for circle in found if frozenset(circle) not in self._told]
        self._told = {frozenset(circle) for circle in found}
        return [(circle[0], words(circle)) for circle in news]


def words(circle: list[str]) -> str:
    """What is wrong, and what to do."""
    return f"these tasks wait for each other: {way_round(circle)}; remove one of them from needs:"

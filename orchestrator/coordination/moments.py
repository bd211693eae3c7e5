"""When each of many things is due: the next one is found without a look at all of them."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

AGAIN = 1.0  # seconds after which a name is due again of which nobody has said more
SLACK = 64  # moments that do not count any more, and are kept beside those that do


class Moments:
    """A moment (seconds of one clock) for each name."""

    def __init__(self) -> None:
        self._when: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # with some that do not count any more

    def put(self, name: str, when: float | None) -> None:
        """It is due then and at no other time; None: at no time."""
        if when is None:
            self._when.pop(name, None)
        elif self._when.get(name) != when:
            self._when[name] = when
            heappush(self._heap, (when, name))
            if len(self._heap) > 2 * len(self._when) + SLACK:
                self._heap = [(when, name) for name, when in self._when.items()]
                heapify(self._heap)

    def next(self) -> list[float]:
        """The first moment, if there is any."""
        while self._heap and self._when.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return [self._heap[0][0]] if self._heap else []

    def due(self, now: float) -> list[str]:
        """The names whose moment has come; they have none any more."""
        found = []
        while (first := self.next()) and first[0] <= now:
            name = heappop(self._heap)[1]
            del self._when[name]
            found.append(name)
        return found

    def due_until_told(self, now: float) -> list[str]:
        """The same; but they come again, until `put` says when they are due, or that they are
        not."""
        found = self.due(now)
        for name in found:
            self.put(name, now + AGAIN)
        return found

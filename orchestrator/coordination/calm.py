"""A flood of the same news is summed up: ten thousand lines hide the one that matters."""

from __future__ import annotations

from orchestrator.clock import Clock
from orchestrator.coordination.news import About, Listener, News, Remark, Stuck
from orchestrator.records import dataclass

MOST = 20  # news of one kind that are told one by one
PER_SECOND = 2.0  # how fast that allowance grows again
PAUSE = 1.0  # seconds without more of them, after which the rest is told as a number
LONGEST = 10.0  # seconds after which the number is told although more are coming
STUCK = "stuck"
WORDS = {
    About.INVALID: "{} more files are invalid; orchestrator status   names them",
    About.EDITING: "{} more files are still being written",
    About.FOREIGN: "{} more tasks were in running/ but never claimed here; orchestrator status",
    About.WARNED: "{} more warnings; orchestrator validate   prints them",
    STUCK: "{} more tasks wait for something; orchestrator list   says for what",
}


@dataclass(slots=True)
class _Kind:
    """``left`` of them were not told one by one since ``began``; the last came at ``last``."""

    allowed: float = MOST
    left: int = 0
    began: float = 0.0
    last: float = 0.0


class Calm:
    """Passes news on to a listener; of one kind that comes in great numbers only the first ones,
    then how many more there were."""

    def __init__(self, listener: Listener, clock: Clock) -> None:
        self._listener, self._clock = listener, clock
        self._kinds = {kind: _Kind() for kind in WORDS}

    def hear(self, news: News) -> None:
        kind = self._kinds.get(_kind_of(news))
        if kind is None or self._lets(kind):
            self._listener.hear(news)

    def _lets(self, kind: _Kind) -> bool:
        now = self._clock.monotonic()
        kind.allowed = min(MOST, kind.allowed + (now - kind.last) * PER_SECOND)
        kind.last = now
        if kind.left == 0 and kind.allowed >= 1:
            kind.allowed -= 1
            return True
        kind.began = kind.began if kind.left else now
        kind.left += 1
        return False

    def tell(self, all_: bool = False) -> None:
        """Say how many were not told one by one, if the flood is over (or ``all_``)."""
        now = self._clock.monotonic()
        for name, kind in self._kinds.items():
            if kind.left and (all_ or now >= _due(kind)):
                count, kind.left = kind.left, 0
                self._listener.hear(Remark(About.MORE, "", WORDS[name].format(f"{count:,}")))

    def next_look(self) -> list[float]:
        """When (monotonic) a flood that was not told of may be over."""
        return [_due(kind) for kind in self._kinds.values() if kind.left]


def _due(kind: _Kind) -> float:
    return min(kind.last + PAUSE, kind.began + LONGEST)


def _kind_of(news: News) -> About | str | None:
    if isinstance(news, Stuck):
        return STUCK
    return news.about if isinstance(news, Remark) else None

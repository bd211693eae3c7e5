"""What follows from how an attempt ended: another attempt, a finished folder, or a person's
decision."""

from __future__ import annotations

from orchestrator.model.failure import OTHER, Kind
from orchestrator.model.status import STATUS_OF_OUTCOME, Outcome, Status
from orchestrator.records import dataclass

PAUSE_MOST = 86400.0  # seconds; a provider that asks for more is not believed
PROBE_MOST = 3600.0  # seconds between looks whether a limit is over whose end nobody tells


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waiting times between attempts, in seconds: ``delay``, then ``factor`` times as long, up to
    ``max_delay``."""

    delay: float = 10.0
    factor: float = 2.0
    max_delay: float = 600.0

    def wait(self, tries: int) -> float:
        """Seconds to wait after the ``tries``-th failed attempt."""
        return min(self.max_delay, self.delay * self.factor ** min(tries - 1, 64))


def held_until(reset: float | None, now: float, times: int, policy: RetryPolicy) -> float:
    """Until when a tool is held whose limit is used up.

    ``reset`` is when the limit ends, as it was told (None: nobody says, or it lies in the past),
    ``times`` how often it was met since the tool last answered. Without an end the wait grows; it
    is never shorter than the policy's delay.
    """
    if reset is not None and reset > now:
        return max(reset, now + policy.delay)
    longest = max(policy.max_delay, PROBE_MOST)
    return now + max(
        policy.delay, min(longest, policy.delay * max(policy.factor, 2.0) ** min(times - 1, 64))
    )


@dataclass(frozen=True, slots=True)
class Retry:
    """Run it again, ``after`` seconds from now; with the next tool of the chain if
    ``fall_back``."""

    after: float
    fall_back: bool = False
    renew: bool = False  # a person asked for it: it counts as the first
    why: str = ""  # it follows an attempt that ended well


@dataclass(frozen=True, slots=True)
class Finish:
    """Move it to ``status``; ``reason`` says why when the outcome alone does not."""

    status: Status
    reason: str = ""
    plan: str = ""  # that waits for a yes


def decide(
    outcome: Outcome,
    tries: int,
    retries: int,
    policy: RetryPolicy,
    on_lost: str = "hold",
    may_retry: bool = True,
    failure: Kind = OTHER,
    chain_left: bool = False,
    pause: float = 0.0,
    lost: str = "its supervisor was killed",
) -> Retry | Finish:
    """The next step after an attempt.

    ``tries`` counts attempts with this tool, ``retries`` how many more than one are allowed;
    ``failure`` is what is known of this kind of failure, ``chain_left`` whether there is another
    tool that could act. A tool whose limit is used up is held: another one takes over, or the task
    waits for the limit's end, which costs it no retry. ``pause`` is how many seconds the provider
    asks to wait. A lost attempt (``lost`` says how) follows ``on_lost`` (``hold``, ``retry``,
    ``fail``): its work may be half done and paid for, so by default a person looks at it first.
    ``may_retry`` is False for failures that would repeat for certain.
    """
    if outcome is Outcome.LOST:
        if on_lost == "retry" and tries <= max(retries, 1):
            return Retry(policy.wait(tries))
        if on_lost == "hold":
            return Finish(
                Status.REVIEW,
                f"the attempt was lost: {lost}; its work may be half done",
            )
        return Finish(Status.FAILED, f"the attempt was lost: {lost}")
    if outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
        if failure.parks and not chain_left:
            return Retry(0.0)
        if may_retry and failure.retry and not failure.parks and tries <= retries:
            return Retry(max(policy.wait(tries), min(pause, PAUSE_MOST)))
        if failure.fallback and chain_left:
            return Retry(0.0, fall_back=True)
    return Finish(STATUS_OF_OUTCOME[outcome])

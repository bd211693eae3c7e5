"""What may not start beside single tasks: a tool, an agent, a run, or everything.

Each is one small file: ``@claude.yaml`` holds a tool, ``@agent.builder.yaml`` an agent,
``@run.release.yaml`` a run, ``@all.yaml`` everything. No id begins with ``@``. A tool whose name
would mean something else is ``@tool.<name>.yaml``. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.model.gates import Gate, GateName
from orchestrator.model.units import timestamp
from orchestrator.records import dataclass

Scope = tuple[str, str]  # what kind of thing, and its name; `ALL` for everything
KINDS = ("tool", "agent", "run")
ALL: Scope = ("", "")
MARK = "@"
SLACK = 2.0  # seconds by which a clock is corrected now and then
_GATES = {
    "tool": GateName.TOOL_HELD,
    "agent": GateName.AGENT_HELD,
    "run": GateName.RUN_HELD,
    "": GateName.ALL_HELD,
}


@dataclass(frozen=True, slots=True)
class Hold:
    """What one file says. ``path`` is for people; ``until`` and ``since`` are seconds since the
    epoch; ``problem`` is what is wrong with it: then it holds until it is mended."""

    scope: Scope
    path: str
    until: float | None = None
    since: float | None = None
    reason: str = ""
    problem: str = ""

    def ends(self, now: float) -> float | None:
        """When it ends; None if only a person ends it.

        A wait never becomes longer than it was to be: a clock that was set back would turn 20
        seconds into a month.
        """
        if self.problem or self.until is None:
            return None
        if self.since is None or self.since <= now + SLACK:
            return self.until
        return now + max(self.until - self.since, 0.0)

    def over(self, now: float) -> bool:
        """Whether its time has passed."""
        end = self.ends(now)
        return end is not None and end <= now


def scope_of(stem: str) -> Scope | None:
    """What a file of this name, without its suffix, holds; None if it is no such name."""
    name = stem[len(MARK) :] if stem.startswith(MARK) else ""
    if name == "all":
        return ALL
    kind, dot, rest = name.partition(".")
    if dot and kind in KINDS:
        return (kind, rest) if rest else None
    return ("tool", name) if name else None


def stem_of(scope: Scope) -> str:
    """The name, without its suffix, of the file that holds this."""
    kind, name = scope
    if scope == ALL:
        return f"{MARK}all"
    short = f"{MARK}{name}"
    return short if kind == "tool" and scope_of(short) == scope else f"{MARK}{kind}.{name}"


def words(scope: Scope) -> str:
    """What is held, in words: ``claude``, ``agent builder``, ``run release``, ``everything``."""
    kind, name = scope
    if scope == ALL:
        return "everything"
    return name if kind == "tool" else f"{kind} {name}"


def option(scope: Scope) -> str:
    """How the command line names it: ``--tool claude``, ``--all``."""
    return "--all" if scope == ALL else f"--{scope[0]} {scope[1]}"


def gate(hold: Hold, now: float) -> Gate:
    """The closed gate of a hold that is not over."""
    what, name = words(hold.scope), _GATES[hold.scope[0]]
    hint = f"orchestrator release {option(hold.scope)}"
    if hold.problem:
        why = f"{what} is held: {hold.path} {hold.problem}"
        return Gate(name, why, f"mend {hold.path}, or {hint}", stuck=True)
    end = hold.ends(now)
    moment = f" until {timestamp(end)[:16]}Z" if end is not None else ""
    why = f"{what} is held{moment}: {hold.reason or 'no reason given'}"
    return Gate(name, why, hint, until=end, stuck=end is None)


def gates(holds: Iterable[Hold], now: float) -> dict[Scope, Gate]:
    """The gate of everything that is held now. Of several holds of one thing the one that lasts
    longest counts."""
    found: dict[Scope, Gate] = {}
    for hold in holds:
        if hold.over(now):
            continue
        new, known = gate(hold, now), found.get(hold.scope)
        if known is None or _last(new) > _last(known):
            found[hold.scope] = new
    return found


def _last(closed: Gate) -> float:
    return float("inf") if closed.until is None else closed.until

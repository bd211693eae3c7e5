"""Figures for a collector, in Prometheus' text format: what is so now, and what has been counted
since the log began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.model.status import FOLDERS, Status
from orchestrator.queries.overview import Overview
from orchestrator.queries.usage import Index
from orchestrator.records import dataclass, field

KINDS = ("input", "cached", "cache_write", "output", "reasoning")
TOTALS = """SELECT agent, tool, model, outcome, count(*), sum(cost_usd), sum(duration_ms), sum(input_tokens),
  sum(cached_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens)
  FROM events WHERE event = 'attempt_finished' GROUP BY agent, tool, model, outcome"""


@dataclass(slots=True)
class Family:
    """One metric: its name, what it is, and its samples with their labels."""

    name: str
    kind: str
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float, /, **labels: str) -> None:
        """One more sample."""
        self.samples.append((labels, value))

    def lines(self) -> Iterable[str]:
        """As the format has it."""
        yield f"# HELP {self.name} {_escaped(self.help)}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield (
                f"{self.name}{{{pairs}}} {_number(value)}"
                if pairs
                else f"{self.name} {_number(value)}"
            )


def text(view: Overview, index: Index, project: str) -> str:
    """The whole page; every sample carries the project's name."""
    families = [*_now(view, project), *_counted(index, project)]
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _now(view: Overview, project: str) -> list[Family]:
    card = view.watcher
    tasks = Family("orchestrator_tasks", "gauge", "Tasks by status.")
    for status in FOLDERS:
        if status is not Status.ARCHIVE:
            tasks.add(view.counts.get(status, 0), project=project, status=status.word)
    tasks.add(len(view.invalid), project=project, status="invalid")
    up = Family("orchestrator_watcher_up", "gauge", "Whether a watcher runs and answers.")
    up.add(float(card is not None and card.answers), project=project)
    needs = Family("orchestrator_needs_you", "gauge", "What waits for a person, by kind.")
    kinds = [need.kind for need in view.needs]
    for kind in ("asks", "review", "failed", "invalid", "held", "budget"):
        needs.add(kinds.count(kind), project=project, kind=kind)
    held = Family("orchestrator_held", "gauge", "Holds other than those of single tasks.")
    for scope_kind, name in view.held:
        held.add(1, project=project, scope=scope_kind or "all", name=name)
    return [tasks, up, needs, held]


def _counted(index: Index, project: str) -> list[Family]:
    attempts = Family("orchestrator_attempts_total", "counter", "Attempts that ended, by outcome.")
    dollars = Family("orchestrator_cost_usd_total", "counter", "What attempts cost, in US dollars.")
    seconds = Family("orchestrator_attempt_seconds_total", "counter", "How long attempts took.")
    tokens = Family("orchestrator_tokens_total", "counter", "Tokens of attempts, by kind.")
    for agent, tool, model, outcome, count, cost, milliseconds, *used in index.execute(TOTALS):
        labels = {"agent": agent or "", "tool": tool or "", "model": model or ""}
        labels = {"project": project, **labels, "outcome": outcome or ""}
        attempts.add(count, **labels)
        dollars.add(cost or 0.0, **labels)
        seconds.add((milliseconds or 0) / 1000, **labels)
        for kind, amount in zip(KINDS, used, strict=True):
            if amount:
                tokens.add(amount, **labels, kind=kind)
    return [attempts, dollars, seconds, tokens]


def _escaped(text_: str) -> str:
    return text_.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 6))

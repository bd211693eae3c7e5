"""A task: one piece of work for one agent, as its file describes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.model import chain as chain_model
from orchestrator.model.units import duration, when
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    from orchestrator.model.chain import FollowUp

PRIORITIES = {"high": 0, "normal": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class Task:
    """What a task file asks for. Times are seconds, moments seconds since the epoch; None means
    "not said"."""

    id: str
    prompt: str = ""
    prompt_file: str | None = None
    title: str = ""
    agents: tuple[str, ...] = ()
    tool: str | None = None
    model: str | None = None
    mode: str = "batch"
    context: tuple[str, ...] = ()
    cwd: str | None = None
    timeout: float | None = None
    silence: float | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    result_schema: str = ""
    retries: int | None = None
    priority: str = "normal"
    needs: tuple[str, ...] = ()
    ends: Mapping[str, str] = field(default_factory=dict)  # of needs whose end is not to be done
    run: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    hold: bool = False
    not_before: float | None = None
    labels: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    isolation: str = ""  # "worktree": a tree of its own, also where the configuration asks for none
    review: str = ""  # always, or changed: a person looks at it, also where its role asks for none
    plan: bool = False  # it plans first, and goes on when its plan is approved
    verify: tuple[str, ...] = ()  # checks beside those of the role
    sandbox: str = ""  # at least this level, whatever its role says
    locks: tuple[str, ...] = ()  # tasks that name one word never run together
    then: tuple[FollowUp, ...] = ()  # what follows its end
    chain: tuple[str, ...] = ()  # the tasks that led to it, the first one first
    depth: int | None = None  # how many may follow one another from its first one on
    base: str = ""  # what its tree begins from: a commit or a branch
    grows_from: str = ""  # the task from whose branch it begins instead
    on: str = ""  # where it is executed, of what the configuration names
    template: Mapping[str, Any] | None = None  # what its template said, filled
    notes: tuple[str, ...] = ()  # what became of keys of an older format

    @property
    def agent(self) -> str | None:
        """The role that acts first; None if the file does not say."""
        return self.agents[0] if self.agents else None

    @property
    def low(self) -> bool:
        """Whether it is less urgent than others."""
        return self.rank > PRIORITIES["normal"]

    @property
    def rank(self) -> int:
        """0 is first."""
        return PRIORITIES[self.priority]


def task_from(task_id: str, data: Mapping[str, Any], notes: tuple[str, ...] = ()) -> Task:
    """The task in a mapping that fits ``task.schema.json``."""
    prompt = data.get("prompt", "")
    return Task(
        id=task_id,
        prompt=prompt,
        prompt_file=data.get("prompt_file"),
        title=data.get("title") or first_line(prompt) or data.get("prompt_file") or _use(data),
        agents=_listed(data.get("agent")),
        tool=data.get("tool"),
        model=data.get("model"),
        mode=data.get("mode", "batch"),
        context=tuple(data.get("context", ())),
        cwd=data.get("cwd"),
        timeout=duration(data["timeout"]) if "timeout" in data else None,
        silence=duration(data["silence"]) if "silence" in data else None,
        max_cost=data.get("max_cost_usd"),
        max_tokens=data.get("max_tokens"),
        result_schema=(data.get("result") or {}).get("schema", ""),
        retries=data.get("retries"),
        priority=data.get("priority", "normal"),
        needs=tuple(dict.fromkeys((*data.get("needs", ()), *_grown(data)))),
        ends=_ends(data),
        run=data.get("run"),
        env=data.get("env", {}),
        hold=data.get("hold", False),
        not_before=when(data["not_before"]) if "not_before" in data else None,
        labels=tuple(data.get("labels", ())),
        artifacts=tuple(data.get("artifacts", ())),
        isolation=data.get("isolation", ""),
        review=data.get("review", ""),
        plan=data.get("plan", False),
        verify=tuple(data.get("verify", ())),
        sandbox=data.get("sandbox", ""),
        locks=tuple(data.get("locks", ())),
        then=chain_model.follow_ups(data),
        chain=tuple(data.get("chain", ())),
        depth=data.get("depth"),
        base=data["base"] if isinstance(data.get("base"), str) else "",
        grows_from=next(_grown(data), ""),
        on=data.get("on", ""),
        notes=notes,
    )


def _ends(data: Mapping[str, Any]) -> Mapping[str, str]:
    """``{build: failed}``: the needs of which another end than done is waited for; of the task that
    it grows from a proven one."""
    needs = data.get("needs", ())
    ends = {task_id: "proven" for task_id in _grown(data) if task_id not in needs}
    if isinstance(needs, Mapping):
        ends |= {need: end for need, end in needs.items() if end != "done"}
    return ends


def _grown(data: Mapping[str, Any]) -> Iterator[str]:
    """The task of ``base: {task: ...}``."""
    base = data.get("base")
    if isinstance(base, Mapping) and base.get("task"):
        yield str(base["task"])


def _use(data: Mapping[str, Any]) -> str:
    """The title of a task of which only the template and its values are known."""
    values = " ".join(f"{name}={value}" for name, value in (data.get("with") or {}).items())
    return first_line(f"{data.get('use', '')} {values}".strip())


def _listed(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return () if value is None else tuple(value)


def first_line(text: str, limit: int = 100) -> str:
    """The first line with something in it, without Markdown's heading signs, cut to ``limit``
    characters."""
    for line in text.splitlines():
        line = line.strip().lstrip("#").strip()
        if line:
            return line if len(line) <= limit else line[: limit - 1] + "…"
    return ""

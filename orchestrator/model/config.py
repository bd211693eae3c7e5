"""``orchestrator.yaml``: what a person allows and prefers.  Trusted, unlike task files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.model.budget import Budgets, budget_from
from orchestrator.model.chain import DEPTH, FollowUp, follow_ups
from orchestrator.model.gates import Limits
from orchestrator.model.isolation import Check, Role, Trees, checks_from, role_from, trees_from
from orchestrator.model.policy import RetryPolicy
from orchestrator.model.units import DAY, duration, share
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    from orchestrator.model.schedule import Schedule
    from orchestrator.model.template import Template

DEFAULT_TIMEOUT = 1800.0
HOOK_TIMEOUT = 10.0
IN_FLIGHT = 50  # attempts that a distributor of `distributors` has at once
REDACTED = (
    "*_KEY",
    "*_TOKEN",
    "*_SECRET",
    "*_PASSWORD",
    "*_CREDENTIALS",
)  # environment variables whose values logs do not keep


@dataclass(frozen=True, slots=True)
class Agent:
    """A role: which tool acts for it, and with what. ``command`` is the argv of the ``shell`` tool,
    ``instructions`` a file of the project or, for a Markdown profile, the text itself in
    ``profile``."""

    name: str
    tools: tuple[str, ...]  # the first acts, the others are what to fall back to
    model: str | None = None
    command: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    silence: float | None = None
    instructions: str = ""
    profile: str = ""
    guide: str | None = (
        None  # what the file says, as it was read with the settings; None: it could not be read
    )
    context: tuple[str, ...] = ()
    permissions: str = "default"
    role: Role = Role()
    secrets: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # the commands that print them
    then: tuple[FollowUp, ...] = ()  # what follows every task of it
    on: str = ""  # where its attempts are executed (`model.place`)

    @property
    def tool(self) -> str:
        """The tool that acts first."""
        return self.tools[0]


@dataclass(frozen=True, slots=True)
class Model:
    """A model: prices in US dollars for a million tokens (None: not known), and what each tool
    calls it."""

    name: str
    input: float | None = None
    cached: float | None = None
    output: float | None = None
    cache_write: float | None = None
    context: int | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)

    def cost(self, usage: Mapping[str, int]) -> float | None:
        """An estimate for these tokens; None without prices."""
        if self.input is None or self.output is None or not usage:
            return None
        cached = min(usage.get("cached", 0), usage.get("input", 0))
        price = self.input if self.cached is None else self.cached
        written = min(usage.get("cache_write", 0), usage.get("input", 0) - cached)
        fresh = usage.get("input", 0) - cached - written
        written_price = self.input if self.cache_write is None else self.cache_write
        return (
            fresh * self.input
            + cached * price
            + written * written_price
            + usage.get("output", 0) * self.output
        ) / 1e6


@dataclass(frozen=True, slots=True)
class ModelRule:
    """``policy.models``: the model of tasks that name none and fit every condition that is set."""

    model: str
    labels: frozenset[str] = frozenset()
    agent: str = ""
    tool: str = ""
    prompt_under: int | None = None
    priority: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """A command that is told of events: of these kinds (empty: all) that put a task into one of
    these folders (empty: any)."""

    run: tuple[str, ...]
    on: frozenset[str] = frozenset()
    status: frozenset[str] = frozenset()
    timeout: float = HOOK_TIMEOUT

    def wants(self, event: Mapping[str, Any]) -> bool:
        return (not self.on or event.get("event") in self.on) and (
            not self.status or event.get("status") in self.status
        )


@dataclass(frozen=True, slots=True)
class PaneConfig:
    """What the pane does to its terminal: ``title`` a badge, ``bell`` on failures and questions,
    ``windows`` of tmux for interactive tasks; ``keys`` can be typed, and what they show opens in a
    ``split`` or a ``popup`` of tmux or ``here``."""

    title: bool = True
    bell: bool = True
    windows: bool = True
    keys: bool = True
    open: str = "split"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything ``orchestrator.yaml`` says, with the defaults filled in. Durations are seconds."""

    limits: Limits = Limits()
    default_agent: str = "demo"
    default_timeout: float = DEFAULT_TIMEOUT
    default_retries: int = 0
    default_silence: float | None = None
    models: Mapping[str, Model] = field(default_factory=dict)
    model_rules: tuple[ModelRule, ...] = ()
    budgets: Budgets = Budgets()
    agents: Mapping[str, Agent] = field(default_factory=dict)
    shell_allow: tuple[str, ...] = ()
    disabled_tools: frozenset[str] = frozenset()
    pass_env: tuple[str, ...] = ()
    task_env: tuple[str, ...] = ()  # names that task files may set, beside ORCHESTRATOR_VAR_*
    max_timeout: float = DAY  # the longest time limit of an attempt, whatever a task asks for
    redact: tuple[str, ...] = REDACTED
    interrupt_grace: float = 10.0
    result_grace: float = 10.0
    terminate_grace: float = 5.0
    log_limit: int = 256 * 1024 * 1024
    on_log_limit: str = "end"
    retry: RetryPolicy = RetryPolicy()
    on_lost: str = "hold"
    from_git: str = (
        "hold"  # hold | run | trusted: then `trusted` is a remote branch such as origin/main
    )
    trusted: str = ""
    rescan: float = 5.0
    quiet: float = 0.2
    notify: str = "auto"
    reload: str = "idle"
    prompts_in_events: bool = False
    distributor: str = "direct"
    distributors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tool_places: Mapping[str, str] = field(default_factory=dict)  # `on` of tools
    pane: PaneConfig = PaneConfig()
    hooks: tuple[Hook, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)  # profiles that are wrong, and why
    called: Mapping[str, str] = field(default_factory=dict)  # `name:` in a profile -> the agent
    depth: int = DEPTH  # how many tasks may follow one another
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    templates: Mapping[str, Template] = field(default_factory=dict)
    isolation: str = "none"
    review: str = ""  # of roles that do not say
    trees: Trees = Trees()
    checks: Mapping[str, Check] = field(default_factory=dict)


def config_from(data: Mapping[str, Any] | None) -> Config:
    """The configuration in a mapping that fits ``config.schema.json`` (None or empty: all
    defaults)."""
    base, data = Config(), defaultdict(dict, data or {})
    limits, defaults, tools = data["limits"], data["defaults"], data["tools"]
    cancel, environment, watch = data["cancel"], data["environment"], data["watch"]
    from_git, trusted = _from_git(data.get("from_git", base.from_git))
    return Config(
        # what runs
        limits=_limits(limits, data["distributors"]),
        max_timeout=_seconds(limits, "timeout", base.max_timeout),
        log_limit=int(limits.get("log_mb", base.log_limit / 2**20) * 2**20),
        on_log_limit=limits.get("on_log_limit", base.on_log_limit),
        depth=limits.get("depth", base.depth),
        budgets=_budgets(data["budgets"]),
        retry=_retry(data["retry"], base.retry),
        on_lost=data.get("on_lost", base.on_lost),
        result_grace=_seconds(cancel, "result_grace", base.result_grace),
        interrupt_grace=_seconds(cancel, "interrupt_grace", base.interrupt_grace),
        terminate_grace=_seconds(cancel, "terminate_grace", base.terminate_grace),
        # who acts
        agents={name: agent_from(name, body or {}) for name, body in data["agents"].items()},
        default_agent=defaults.get("agent", base.default_agent),
        default_timeout=_seconds(defaults, "timeout", base.default_timeout),
        default_retries=defaults.get("retries", 0),
        default_silence=duration(defaults["silence"]) if "silence" in defaults else None,
        models={name: Model(name, **(body or {})) for name, body in data["models"].items()},
        model_rules=tuple(map(_model_rule, data["policy"].get("models", ()))),
        shell_allow=tuple((tools.get("shell") or {}).get("allow", ())),
        disabled_tools=frozenset(
            name for name, body in tools.items() if (body or {}).get("enabled") is False
        ),
        # where, and with what
        distributor=data.get("distributor", base.distributor),
        distributors=data["distributors"],
        tool_places={name: body["on"] for name, body in tools.items() if body and body.get("on")},
        isolation=data.get("isolation", base.isolation),
        trees=trees_from(data["trees"]),
        checks=checks_from(data["checks"]),
        review=data.get("review", ""),
        pass_env=tuple(environment.get("pass", ())),
        task_env=tuple(environment.get("tasks", ())),
        redact=(*REDACTED, *environment.get("redact", ())),
        from_git=from_git,
        trusted=trusted,
        # what is watched, told and shown
        rescan=_seconds(watch, "rescan", base.rescan),
        quiet=_seconds(watch, "quiet", base.quiet),
        notify=watch.get("notify", base.notify),
        reload=watch.get("reload", base.reload),
        prompts_in_events=data["events"].get("prompts", False),
        pane=PaneConfig(**data["pane"]),
        hooks=tuple(map(_hook, data.get("hooks", ()))),
    )


def _seconds(section: Mapping[str, Any], key: str, default: float) -> float:
    return duration(section[key]) if key in section else default


def _limits(data: Mapping[str, Any], distributors: Mapping[str, Any]) -> Limits:
    base = Limits()
    return Limits(
        data.get("running", base.running),
        data.get("per_agent", {}),
        data.get("per_tool", {}),
        asking=data.get("asking", base.asking),
        reserve={name: share(text) for name, text in data.get("reserve", {}).items()},
        in_flight={
            name: (body or {}).get("in_flight", IN_FLIGHT) for name, body in distributors.items()
        },
    )


def _retry(data: Mapping[str, Any], base: RetryPolicy) -> RetryPolicy:
    return RetryPolicy(
        _seconds(data, "delay", base.delay),
        data.get("factor", base.factor),
        _seconds(data, "max_delay", base.max_delay),
    )


def _model_rule(rule: Mapping[str, Any]) -> ModelRule:
    return ModelRule(**{**rule, "labels": frozenset(rule.get("labels", ()))})


def _hook(body: Mapping[str, Any]) -> Hook:
    on, status = frozenset(body.get("on", ())), frozenset(body.get("status", ()))
    return Hook(tuple(body["run"]), on, status, _seconds(body, "timeout", HOOK_TIMEOUT))


def _from_git(said: Any) -> tuple[str, str]:
    """``hold``, ``run`` or ``trusted``, and the remote branch that is trusted."""
    return ("trusted", said["trusted"]) if isinstance(said, Mapping) else (said, "")


def _budgets(data: Mapping[str, Any]) -> Budgets:
    agents = {name: budget_from(body) for name, body in data.get("agents", {}).items()}
    return Budgets(
        budget_from(data.get("day")),
        agents,
        budget_from(data.get("run")),
        budget_from(data.get("task")),
        data.get("on_hard") == "cancel",
        data.get("unknown_usd"),
    )


def agent_from(name: str, body: Mapping[str, Any], profile: str = "") -> Agent:
    """The agent in a mapping that fits ``agents`` in ``config.schema.json``."""
    tool = body.get("tool", name)
    return Agent(
        name=name,
        tools=(tool,) if isinstance(tool, str) else tuple(tool),
        model=body.get("model"),
        command=tuple(body.get("command", ())),
        timeout=duration(body["timeout"]) if "timeout" in body else None,
        retries=body.get("retries"),
        env=body.get("env", {}),
        description=body.get("description", ""),
        silence=duration(body["silence"]) if "silence" in body else None,
        instructions=body.get("instructions", ""),
        profile=profile,
        context=tuple(body.get("context", ())),
        permissions=body.get("permissions", "default"),
        role=role_from(body),
        secrets={name: tuple(item["command"]) for name, item in body.get("secrets", {}).items()},
        then=follow_ups(body),
        on=body.get("on", ""),
    )

"""From a task to what will act: agent, tool, model, limits.  Pure, and able to say why."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.files import schemas
from orchestrator.model import config as config_model
from orchestrator.model import gates, isolation
from orchestrator.model import task as task_model
from orchestrator.model.place import DIRECT, Place, places_of
from orchestrator.model.sandbox import NEVER, PERMISSIONS, Bounds, Sandbox, at_least, within
from orchestrator.patterns import regex
from orchestrator.records import dataclass, replace
from orchestrator.tools import levels, planning, taskenv
from orchestrator.tools.protocols import CLIENTS

if TYPE_CHECKING:
    from orchestrator.model.config import Config
    from orchestrator.tools.specs import ToolSpec


# A shell or Python, and options only: no script of its own, neither by -c nor as a file.
_READS_SCRIPT = regex(
    r"(?:\S*/)?(?:(?:a|ba|da|fi|k|mk|z)?sh|python[\d.]*)"
    r"(?: [-+][abd-zA-Z]*o [a-z]+| --[a-z-]+| [-+][abd-zA-Z]*)*"
)


@dataclass(frozen=True, slots=True)
class Route:
    """What will act for a task.  Times are in seconds; ``why`` explains the choice to people.

    ``model`` is the model's name here, ``model_name`` what the tool calls it.
    """

    agent: config_model.Agent
    tool: ToolSpec
    model: str | None
    timeout: float
    retries: int
    why: str
    mode: str = "batch"
    silence: float | None = None
    model_name: str | None = None
    edits: bool = False  # whether it is an agent that changes files
    isolated: bool = False  # whether it works in a tree of its own
    checks: tuple[str, ...] = ()  # that prove its work
    sandbox: Sandbox = Sandbox()
    place: Place = DIRECT

    def lane(self, task: task_model.Task) -> gates.Lane:
        """What the limits count it as."""
        turn = {isolation.CHECKOUT} if self.edits and not self.isolated else set()
        locks = sorted({*task.locks, *self.agent.role.locks, *turn})
        run = task.run or ""
        on = self.place.lane
        return gates.Lane(self.agent.name, self.tool.name, run, tuple(locks), task.low, on)


class RouteProblem(Exception):
    """The task asks for something that is not configured. ``key`` is the key of the task that asks
    for it."""

    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.key, self.message, self.hint = key, message, hint


def absent_tools(role: config_model.Agent, tools: Mapping[str, ToolSpec]) -> list[str]:
    """The tools that a role names and that are not there."""
    return [name for name in role.tools if name not in tools]


def agent_names(config: Config, tools: Mapping[str, ToolSpec]) -> list[str]:
    """Every name that ``agent:`` accepts: configured agents, and tools that may be used
    directly."""
    free = {
        name
        for name in tools
        if name not in config.disabled_tools and (name != "shell" or config.shell_allow)
    }
    return sorted({*config.agents, *free})


def _instead(name: str, known: list[str], config: Config, tools: Mapping[str, ToolSpec]) -> str:
    """What a hint offers for an unknown agent: those that are configured, or whose program is
    installed."""
    usable = sorted({*config.agents, *agents_at_hand(config, tools)})
    near = schemas.did_you_mean(name, usable)
    if not near and (near := schemas.did_you_mean(name, known)):
        near = f"{near} (it is not installed here)"
    return f"{near} agents here: {', '.join(usable)}".strip()


def agents_at_hand(config: Config, tools: Mapping[str, ToolSpec]) -> list[str]:
    """Those of `agent_names` that can act: the program of their first tool is there."""
    first = {
        name: config.agents[name].tool if name in config.agents else name
        for name in agent_names(config, tools)
    }
    return [name for name, tool in first.items() if tool in tools and tools[tool].at_hand]


def missing(task: task_model.Task, config: Config, tools: Mapping[str, ToolSpec]) -> str:
    """``'claude' is not installed here``, if no tool of the task's chain has its program here: it
    would fail as soon as it starts.

    Raises `RouteProblem`.
    """
    chain = routes(task, config, tools)
    if not chain or any(route.tool.at_hand for route in chain):
        return ""
    first = chain[0].tool
    what = f"the package '{first.module}'" if first.module else f"'{first.argv[0]}'"
    needs = "" if what == f"'{first.name}'" else f", and {first.name} needs it"
    return f"{what} is not installed here{needs}"


def routes(
    task: task_model.Task, config: Config, tools: Mapping[str, ToolSpec]
) -> tuple[Route, ...]:
    """The one place where agent, tool and model are chosen: what acts first, then what to fall back
    to.

    A list of agents in the task comes before the list of tools of each agent. Raises
    `RouteProblem`.
    """
    names = task.agents or (config.default_agent,)
    return tuple(
        _route(task, config, tools, name, tool_name)
        for name in names
        for tool_name in ([task.tool] if task.tool else _agent(task, config, tools, name).tools)
    )


def route(task: task_model.Task, config: Config, tools: Mapping[str, ToolSpec]) -> Route:
    """What acts first; the whole chain is checked."""
    return routes(task, config, tools)[0]


def silence_of(agent: config_model.Agent, tool: ToolSpec, config: Config) -> float | None:
    """How long an agent may print nothing, in seconds: what a person has set, nearest first, else
    what its built-in spec says.

    ``None``: for ever, as the silence of a command such as ``make`` tells nothing; the time limit
    ends it all the same.
    """
    own, built_in = (None, tool.silence) if tool.built_in else (tool.silence, None)
    return agent.silence or own or config.default_silence or built_in


def _agent(
    task: task_model.Task, config: Config, tools: Mapping[str, ToolSpec], name: str
) -> config_model.Agent:
    """The role of this name, or a tool that is named in place of one."""
    agent = config.agents.get(name)
    if agent is not None:
        return agent
    if name in tools and name not in config.disabled_tools:
        return config_model.Agent(name, (name,))
    source = "" if task.agents else " (defaults.agent in orchestrator.yaml)"
    unknown = f"unknown agent '{name[:60]}'{source}"
    if wrong := config.left_out.get(name):
        raise RouteProblem("agent", f"the profile of the agent '{name[:60]}' is wrong", wrong)
    if found := config.called.get(name):
        hint = f"work/agents/{found}.md calls itself so, but the file's name counts: '{found}'"
        raise RouteProblem("agent", unknown, hint)
    known = agent_names(config, tools)
    raise RouteProblem("agent", unknown, _instead(name, known, config, tools))


def _tool(
    task: task_model.Task, config: Config, tools: Mapping[str, ToolSpec], name: str
) -> ToolSpec:
    """The tool of this name, if it is known and may be used."""
    tool = tools.get(name)
    if tool is not None and name not in config.disabled_tools:
        return tool
    state = "is switched off in orchestrator.yaml" if tool else "is unknown"
    usable = sorted(set(tools) - config.disabled_tools)
    hint = f"{schemas.did_you_mean(name, usable)} known: {', '.join(usable)}".strip()
    key = "tool" if task.tool else "agent"
    raise RouteProblem(key, f"the tool '{name[:60]}' {state}", hint)


def _route(
    task: task_model.Task, config: Config, tools: Mapping[str, ToolSpec], name: str, tool_name: str
) -> Route:
    """One link of the chain: this agent, by this tool."""
    role = _agent(task, config, tools, name)
    tool = _tool(task, config, tools, tool_name)
    agent = _for_tool(role, task)
    _refuse(task, config, tools, agent, tool)
    model, because = _model(task, config, agent, tool)
    known = config.models.get(model or "")
    return Route(
        agent,
        tool,
        model,
        _timeout(task, config, agent, tool),
        _retries(task, config, agent),
        _chosen(task, name, tool_name, model, because),
        task.mode,
        _silence(task, config, agent, tool),
        model_name=known.aliases.get(tool_name, model) if known else model,
        edits=edits(agent, tool),
        isolated=isolated(task, agent, tool, config),
        checks=_checks(task, agent, config),
        sandbox=at_least(agent.role.sandbox, task.sandbox),
        place=_place(task, config, agent, tool),
    )


def _refuse(
    task: task_model.Task,
    config: Config,
    tools: Mapping[str, ToolSpec],
    agent: config_model.Agent,
    tool: ToolSpec,
) -> None:
    """What this task may not ask of this agent and this tool: raises `RouteProblem`."""
    interactive = task.mode == "interactive"
    if wrong := taskenv.refusal(task.env, agent, tool, config):
        raise RouteProblem("env", *wrong)
    if wrong := levels.refusal(tool, agent.permissions, interactive):
        raise RouteProblem("agent", *wrong)
    if (task.plan or agent.role.plan) and (wrong := planning.refusal(tool, task.mode)):
        raise RouteProblem("plan" if task.plan else "agent", *wrong)
    if interactive and not tool.interactive:
        able = sorted(name for name, spec in tools.items() if spec.interactive)
        what = f"the tool '{tool.name[:60]}' has no interactive form"
        raise RouteProblem("mode", what, f"those that have one: {', '.join(able)}")
    if tool.adapter == "shell" and not interactive:
        _check_shell(task, agent, config)


def _timeout(
    task: task_model.Task, config: Config, agent: config_model.Agent, tool: ToolSpec
) -> float:
    """How long an attempt may take, in seconds: what is said nearest, within the limit for all."""
    said = task.timeout or agent.timeout or tool.timeout or config.default_timeout
    return min(said, config.max_timeout)


def _retries(task: task_model.Task, config: Config, agent: config_model.Agent) -> int:
    said = (task.retries, agent.retries)
    return next((value for value in said if value is not None), config.default_retries)


def _silence(
    task: task_model.Task, config: Config, agent: config_model.Agent, tool: ToolSpec
) -> float | None:
    """How long it may print nothing. A person may think for as long as they like: only a limit of
    the task itself holds on a terminal."""
    if task.mode == "interactive":
        return task.silence
    return task.silence or silence_of(agent, tool, config)


def _chosen(task: task_model.Task, name: str, tool: str, model: str | None, because: str) -> str:
    """Who has chosen what, for people."""
    by = f"agent {name} ({'task' if task.agents else 'default'})"
    by += f" -> tool {tool} ({'task' if task.tool else 'agent'})"
    return f"{by} -> model {model} ({because})" if model else by


def bounded(route: Route, bounds: Bounds) -> Route:
    """The route of a task that an attempt in a sandbox has dropped: nothing of it is looser than
    what that attempt had."""
    agent = route.agent
    permissions = min(agent.permissions, bounds.permissions, key=PERMISSIONS.index)
    secrets = {name: words for name, words in agent.secrets.items() if name in bounds.secrets}
    role = agent.role
    if bounds.review != NEVER:
        role = isolation.reviewing(role, "", bounds.review)
    return replace(
        route,
        agent=replace(agent, permissions=permissions, secrets=secrets, role=role),
        sandbox=within(route.sandbox, bounds.sandbox),
        isolated=route.isolated or bounds.tree,
    )


def _for_tool(agent: config_model.Agent, task: task_model.Task) -> config_model.Agent:
    """The role as it acts by a tool that the task chose and the role does not name: what it was
    trusted with (its permissions, its environment, its secrets) was meant for its own tools."""
    if not task.tool or task.tool in agent.tools:
        return agent
    permissions = "default" if agent.permissions == "full" else agent.permissions
    return replace(agent, permissions=permissions, env={}, command=(), secrets={})


def edits(agent: config_model.Agent, tool: ToolSpec) -> bool:
    """Whether this role, by this tool, changes files: what the role says, else the tool's spec."""
    return bool(tool.edits) if agent.role.edits is None else agent.role.edits


def scripted(agent: config_model.Agent, tool: ToolSpec) -> bool:
    """Whether the prompt is the program itself: a shell or Python that is given nothing else to
    run. Words for an agent would be commands there."""
    argv = agent.command if tool.adapter == "shell" else tool.argv
    return tool.prompt == "stdin" and bool(_READS_SCRIPT.fullmatch(" ".join(argv)))


def undeclared(config: Config, tools: Mapping[str, ToolSpec]) -> list[str]:
    """Tools of the person's own of which neither spec nor role says whether they edit: their tasks
    share one tree."""
    said = {
        name
        for agent in config.agents.values()
        if agent.role.edits is not None
        for name in agent.tools
    }
    return sorted(
        name
        for name, tool in tools.items()
        if tool.edits is None
        and not tool.built_in
        and tool.adapter in ("spec", *CLIENTS)
        and name not in said
    )


def isolated(
    task: task_model.Task, agent: config_model.Agent, tool: ToolSpec, config: Config
) -> bool:
    """Whether a task gets a tree of its own: asked for by the task, its role, or for all that
    edit."""
    asked = "worktree" in (task.isolation, agent.role.isolation)
    return asked or (config.isolation == "worktree" and edits(agent, tool))


def turns(config: Config, tools: Mapping[str, ToolSpec]) -> frozenset[str]:
    """The agents that edit the person's checkout, and so take turns: without a tree of their
    own."""
    found = set()
    for name in agent_names(config, tools):
        agent = config.agents.get(name) or config_model.Agent(name, (name,))
        tool = tools.get(agent.tool)
        if (
            tool is not None
            and edits(agent, tool)
            and not isolated(task_model.Task(""), agent, tool, config)
        ):
            found.add(name)
    return frozenset(found)


def _place(
    task: task_model.Task, config: Config, agent: config_model.Agent, tool: ToolSpec
) -> Place:
    """Where it is executed: what the task, its role or its tool says, among what the configuration
    names."""
    place = places_of(config).of(task.on, agent.name, tool.name)
    known = sorted({"direct", *config.distributors})
    if place.name not in known:
        raise RouteProblem(
            "on",
            f"there is no distributor '{place.name[:60]}'",
            f"{schemas.did_you_mean(place.name, known)} distributors in orchestrator.yaml:"
            f" {', '.join(known)}".strip(),
        )
    if task.mode == "interactive" and place.lane:
        raise RouteProblem(
            "mode",
            f"an interactive task needs this machine's terminals, and {place.name} is elsewhere",
            "on: direct",
        )
    return place


def _checks(task: task_model.Task, agent: config_model.Agent, config: Config) -> tuple[str, ...]:
    """The checks of the role, then those of the task; each must be one of orchestrator.yaml's."""
    names = tuple(dict.fromkeys((*agent.role.verify, *task.verify)))
    for name in names:
        if name not in config.checks:
            known = sorted(config.checks)
            raise RouteProblem(
                "verify",
                f"there is no check '{name[:60]}'",
                f"{schemas.did_you_mean(name, known)} checks in orchestrator.yaml:"
                f" {', '.join(known) or 'none'}".strip(),
            )
    return names


def _model(
    task: task_model.Task, config: Config, agent: config_model.Agent, tool: ToolSpec
) -> tuple[str | None, str]:
    """The model and who chose it: the task, else the first policy rule that fits, else the agent,
    else the tool."""
    if task.model:
        return task.model, "task"
    for rule in config.model_rules:
        if _fits(rule, task, agent, tool):
            return rule.model, "policy"
    return (agent.model, "agent") if agent.model else (tool.model, "tool")


def _fits(
    rule: config_model.ModelRule, task: task_model.Task, agent: config_model.Agent, tool: ToolSpec
) -> bool:
    """Whether all that a policy rule names is so of this task. How long a prompt in a file is
    nobody knows yet."""
    short = not task.prompt_file and len(task.prompt) < (rule.prompt_under or 0)
    return (
        (not rule.labels or bool(rule.labels & set(task.labels)))
        and rule.agent in ("", agent.name)
        and rule.tool in ("", tool.name)
        and rule.priority in ("", task.priority)
        and (rule.prompt_under is None or short)
    )


def _check_shell(task: task_model.Task, agent: config_model.Agent, config: Config) -> None:
    if agent.command:
        return
    if not config.shell_allow:
        raise RouteProblem(
            "agent",
            "the shell tool runs no commands from task files",
            "name an agent with a command, or allow programs: tools.shell.allow in"
            " orchestrator.yaml",
        )
    if task.prompt_file:
        raise RouteProblem(
            "prompt_file",
            "the shell tool takes its command from prompt, not from a file",
            "write the command into prompt",
        )
    shell_argv(task.prompt, config)


def shell_argv(prompt: str, config: Config) -> list[str]:
    """The words of a prompt as a command, if its program is allowed. Quotes work; nothing else a
    shell does."""
    try:
        words = shlex.split(prompt, comments=False)
    except ValueError as error:
        raise RouteProblem("prompt", f"not a command: {error}", "check the quotes") from None
    allowed = config.shell_allow
    if not words or ("*" not in allowed and words[0] not in allowed):
        raise RouteProblem(
            "prompt",
            f"the program '{(words or [''])[0][:60]}' is not allowed",
            f"tools.shell.allow in orchestrator.yaml allows: {', '.join(allowed)}",
        )
    return words

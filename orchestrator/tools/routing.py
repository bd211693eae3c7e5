"""From a task to what will act: agent, tool, model, limits.  Pure, and able to say why."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.files.schemas import did_you_mean
from orchestrator.model.config import Agent, Config
from orchestrator.model.task import Task
from orchestrator.tools.specs import ToolSpec


@dataclass(frozen=True, slots=True)
class Route:
    """What will act for a task.  ``timeout`` is in seconds; ``why`` explains the choice to people."""

    agent: Agent
    tool: ToolSpec
    model: str | None
    timeout: float
    retries: int
    why: str


class RouteProblem(Exception):
    """The task asks for something that is not configured.  ``key`` is the key of the task that asks for it."""

    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.key, self.message, self.hint = key, message, hint


def agent_names(config: Config, tools: Mapping[str, ToolSpec]) -> list[str]:
    """Every name that ``agent:`` accepts: configured agents, and tools that may be used directly."""
    free = {name for name in tools if name not in config.disabled_tools and (name != "shell" or config.shell_allow)}
    return sorted({*config.agents, *free})


def route(task: Task, config: Config, tools: Mapping[str, ToolSpec]) -> Route:
    """The one place where agent, tool and model are chosen; raises `RouteProblem`."""
    name = task.agent or config.default_agent
    known = agent_names(config, tools)
    agent = config.agents.get(name)
    if agent is None:
        if name not in tools or name in config.disabled_tools:
            source = "" if task.agent else " (defaults.agent in orchestrator.yaml)"
            raise RouteProblem("agent", f"unknown agent '{name[:60]}'{source}",
                               f"{did_you_mean(name, known)} configured: {', '.join(known)}".strip())
        agent = Agent(name, name)
    tool_name = task.tool or agent.tool
    tool = tools.get(tool_name)
    if tool is None or tool_name in config.disabled_tools:
        state = "is switched off in orchestrator.yaml" if tool else "is unknown"
        key = "tool" if task.tool else "agent"
        usable = sorted(set(tools) - config.disabled_tools)
        raise RouteProblem(key, f"the tool '{tool_name[:60]}' {state}",
                           f"{did_you_mean(tool_name, usable)} known: {', '.join(usable)}".strip())
    if tool.adapter == "shell":
        _check_shell(task, agent, config)
    model = task.model or agent.model or tool.model
    if any("{model}" in part for part in (tool.argv[0],)) and not model:
        raise RouteProblem("model", f"the tool '{tool.name}' needs a model", "model: ...")
    timeout = task.timeout or agent.timeout or tool.timeout or config.default_timeout
    retries = next(value for value in (task.retries, agent.retries, config.default_retries) if value is not None)
    why = f"agent {name} ({'task' if task.agent else 'default'}) -> tool {tool_name} " \
          f"({'task' if task.tool else 'agent'})" + (f" -> model {model}" if model else "")
    return Route(agent, tool, model, timeout, retries, why)


def _check_shell(task: Task, agent: Agent, config: Config) -> None:
    if agent.command:
        return
    if not config.shell_allow:
        raise RouteProblem("agent", "the shell tool runs no commands from task files",
                           "name an agent with a command, or allow programs: tools.shell.allow in orchestrator.yaml")
    if task.prompt_file:
        raise RouteProblem("prompt_file", "the shell tool takes its command from prompt, not from a file",
                           "write the command into prompt")
    shell_argv(task.prompt, config)


def shell_argv(prompt: str, config: Config) -> list[str]:
    """The words of a prompt as a command, if its program is allowed.  Quotes work; nothing else a shell does."""
    try:
        words = shlex.split(prompt, comments=False)
    except ValueError as error:
        raise RouteProblem("prompt", f"not a command: {error}", "check the quotes") from None
    allowed = config.shell_allow
    if not words or ("*" not in allowed and words[0] not in allowed):
        raise RouteProblem("prompt", f"the program '{(words or [''])[0][:60]}' is not allowed",
                           f"tools.shell.allow in orchestrator.yaml allows: {', '.join(allowed)}")
    return words

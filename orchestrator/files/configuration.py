"""Reading ``orchestrator.yaml`` and the agents' profiles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.errors import INVALID, MACHINE, OrchestratorError, Unusable
from orchestrator.files import (
    documents,
    opening,
    profiles,
    requests,
    rules,
    scan,
    schedules,
    templating,
)
from orchestrator.files.layout import Layout
from orchestrator.model import chain
from orchestrator.model import config as config_model
from orchestrator.model.isolation import problems as isolation_problems
from orchestrator.model.units import NoSuchValue
from orchestrator.records import replace

if TYPE_CHECKING:
    from orchestrator.files.documents import Document, Problem
    from orchestrator.files.requests import Check
    from orchestrator.model.config import Config


class ConfigProblems(OrchestratorError):
    """The configuration does not fit its schema; ``problems`` say where."""

    exit_code = INVALID

    def __init__(self, path: str, document: Document, problems: list[Problem]) -> None:
        first = problems[0]
        super().__init__(f"{path}:{first.line}:{first.column}: {first.message}", first.hint)
        self.path, self.document, self.problems = path, document, problems


def load_config(layout: Layout, check: Check | None = None) -> Config:
    """The configuration; with ``check`` it must fit its schema, without one it is taken as it is.

    Raises `Unusable` if it cannot be read and `ConfigProblems` if it is wrong.
    """
    return config_of(layout, read_config(layout), check)


def read_config(layout: Layout) -> Document:
    """``orchestrator.yaml`` as it stands; raises `Unusable` if it cannot be read."""
    try:
        return documents.parse(opening.read_bytes(os.path.realpath(layout.config)))
    except OSError as error:
        raise Unusable(
            f"{layout.shown(layout.config)} cannot be read: {error.strerror}", "orchestrator init"
        ) from None


def config_of(layout: Layout, document: Document, check: Check | None = None) -> Config:
    """The same as `load_config`, of an ``orchestrator.yaml`` that has been read."""
    _refuse_too_many(layout)
    problems = document.problems or (check("config", document) if check else [])
    if check and not problems:
        found = [*isolation_problems(document.data or {}), *_chain_problems(document.data or {})]
        problems = [document.problem_at(path, text, hint) for path, text, hint in found]
    if not problems:
        try:
            config = _with_profiles(
                layout, config_model.config_from(document.data), document.data or {}, check
            )
            config = _with_guides(layout, config)
            return _with_schedules(layout, _with_templates(layout, config, check), check)
        except NoSuchValue as error:
            problems = [document.problem_at(document.place_of(error.value), str(error))]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problems = [
                document.problem_at(
                    (), f"does not fit the schema: {error}", "orchestrator validate"
                )
            ]
    raise ConfigProblems(layout.shown(layout.config), document, problems)


def may_set(layout: Layout, key: str) -> bool:
    """Whether the configuration may have this key, told from its text: reading YAML takes a verb
    longer than all the rest that it does. False is sure; True is not."""
    try:
        raw = opening.read_bytes(os.path.realpath(layout.config))
    except OSError:
        return True
    lines = (line for line in raw.splitlines() if not line.lstrip().startswith(b"#"))
    return not raw.isascii() or any(key.encode() in line or b"\\" in line for line in lines)


def _refuse_too_many(layout: Layout) -> None:
    """Nobody has so many settings; whoever put them there must not keep everybody waiting who reads
    them."""
    for folder in (layout.tools, layout.agents, layout.templates, layout.schedules):
        count = len(scan.names(folder))
        if count > scan.MOST_SETTINGS:
            raise Unusable(
                f"{layout.shown(folder)} has {count} files, and at most {scan.MOST_SETTINGS} are"
                " read",
                f"remove what is not a setting: ls {layout.shown(folder)}",
            )


def _chain_problems(data: Mapping[str, Any]) -> list[tuple[chain.Path, str, str]]:
    agents = data.get("agents") or {}
    return [
        problem
        for name, body in agents.items()
        for problem in chain.problems(body, ("agents", name))
    ]


def _with_templates(layout: Layout, config: Config, check: Check | None) -> Config:
    """The configuration with the templates of ``work/templates``; one that is wrong is left out."""
    made, wrong = templating.usable(layout, check)
    if not made and not wrong:
        return config
    return replace(config, templates=made, left_out={**config.left_out, **wrong})


def _with_schedules(layout: Layout, config: Config, check: Check | None) -> Config:
    """The configuration with the schedules of ``work/schedules``; one that is wrong is left out."""
    made, left_out = {}, dict(config.left_out)
    for item in schedules.load_schedules(layout, check):
        if item.schedule is not None:
            made[item.name] = item.schedule
        else:
            first = item.problems[0]
            place = f"{layout.shown(item.path)}:{first.line}:{first.column}"
            left_out[f"schedule {item.name}"] = f"{place}: {first.message}"
    return replace(config, schedules=made, left_out=left_out) if made or left_out else config


def _with_guides(layout: Layout, config: Config) -> Config:
    """The configuration with what the agents' files of instructions say: they are settings like any
    other."""
    guides = {
        name: _guide(layout.root, agent.instructions)
        for name, agent in config.agents.items()
        if agent.instructions and not agent.profile
    }
    agents = {
        name: replace(agent, guide=guides[name]) if name in guides else agent
        for name, agent in config.agents.items()
    }
    return replace(config, agents=agents) if guides else config


def _guide(root: str, path: str) -> str | None:
    base = os.path.realpath(root)
    real = os.path.realpath(os.path.join(base, path))
    if rules.outside(path) or not real.startswith(base.rstrip("/") + "/"):
        return None
    try:
        return requests.read(real).raw.decode("utf-8")
    except OSError as error:
        if error.errno in MACHINE:
            raise
        return None
    except (requests.Unreadable, UnicodeDecodeError):
        return None


def _with_profiles(
    layout: Layout, config: Config, data: Mapping[str, Any], check: Check | None
) -> Config:
    """The configuration with the agents of ``work/agents/*.md``: front matter as under ``agents``,
    the text below it as instructions. What orchestrator.yaml says of the same agent comes first. A
    profile that is wrong is left out."""
    agents, left_out, called = dict(config.agents), {}, {}
    default = config.agents.get(config.default_agent)
    for profile in profiles.load_profiles(layout, check):
        if profile.problems:
            first = profile.problems[0]
            place = f"{layout.shown(profile.path)}:{first.line}:{first.column}"
            left_out[profile.name] = f"{place}: {first.message}"
            continue
        called[profile.called] = profile.name
        own = {"tool": list(default.tools) if default else config.default_agent, **profile.body}
        settings = {**own, **((data.get("agents") or {}).get(profile.name) or {})}
        agents[profile.name] = config_model.agent_from(profile.name, settings, profile.text)
    return replace(config, agents=agents, left_out=left_out, called=called)

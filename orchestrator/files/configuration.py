"""Reading ``orchestrator.yaml`` and the agents' profiles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.errors import INVALID, OrchestratorError, Unusable
from orchestrator.files.documents import Document, Problem, parse
from orchestrator.files.layout import Layout, is_draft
from orchestrator.files.requests import Check, Unreadable, read
from orchestrator.files.scan import names
from orchestrator.model.config import Config, agent_from, config_from

# Keys that the same kind of file has for other programs, and that say nothing here.
OTHERS_KEYS = frozenset(("name", "tools", "color", "allowed-tools"))


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
    try:
        with open(layout.config, "rb") as file:
            document = parse(file.read())
    except OSError as error:
        raise Unusable(
            f"{layout.shown(layout.config)} cannot be read: {error.strerror}", "orchestrator init"
        ) from None
    problems = document.problems or (check("config", document) if check else [])
    if not problems:
        try:
            return _with_profiles(layout, config_from(document.data), document.data or {}, check)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problems = [
                document.problem_at(
                    (), f"does not fit the schema: {error}", "orchestrator validate"
                )
            ]
    raise ConfigProblems(layout.shown(layout.config), document, problems)


def _with_profiles(
    layout: Layout, config: Config, data: Mapping[str, Any], check: Check | None
) -> Config:
    """The configuration with the agents of ``work/agents/*.md``: front matter as under ``agents``, the text below it as
    instructions.  What orchestrator.yaml says of the same agent comes first."""
    agents = dict(config.agents)
    default = config.agents.get(config.default_agent)
    for name in sorted(names(layout.agents)):
        stem, suffix = os.path.splitext(name)
        if suffix != ".md" or is_draft(name):
            continue
        path = f"{layout.agents}/{name}"
        try:
            raw = read(path).raw
            document = parse(raw if raw.startswith(b"---") else b"---\n---\n" + raw, markdown=True)
        except (OSError, Unreadable) as error:
            raise Unusable(
                f"{layout.shown(path)} cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from None
        body = document.data if isinstance(document.data, dict) else {}
        own = {
            key: value
            for key, value in body.items()
            if key not in OTHERS_KEYS and not (key == "model" and value == "inherit")
        }
        problems = document.problems or (
            check("config", _below(document, stem), {"agents": {stem: own}}) if check else []
        )
        if problems:
            raise ConfigProblems(layout.shown(path), document, problems)
        own.setdefault("tool", list(default.tools) if default else config.default_agent)
        agents[stem] = agent_from(
            stem, {**own, **((data.get("agents") or {}).get(stem) or {})}, document.body.strip()
        )
    return replace(config, agents=agents) if agents != config.agents else config


def _below(document: Document, stem: str) -> Document:
    """The document as if it were the body of this agent in orchestrator.yaml, so that problems have their places."""
    return Document(
        document.text,
        values={("agents", stem, *path): span for path, span in document.values.items()},
        keys={("agents", stem, *path): span for path, span in document.keys.items()},
    )

"""``doctor`` proves the sandbox that roles ask for: a process in one tries to get out."""

from __future__ import annotations

from orchestrator.execution import sandbox
from orchestrator.model.config import Config
from orchestrator.model.sandbox import PROJECT
from orchestrator.queries.health import Check

HINT = "install bubblewrap, and allow unprivileged user namespaces: docs/how-to/sandbox.md"


def sandbox_checks(config: Config) -> list[Check]:
    """One check for each level that a role asks for; none if no role does."""
    levels = sorted(
        {agent.role.sandbox.level for agent in config.agents.values() if agent.role.sandbox.on}
    )
    return [_check(level) for level in levels]


def _check(level: str) -> Check:
    try:
        why = sandbox.proof(whole=level == PROJECT)
    except OSError as error:
        why = f"{error.filename or 'a folder to try it in'}: {error.strerror}"
    if why:
        return Check("sandbox", "problem", f"{level}: {why}", HINT)
    tried = "a write outside, a hidden file and a process outside are out of reach"
    return Check("sandbox", "ok", f"{level}: {tried}")

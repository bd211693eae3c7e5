"""Which environment variables a task file may set: an allow-list, for no list of forbidden names is
ever complete.

`PREFIX` names are nobody else's, so they are free. Others must be allowed by name in
``environment.tasks``; and never may a task set what its tool is given already: what the spec or the
role sets, or what is passed on of the watcher's own environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from orchestrator.patterns import regex

if TYPE_CHECKING:
    from orchestrator.model.config import Agent, Config
    from orchestrator.tools.specs import ToolSpec

OURS = "ORCHESTRATOR_"
PREFIX = f"{OURS}VAR_"
_NAME = regex(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# What a tool sees of the watcher's environment, beside what its spec and orchestrator.yaml name.
ALLOWED_ENV = (
    *"PATH HOME USER LOGNAME SHELL LANG LANGUAGE LC_* TZ TERM COLORTERM TMPDIR XDG_* SSH_AUTH_SOCK".split(),
    *"SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS".split(),
    *"HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy".split(),
    *"NVM_* PYENV_* CARGO_HOME RUSTUP_HOME GOPATH GOROOT JAVA_HOME".split(),
)


def refusal(
    names: Iterable[str], agent: Agent, tool: ToolSpec, config: Config
) -> tuple[str, str] | None:
    """What is wrong with the first of these names that a task may not set, and what to do about it;
    None if all may be."""
    given = (
        *ALLOWED_ENV,
        *tool.pass_env,
        *config.pass_env,
        *tool.env,
        *agent.env,
    )
    for name in names:
        if name.startswith(PREFIX) and _NAME.match(name):
            continue
        shown = name[:60]
        if _fits(name, (f"{OURS}*",)):
            why = f"names that begin with {OURS} are the watcher's own"
            return f"a task may not set {shown}: {why}", f"begin it with {PREFIX}"
        if _fits(name, given):
            return f"a task may not set {shown}: its tool already has it", "remove it"
        if not _NAME.match(name) or not _fits(name, config.task_env, exact=True):
            hint = (
                f"allow it in orchestrator.yaml:  environment: {{tasks: [{shown}]}}; {PREFIX}* are"
                " free"
            )
            return f"a task may not set {shown}", hint
    return None


def allowed(env: Mapping[str, str], agent: Agent, tool: ToolSpec, config: Config) -> dict[str, str]:
    """Those of a task's variables that it may set."""
    return {name: value for name, value in env.items() if not refusal((name,), agent, tool, config)}


def _fits(name: str, patterns: Iterable[str], exact: bool = False) -> bool:
    """Whether a name is one of these; ``*`` at the end stands for any ending. Unless ``exact``,
    case is no difference: some programs do not care about it."""

    def same(text: str) -> str:
        return text if exact else text.upper()

    return any(
        (
            same(name).startswith(same(pattern[:-1]))
            if pattern.endswith("*")
            else same(name) == same(pattern)
        )
        for pattern in patterns
    )

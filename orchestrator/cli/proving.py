"""What ``doctor`` finds by trying: whether programs of tools answer, and whether the sandbox that
roles ask for holds."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.cli.consent import refusal
from orchestrator.errors import OrchestratorError
from orchestrator.execution import sandbox
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import Layout
from orchestrator.model.config import Config
from orchestrator.model.sandbox import PROJECT
from orchestrator.queries.health.check import Check, note, ok, problem
from orchestrator.tools.specs import ToolSpec, load_tools
from orchestrator.tools.versions import Answer, ask_all

HINT = "install bubblewrap, and allow unprivileged user namespaces: docs/how-to/sandbox.md"


def tool_checks(layout: Layout) -> list[Check]:
    """Tool specs that are wrong, tools that are wanted here and do not answer, and sandboxes that
    do not hold."""
    box = load_tools(layout)
    config = _config(layout)
    asked = [spec for spec in box.tools.values() if spec.at_hand and spec.version]
    own = [spec.name for spec in asked if not spec.built_in]
    refused = refusal(layout) if own else ""
    if refused:  # what they would start is not known to be a person's
        asked = [spec for spec in asked if spec.built_in]
    answers = ask_all(asked)
    found = [
        problem("tools", f"{layout.shown(path)}: {problems[0].message}", "orchestrator validate")
        for path, _, problems in box.broken
    ]
    if refused:
        why = f"{', '.join(own)}: not asked for a version: {refused}"
        found.append(note("tools", why, "orchestrator approve --settings"))
    found += _sandboxes(config)
    usable = []
    for spec in box.tools.values():
        wrong = _wrong(layout, spec, config, answers)
        if wrong is not None:
            found.append(wrong)
        elif spec.at_hand:
            usable.append(_named(spec, answers))
    if usable or not found:
        found.append(ok("tools", ", ".join(sorted(usable))))
    return found


def _config(layout: Layout) -> Config:
    try:
        return load_config(layout)
    except OrchestratorError:  # told by the check of the settings
        return Config()


def _wrong(
    layout: Layout, spec: ToolSpec, config: Config, answers: Mapping[str, Answer]
) -> Check | None:
    """What is wrong with a tool, as far as anybody here wants it; None if nothing is."""
    wanted = {config.default_agent}.union(*(agent.tools for agent in config.agents.values()))
    if not spec.at_hand:
        if spec.built_in and spec.name not in wanted:
            return None
        return note("tools", f"{spec.name}: {_missing(spec)}", _without(layout, spec))
    answer = answers.get(spec.name)
    if answer is None:
        return None
    if answer.error:
        kind = problem if spec.name in wanted else note
        hint = f"orchestrator agents check {spec.name}"
        return kind("tools", f"{spec.name} does not answer: {answer.error}", hint)
    if spec.verified and not any(version in answer.said for version in spec.verified):
        known = " and ".join(spec.verified)
        said = answer.version or answer.said
        hint = f"orchestrator agents check {spec.name} --prompt 'Say OK.'"
        return note("tools", f"{spec.name} is {said}; its spec was verified with {known}", hint)
    return None


def _missing(spec: ToolSpec) -> str:
    if spec.module:
        return f"the package '{spec.module}' is not installed"
    return f"there is no program '{spec.argv[0]}'"


def _without(layout: Layout, spec: ToolSpec) -> str:
    """What to do about a program that is not here."""
    if spec.built_in:
        return f"install it, or choose another tool in {layout.shown(layout.config)}"
    return f"install it, or remove {layout.shown(spec.path)}"


def _named(spec: ToolSpec, answers: Mapping[str, Answer]) -> str:
    answer = answers.get(spec.name)
    if answer is None or not answer.version:
        return spec.name
    return f"{spec.name} {answer.version}"


def _sandboxes(config: Config) -> list[Check]:
    """One check for each kind of sandbox that a role asks for; none if no role does."""
    boxes = [agent.role.sandbox for agent in config.agents.values()]
    kinds = sorted({(box.level, not box.network) for box in boxes if box.on})
    return [_sandbox(level, not alone) for level, alone in kinds]


def _sandbox(level: str, network: bool) -> Check:
    """Processes in a sandbox of this kind try to get out."""
    name = level if network else f"{level}, network: none"
    try:
        found = sandbox.proof(level == PROJECT, network)
    except OSError as error:
        found = sandbox.Proof(f"{error.filename or 'a folder to try it in'}: {error.strerror}")
    if found.failed:
        return problem("sandbox", f"{name}: {found.failed}", HINT)
    tried = ["a write outside", "a hidden file", "a process outside"]
    tried += ["the kernel's keys"] if not found.untried else []
    tried += ["the network", "the host of a virtual machine"] if not network else []
    if found.untried:
        why = f"{name}: {', '.join(tried[:3])} are out of reach; its system calls were not tried"
        return note("sandbox", why, found.untried)
    return ok("sandbox", f"{name}: {', '.join(tried[:-1])} and {tried[-1]} are out of reach")

"""Plan first: what a tool must keep for it, and what an agent is told."""

from __future__ import annotations

from orchestrator.tools import levels
from orchestrator.tools.specs import ToolSpec

LEVEL = "read"
OPTIONS = (  # of a tool that reads by other options where it is to go on with its rights afterwards
    "plan"
)
REQUEST = """\
Plan first. For now you may read, and change nothing. Your last message is the plan, for a person who decides on it: what you will
change and in which files, in which order, how it will be proven, and what is uncertain. Once it is approved you go on, with
the rights to carry it out.
"""


def refusal(tool: ToolSpec, mode: str) -> tuple[str, str] | None:
    """Why a tool cannot plan before it acts, and what to do; None if it can."""
    if mode == "interactive":
        return ("a task in a terminal does not plan first", "take mode: batch")
    wrong = levels.refusal(tool, LEVEL)
    if wrong is None:
        return None
    return (f"plan: true begins with permissions: {LEVEL}, and {wrong[0]}", wrong[1])

"""What an agent may do, in words that mean the same for every tool: ``read``, ``edit``, ``shell``,
``full``.

``read`` changes nothing; ``edit`` changes files and runs no commands; ``shell`` also runs commands,
inside the project; ``full`` is everything. ``default`` is what the tool's spec calls so, whatever
that is. A tool has a level only if its options were seen to keep it; where it has none nothing
starts, since fewer rights than were asked for could be more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.tools.specs import ToolSpec


DEFAULT = "default"


def refusal(tool: ToolSpec, level: str, interactive: bool = False) -> tuple[str, str] | None:
    """Why a tool cannot keep a level, and what to do; None if it can."""
    if level == DEFAULT or (level == "full" and not interactive):
        return None
    known = sorted(set(tool.permissions) - {"plan"})
    if level not in known and level != "full":
        has = ", ".join(known) or "none"
        return (
            f"the tool '{tool.name}' cannot keep permissions: {level}",
            f"it has {has}; name another tool, or put it in a sandbox: docs/how-to/sandbox.md",
        )
    if interactive and level != "full" and "{permissions}" not in tool.interactive:
        return (
            f"the tool '{tool.name}' cannot keep permissions: {level} in a terminal",
            "take mode: batch, or permissions: default and answer it yourself",
        )
    return None

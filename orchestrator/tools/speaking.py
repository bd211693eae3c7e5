"""The command of a tool that is talked to by a protocol: our client, which runs the tool's
program."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from orchestrator.files.layout import data_file
from orchestrator.tools import planning
from orchestrator.tools.invocation import CannotStart, Session, ask_limit, level_of
from orchestrator.tools.routing import Route


def client(
    route: Route, session: Session, values: Mapping[str, str], argv: Sequence[str]
) -> list[str]:
    """The words that run the client of a tool's protocol. ``argv`` is what it runs, ``values`` are
    those of its placeholders."""
    tool = route.tool
    level = planning.LEVEL if session.plan else route.agent.permissions
    told = any("{model}" in word for word in tool.argv)
    asks = ask_limit(route.agent.role.ask) if route.agent.role.waits else ""
    options = {
        "--run-dir": os.path.dirname(values["prompt_file"]),
        "--permissions": level,
        "--session": session.id if session.resume else "",
        "--model": "" if told else values["model"],
        "--mode": tool.modes.get(level_of(route, session), ""),
        "--ask": asks,
    }
    words = [sys.executable, "-I", "-u", f"{data_file('tools')}/{tool.adapter}.py"]
    for name, value in options.items():
        if value.startswith("-"):
            raise CannotStart(f"the value of {name} begins with a dash: it would be an option")
        words += [name, value] if value else []
    words += ["--words"] if session.words else []
    return [*words, "--", *argv]

"""Held tools: ``work/parked/<tool>.yaml`` says until when a tool starts nothing, and why.

The watcher writes such a file when a tool's limit is used up; a person may write, edit or delete one.
"""

from __future__ import annotations

from orchestrator.files.documents import parse
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Unreadable, read
from orchestrator.files.scan import names
from orchestrator.files.text import one_line
from orchestrator.model.gates import Gate, GateName
from orchestrator.model.units import timestamp, when


def gates(layout: Layout, now: float) -> dict[str, Gate]:
    """The gate of every tool that is held now.  A file that cannot be understood holds its tool until it is mended."""
    found = {}
    for name in sorted(names(layout.folder("parked"))):
        tool, _, suffix = name.rpartition(".")
        if suffix not in ("yaml", "yml") or not tool or tool.startswith((".", "_")):
            continue
        path = f"{layout.folder('parked')}/{name}"
        hint = f"rm {layout.shown(path)}   starts it again"
        try:
            document = parse(read(path).raw)
            data = document.data if isinstance(document.data, dict) else {}
            until = when(str(data["not_before"])) if "not_before" in data else None
            if document.problems:
                raise ValueError(document.problems[0].message)
        except FileNotFoundError:
            continue
        except (OSError, Unreadable, ValueError) as error:
            found[tool] = Gate(
                GateName.PARKED,
                f"{tool} is held: {layout.shown(path)} {one_line(str(error), 80)}",
                hint,
                stuck=True,
            )
            continue
        if until is not None and until <= now:
            continue
        reason = one_line(str(data.get("reason") or "no reason given"), 120)
        moment = f" until {timestamp(until)[:16]}Z" if until is not None else ""
        found[tool] = Gate(
            GateName.PARKED,
            f"{tool} is held{moment}: {reason}",
            hint,
            until=until,
            stuck=until is None,
        )
    return found

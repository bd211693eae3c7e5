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

SLACK = 2.0  # seconds by which a clock is corrected now and then


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


def since(layout: Layout) -> dict[str, float]:
    """When each tool began to be held, as its file says."""
    found = {}
    for name in names(layout.folder("parked")):
        try:
            data = parse(read(f"{layout.folder('parked')}/{name}").raw).data
            began = when(str(data["parked_at"]))
        except (OSError, Unreadable, ValueError, KeyError, TypeError):
            continue
        if began is not None:
            found[name.removesuffix(".yaml")] = began
    return found


def set_back(layout: Layout, now: float) -> list[tuple[str, float, str]]:
    """Tools that were parked in what is the future now, for the clock was set back: until when they are to be, and why.

    A wait never becomes longer than it was to be; else 20 seconds turn into a month.
    """
    found = []
    for name in sorted(names(layout.folder("parked"))):
        if not name.endswith(".yaml") or name.startswith((".", "_")):
            continue
        try:
            data = parse(read(f"{layout.folder('parked')}/{name}").raw).data
            begun, until = when(str(data["parked_at"])), when(str(data["not_before"]))
        except (OSError, Unreadable, ValueError, KeyError, TypeError):
            continue
        if begun is not None and until is not None and begun > now + SLACK:
            reason = str(data.get("reason") or "")
            found.append((name.removesuffix(".yaml"), now + max(until - begun, 0.0), reason))
    return found

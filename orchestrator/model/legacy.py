"""Task files of an older format: no ``prompt``, but a title, a description, criteria and a status of their own.

`convert` builds a task of today's format from such a mapping.  Nothing is dropped: every key ends up in the
prompt, in a key of today's format, or unchanged under ``x-<key>``; each choice that a person might want to know
of is a note.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.model import ids
from orchestrator.model.units import duration

# Keys that no task of today's format has.  Two of them make a file one of the older format.
_MARKERS = frozenset(
    "id task_id status description artefacts requirements acceptance_criteria deliverables objective created_at "
    "created_by created created_date assignee from_agent to_agent dependencies blocked_by blocks specification "
    "estimated_hours estimated_effort_hours estimated_effort estimated_duration batch initiative milestone phase "
    "mode tags result started_at completed_at assigned_at assigned_by related_decisions context_files directives "
    "success_criteria notes urgency".split()
)

# Keys whose text becomes part of the prompt, in this order, and the heading each gets.
_SECTIONS = (
    ("objective", "Objective"),
    ("description", ""),
    ("context", "Context"),
    ("background", "Background"),
    ("tasks", "Tasks"),
    ("requirements", "Requirements"),
    ("implementation_guidance", "Implementation guidance"),
    ("deliverables", "Deliverables"),
    ("acceptance_criteria", "Acceptance criteria"),
    ("success_criteria", "Success criteria"),
    ("constraints", "Constraints"),
    ("artefacts", "Artifacts to produce"),
    ("artifacts", "Artifacts to produce"),
    ("specification", "Specification"),
    ("context_files", "Files to read"),
    ("files_to_modify", "Files to modify"),
    ("references", "References"),
    ("notes", "Notes"),
)
_PRIORITY = {
    "critical": "high",
    "urgent": "high",
    "highest": "high",
    "high": "high",
    "p0": "high",
    "p1": "high",
    "medium": "normal",
    "normal": "normal",
    "moderate": "normal",
    "p2": "normal",
    "low": "low",
    "lowest": "low",
    "minor": "low",
    "p3": "low",
}
_PATHLIKE = re.compile(r"(?!/)(?!.*\.\.(?:/|$))[\w@+-][\w./@+ -]*\.\w+\Z")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A mapping in today's format, the notes on what became of the rest, and the status the file claimed."""

    data: Mapping[str, Any]
    notes: tuple[str, ...]
    status: str = ""


def is_legacy(data: object, body: str = "") -> bool:
    """Whether this is a task of the older format: something to do, no prompt, and at least two of its keys."""
    if not isinstance(data, Mapping) or {"prompt", "prompt_file"} & set(data):
        return False
    something = bool(body.strip()) or any(
        data.get(key) for key in ("title", "description", "objective")
    )
    return something and len(_MARKERS & set(data)) >= 2


def convert(
    data: Mapping[str, Any], body: str = "", agents: Collection[str] | None = None
) -> Conversion:
    """Build the task; ``agents`` are the roles that are configured here (None: do not check)."""
    rest = dict(data)
    notes: list[str] = []
    out: dict[str, Any] = {}
    title = rest.pop("title", None)
    if title not in (None, ""):
        out["title"] = str(title)
    role = _role(rest, notes, agents)
    if role and (agents is None or role in agents):
        out["agent"] = role
    out["prompt"] = _prompt(out.get("title", ""), rest, body, role if "agent" not in out else "")
    _priority(rest, out, notes)
    _needs(rest, out, notes)
    files = [item for key in ("artefacts", "artifacts") for item in _strings(data.get(key))]
    good = [item for item in dict.fromkeys(files) if _PATHLIKE.match(item)]
    if good:
        out["artifacts"] = good
    labels = [item for key in ("tags", "labels") for item in _strings(rest.get(key))]
    if labels:
        out["labels"] = list(dict.fromkeys(labels))
        rest.pop("tags", None)
        rest.pop("labels", None)
    _todays(rest, out)
    status = str(rest.get("status", "")).lower()
    if status:
        notes.append(f"status: {rest['status']} is kept as x-status; the folder is the status")
    for key, _ in _SECTIONS:
        rest.pop(key, None)  # said in the prompt, word for word
    for key, value in rest.items():
        out[f"x-{_key(key)}"] = value
    return Conversion(out, tuple(notes), status)


def _role(rest: dict[str, Any], notes: list[str], agents: Collection[str] | None) -> str:
    for key in ("agent", "assignee", "to_agent"):
        value = rest.get(key)
        if isinstance(value, str) and value.strip():
            role = ids.slug(value) if ids.problem(value) else value
            if agents is not None and role not in agents:
                notes.append(f"agent '{role}' is not configured here: the default agent acts as it")
            else:
                del rest[key]
                if key != "agent":
                    notes.append(f"{key}: {value} became agent: {role}")
            return role
    return ""


def _prompt(title: str, rest: Mapping[str, Any], body: str, role: str) -> str:
    parts = [f"# {title}"] if title else []
    if role:
        parts.append(f"You act as: {role}")
    for key, heading in _SECTIONS:
        text = _text(rest.get(key))
        if text:
            parts.append(f"## {heading}\n\n{text}" if heading else text)
    if body.strip():
        parts.append(body.strip())
    return "\n\n".join(parts) + "\n"


def _priority(rest: dict[str, Any], out: dict[str, Any], notes: list[str]) -> None:
    value = rest.pop("priority", None)
    if value is None:
        return
    known = _PRIORITY.get(str(value).strip().lower())
    if known:
        out["priority"] = known
        if known != str(value):
            notes.append(f"priority: {value} became {known}")
    else:
        rest["priority"] = value
        notes.append(f"priority: {value} is none of high, normal, low; normal is used")


def _needs(rest: dict[str, Any], out: dict[str, Any], notes: list[str]) -> None:
    needs, prose = [], []
    for key in ("dependencies", "blocked_by", "depends_on"):
        value = rest.pop(key, None)
        items = value if isinstance(value, list) else [] if value in (None, "") else [value]
        for item in items:
            name = item.get("task_id", item.get("id")) if isinstance(item, Mapping) else item
            name = re.sub(r"\.(ya?ml|md)$", "", name) if isinstance(name, str) else name
            if (
                isinstance(name, str)
                and not ids.problem(name)
                and re.search(r"\d", name)
                and len(name) > 4
            ):
                needs.append(name)
            elif str(item).strip().lower() not in ("none", "n/a", "-", ""):
                prose.append(_inline(item))
        if items and key in rest:
            rest[key] = value
    if needs:
        out["needs"] = list(dict.fromkeys(needs))
    if prose:
        out["prompt"] += "\n## Dependencies (for information)\n\n" + "".join(
            f"- {item}\n" for item in prose
        )
        notes.extend(
            f"dependency '{item}' is prose: it became a note in the prompt, not a need"
            for item in prose
        )


def _todays(rest: dict[str, Any], out: dict[str, Any]) -> None:
    """Keys that already mean today what they meant then are kept where their values fit."""
    for key in ("tool", "model", "cwd", "run"):
        if isinstance(rest.get(key), str) and rest[key]:
            out[key] = rest.pop(key)
    if isinstance(rest.get("timeout"), str):
        try:
            duration(rest["timeout"])
        except ValueError:
            return
        out["timeout"] = rest.pop("timeout")


def _text(value: Any, depth: int = 0) -> str:
    """A value as Markdown: text as it is, a list as bullets, a mapping as labelled bullets."""
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, Mapping):
        lines = []
        for key, inner in value.items():
            if isinstance(inner, (list, Mapping)) and inner:
                lines.append(f"{'  ' * depth}- {key}:\n{_text(inner, depth + 1)}")
            else:
                lines.append(f"{'  ' * depth}- {key}: {_inline(inner)}")
        return "\n".join(lines)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(f"{'  ' * depth}- {_inline(item)}" for item in value)
    return str(value).strip()


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_inline(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_inline(item) for item in value)
    return "" if value is None else str(value).strip()


def _strings(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item.strip() for item in items if isinstance(item, str) and item.strip()]


def _key(key: object) -> str:
    return re.sub(r"[^\w.-]+", "_", str(key)) or "key"

"""Follow-ups as older files write them: ``next_agent``, ``handoff:``, ``result.followup`` and their
kind.

Only what names an agent is one: a sentence under ``followup`` is prose, and stays in the prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from orchestrator.model import filling, ids
from orchestrator.model.meanings import plain

HOLDERS = ("result", "handoff", "handoffs", "followup", "follow_up", "followups", "follow_ups", "next_task", "next_tasks")  # fmt: skip
AGENT_KEYS = ("next_agent", "handoff_to", "hand_off_to", "to_agent")
INSIDE = (
    "agent",
    "assignee",
    "to",
    "assigned_to",
)  # the same, where the mapping is surely a handoff
TITLE_KEYS = ("next_task_title", "title", "next_task", "task")
TEXT_KEYS = (
    *("prompt", "description", "next_task_description", "next_task_notes", "handoff_note"),
    *("handoff_notes", "notes", "reason", "context", "context_to_carry_forward"),
    *("requirements", "next_artefacts", "next_artifacts", "artefacts", "artifacts"),
)


def entries(
    data: Mapping[str, Any], agents: Collection[str] | None, notes: list[str]
) -> list[dict[str, Any]]:
    """Entries of ``then`` for every handoff in a file; ``notes`` hears of agents that are not
    configured here."""
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for found, sure in _mappings(data):
        entry = _entry(found, sure, agents, notes)
        if entry is not None:
            made.setdefault((str(entry.get("agent")), str(entry.get("prompt"))), entry)
    return list(made.values())


def _mappings(value: Any, sure: bool = False) -> Iterator[tuple[Any, bool]]:
    """The mappings that may be handoffs, and whether they stand where only handoffs do."""
    if isinstance(value, list):
        for item in value:
            yield from _mappings(item, sure=sure)
    elif isinstance(value, Mapping):
        yield value, sure
        for key, inner in value.items():
            if plain(key) in HOLDERS and isinstance(inner, (list, Mapping)):
                yield from _mappings(inner, sure=plain(key) != "result")


def _entry(
    found: Mapping[str, Any], sure: bool, agents: Collection[str] | None, notes: list[str]
) -> dict[str, Any] | None:
    forms = {plain(key): value for key, value in found.items()}
    keys = (*AGENT_KEYS, *INSIDE) if sure else AGENT_KEYS[:-1]
    named = next((forms[key] for key in keys if isinstance(forms.get(key), str)), "").strip(" @")
    if not named or named.lower() in ("none", "null", "n/a", "nobody"):
        return None
    role = ids.slug(named) if ids.problem(named) else named
    title = next((forms[key] for key in TITLE_KEYS if isinstance(forms.get(key), str)), "")
    title = "" if not sure and "next_task_title" not in forms else " ".join(title.split())[:300]
    entry: dict[str, Any] = {"agent": role}
    known = agents is None or role in agents
    if not known:
        notes.append(
            f"the next agent '{role}' is not configured here: the default agent acts as it"
        )
        del entry["agent"]
    if title:
        entry["title"] = filling.literal(title)
    prompt = _prompt(forms, title, sure, "" if known else role)
    if prompt:
        entry["prompt"] = filling.literal(prompt)
    return entry


def _prompt(forms: Mapping[str, Any], title: str, sure: bool, role: str) -> str:
    parts = [f"# {title}"] if title else []
    if role:
        parts.append(f"You act as: {role}")
    for key in TEXT_KEYS:
        value = forms.get(key)
        if value and (sure or key.startswith(("next_", "handoff", "context_to"))):
            lines = value if isinstance(value, list) else [value]
            text = "\n".join(f"- {line}" if len(lines) > 1 else str(line) for line in lines)
            heading = key.replace("next_task_", "").replace("next_", "").replace("_", " ")
            parts.append(f"## {heading[:1].upper()}{heading[1:]}\n\n{text}")
    return "\n\n".join(parts) + "\n" if parts else ""

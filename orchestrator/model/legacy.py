"""Task files of an older format, or of another program: no ``prompt``, but a title, a description,
a status of their own.

`convert` builds a task of today's format from such a mapping. Nothing is dropped: what keeps books
is mapped or kept under ``x-<key>``, and all other text is the prompt; each choice that a person
might want to know of is a note.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.model import dependencies, handoff, ids, meanings
from orchestrator.model.units import duration
from orchestrator.patterns import regex
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.model.dependencies import Known

# Keys that keep books: who, when, how much, and how it hangs together.  All other text is what is
# to be done.
BOOKKEEPING = frozenset(
    "id task_id key number ordinal status state previous_status created created_at created_by"
    " created_date created_on updated updated_at updated_by updated_date updated_on modified"
    " modified_at last_updated last_modified started started_at started_by completed completed_at"
    " completed_by completed_date finished_at closed_at assigned_at assigned_by assigned assignee"
    " assignees agent from_agent to_agent owner author reporter reviewer due due_date deadline date"
    " estimated_hours estimated_effort_hours estimated_effort estimated_duration estimated_time"
    " estimate estimates effort actual_hours actual_effort_hours actual_duration actual_effort"
    " story_points points complexity recommended_subtasks batch initiative milestone phase sprint"
    " epic project mode tags labels urgency version schema_version format parent parent_id"
    " parent_task parent_task_id is_subtask blocks blocking dependents human_intervention_required"
    " commit commit_sha branch pr url link source_file filename file_name uuid hash checksum"
    " priority tool model cwd run timeout order position sequence rank color".split()
)
# Bookkeeping that says more than so many words says something that the agent should read.
SHORT = 12

# Two of these make a file in the inbox one of the older format.
_MARKERS = BOOKKEEPING - frozenset(
    "agent priority tool model cwd run timeout mode labels key url link project version".split()
) | frozenset(
    "description artefacts requirements acceptance_criteria deliverables objective dependencies"
    " blocked_by specification result related_decisions context_files directives success_criteria"
    " notes details test_strategy subtasks".split()
)

# What comes first in the prompt, in this order, and the heading of each; other keys follow under
# their own names.
SECTIONS: tuple[tuple[str, str], ...] = (
    ("prompt", ""),
    ("objective", "Objective"),
    ("goal", "Goal"),
    ("summary", ""),
    ("description", ""),
    ("details", "Details"),
    ("context", "Context"),
    ("background", "Background"),
    ("tasks", "Tasks"),
    ("subtasks", "Subtasks"),
    ("requirements", "Requirements"),
    ("implementation_guidance", "Implementation guidance"),
    ("deliverables", "Deliverables"),
    ("acceptance_criteria", "Acceptance criteria"),
    ("success_criteria", "Success criteria"),
    ("test_strategy", "Test strategy"),
    ("constraints", "Constraints"),
    ("artefacts", "Artifacts to produce"),
    ("artifacts", "Artifacts to produce"),
    ("specification", "Specification"),
    ("context_files", "Files to read"),
    ("files_to_modify", "Files to modify"),
    ("references", "References"),
    ("notes", "Notes"),
)
_HEADINGS = dict(SECTIONS)
# Keys of today's format alone that bound what a task may do: whatever they say is kept, and what
# does not fit is told.
BOUNDS = ("hold", "not_before", "max_cost_usd", "max_tokens", "sandbox")
_PATHLIKE = regex(r"(?!/)(?!.*\.\.(?:/|$))[\w@+-][\w./@+ -]*\.\w+\Z")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A mapping in today's format, the notes on what became of the rest, and the status the file
    claimed."""

    data: Mapping[str, Any]
    notes: tuple[str, ...]
    status: meanings.Said = meanings.Said()


def is_legacy(data: object, body: str = "") -> bool:
    """Whether this is a task of the older format: something to do, no prompt, and at least two of
    its keys."""
    if not isinstance(data, Mapping) or {"prompt", "prompt_file"} & set(data):
        return False
    something = bool(body.strip()) or any(
        data.get(key) for key in ("title", "description", "objective")
    )
    return something and len(_MARKERS & {meanings.plain(key) for key in data}) >= 2


def can_convert(data: object, body: str = "") -> bool:
    """Whether a file that is imported says something to do at all, whatever its keys."""
    return isinstance(data, Mapping) and bool(
        body.strip() or any(str(value).strip() for value in data.values() if value)
    )


def convert(
    data: Mapping[str, Any],
    body: str = "",
    agents: Collection[str] | None = None,
    known: Known | None = None,
    own: str = "",
) -> Conversion:
    """Build the task, whose id is ``own``; ``agents`` are the roles that are configured here (None:
    do not check), ``known`` finds other tasks."""
    rest = dict(data)
    notes: list[str] = []
    out: dict[str, Any] = {}
    title = rest.pop("title", None) or rest.pop("name", None)
    if title not in (None, ""):
        out["title"] = _one_line(title)
    role = _role(rest, notes, agents)
    if role and (agents is None or role in agents):
        out["agent"] = role
    _bounds(rest, out, notes)
    found, where = dependencies.find(rest, known)
    prompt = _prompt(
        str(title or "").strip(), rest, where, body, role if "agent" not in out else ""
    )
    out["prompt"] = prompt + _for_information(found.prose)
    _priority(rest, out, notes)
    needs = [need for need in found.needs if need != own]
    if needs:
        out["needs"] = needs
    then = handoff.entries(data, agents, notes)
    if then:
        out["then"] = then
    notes += found.notes
    files = [item for key in ("artefacts", "artifacts") for item in _strings(data.get(key))]
    good = [item for item in dict.fromkeys(files) if _PATHLIKE.match(item)]
    if good:
        out["artifacts"] = good
    _labels(rest, out)
    _todays(rest, out, notes)
    status = meanings.said(rest)
    if status.word:
        kept = _key(status.key)
        notes.append(f"{status.shown} is kept as {kept}; the folder is the status")
    for key, value in rest.items():
        if key not in where and (
            meanings.plain(key) in BOOKKEEPING or meanings.plain(key).startswith("x_")
        ):
            out[_key(key)] = value
    return Conversion(out, tuple(notes), status)


def _role(rest: dict[str, Any], notes: list[str], agents: Collection[str] | None) -> str:
    for key in ("agent", "assignee", "assignees", "to_agent", "assigned_to"):
        value = rest.get(key)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, str) and value.strip(" @"):
            value = value.strip(" @")
            role = ids.slug(value) if ids.problem(value) else value
            if agents is not None and role not in agents:
                notes.append(f"agent '{role}' is not configured here: the default agent acts as it")
            else:
                del rest[key]
                if key != "agent":
                    notes.append(f"{key}: {value} became agent: {role}")
            return role
    return ""


def _prompt(title: str, rest: Mapping[str, Any], where: set[str], body: str, role: str) -> str:
    parts = [f"# {title}"] if title else []
    if role:
        parts.append(f"You act as: {role}")
    sections = [key for name, _ in SECTIONS for key in rest if meanings.plain(key) == name]
    others = [key for key in rest if key not in sections and key not in where]
    brief = []
    for key in (*sections, *others):
        value = rest[key]
        text = _text(value)
        if not text or (key in others and meanings.plain(key) in BOOKKEEPING and _is_brief(value)):
            continue
        heading = _HEADINGS.get(meanings.plain(key), _words(key))
        if (
            key in others
            and not isinstance(value, (list, Mapping))
            and len(text.split()) <= SHORT
            and "\n" not in text
        ):
            brief.append(f"- {heading}: {text}")
        else:
            parts.append(f"## {heading}\n\n{text}" if heading else text)
    if brief:
        parts.append("## Further details\n\n" + "\n".join(brief))
    if body.strip():
        parts.append(body.strip())
    return "\n\n".join(parts) + "\n"


def _is_brief(value: Any) -> bool:
    return len(_text(value).split()) <= SHORT


def _for_information(prose: list[str]) -> str:
    if not prose:
        return ""
    return "\n## Dependencies (for information)\n\n" + "".join(f"- {item}\n" for item in prose)


def _priority(rest: dict[str, Any], out: dict[str, Any], notes: list[str]) -> None:
    value = rest.pop("priority", None)
    if value in (None, "", [], {}):
        return
    known = meanings.priority_of(value)
    if known:
        out["priority"] = known
        if known != str(value):
            notes.append(f"priority: {value} became {known}")
    else:
        rest["priority"] = value
        notes.append(f"priority: {value} is not high, normal or low; normal is used")


def _labels(rest: dict[str, Any], out: dict[str, Any]) -> None:
    labels = []
    for key in ("tags", "labels"):
        value = rest.get(key)
        if isinstance(value, str):
            value = [part.strip() for part in re.split("[,;]", value)]
        if isinstance(value, list) and all(isinstance(item, (str, int)) for item in value):
            labels += _strings([str(item) for item in value])
            rest.pop(key)
    if labels:
        out["labels"] = list(dict.fromkeys(labels))


def _is_duration(value: Any) -> bool:
    try:
        return isinstance(value, str) and duration(value) > 0
    except ValueError:
        return False


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


# Others have these as well, and may mean something else by them.
_FITS: Mapping[str, Callable[[Any], bool]] = {
    "retries": lambda value: type(value) is int and 0 <= value <= 20,
    "silence": _is_duration,
    "isolation": lambda value: value == "worktree",
    "review": lambda value: value in ("always", "changed"),
    "plan": lambda value: value is True,
    "verify": _is_texts,
    "locks": _is_texts,
    "timeout": _is_duration,
}
_NUMBERS = ("timeout", "silence", "retries")


def _bounds(rest: dict[str, Any], out: dict[str, Any], notes: list[str]) -> None:
    """What a task may do at most, or when, stays that: it does not become a word to its agent."""
    for key in (*BOUNDS, *_FITS):
        if key in rest and (key in BOUNDS or _FITS[key](rest[key])):
            out[key] = rest.pop(key)
        elif key in _NUMBERS and rest.get(key) not in (None, ""):
            notes.append(f"{key}: {_inline(rest[key])} does not fit: it bounds nothing")


def _todays(rest: dict[str, Any], out: dict[str, Any], notes: list[str]) -> None:
    """Keys that already mean today what they meant then are kept where their values fit."""
    for key in ("tool", "model", "cwd", "run"):
        value = rest.get(key)
        if isinstance(value, str) and re.fullmatch(r"[^\s/~-][^\s]*", value) and ".." not in value:
            out[key] = rest.pop(key)
        elif value not in (None, ""):
            notes.append(f"{key}: {_one_line(_inline(value))} does not fit: it is kept as x-{key}")


def _text(value: Any, depth: int = 0) -> str:
    """A value as Markdown: text as it is, a list as bullets, a mapping as labelled bullets."""
    if value in (None, "", [], {}):
        return ""
    pad = "  " * depth
    if isinstance(value, Mapping):
        return "\n".join(_item(f"{pad}- {key}:", inner, depth) for key, inner in value.items())
    if isinstance(value, list):
        return "\n".join(_item(f"{pad}-", inner, depth) for inner in value)
    return str(value).strip() if not isinstance(value, bool) else str(value).lower()


def _item(head: str, value: Any, depth: int) -> str:
    if isinstance(value, (list, Mapping)):
        simple = isinstance(value, Mapping) and not any(
            isinstance(inner, (list, Mapping)) for inner in value.values()
        )
        if simple and head.endswith("-") and "\n" not in dependencies.said(value):
            return f"{head} {_inline(value)}"
        if isinstance(value, Mapping) and len(value) == 1 and head.endswith("-"):
            key, only = next(iter(value.items()))
            return _item(f"{head} {key}:", only, depth)
        inner = _text(value, depth + 1)
        return f"{head}\n{inner}" if inner else head
    text = _text(value)
    return (
        f"{head} {text}".rstrip()
        if "\n" not in text
        else f"{head} " + text.replace("\n", "\n" + "  " * (depth + 1))
    )


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_inline(inner)}" for key, inner in value.items())
    return _text(value)


def _strings(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item.strip() for item in items if isinstance(item, str) and item.strip()]


def _one_line(title: object) -> str:
    return " ".join(str(title).split())[:300]


def _words(key: str) -> str:
    words = meanings.plain(key).replace("_", " ") or str(key)
    return words[:1].upper() + words[1:]


def _key(key: object) -> str:
    name = re.sub(r"[^\w.-]+", "_", str(key)) or "key"
    return name if name.startswith("x-") else f"x-{name}"

"""Work that follows from work: what is to be made when a task ends, under which id, and with what
text.

Everything here is pure. An id follows from its cause, the task and the place in its list, so that
making it twice makes one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.libraries import later
from orchestrator.model import filling, ids
from orchestrator.model.closeness import closest
from orchestrator.model.status import Outcome, Status
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")

Path = tuple[Any, ...]
CONDITIONS = ("proven", "done", "failed", "changed", "always")
DEPTH = 5  # how many tasks may follow one another, if nothing is configured
VALUES = (
    *("task.id", "task.title", "task.agent", "task.status", "task.outcome"),
    *("task.result", "task.log", "task.branch", "task.base", "task.tip", "task.data"),
)
# Keys of an entry of `then` that are the next task's own.
OWN = (
    *("title", "agent", "tool", "model", "prompt", "context", "cwd", "timeout", "silence"),
    *("max_cost_usd", "max_tokens", "retries", "priority", "labels", "artifacts", "isolation"),
    *("verify", "locks", "env", "then", "use", "with", "result"),
)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """One entry of ``then``: when it is made, and the keys of the task that is made."""

    on: str = "proven"
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its id ends in: who acts, or what it is called."""
        agent = self.body.get("agent")
        agent = agent[0] if isinstance(agent, list) and agent else agent
        word = str(self.body.get("use") or agent or self.body.get("title") or "next")
        return word if ids.problem(word) == "" and "." not in word else ids.slug(word, 30)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended, as far as what follows depends on it.

    ``changed``: there is work of its on a branch or in the checkout. ``tip`` is the commit that the
    next tree begins from, empty if there is none or it is merged; ``merges`` whether an approval
    merges it. ``times`` counts from 1 how often it has ended here.
    """

    status: Status
    outcome: Outcome
    title: str = ""
    agent: str = ""
    result: str = ""
    log: str = ""
    branch: str = ""
    base: str = ""
    tip: str = ""
    data: Any = None
    changed: bool = False
    merges: bool = True
    times: int = 1


@dataclass(frozen=True, slots=True)
class Made:
    """A task to be made when its cause enters one of the folders ``at``."""

    id: str
    on: str
    at: tuple[str, ...]
    data: Mapping[str, Any]


def follow_ups(data: Mapping[str, Any]) -> tuple[FollowUp, ...]:
    """What ``then`` and ``next_agent`` of a task or a role ask for."""
    listed = data.get("then", ())
    entries = [listed] if isinstance(listed, Mapping) else list(listed)
    found = [
        FollowUp(
            str(entry.get("on", "proven")),
            {key: value for key, value in entry.items() if key != "on"},
        )
        for entry in entries
    ]
    if data.get("next_agent"):
        found.append(FollowUp("proven", {"agent": data["next_agent"]}))
    return tuple(found)


def moments(on: str, ended: Ended) -> tuple[str, ...]:
    """The folders whose entering makes a follow-up with this condition; none: it never will be."""
    succeeded = ended.outcome is Outcome.SUCCEEDED
    proven = (Status.REVIEW, Status.DONE) if succeeded else (Status.DONE,)
    table: dict[str, tuple[Status, ...]] = {
        "proven": proven,
        "done": (Status.DONE,),
        "failed": (Status.FAILED,),
        "changed": proven if ended.changed else (),
        "always": (Status.REVIEW, Status.DONE, Status.FAILED),
    }
    return tuple(str(status) for status in table[on])


def child_id(parent: str, name: str, place: int, times: int) -> str:
    """``<parent>.<name>``; ``.2`` for the second of that name, ``.again2`` for the second time that
    the parent ended."""
    tail = f".{name}"
    tail += f".{place}" if place > 1 else ""
    tail += f".again{times}" if times > 1 else ""
    found = parent + tail
    if ids.problem(found):
        digest = hashlib.sha256(found.encode("utf-8", "surrogateescape")).hexdigest()[:10]
        room = ids.MAX_BYTES - len(digest) - 1
        found = parent.encode()[:room].decode("utf-8", "ignore") + f".{digest}"
    return found


def planned(
    task_id: str,
    asked: Mapping[str, Any],
    listed: Sequence[FollowUp],
    ended: Ended,
    depth: int,
) -> tuple[list[Made], str]:
    """What the end of a task leads to, and why it leads to nothing more (empty: it may).

    ``asked`` are keys of the task itself: ``chain``, ``depth``, ``run``, ``priority``, ``prompt``.
    """
    before = [*asked.get("chain", ()), task_id]
    limit = min(depth, asked["depth"]) if asked.get("depth") is not None else depth
    made, count = [], dict[str, int]()
    for entry in listed:
        count[entry.name] = count.get(entry.name, 0) + 1
        at = moments(entry.on, ended)
        if at and (ended.status is Status.REVIEW or str(ended.status) in at):
            new = child_id(task_id, entry.name, count[entry.name], ended.times)
            data = _data(task_id, asked, entry, before, ended, str(ended.status) in at)
            made.append(Made(new, entry.on, at, data))
    if made and len(before) > limit:
        chain = " -> ".join(before[-6:])
        why = (
            f"nothing follows {task_id}: {limit} tasks may follow one another (limits.depth), and"
            f" these did: {chain}"
        )
        return [], why
    return made, ""


def _data(
    task_id: str,
    asked: Mapping[str, Any],
    entry: FollowUp,
    before: Sequence[str],
    ended: Ended,
    at_once: bool,
) -> dict[str, Any]:
    values = {
        "task.id": task_id,
        "task.title": ended.title,
        "task.agent": ended.agent,
        "task.status": str(ended.status),
        "task.outcome": str(ended.outcome),
        "task.result": ended.result,
        "task.log": ended.log,
        "task.branch": ended.branch,
        "task.base": ended.base,
        "task.tip": ended.tip,
        **_of_data(ended.data),
    }
    own = {key: entry.body[key] for key in OWN if key in entry.body}
    deeper = own.pop("then", None)
    filled = {
        key: (
            filling.everywhere(value, lambda text: filling.fill(text, values))
            if key in ("title", "prompt", "context", "with")
            else value
        )
        for key, value in own.items()
    }
    if "prompt" not in filled and "use" not in filled:
        filled["prompt"] = _same_subject(asked, ended)
        filled.setdefault("title", ended.title or task_id)
    filled["context"] = list(dict.fromkeys([*filled.get("context", ()), ended.result]))
    for key in ("run", "priority"):
        if asked.get(key) and key not in filled:
            filled[key] = asked[key]
    if ended.tip and (at_once or not ended.merges):
        filled["base"] = ended.tip
        filled.setdefault("isolation", "worktree")
    filled["chain"] = list(before)
    if asked.get("depth") is not None:
        filled["depth"] = asked["depth"]
    if deeper:
        filled["then"] = deeper
    order = ("title", *OWN)
    return {
        key: filled[key] for key in dict.fromkeys((*order, *filled)) if filled.get(key) is not None
    }


def _of_data(data: Any) -> dict[str, str]:
    """``task.data`` and, of a mapping, ``task.data.KEY``: texts as they are, anything else as
    JSON."""
    found = {"task.data": data}
    if isinstance(data, Mapping):
        found |= {f"task.data.{key}": value for key, value in data.items()}
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in found.items()
        if value is not None
    }


def _same_subject(asked: Mapping[str, Any], ended: Ended) -> str:
    """The prompt of a follow-up that says none: the same subject, for somebody else."""
    head = f"Go on after {ended.agent or 'another agent'}: what was done is in {ended.result}."
    subject = str(asked.get("prompt") or "").strip()
    if not subject and asked.get("prompt_file"):
        subject = f"What is in {asked['prompt_file']}."
    return f"{head}\n\nThe task was:\n\n{subject}\n" if subject else f"{head}\n"


def entries(data: Any, path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every entry of ``then``, those within others included, with its path."""
    listed = data.get("then", ()) if isinstance(data, Mapping) else ()
    single = isinstance(listed, Mapping)
    for place, entry in enumerate([listed] if single else listed):
        where = (*path, "then") if single else (*path, "then", place)
        yield where, entry
        yield from entries(entry, where)


def problems(data: Any, path: Path = ()) -> list[tuple[Path, str, str]]:
    """What is wrong with ``then`` in data that fits its schema: path, message, hint."""
    found = []
    for where, entry in entries(data, path):
        texts = {key: entry[key] for key in ("title", "prompt", "context", "with") if key in entry}
        for inside, name in filling.unknown(texts, VALUES):
            if name.startswith("task.data."):
                continue
            close = closest(name, VALUES)
            hint = f"did you mean {{{close}}}?" if close else f"there are: {', '.join(VALUES)}"
            found.append(
                (
                    (*where, *inside),
                    f"nothing fills {{{name}}}",
                    f"{hint}; {{{{{name}}}}} is the text itself",
                )
            )
        if not (entry.get("agent") or entry.get("prompt") or entry.get("use")):
            why = "an entry of then says neither who acts nor what to do"
            found.append((where, why, "write agent:, prompt: or use:"))
    return found

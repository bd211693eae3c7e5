"""What needs you: all that only a person can move on, as one list. Empty means that nothing waits
for you.

``status``, ``review``, the short line, the pane and the report show this list and no other; each
entry has the command that moves it on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.files import (
    conflicts,
    contests,
    documents,
    eventreader,
    git,
    opening,
    origin,
    replies,
    results,
    scan,
)
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.text import clean, one_line
from orchestrator.libraries import later
from orchestrator.model import gates, hold, isolation
from orchestrator.model import question as question_model
from orchestrator.model.status import Status
from orchestrator.model.units import HOUR, moment_of, timestamp
from orchestrator.queries import world
from orchestrator.records import dataclass

if TYPE_CHECKING:
    import shlex
else:
    shlex = later("shlex")

NEW = 7 * 86400.0  # seconds for which a failure is new
HELD_LONG = 3600.0  # seconds after which a held tool needs a person
PLAN_MOST = 1 << 18  # bytes of a plan
GIVE_BACK = "reply --conflict"  # has the agent resolve what its branch and the target collide in
MOST = 200  # files of a kind that git may have brought


@dataclass(frozen=True, slots=True)
class Need:
    """One thing. ``kind`` is ``asks``, ``review``, ``failed``, ``invalid``, ``held`` or ``budget``;
    ``why`` one clean line; ``command`` what to type next; ``since`` seconds since the epoch."""

    id: str
    kind: str
    why: str
    command: str
    since: float | None = None
    title: str = ""
    said: str = ""  # the first line of the agent's answer
    question: str = ""
    branch: str = ""
    target: str = ""  # the branch that its own would be merged into
    plan: str = ""  # the text of a plan that waits for a yes
    verbs: tuple[str, ...] = ()  # that can be done with it, `GIVE_BACK` among them

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        found["since"] = timestamp(self.since) if self.since is not None else None
        found["verbs"] = list(self.verbs)
        return {key: value for key, value in found.items() if value not in (None, "", [])}


def needs_you(layout: Layout, now: float, known: world.Known | None = None) -> list[Need]:
    """Everything that waits for a person, the most urgent first."""
    known = known or world.Known(layout, now)
    reviewed = list(_reviews(known))
    return [
        *_asks(known),
        *[need for need in reviewed if need.kind == "asks"],
        *_settings(known),
        *[need for need in reviewed if need.kind == "review"],
        *_failures(known),
        *_invalid(known),
        *_brought(known),
        *_long_held(known),
        *_budgets(known),
    ]


def _asks(known: world.Known) -> Iterator[Need]:
    """Questions of agents that run and wait."""
    for ask in sorted(known.asks, key=lambda ask: ask.since):
        why = (
            f"{one_line(question_model.headline(ask.question), 160)}"
            f" {one_line(question_model.choices(ask.question), 120)}"
        )
        verbs = ("reply", "cancel", "show")
        yield Need(
            ask.task_id,
            "asks",
            why.strip(),
            f"reply {ask.task_id}",
            ask.since,
            question=ask.question,
            verbs=verbs,
        )


def _reviews(known: world.Known) -> Iterator[Need]:
    layout = known.layout
    for task_id, _ in known.tasks_in(Status.REVIEW):
        if contests.known(layout, task_id) is not None:
            continue  # its tasks are there, too, and one of them is to be taken
        found = results.read(layout, task_id)
        question = str(found.get("question") or "")
        facts: dict[str, Any] = {
            "since": moment_of(found.get("finished_at")),
            "title": one_line(str(found.get("title") or ""), 200),
            "said": one_line(question_model.headline(str(found.get("message") or "")), 200),
            "branch": one_line(str(found.get("branch") or ""), 200),
            "target": one_line(str(found.get("target") or ""), 200),
        }
        if question:
            why = " ".join(
                (
                    one_line(question_model.headline(question), 160),
                    one_line(question_model.choices(question), 120),
                )
            )
            can: tuple[str, ...] = ("reply", "reject", "show")
            command = f"reply {task_id}"
            yield Need(task_id, "asks", why.strip(), command, question=question, verbs=can, **facts)
            continue
        if results.waiting_plan(found):
            can = ("show", "approve", "reject", "reply", "retry")
            facts["plan"] = _text(layout.plan(task_id))
            yield Need(task_id, "review", _work(found), f"show {task_id}", verbs=can, **facts)
            continue
        diff = bool(found.get("files_changed") and found.get("branch"))
        command = f"{'diff' if diff else 'why'} {task_id}"
        why = _work(found)
        can = (*(("diff",) if diff else ()), "show", "approve", "reject", "reply", "retry")
        if collides := conflicts.told(layout, task_id):
            why, command = f"{collides} · {why}", f"reply {task_id} --conflict"
            can += (GIVE_BACK,)
        yield Need(task_id, "review", why, command, verbs=can, **facts)


def _text(path: str) -> str:
    """What a plan says; empty if it cannot be read."""
    try:
        return clean(opening.read_bytes(path, PLAN_MOST).decode("utf-8", "replace")).strip()
    except OSError:
        return ""


def _work(found: dict[str, Any]) -> str:
    """``+12 -3 in 2 files · tests ✓ · $0.85``, or why it is there."""
    parts = []
    if found.get("branch") and found.get("files_changed"):
        figures = f"+{found.get('insertions', 0)} -{found.get('deletions', 0)}"
        parts.append(f"{figures} in {isolation.files_of(len(found['files_changed']))}")
    reason = one_line(str(found.get("reason") or ""), 160)
    if parts and reason.startswith("+"):
        reason = ""
    elif parts:
        reason = reason.partition(f": {figures} in ")[0]  # of a run: how many of it are done
    if reason:
        parts.append(reason)
    parts += checks_of(found)
    if found.get("cost_usd"):
        parts.append(f"${float(found['cost_usd']):.2f}")
    return " · ".join(parts) or "a person decides"


def checks_of(found: dict[str, Any]) -> list[str]:
    """``tests ✓``, ``lint ✗``: how its checks ended."""
    entries = [item for item in found.get("checks") or () if isinstance(item, dict)]
    return [
        f"{one_line(str(item.get('check')), 40)} {'✓' if item.get('passed') else '✗'}"
        for item in entries
    ]


def _failures(known: world.Known) -> Iterator[Need]:
    """Tasks that failed lately and lie where they fell, unless a person has said that it may be so
    (``reject``)."""
    seen: set[str] = set()
    for event in known.ends:
        moment = moment_of(event.get("ts"))
        if moment is not None and known.now - moment > NEW:
            return
        task_id = event.get("task_id")
        if task_id in seen:
            continue
        seen.add(str(task_id))
        if event.get("event") != "task_finished" or event.get("status") != "failed":
            continue
        if scan.locate(known.layout, str(task_id), (Status.FAILED,)) is None:
            continue
        verbs = ("show", "reply", "retry", "reject")
        why = one_line(str(event.get("summary") or event.get("error_class") or ""), 160)
        yield Need(str(task_id), "failed", why, f"show {task_id}", moment, verbs=verbs)


def _invalid(known: world.Known) -> Iterator[Need]:
    for name, judged in known.invalid.items():
        shown = known.layout.shown(known.layout.file(Status.INBOX, name))
        yield Need(
            stem_of(name),
            "invalid",
            one_line(judged.told, 160),
            f"validate {shlex.quote(shown)}",
            verbs=("edit",),
        )


def _settings(known: world.Known) -> Iterator[Need]:
    card = known.card
    if card is None or not card.alive:
        yield from _unstartable(known)
        if known.refusal:
            yield _held_settings(known.refusal)
        return
    if not card.settings:
        return
    if card.settings_held or card.settings_wait:
        yield _held_settings(card.settings)
    else:
        yield _wrong_settings(known, card.settings)


def _held_settings(told: str) -> Need:
    why = one_line(told.partition("; to ")[0], 160)
    return Need("settings", "held", why, "approve --settings")


def _wrong_settings(known: world.Known, told: str) -> Need:
    """``told`` is what a watcher says of them, or would at its start."""
    if known.settings.wrong is None:  # it is in a file of another tool, agent, schedule, template
        return Need("settings", "invalid", one_line(told, 160), "validate")
    shown = shlex.quote(known.layout.shown(known.layout.config))
    return Need("settings", "invalid", one_line(told, 160), f"validate {shown}", verbs=("edit",))


def _unstartable(known: world.Known) -> Iterator[Need]:
    """What is wrong with orchestrator.yaml, where something waits and nobody watches who would say
    so."""
    if not known.tasks_in(Status.INBOX):
        return
    if (error := known.settings.wrong) is not None:
        yield _wrong_settings(known, error.message)


def _brought(known: world.Known) -> Iterator[Need]:
    """Tasks, runs and replies that git brought."""
    yield from _brought_replies(known)
    yield from _brought_files(known)


def _brought_replies(known: world.Known) -> Iterator[Need]:
    """Replies that wait for a yes, and those that cannot be taken as they are; at most `MOST` are
    looked at, and the others counted."""
    layout = known.layout
    judge: replies.Origin | None = None
    listed = replies.listed(layout, names=known.names)
    if len(listed) > MOST:
        why = f"there are {len(listed):,} replies beside tasks, and {MOST} are looked at here"
        yield Need("replies", "invalid", why, "doctor")
    for task_id, folder, name in listed[:MOST]:
        reply = replies.look(layout, folder, name)
        if reply is None:
            continue
        if reply.problem:  # a yes would not mend it, and would be a yes to the task
            why = f"{folder}/{name}: {one_line(reply.problem, 120)}"
            known_here = scan.locate(layout, task_id) is not None
            yield Need(task_id, "invalid", why, f"show {task_id}" if known_here else "list")
            continue
        judge = judge or replies.Origin(known.verdicts.trust, known.verdicts.origins)
        gate = judge.gate(reply, known.in_force.from_git, known.now)
        if gate is not None:
            why = f"{folder}/{name}: {one_line(gate.why, 120)}"
            yield Need(task_id, "held", why, f"approve {task_id}")


def _brought_files(known: world.Known) -> Iterator[Need]:
    """Files of the inbox that wait for a yes; at most `MOST` are judged."""
    listed = known.tasks_in(Status.INBOX)
    if not listed or known.in_force.from_git == "run":
        return
    few, judged = len(listed) <= MOST, 0
    for task_id, name in listed:
        if judged >= MOST:
            return
        if name in known.invalid:
            continue
        if not _may_be_brought(known, name, few):
            continue
        judged += 1
        request = known.judge.file(Status.INBOX, name).request
        held = known.verdicts.of(request, name).gate if request is not None else None
        if held is not None and held.name is gates.GateName.APPROVAL and held.stuck:
            verbs = ("show", "approve", "reject")
            yield Need(task_id, "held", one_line(held.why, 160), f"approve {task_id}", verbs=verbs)


def _may_be_brought(known: world.Known, name: str, closely: bool) -> bool:
    """Whether the file is worth a look; ``closely``: also of what the index does not name, which
    has to be read."""
    inbox, origins = known.layout.folder(Status.INBOX), known.verdicts.origins
    try:
        if not closely:
            return bool(origins.tracked(inbox, name, known.now))
        data = opening.read_bytes(f"{inbox}/{name}")
        return bool(origins.brought(inbox, name, data, known.now))
    except OSError:
        return False
    except (origin.Busy, git.Unclear):
        return True


def _long_held(known: world.Known) -> Iterator[Need]:
    """What is held beside single tasks, and has been, or will be, for long."""
    now = known.now
    for held in known.holds:
        if held.over(now):
            continue
        closed, end = hold.gate(held, now), held.ends(now)
        left = end - now if end is not None else HELD_LONG + 1
        if (held.since is not None and now - held.since > HELD_LONG) or left > HELD_LONG:
            command = f"release {hold.option(held.scope)}"
            what = hold.words(held.scope)
            yield Need(what, "held", one_line(closed.why, 160), command, held.since)


def _budgets(known: world.Known) -> Iterator[Need]:
    day = timestamp(known.now - HOUR)[:10]  # attempts are counted by the hour, too
    if not known.tasks_in(Status.INBOX) and not eventreader.files(known.layout, day):
        return  # nothing waits, and nothing was spent
    for scope, (gate, *_) in known.spent_budgets.items():
        yield Need(
            "-".join(part for part in scope if part) or "day",
            "budget",
            one_line(gate.why, 160),
            f"{gate.hint}{_line(known.layout, gate.keys)}",
        )


def _line(layout: Layout, keys: tuple[str, ...]) -> str:
    """``:7``: where orchestrator.yaml sets this; empty if it does not, by now."""
    try:
        document = documents.parse(opening.read_bytes(os.path.realpath(layout.config)))
    except OSError:
        return ""
    found = document.keys.get(keys)
    return f":{found.line}" if found is not None else ""

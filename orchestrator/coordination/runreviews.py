"""A run whose tasks have trees is one change: when its last task has ended its file goes to
review/, is looked at once, and merged.

What the file is moved by can be repeated: the result first, then the rename. Failures are no
hindrance: "3 of 4" is a review, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.coordination import merges
from orchestrator.errors import OrchestratorError, Refused
from orchestrator.files import journals, results, runrecords
from orchestrator.files.identity import born, number_of
from orchestrator.files.layout import stem_of
from orchestrator.files.text import one_line
from orchestrator.model.config import Config
from orchestrator.model.isolation import Change, Check, summary
from orchestrator.model.run import Run
from orchestrator.model.sandbox import Sandbox, within
from orchestrator.model.status import FINISHED, Outcome, Status
from orchestrator.model.units import timestamp
from orchestrator.store import atomic, merging, moves, runbranches, sharing, trees
from orchestrator.store.mergeplans import CannotMerge, Planned
from orchestrator.store.transitions import Store

StatusOf = Callable[[str], Status | None]
ENDED = tuple(map(str, FINISHED))  # where a person may have put the file of a run before


def open_runs(store: Store) -> list[str]:
    """Ids of the runs with a branch whose files still lie in runs/."""
    found = runrecords.all_known(store.layout)
    return [item.run for item in found if _place(store, item.run) == runrecords.RUNS]


def settle(store: Store, run: Run, status_of: StatusOf) -> str:
    """Have a run whose tasks have all ended reviewed, if its branch holds anything new; what was
    done, in words.

    Raises `OrchestratorError` or OSError, and may be repeated.
    """
    layout = store.layout
    known = runrecords.known(layout, run.id)
    place = runrecords.place(layout, run.id)
    if known is None or place is None or place[0] == Status.ARCHIVE:
        return ""
    repo = trees.repository(layout)
    change = runbranches.change_of(layout, repo, known)
    if change is None or change.empty or known.merged(change.tip):
        return ""
    folder, name = place
    if folder in (Status.REVIEW, *ENDED) and known.looked_at == change.tip:
        return ""  # it is being looked at, or a person has decided about this
    document = _document(store, run, change, status_of)
    runbranches.looked_at(layout, known, change.tip)
    store.log.commit_and_wait([], [store.stage_result(run.id, document)])
    if folder != Status.REVIEW:
        atomic.move(layout.file(folder, name), layout.file(Status.REVIEW, name))
        for touched in (folder, Status.REVIEW):
            atomic.sync_folder(layout.folder(touched))
    return str(document["reason"])


def _document(store: Store, run: Run, change: Change, status_of: StatusOf) -> dict[str, Any]:
    """The result of a run: its figures, and how its tasks ended."""
    statuses = {member: status_of(member) for member in run.members}
    done = sum(status is Status.DONE for status in statuses.values())
    others = [
        f"{member}: {status or 'missing'}"
        for member, status in statuses.items()
        if status is not Status.DONE
    ]
    found = [results.read(store.layout, member) for member in run.members]
    costs = [float(item["cost_usd"]) for item in found if item.get("cost_usd")]
    document = {
        "task": run.id,
        "title": run.title,
        "outcome": str(Outcome.SUCCEEDED if done == len(statuses) else Outcome.FAILED),
        "reason": f"{done} of {len(statuses)} done: {summary(change)}",
        "finished_at": timestamp(store.clock.wall()),
        "cost_usd": round(sum(costs), 6) if costs else None,
        "files_changed": list(change.files),
        "notes": others[:50],
        "attempts": [],
        **change.facts(),
    }
    return {
        key: value
        for key, value in document.items()
        if key == "attempts" or value not in (None, "", [])
    }


def approve(store: Store, config: Config, run_id: str) -> str:
    """Merge a run's branch into its target; what was done, in words. Raises `CannotMerge`: then
    nothing has changed."""
    layout = store.layout
    known = runrecords.known(layout, run_id)
    if known is None:
        return ""
    repo = trees.repository(layout)
    if why := sharing.holds_merges(layout, repo):
        raise CannotMerge(why, merges.LOOK)
    change = runbranches.change_of(layout, repo, known)
    if change is None:
        raise CannotMerge(f"the branch '{known.branch}' is gone", "orchestrator doctor")
    if known.merged(change.tip):
        return ""
    if change.tip != known.looked_at:
        raise CannotMerge(
            f"{known.branch} has moved since the review: one of its tasks was merged in the"
            " meantime",
            f"orchestrator diff {run_id}   then approve it again, once its tasks have ended",
        )
    checks, box = _checks(store, config, run_id)

    def proven(new: str) -> str:
        return merges.red_on(layout, config, repo, checks, new, run_id, box) if checks else ""

    def note(record: Mapping[str, Any]) -> None:
        runbranches.write(layout, known.with_merge(record))

    def ready(planned: Planned | None) -> None:
        merges.judged(store, repo, run_id, change, planned)

    named = one_line(str(results.read(layout, run_id).get("title") or run_id), 200)
    title = f"{named} ({known.branch})"
    tree = runbranches.tree_of(layout, known)
    made = merging.merge(
        layout, repo, tree, change, "merge", title, run_id, known.merge, note, proven, ready
    )
    words = f"merged {known.branch} into {made.target} as {made.new[:12]}"
    event = store.log.event(
        "task_merged", run_id, made.new[:12], run_id=run_id, phase="merge", summary=words
    )
    store.log.commit_and_wait([event])
    return words


def is_by_hand(store: Store, name: str, known_by: int) -> bool:
    """Whether a run's file that came to done/ is the very one that lay in review/ (known by this
    number of `files.identity`), and its branch is not merged."""
    path = store.layout.file(Status.DONE, name)
    try:
        same = number_of(os.lstat(path).st_ino, born(path)) == known_by
    except OSError:
        return False
    return same and awaits_merge(store, stem_of(name))


def awaits_merge(store: Store, run_id: str) -> bool:
    """Whether a run that was reviewed lies in done/, and its branch is not merged."""
    known = runrecords.known(store.layout, run_id)
    if known is None or _place(store, run_id) != Status.DONE:
        return False
    return bool(known.looked_at) and not known.merged(known.looked_at)


def obey(store: Store, config: Config, name: str) -> str:
    """A person has put a run from review/ into done/: that is a yes.  What was done, in words.

    Raises `CannotMerge`, and then it is in review/ again.
    """
    run_id = stem_of(name)
    if not store.rehearsing:
        atomic.move(store.layout.file(Status.DONE, name), store.layout.file(Status.REVIEW, name))
    made = approve(store, config, run_id)
    store.judged(run_id, Status.DONE)
    moves.approve(store, run_id)
    return made


def _checks(store: Store, config: Config, run_id: str) -> tuple[list[Check], Sandbox]:
    """Every check by which a task of the run was proven, and a sandbox as tight as that of each."""
    place = runrecords.place(store.layout, run_id)
    members = merges.members_of(store.layout, *place) if place is not None else ()
    names: dict[str, None] = {}
    box = Sandbox()
    for member in members:
        journal = journals.of(store.layout, member)
        if journal is not None:
            names |= dict.fromkeys(merges.role_of(config, journal).role.verify)
            own = merges.sandbox_of(store.layout, config, journal)
            box = within(own, box) if own.on else box
    return [config.checks[name] for name in names if name in config.checks], box


def refuse_run(store: Store, task_id: str, verb: str) -> None:
    """`Refused` if this is the id of a run in review: it has no session, and its tasks are what can
    be run again."""
    place = runrecords.place(store.layout, task_id)
    if place is not None:
        raise Refused(
            f"{task_id} is a run", f"orchestrator {verb} {task_id}.KEY   is one task of it"
        )


def _place(store: Store, run_id: str) -> str:
    place = runrecords.place(store.layout, run_id)
    return str(place[0]) if place is not None else ""


def told(error: Exception) -> str:
    """Why a run could not be put in review, for people."""
    return error.message if isinstance(error, OrchestratorError) else str(error)

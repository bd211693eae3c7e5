"""A task's branch goes into its target: for ``merge: auto`` and for ``approve``, by the same steps.
The git commands are in `store.merging` (which plans by `store.mergeplans` and moves by
`store.targets`), merges that a person has made in `coordination.handmerges`.

Where the target has moved since the checks ran, they run again on the result, in a scratch checkout
of it, before anything moves.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from orchestrator.coordination.settings import Fixed
from orchestrator.coordination.walls import Building, Scene, real
from orchestrator.errors import OrchestratorError, Refused
from orchestrator.files import journals, opening, results, runrecords, scan
from orchestrator.files.bounds import of_id, of_task
from orchestrator.files.identity import is_file
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.requests import Unreadable, load, read
from orchestrator.files.text import one_line
from orchestrator.model.config import Agent, Config
from orchestrator.model.isolation import Change, Check, change_from
from orchestrator.model.journal import Journal
from orchestrator.model.runbranch import RunBranch, conflict_turn, within_run
from orchestrator.model.sandbox import Sandbox, at_least, within
from orchestrator.model.status import Status
from orchestrator.model.template import Template
from orchestrator.store import (
    atomic,
    conflictnotes,
    contests,
    git,
    mergeplans,
    merging,
    moves,
    owned,
    plans,
    sharing,
    smallfiles,
    targets,
    trees,
)
from orchestrator.store.ledger import Entry
from orchestrator.store.mergeplans import CannotMerge, Planned
from orchestrator.store.transitions import Store
from orchestrator.tools.invocation import CannotStart
from orchestrator.tools.taskenv import ALLOWED_ENV

LOOK = "look at it; orchestrator approve --settings accepts it"
LOG = "merge-checks.log"  # among the task's logs: what checks of a merge printed


def unmerged(journal: Journal) -> Change | None:
    """The change of a task that is not merged; None if there is none, or nothing in it."""
    change = change_from(journal.change)
    return None if change is None or change.empty or journal.merged else change


def role_of(config: Config, journal: Journal) -> Agent:
    """The role that acted last, as it is configured now."""
    name = str(journal.acting.get("agent") or journal.claim.get("agent") or "")
    return config.agents.get(name) or Agent(name, (name,))


def land(store: Store, config: Config, entry: Entry) -> str:
    """Merge the task of an open and locked journal; what was done, in words. Raises
    `CannotMerge`."""
    journal = entry.journal
    task_id = journal.task_id
    tree, change = trees.tree_from(store.layout, task_id, journal.tree), change_from(journal.change)
    if tree is None or change is None:
        raise Refused(f"{task_id} has no branch to merge")
    if change.unproven:
        raise CannotMerge(
            f"{change.branch} does not contain the work of {task_id}: {change.unproven}",
            f"orchestrator retry {task_id}   goes on in its tree",
        )
    repo = trees.repository(store.layout)
    if why := sharing.holds_merges(store.layout, repo):
        raise CannotMerge(why, LOOK)
    _refuse_ungrown(store.layout, repo, journal)
    role = role_of(config, journal)
    strategy = (within_run(role.role) if run_of(store.layout, journal) else role.role).strategy
    checks = [config.checks[name] for name in role.role.verify if name in config.checks]

    def proven(new: str) -> str:
        box = sandbox_of(store.layout, config, journal)
        return red_on(store.layout, config, repo, checks, new, task_id, box) if checks else ""

    def ready(planned: Planned | None) -> None:
        judged(store, repo, task_id, change, planned)

    title = f"{one_line(str(journal.claim.get('title') or task_id), 200)} ({change.branch})"
    made = merging.merge(
        store.layout,
        repo,
        tree,
        change,
        strategy,
        title,
        task_id,
        journal.merge,
        lambda record: entry.append(record, sync=True),
        proven,
        ready,
    )
    words = f"merged {change.branch} into {made.target} as {made.new[:12]}"
    number = journal.attempt.number if journal.attempt else 0
    store.log.commit_and_wait(
        [
            store.log.event(
                "task_merged",
                task_id,
                f"{number}.{made.new[:12]}",
                task_id=task_id,
                phase="merge",
                summary=words,
            )
        ]
    )
    return words


def judged(
    store: Store, repo: git.Repository, task_id: str, change: Change, planned: Planned | None
) -> None:
    """A merge that is planned (None: one that was cut off) may be made: a rehearsal ends here, or
    with what is in its way. Checks on the result do not run in one."""
    if store.rehearsing and planned is not None:
        targets.refuse_unmovable(repo, planned)
    target = planned.target if planned is not None else change.target
    store.judged(task_id, Status.DONE, f"merge {change.branch} into {target}")


def run_of(layout: Layout, journal: Journal) -> RunBranch | None:
    """The branch of the run that a task's branch goes into; None if it goes elsewhere."""
    run_id = str(journal.claim.get("run") or "")
    known = runrecords.known(layout, run_id) if run_id else None
    same = known is not None and known.branch == journal.tree.get("target")
    return known if same else None


def _refuse_ungrown(layout: Layout, repo: git.Repository, journal: Journal) -> None:
    """`CannotMerge` for a branch that began with another task's work, as long as that is not
    merged: it would come along unseen."""
    grown = str(journal.tree.get("grows_from") or "")
    base, target = str(journal.tree.get("base") or ""), str(journal.tree.get("target") or "")
    if not grown or not target:
        return
    ancestor = ("merge-base", "--is-ancestor", base, f"refs/heads/{target}")
    other = journals.of(layout, grown)
    if repo.shared.raw(*ancestor, codes=None).returncode and not (other and other.merged):
        raise CannotMerge(
            f"it began with the work of {grown}, which is not merged into {target}",
            f"orchestrator approve {grown}   first",
        )


def members_of(layout: Layout, folder: str, name: str) -> tuple[str, ...]:
    """Ids of the tasks of an accepted run; none if its file cannot be read."""
    try:
        run = load(
            layout.file(folder, name), stem_of(name), read(layout.file(folder, name)).raw
        ).run
    except (OSError, Unreadable):
        return ()
    return run.members if run is not None else ()


def sandbox_of(layout: Layout, config: Config, journal: Journal) -> Sandbox:
    """The sandbox that a task's last attempt had, as it is configured now."""
    claim, role = journal.claim, role_of(config, journal).role
    template = claim.get("template") or {}
    task = load(
        str(claim.get("file")),
        journal.task_id,
        str(claim.get("text") or "").encode(),
        None,
        [*config.agents],
        find=lambda name: Template(name, body=template, filled=True),
    ).task
    box = at_least(role.sandbox, task.sandbox if task is not None else "")
    bounds = of_task(layout, task) if task is not None else of_id(layout, journal.task_id)
    return within(box, bounds.sandbox) if bounds is not None else box


def red_on(
    layout: Layout,
    config: Config,
    repo: git.Repository,
    checks: Sequence[Check],
    commit: str,
    task_id: str,
    box: Sandbox,
) -> str:
    """Which of the checks are red on a commit, in words; empty if none is. They run in a checkout
    of it that goes afterwards, in the sandbox of who made it."""
    scratch = smallfiles.scratch(layout, f"proof.{os.path.basename(layout.tree(task_id))}")
    atomic.remove_tree(scratch)
    os.makedirs(scratch)
    acting = repo.shared.at(work_tree=scratch, index=f"{scratch}.index")
    try:
        acting("read-tree", commit)
        acting("checkout-index", "-a", "-q", cwd=scratch)
        os.makedirs(layout.logs(task_id), exist_ok=True)
        cwd = os.path.join(scratch, repo.prefix)
        enclosed = _enclosing(layout, config, box, scratch)
        told = [_run(check, cwd, f"{layout.logs(task_id)}/{LOG}", enclosed) for check in checks]
        return "; ".join(why for why in told if why)
    finally:
        trees.forget_index(f"{scratch}.index")
        atomic.remove_tree(scratch)


def _enclosing(layout: Layout, config: Config, box: Sandbox, place: str) -> trees.Enclosing:
    if not box.on:
        return trees.bare
    building = Building(layout, Fixed(config))

    def enclosed(
        argv: Sequence[str], cwd: str, env: Mapping[str, str]
    ) -> AbstractContextManager[trees.Command]:
        return building.command(Scene(box, real(place), real(cwd), apart=True), argv, env)

    return enclosed


def _run(check: Check, cwd: str, log: str, enclosed: trees.Enclosing) -> str:
    """Why a check is red; empty if it is green."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with os.fdopen(opening.descriptor(log, flags), "ab", buffering=0) as out:
        out.write(f"$ {' '.join(check.command)}\n".encode())
        try:
            with enclosed(check.command, cwd, _environment()) as (argv, env, fds):
                process = owned.command(argv, cwd, env, fds, out)
        except OSError as error:
            return f"{check.name}: {error.strerror}"
        except CannotStart as error:
            return f"{check.name}: {error.message}"
        try:
            code = process.wait(check.timeout)
            return f"{check.name}: exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            return f"{check.name}: took longer than {check.timeout:g} s"
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _environment() -> Mapping[str, str]:
    """What a check sees of our environment: as little as a tool does."""
    plain = {name for name in ALLOWED_ENV if "*" not in name}
    return {
        name: value for name, value in os.environ.items() if name in plain or name.startswith("LC_")
    }


def approve(store: Store, config: Config, task_id: str) -> str:
    """Merge what is in review, if it is to be merged at all; what was done, in words (empty:
    nothing). Raises `CannotMerge`."""
    with contests.taking(store.layout, task_id):
        return _approved(store, config, task_id)


def _approved(store: Store, config: Config, task_id: str) -> str:
    entry = store.ledger.open(task_id)
    if entry is None:
        return ""
    with entry:
        change = unmerged(entry.journal)
        if change is None or role_of(config, entry.journal).role.merge == "never":
            return ""
        if not entry.lock(merging.PATIENCE):
            raise Refused(
                f"{task_id} is being changed by another process", f"orchestrator show {task_id}"
            )
        if unmerged(entry.journal) is None:
            return ""
        try:
            made = land(store, config, entry)
        except CannotMerge as error:
            if error.conflicts and not store.rehearsing:
                conflictnotes.write(store.layout, task_id, error.message, error.conflicts)
            raise
        conflictnotes.remove(store.layout, task_id)
        return made


def obey(store: Store, config: Config, task_id: str) -> str:
    """A person has put a task from review/ into done/: that is a yes.  What was done, in words.

    Raises `CannotMerge`, and then it is in review/ again.
    """
    place = scan.locate(store.layout, task_id)
    if (
        place is None
        or place[0] is not Status.DONE
        or not results.is_request(store.layout, task_id)
    ):
        return ""
    name = place[1]
    if not store.rehearsing:
        atomic.move(store.layout.file(Status.DONE, name), store.layout.file(Status.REVIEW, name))
    if made := plans.approve(store, task_id, config.from_git):
        return made
    made = approve(store, config, task_id)
    store.judged(task_id, Status.DONE)
    moves.approve(store, task_id)
    return made


def is_by_hand(layout: Layout, name: str) -> bool:
    """Whether a file that came to done/ is the very one that lay in review/: a commit that a pull
    brings is another."""
    journal = journals.of(layout, stem_of(name))
    if journal is None or not results.is_request(layout, stem_of(name)):
        return False
    return is_file(layout.file(Status.DONE, name), journal.inode, journal.born)


def give_back(store: Store, task_id: str) -> None:
    """Have the next attempt told in which files its branch and the target collide. Raises `Refused`
    if they do not."""
    entry = store.ledger.open(task_id)
    change = unmerged(entry.journal) if entry is not None else None
    if entry is None or change is None:
        raise Refused(f"{task_id} has no branch to merge")
    with entry:
        if not entry.lock(merging.PATIENCE):
            raise Refused(
                f"{task_id} is being changed by another process", f"orchestrator show {task_id}"
            )
        state = conflicts(store.layout, entry.journal)
        if "merges cleanly" in state:
            raise Refused(
                f"{task_id} conflicts with nothing: {state}", f"orchestrator approve {task_id}"
            )
        store.judged(task_id, Status.INBOX, "name the files in conflict to its agent")
        text = conflict_turn(change, change.target, state)
        entry.append({"record": "told", "text": text, "at": store.clock.wall()}, sync=True)
        conflictnotes.remove(store.layout, task_id)


def conflicts(layout: Layout, journal: Journal) -> str:
    """What a merge would meet now, in words: ``main moved 3 commits: merges cleanly``; empty where
    nothing is to be merged."""
    change = unmerged(journal)
    tree = trees.tree_from(layout, journal.task_id, journal.tree)
    if change is None or tree is None or not change.target:
        return ""
    try:
        repo = trees.repository(layout)
        count = mergeplans.moved(repo, change)
        mergeplans.plan(layout, repo, tree, change, "squash", "a look", journal.task_id)
        state = "merges cleanly"
    except CannotMerge as error:
        state = (
            f"conflicts in {', '.join(error.conflicts[:5])}" if error.conflicts else error.message
        )
    except OrchestratorError as error:
        return error.message
    return f"{change.target} moved {count} commit{'s' * (count != 1)}: {state}" if count else state

"""``approve``: a person's yes. A task that waits may start; one in review is merged, if it has a
branch, and done."""

from __future__ import annotations

import click

from orchestrator.cli import selecting
from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_in_attempt, show
from orchestrator.cli.moving import move
from orchestrator.cli.options import dry_run_option, examples, ids_argument, json_option, now
from orchestrator.cli.screen.console import say
from orchestrator.cli.waking import able_to_read, refuse_other_home, until_read, wake
from orchestrator.cli.writing import open_config, open_store, refuse_unsafe
from orchestrator.coordination import consent, contests, handmerges, merges, runreviews
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.settings import Fixed
from orchestrator.errors import Refused
from orchestrator.files import results, scan
from orchestrator.model.config import Config
from orchestrator.model.status import Status
from orchestrator.queries import runs, world
from orchestrator.records import dataclass
from orchestrator.store import moves, plans, sharing
from orchestrator.store.acceptance import Acceptance, digest_of, snapshot
from orchestrator.store.moves import Moved
from orchestrator.store.transitions import Store

FOLDERS = (
    Status.REVIEW,
    Status.INBOX,
)


@click.command(
    epilog=examples(
        "orchestrator approve review-retry",
        "orchestrator approve --label docs -n     # list those in review",
        "orchestrator approve fix.claude          # take this one of the competitors",
        "orchestrator approve --settings",
    )
)
@ids_argument(*FOLDERS, required=False, runs=True)
@selecting.filter_options()
@click.option(
    "--settings",
    is_flag=True,
    help=(
        "Show what is new in orchestrator.yaml, tools, agents and templates, and accept it; the"
        " watcher then uses it."
    ),
)
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App,
    tasks: tuple[str, ...],
    wanted: selecting.Filter,
    yes: bool,
    settings: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Approve tasks: a task that came through git may start, a task in review becomes done.

    The branch of a task in review is merged first, unless its role says merge: never. If it cannot
    be merged, the task stays in review, and the error names the files in the way. A run in review
    is merged as one change. After you approve a plan, its task goes on in the same session, with
    the rights of its role.

    --run, --agent, --label and --status select the tasks in review that match all of them; approve
    lists these and asks. The name of a run means its tasks in review, without a question. A task
    that came through git, or asks you something, needs its id.
    """
    refuse_in_attempt("approve anything")
    if (tasks and wanted) or not (tasks or wanted or settings):
        raise click.UsageError(f"{selecting.NAME}; or --settings")
    changes = Changes(app, as_json)
    if settings:
        _accept(changes, dry_run)

    words = _but_contests(changes, tasks)
    found = selecting.of_words(
        changes, words, (Status.REVIEW,), fits=lambda task_id: _asks_nothing(app, task_id)
    )
    if wanted:
        found = selecting.find(app, wanted, (Status.REVIEW,))
        found = [it for it in found if it[1] is Status.REVIEW and _asks_nothing(app, it[0])]
        if not dry_run:
            selecting.agree(app, found, "approve", yes)
    if not found:
        return changes.end()
    config, _ = open_config(app)
    yes_of = _Yes(app, config, world.Known(app.layout, now()))
    move(changes, found, yes_of.step, "approved", "approve", dry_run)
    if not dry_run:
        wake(app.layout, now())
    return changes.end()


def _asks_nothing(app: App, task_id: str) -> bool:
    return not results.read(app.layout, task_id).get("question")


@dataclass(frozen=True, slots=True)
class _Yes:
    """What a person's yes to a task means: that depends on where its file is."""

    app: App
    config: Config
    known: world.Known

    def step(self, store: Store, task_id: str) -> Moved:
        """Do what follows from it."""
        layout = self.app.layout
        place = scan.locate(layout, task_id)
        if place is None:
            return self._moved(store, task_id)
        status, name = place
        if status is Status.INBOX:
            refuse_other_home(layout, store.trust.folder, now())
        if names := Replies(layout, Fixed(self.config), store).approve(task_id):
            say(f"{task_id}: {', '.join(names)} is accepted; its agent will get it")
            return Moved(task_id, status, status, layout.file(*place))
        if status is Status.DONE and (made := self._merged(store, task_id, name)):
            say(f"{task_id}: {made}")
            contests.of_task(store, task_id)
            after = scan.locate(layout, task_id) or place
            return Moved(task_id, Status.REVIEW, after[0], layout.file(*after))
        ended = status in (Status.DONE, Status.ARCHIVE)
        if ended and (made := handmerges.confirm(store, task_id)):
            say(f"{task_id}: {made}")
            return Moved(task_id, status, status, layout.file(*place))
        if status is Status.INBOX and self._counts(name):
            raise Refused(
                f"{task_id} is waiting, and not for approval: no yes is needed",
                f"orchestrator why {task_id}   says what it waits for",
            )
        if status is Status.REVIEW:
            if made := plans.approve(store, task_id, self.config.from_git):
                say(f"{task_id}: {made}")
                again = layout.file(Status.INBOX, name)
                return Moved(task_id, Status.REVIEW, Status.INBOX, again)
            made = runreviews.approve(store, self.config, task_id)
            if made := made or merges.approve(store, self.config, task_id):
                say(f"{task_id}: {made}")
        return self._moved(store, task_id)

    def _counts(self, name: str) -> bool:
        """Whether a file of the inbox may start without anybody's yes."""
        request = world.request_of(self.app.layout, Status.INBOX, name)
        return request is not None and self.known.verdicts.of(request, name).gate is None

    def _merged(self, store: Store, task_id: str, name: str) -> str:
        """What lies in done/ and waits to be merged is; what was done, in words."""
        if runreviews.awaits_merge(store, task_id):
            return runreviews.obey(store, self.config, name)
        return merges.obey(store, self.config, task_id)

    @staticmethod
    def _moved(store: Store, task_id: str) -> Moved:
        moved = moves.approve(store, task_id)
        if made := contests.of_task(store, task_id):
            say(made)
        return moved


def _but_contests(changes: Changes, words: tuple[str, ...]) -> list[str]:
    """The words that name no contest: of a contest, a person takes one task."""
    layout, left = changes.app.layout, []
    for word in words:
        run = runs.meant(layout, word)
        try:
            if run is not None:
                contests.refuse_whole(layout, run[0])
            left.append(word)
        except Refused as error:
            changes.refuse(word, error)
    return left


def _accept(changes: Changes, dry_run: bool) -> None:
    """A person has looked at the settings: they count."""
    app = changes.app
    refuse_unsafe(app)
    open_config(app)
    store = open_store(app, dry_run)
    acceptance = Acceptance(app.layout, store.trust)
    refuse_other_home(app.layout, acceptance.known.folder, now())
    watcher = able_to_read(app.layout, now())
    files = snapshot(app.layout)
    if not changes.as_json:
        show(app, acceptance, files)
    _refuse_forgetful(acceptance)
    if dry_run:
        changes.done("settings", "held", "accepted", "would accept these settings")
        return
    acceptance.accept(files)
    _refuse_forgetful(acceptance)
    consent.tell(store, ())
    sharing.accept(app.layout)
    line = f"accepted the settings of work/ (sha256 {digest_of(files)})"
    if watcher is not None:
        until_read(app.layout, watcher, acceptance)
        line += "; what runs here now uses them"
    changes.done("settings", "held", "accepted", line)


def _refuse_forgetful(acceptance: Acceptance) -> None:
    if not acceptance.known.folder:
        raise Refused(
            f"the settings cannot be accepted permanently: {acceptance.known.why}",
            "set XDG_STATE_HOME to a folder it may write to",
        )

"""``reply``: words of a person for a task's agent, in the same session and tree."""

from __future__ import annotations

import os
import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_in_attempt
from orchestrator.cli.options import complete_ids, dry_run_option, examples, json_option, now
from orchestrator.cli.screen.console import say
from orchestrator.cli.writing import open_config, open_store
from orchestrator.coordination import merges, runreviews
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.settings import Fixed
from orchestrator.errors import NotFound, Refused
from orchestrator.files import asks, card, encodings, journals, results, scan, steering
from orchestrator.files.asks import Ask
from orchestrator.files.text import clean
from orchestrator.model.config import Agent, Config
from orchestrator.model.question import misnumbered
from orchestrator.model.status import ENDED, Status
from orchestrator.model.units import plural
from orchestrator.queries import runs, whereabouts
from orchestrator.queries.needs import needs_you
from orchestrator.store import answering, moves, replying
from orchestrator.store.transitions import Rehearsed, Store
from orchestrator.tools.routing import scripted
from orchestrator.tools.specs import Toolbox

MARK = "# ------ your reply is above this line ------"


@click.command(
    epilog=examples(
        'orchestrator reply fix-login "Keep the legacy route, too"',
        "orchestrator reply fix-login -e",
        "orchestrator reply migrate-db 2          # an option of its question",
        'orchestrator reply add-schema add-docs "Use the new names"     # to both',
        "git diff | orchestrator reply fix-login",
        "echo 'Keep it' > work/review/fix-login.reply    # the same, without the command",
    )
)
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="TASK... [WORDS]",
    shell_complete=complete_ids(runs=True),
)
@click.option(
    "-e", "--edit", is_flag=True, help="Write it in your editor, below the conversation so far."
)
@click.option(
    "--conflict",
    is_flag=True,
    help="Name the files in which its branch conflicts with the target.",
)
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App,
    words: tuple[str, ...],
    edit: bool,
    conflict: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Say something to a task's agent. The task gets one more attempt, in the same session and the
    same tree.

    An ended task starts again at once. A running one gets your words at its next turn if its tool
    can take them (claude), otherwise when its attempt ends. A waiting one gets them when it
    starts. A reply is not a retry: afterwards the task has all its retries again. A tool that
    cannot resume a session gets the task and your words; a shell runs the task again, with your
    words as comments. If the agent asked a question, a number picks one of the options.

    An agent that asks while it is running waits for your answer: a number picks an option (1
    allows); other words deny and tell it what to do instead.

    Several tasks get the same words, which come last; - reads them from standard input. The name
    of a run means its task that asks.
    """
    refuse_in_attempt("reply to a task")
    named, said = _parted(app, words, edit or conflict)
    tasks = _meant(app, named, said)
    text = "" if conflict and not said and not edit else _text(app, tasks, said, edit)
    config, toolbox = open_config(app)
    store = open_store(app, dry_run)
    changes = Changes(app, as_json)
    for task_id in tasks:
        try:
            _reply(changes, store, config, toolbox, task_id, text, conflict)
        except Refused as error:
            changes.refuse(task_id, error)
        except Rehearsed as it:
            status = whereabouts.find(app.layout, task_id)[1]
            told = _how(app, task_id, status, config, toolbox)
            line = f"would tell the agent of {task_id} ({status.word} now): {told}"
            changes.done(task_id, status.word, it.target.word, line, told=told)
    return changes.end()


def _reply(
    changes: Changes,
    store: Store,
    config: Config,
    toolbox: Toolbox,
    task_id: str,
    text: str,
    conflict: bool,
) -> None:
    """Tell one task's agent."""
    app = changes.app
    task_id, status, _ = whereabouts.find(app.layout, task_id)
    before = status
    runreviews.refuse_run(store, task_id, "reply")
    if status in ENDED:
        moves.refuse_namesake(store, task_id, Status.INBOX)
        moves.refuse_unseen(store, task_id, config.from_git)
    if status is Status.RUNNING and text and (known := asks.unanswered(app.layout, task_id)):
        _answer(changes, store, known[0], len(known) - 1, text)
        return
    if conflict:
        merges.give_back(store, task_id)
        if not text:
            moves.retry(store, task_id, by="reply")
            status = Status.INBOX
    if text:
        _refuse_terminal(app, task_id, status)
        _check_option(app, task_id, text)
        replying.place(store, task_id, status, text)
    if text and (status in ENDED or status is Status.RUNNING):
        left = Replies(app.layout, Fixed(config), store).send(task_id)
        if left and not _watched(app):
            say(f"note: {left}; a watcher will deal with it")
    told = _how(app, task_id, status, config, toolbox)
    place = scan.locate(app.layout, task_id)
    after = place[0].word if place is not None else None
    sign = app.console.sign("ok")
    line = (
        f"{sign} {'replied':<12} {task_id}  {told}"
        if app.console.tty
        else f"replied\t{task_id}\t{told}"
    )
    changes.done(task_id, before.word, after, line, told=told)


def _parted(app: App, words: tuple[str, ...], more: bool) -> tuple[list[str], str | None]:
    """The tasks, and what is said to them: the last word, if there are several.

    With ``more`` (an editor, a conflict) that is something to say only if it has a space in it.
    """
    last = words[-1]
    if len(words) == 1 or (more and last != "-" and not any(map(str.isspace, last.strip()))):
        return list(words), None
    if not last.strip().isdecimal() and scan.locate(app.layout, last) is not None:
        raise click.UsageError(
            f"'{last}' is a task: say something to it, too, or read your reply from standard input:"
            f" orchestrator reply {' '.join(words)} -"
        )
    return list(words[:-1]), last


def _meant(app: App, words: list[str], said: str | None) -> list[str]:
    """The ids of the tasks; of a run, that of the task that asks."""
    found = []
    for word in words:
        run = runs.meant(app.layout, word)
        try:
            found.append(_asker(app, run[0]) if run else whereabouts.find(app.layout, word)[0])
        except NotFound as error:
            if len(words) == 1 or said is None or word == words[0]:
                raise
            told = " ".join([*words[1:], said])
            raise click.UsageError(f'{error.message}; put the reply in quotes: "{told}"') from None
    return list(dict.fromkeys(found))


def _asker(app: App, run_id: str) -> str:
    """The one task of a run that asks; `Refused` if it is not one."""
    asking = [need.id for need in needs_you(app.layout, now()) if need.kind == "asks"]
    known = runs.find_run(app.layout, run_id)
    view = runs.view_of(app.layout, *known, now()) if known is not None else None
    members = [row.id for row in view.rows if row.id in asking] if view is not None else []
    if len(members) == 1:
        return members[0]
    why = (
        f"{len(members)} of its tasks ask: {', '.join(members)}"
        if members
        else "no task of it asks"
    )
    raise Refused(
        f"{run_id} is a run, and {why}", f"orchestrator reply {run_id}.KEY   is one task of it"
    )


def _answer(changes: Changes, store: Store, ask: Ask, more: int, text: str) -> None:
    """Answer the oldest open question of an agent that waits; at once, also where nobody
    watches."""
    app = changes.app
    _check_number(ask.task_id, ask.question, text)
    allowed = answering.verdict(ask.question, text)["allow"] is True
    said = "allowed" if allowed else "denied"
    facts = {"question": ask.number, "told": said, "left": more}
    if store.rehearsing:
        changes.done(ask.task_id, "asks", "running", f"would answer {ask.name}: {said}", **facts)
        return
    answering.answer(store, ask, text)
    known = card.read(app.layout, now())
    watched = known is not None and known.answers
    if not watched:
        answering.deliver(store, ask, text)
    left = f"; {plural(more, 'question')} left" if more else ""
    sign = app.console.sign("ok")
    told = f"{sign} {'answered':<12} {ask.name}  {said}{left}"
    line = told if app.console.tty else f"answered\t{ask.name}\t{said}{left}"
    changes.done(ask.task_id, "asks", "running", line, **facts)


def _watched(app: App) -> bool:
    known = card.read(app.layout, now())
    return known is not None and known.alive


def _how(app: App, task_id: str, status: Status, config: Config, toolbox: Toolbox) -> str:
    """When it is told, in words."""
    journal = journals.of(app.layout, task_id)
    if journal is None or journal.attempt is None:
        return "its agent gets it when it starts"
    tool = toolbox.tools.get(str(journal.acting.get("tool") or ""))
    read = journal.attempt.read or journal.attempt.started
    goes_on = (
        tool is not None and tool.can_resume and (read.get("session") or not journal.attempt.ended)
    )
    agent = config.agents.get(str(journal.acting.get("agent"))) or Agent("", ())
    how = "a new session, which gets the task and your words"
    if goes_on:
        how = "same session"
    elif tool is not None and scripted(agent, tool):
        how = f"{tool.name} runs the task again, with your words as comments in it"
    number = journal.next_attempt
    if status is Status.RUNNING:
        running = journal.attempt.ended is None
        if steering.takes_words(app.layout, journal):
            return "its agent gets it at its next turn, or when this attempt ends"
        when = (
            f"its agent gets it when this attempt ends; then attempt {number} starts"
            if running
            else f"its agent gets it in attempt {number}"
        )
    elif not _watched(app):
        when = f"attempt {number} waits for a watcher: orchestrator watch"
    else:
        when = f"starts attempt {number}"
    return f"{when}; {how}"


def _refuse_terminal(app: App, task_id: str, status: Status) -> None:
    journal = journals.of(app.layout, task_id)
    if status is Status.RUNNING and journal is not None:
        if journal.claim.get("mode") == "interactive":
            raise Refused(
                f"{task_id} is interactive: talk to it in its terminal",
                f"orchestrator attach {task_id}",
            )


def _check_option(app: App, task_id: str, text: str) -> None:
    _check_number(task_id, str(results.read(app.layout, task_id).get("question") or ""), text)


def _check_number(task_id: str, question: str, text: str) -> None:
    if wrong := misnumbered(question, text):
        raise Refused(f"{task_id} {wrong}", f"orchestrator show {task_id}")


def _text(app: App, tasks: list[str], said: str | None, edit: bool) -> str:
    """The reply from the arguments, from standard input, or from the person's editor."""
    text = encodings.readable(said or "") if said != "-" else ""
    if said == "-" or (said is None and not edit and not sys.stdin.isatty()):
        text = encodings.readable(sys.stdin.buffer.read())
    text = text.rstrip("\n")
    if edit or (not text.strip() and sys.stdin.isatty()):
        text = _edited(app, tasks, text)
    if not text.strip():
        raise click.UsageError(
            f'there is no reply. Say something:  orchestrator reply {tasks[0]} "..."'
        )
    return text


def _edited(app: App, tasks: list[str], text: str) -> str:
    """What the person writes above the agents' last words; empty if nothing."""
    if not sys.stdin.isatty() and not os.environ.get("ORCHESTRATOR_FORCE_EDITOR"):
        raise click.UsageError("an editor needs a terminal")
    quoted = ""
    for task_id in tasks:
        last = clean(str(results.read(app.layout, task_id).get("message") or "")).strip()
        quoted += f"# {task_id} said last:\n" + "".join(f"# {line}\n" for line in last.splitlines())
    draft = f"{text}\n\n{MARK}\n{quoted}"
    written = click.edit(draft, extension=".md", require_save=False) or ""
    return written.partition(MARK)[0].strip()

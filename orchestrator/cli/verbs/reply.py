"""``reply``: words of a person for a task's agent, in the same session and tree."""

from __future__ import annotations

import os
import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.consent import refuse_in_attempt
from orchestrator.cli.options import complete_ids, examples, json_option, now
from orchestrator.cli.screen.console import say
from orchestrator.cli.writing import open_config, open_store
from orchestrator.coordination import merges, runreviews
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.settings import Fixed
from orchestrator.errors import Refused
from orchestrator.files import asks, card, encodings, journals, results, scan, steering
from orchestrator.files.asks import Ask
from orchestrator.files.text import clean
from orchestrator.model.config import Config
from orchestrator.model.question import options
from orchestrator.model.status import ENDED, Status
from orchestrator.model.units import plural
from orchestrator.queries import whereabouts
from orchestrator.store import answering, moves, replying
from orchestrator.store.transitions import Store
from orchestrator.tools.specs import Toolbox

MARK = "# ------ your reply is above this line ------"


@click.command(
    epilog=examples(
        'orchestrator reply fix-login "Keep the legacy route, too"',
        "orchestrator reply fix-login -e",
        "orchestrator reply migrate-db 2          # an option of its question",
        "git diff | orchestrator reply fix-login",
        "echo 'Keep it' > work/review/fix-login.reply    # the same, without the command",
    )
)
@click.argument("task", shell_complete=complete_ids())
@click.argument("words", nargs=-1)
@click.option(
    "-e", "--edit", is_flag=True, help="Write it in your editor, below the conversation so far."
)
@click.option(
    "--conflict",
    is_flag=True,
    help="Tell it the files in which its branch conflicts with the target.",
)
@json_option
@click.pass_obj
def command(
    app: App, task: str, words: tuple[str, ...], edit: bool, conflict: bool, as_json: bool
) -> int:
    """Say something to a task's agent.  The task gets one more attempt, in the same session and the same tree.

    An ended task starts again at once; a running one gets your words at its next turn if its tool can take them
    (claude), otherwise when its attempt ends; a waiting one, when it starts.  A reply is not a retry: afterwards the
    task has all its retries again.  A tool that cannot resume a session gets the task and your words.  If the agent
    asked a question, a number picks one of the options.

    An agent that asks while it is running waits for your answer: a number picks an option (1 allows), and other words deny and tell it
    what to do instead.
    """
    refuse_in_attempt("reply to a task")
    task_id, status, _ = whereabouts.find(app.layout, task)
    before = status
    text = "" if conflict and not words and not edit else _text(app, task_id, words, edit)
    config, toolbox = open_config(app)
    store = open_store(app)
    runreviews.refuse_run(store, task_id, "reply")
    if status in ENDED:
        moves.refuse_unseen(store, task_id, config.from_git)
    if status is Status.RUNNING and text and (known := asks.unanswered(app.layout, task_id)):
        return _answer(app, store, known[0], len(known) - 1, text, as_json)
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
        if left:
            say(f"note: {left}; a watcher will deal with it")
    said = _how(app, task_id, status, config, toolbox)
    if as_json:
        place = scan.locate(app.layout, task_id)
        after = place[0].word if place is not None else None
        entry = {"id": task_id, "from": before.word, "to": after, "told": said}
        app.console.json("change", {"changed": [entry], "refused": []})
    elif app.console.tty:
        app.console.out(f"{app.console.sign('ok')} {'replied':<12} {task_id}  {said}")
    else:
        app.console.out(f"replied\t{task_id}\t{said}")
    return 0


def _answer(app: App, store: Store, ask: Ask, more: int, text: str, as_json: bool) -> int:
    """Answer the oldest open question of an agent that waits; at once, also where nobody
    watches."""
    _check_number(ask.task_id, ask.question, text)
    answering.answer(store, ask, text)
    known = card.read(app.layout, now())
    watched = known is not None and known.answers
    if not watched:
        answering.deliver(store, ask, text)
    allowed = answering.verdict(ask.question, text)["allow"] is True
    said = "allowed" if allowed else "denied"
    left = f"; {plural(more, 'question')} left" if more else ""
    if as_json:
        facts = {"question": ask.number, "told": said, "left": more}
        changed = [{"id": ask.task_id, "from": "asks", "to": "running", **facts}]
        app.console.json("change", {"changed": changed, "refused": []})
    elif app.console.tty:
        app.console.out(f"{app.console.sign('ok')} {'answered':<12} {ask.name}  {said}{left}")
    else:
        app.console.out(f"answered\t{ask.name}\t{said}{left}")
    return 0


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
    how = "same session" if goes_on else "a new session, which gets the task and your words"
    number = journal.next_attempt
    known = card.read(app.layout, now())
    if status is Status.RUNNING:
        running = journal.attempt.ended is None
        if steering.takes_words(app.layout, journal):
            return "its agent gets it at its next turn, or when this attempt ends"
        when = (
            f"its agent gets it when this attempt ends; then attempt {number} starts"
            if running
            else f"its agent gets it in attempt {number}"
        )
    elif known is None or not known.alive:
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
    known = options(question)
    if known and text.strip().isdecimal() and not 1 <= int(text) <= len(known):
        raise Refused(
            f"{task_id} has the options 1 to {len(known)}", f"orchestrator show {task_id}"
        )


def _text(app: App, task_id: str, words: tuple[str, ...], edit: bool) -> str:
    """The reply from the arguments, from standard input, or from the person's editor."""
    parts = [encodings.readable(word) for word in words if word != "-"]
    if len(parts) > 1:
        raise click.UsageError(f'put the reply in quotes: "{" ".join(parts)}"')
    if "-" in words or (not parts and not edit and not sys.stdin.isatty()):
        parts.append(encodings.readable(sys.stdin.buffer.read()))
    text = "\n\n".join(part.rstrip("\n") for part in parts if part.strip())
    if edit or (not text and sys.stdin.isatty()):
        text = _edited(app, task_id, text)
    if not text.strip():
        raise click.UsageError(
            f'there is no reply. Say something:  orchestrator reply {task_id} "..."'
        )
    return text


def _edited(app: App, task_id: str, text: str) -> str:
    """What the person writes above the agent's last words; empty if nothing."""
    if not sys.stdin.isatty() and not os.environ.get("ORCHESTRATOR_FORCE_EDITOR"):
        raise click.UsageError("an editor needs a terminal")
    last = clean(str(results.read(app.layout, task_id).get("message") or "")).strip()
    quoted = "".join(f"# {line}\n" for line in last.splitlines())
    draft = f"{text}\n\n{MARK}\n# {task_id} said last:\n{quoted}"
    written = click.edit(draft, extension=".md", require_save=False) or ""
    return written.partition(MARK)[0].strip()

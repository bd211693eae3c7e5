"""What every verb shares: the table of verbs, and the `App` each one is given."""

from __future__ import annotations

import keyword
import os

from orchestrator.cli.screen.console import Console
from orchestrator.files.layout import Layout
from orchestrator.files.ownership import find_own_layout

# verb -> (section, what it does).  Its module in ``cli/verbs`` has the same name, and a trailing _ where Python has the word.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("Work", "Create the work directory here"),
    "new": ("Work", "Make a task from words, stdin or your editor"),
    "run": ("Work", "Claim one task and run it here, in the foreground"),
    "watch": ("Work", "Run the tasks in work/inbox"),
    "attach": ("Work", "Attach to a running interactive task"),
    "wait": ("Work", "Wait for tasks; exit with their outcome"),
    "cancel": ("Work", "Stop a running task, or withdraw a waiting one"),
    "reply": ("Work", "Say something to a task's agent, in the same session"),
    "retry": ("Work", "Run an ended task again"),
    "hold": ("Work", "Keep a waiting task from starting"),
    "release": ("Work", "Let a held task start"),
    "approve": ("Work", "Approve a task's start, or its result in review"),
    "review": ("Work", "Walk through all that needs you"),
    "reject": ("Work", "Reject a task, or its result in review"),
    "reload": ("Work", "Let the watcher take over changed settings"),
    "import": ("Work", "Take over task files of an older format"),
    "status": ("Look", "What needs you, runs, waits and why, what ended"),
    "list": ("Look", "List tasks"),
    "show": ("Look", "Everything about one task"),
    "diff": ("Look", "What a task changed"),
    "logs": ("Look", "What a task's tool prints"),
    "events": ("Look", "What happened, from the event log"),
    "why": ("Look", "Why a task does not run yet"),
    "report": ("Look", "What was done, how long it took, what it cost"),
    "query": ("Look", "Query the history in SQL"),
    "runs": ("Look", "Show the runs and their progress"),
    "schedules": ("Look", "What is made again and again, and when next"),
    "trees": ("Look", "Trees of tasks, and what holds each"),
    "tools": ("Look", "List the tools that can act"),
    "agents": ("Look", "List the agents a task can name"),
    "validate": ("Fix", "Check task files without running them"),
    "doctor": ("Fix", "Find what is wrong, and mend it with --fix"),
    "archive": ("Fix", "Move old ended tasks to work/archive"),
    "guide": ("More", "What an agent or a newcomer needs to know, on one page"),
    "service": ("More", "A systemd unit that keeps the watcher running"),
    "demo": ("More", "Try it all in a temporary project"),
    "completion": ("More", "Completion for your shell"),
    "help": ("More", "Help on a command, or on exit-codes"),
}
# What other programs call them; understood, and shown nowhere.
SYNONYMS = {
    "add": "new",
    "submit": "new",
    "ps": "status",
    "st": "status",
    "ls": "list",
    "queue": "list",
    "info": "show",
    "log": "logs",
    "stop": "cancel",
    "kill": "cancel",
    "accept": "approve",
    "decline": "reject",
    "asks": "review",
    "rerun": "retry",
    "answer": "reply",
    "tell": "reply",
    "pause": "hold",
    "park": "hold",
    "resume": "release",
}
# Words that could mean two things: the one who types them chooses.
ELSEWHERE = {
    "rm": "'cancel' withdraws a task, 'archive' puts an ended one away",
    "delete": "'cancel' withdraws a task, 'archive' puts an ended one away",
    "tail": "'logs -f' follows what an agent prints",
    "edit": "Edit the file in work/inbox: it is read again when you save it",
    "config": "Edit work/orchestrator.yaml: a running watcher reads it again",
}
SECTIONS = ("Work", "Look", "Fix", "More")


def module_of(verb: str) -> str:
    """The module that holds a verb."""
    return (
        f"orchestrator.cli.verbs.{verb}_"
        if keyword.iskeyword(verb)
        else f"orchestrator.cli.verbs.{verb}"
    )


class App:
    """What every verb gets: where to work and how to write."""

    def __init__(self, directory: str | None, color: str, plain: bool) -> None:
        self.directory = directory
        self.console = Console(color, plain)
        self._layout: Layout | None = None

    @property
    def start(self) -> str:
        """The folder the command acts in."""
        return os.path.abspath(self.directory or os.getcwd())

    @property
    def layout(self) -> Layout:
        """The work directory; `Unusable` if there is none."""
        if self._layout is None:
            self._layout = find_own_layout(self.start)
        return self._layout

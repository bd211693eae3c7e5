"""What every verb shares: the table of verbs, and the `App` each one is given."""

from __future__ import annotations

import keyword
import os

from orchestrator.cli.screen.console import Console
from orchestrator.files.layout import Layout
from orchestrator.files.ownership import find_own_layout

# verb -> (section of the help, what it does); those of "Also" are only named there, and told by `help all`.  Its module in ``cli/verbs`` has the same name, and a trailing _ where Python has the word.
VERBS: dict[str, tuple[str, str]] = {
    "new": ("Give work", "make a task from words, stdin or your editor"),
    "watch": ("Give work", "run tasks; Ctrl-C waits for them, twice interrupts"),
    "status": ("Look", "what needs you, is running, is waiting, has ended"),
    "show": ("Look", "a task: answer, checks, history"),
    "diff": ("Look", "its change"),
    "logs": ("Look", "what its agent prints; -f follows"),
    "review": ("Decide", "walk through everything that needs you"),
    "approve": ("Decide", "yes: start it, merge it, accept the settings"),
    "reject": ("Decide", "no, and why"),
    "reply": ("Decide", "words for the agent, in the same session"),
    "cancel": ("Steer", "stop a running task, withdraw a waiting one"),
    "retry": ("Steer", "run again in the same session"),
    "hold": ("Steer", "keep tasks from starting"),
    "release": ("Steer", "let them start again"),
    "list": ("Also", "list tasks"),
    "wait": ("Also", "wait for tasks; exit with their outcome"),
    "run": ("Also", "claim one task and run it here, in the foreground"),
    "edit": ("Also", "edit a task that has not started"),
    "attach": ("Also", "attach to a running interactive task"),
    "events": ("Also", "what happened, from the event log"),
    "report": ("Also", "what was done, how long it took, what it cost"),
    "init": ("Also", "create the work directory here"),
    "import": ("Also", "import task files of an older format"),
    "validate": ("Also", "check task files without running them"),
    "doctor": ("Also", "find what is wrong, and mend it with --fix"),
    "archive": ("Also", "move old ended tasks to work/archive"),
    "demo": ("Also", "try it all in a temporary project"),
    "runs": ("Also", "show the runs and their progress"),
    "agents": ("Also", "list the agents a task can name"),
    "projects": ("Also", "your projects and their state"),
    "schedules": ("Also", "tasks that repeat, and their next times"),
    "worker": ("Also", "run attempts for watchers on other machines"),
    "workers": ("Also", "the machines that run attempts for you"),
    "trees": ("Also", "tasks' trees, and why each is kept"),
    "tools": ("Also", "list the tools that can act"),
    "why": ("Also", "why a task is not running yet"),
    "query": ("Also", "query the history in SQL"),
    "reload": ("Also", "let the watcher pick up changed settings"),
    "guide": ("Also", "what an agent or a newcomer needs to know, on one page"),
    "mcp": ("Also", "a door for agents: the Model Context Protocol"),
    "service": ("Also", "a systemd unit that keeps the watcher running"),
    "completion": ("Also", "completion for your shell"),
    "help": ("Also", "help on a command, or on exit-codes"),
}
# They answer and end, in one thread: they load the modules that they use when they use them.  The others load all at their start.
AT_ONCE = frozenset(
    "new status show diff logs approve reject cancel hold release list edit events report validate archive runs agents projects "
    "schedules workers trees tools why query guide completion help".split()
)
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
    "config": "Edit work/orchestrator.yaml: a running watcher reads it again",
}
SECTIONS = ("Give work", "Look", "Decide", "Steer", "Also")


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

    def write_as(self, color: str, plain: bool) -> None:
        """The same options, said after the verb."""
        self.console = Console(color, plain)

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

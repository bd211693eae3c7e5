"""What every verb shares: the table of verbs, and the `App` each one is given."""

from __future__ import annotations

import keyword
import os

from orchestrator.cli.screen.console import Console
from orchestrator.files.layout import Layout
from orchestrator.files.ownership import find_own_layout

# The one table of verbs: it feeds the help, the pages, completion, and what is suggested for a
# mistyped word. verb -> (section of the help, what it does); those of "Also" are only named there,
# and told by `help all`, as are those for programs.  Its module in ``cli/verbs`` has the same name,
# and a trailing _ where Python has the word.
VERBS: dict[str, tuple[str, str]] = {
    "new": ("Give work", "make a task from words, stdin, a template, your editor"),
    "watch": ("Give work", "run tasks; Ctrl-C waits for them, twice interrupts"),
    "status": ("Look", "what needs you, runs, waits and why, what ended"),
    "show": ("Look", "a task or run: answer, checks, history"),
    "diff": ("Look", "what it changed"),
    "logs": ("Look", "what its agent prints; -f follows"),
    "review": ("Decide", "walk through all that needs you"),
    "approve": ("Decide", "yes: start it, merge it, allow it"),
    "reject": ("Decide", "no, and why"),
    "reply": ("Decide", "words for the agent, in the same session"),
    "cancel": ("Steer", "stop what runs, withdraw what waits"),
    "retry": ("Steer", "run again in the same session"),
    "hold": ("Steer", "keep tasks, a tool or everything from starting"),
    "release": ("Steer", "let them start again"),
    "list": ("Also", "list tasks"),
    "wait": ("Also", "wait for tasks; exit with their outcome"),
    "run": ("Also", "run a task or a run here, in the foreground"),
    "attach": ("Also", "attach to a running interactive task"),
    "edit": ("Also", "edit a task that has not started"),
    "events": ("Also", "what happened, from the event log"),
    "report": ("Also", "what was done, how long it took, what it cost"),
    "init": ("Also", "create the work directory here"),
    "import": ("Also", "import task files of an older format"),
    "validate": ("Also", "check task files without running them"),
    "doctor": ("Also", "find what is wrong, and mend it with --fix"),
    "archive": ("Also", "move old ended tasks to work/archive"),
    "demo": ("Also", "try it all in a temporary project"),
    "why": ("Also", "what a task waits for: show --why"),
    "help": ("Also", "help on a verb, a file's keys, exit codes; the guide"),
    "runs": ("Also", "the runs and their progress"),
    "agents": ("Also", "the agents a task can name, and the tools that act"),
    "trees": ("Also", "tasks' trees, and why each is kept"),
    "schedules": ("Also", "tasks that repeat, and their next times"),
    "projects": ("Also", "your projects and their state"),
    "workers": ("Also", "the machines that run attempts for you"),
    "worker": ("For programs", "run attempts for watchers on other machines"),
    "mcp": ("For programs", "a door for agents: the Model Context Protocol"),
    "service": ("For programs", "a systemd unit that keeps the watcher running"),
    "completion": ("For programs", "completion for your shell"),
}
NOUNS = ("runs", "agents", "trees", "schedules", "projects", "workers")
# They answer and end, in one thread: they load the modules that they use when they use them.  The
# others load all at their start.
AT_ONCE = frozenset(
    "new status show diff logs approve reject cancel hold release list edit events report validate"
    " archive runs agents projects schedules workers trees why completion help".split()
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
    "tail": "logs -f",
    "stop": "cancel",
    "kill": "cancel",
    "accept": "approve",
    "decline": "reject",
    "rerun": "retry",
    "tell": "reply",
    "pause": "hold",
    "park": "hold",
    "resume": "release",
}
# What we called them before; they work until 1.0, and a terminal is told the new words.
FORMER = {
    "query": "events --sql",
    "reload": "approve --settings",
    "tools": "agents",
    "guide": "help guide",
    "plan": "status --ahead",
    "asks": "review",
    "answer": "reply",
    "merge": "approve",
    "pick": "approve",
}
# The same of options: (verb, what was said) -> what says it now.
FORMER_OPTIONS = {
    ("list", "-n"): "--last",
    ("logs", "-n"): "--last",
    ("logs", "--lines"): "--last",
    ("events", "-n"): "--last",
    ("status", "-w"): "--follow",
    ("status", "--watch"): "--follow",
    ("status", "--attention"): "review --list",
    ("list", "--attention"): "review --list",
    ("validate", "--format json"): "--json",
    ("list", "--status inbox"): "--status waiting",
}
# Words that could mean two things, or would stop what a verb with a similar name starts: the one
# who types them chooses.
ELSEWHERE = {
    "rm": "'cancel' withdraws a task, 'archive' puts an ended one away",
    "delete": "'cancel' withdraws a task, 'archive' puts an ended one away",
    "remove": "'cancel' withdraws a task, 'archive' puts an ended one away",
    "config": "Edit work/orchestrator.yaml: a running watcher reads it again",
    "start": "'watch' runs what is waiting, 'run' runs one task here",
    "abort": "'cancel' stops a task; Ctrl-C in its pane stops the watcher",
    "halt": "'cancel' stops a task; Ctrl-C in its pane stops the watcher",
    "quit": "'cancel' stops a task; Ctrl-C in its pane stops the watcher",
    "interrupt": "'cancel' stops a task; Ctrl-C in its pane stops the watcher",
    "suspend": "'hold' keeps tasks from starting; 'cancel' stops them",
    "unhold": "'release' lets held tasks start again",
}
# The same of options.
ELSEWHERE_OPTIONS = {("archive", "--all"): "--older-than 0s takes all that has ended"}
SECTIONS = ("Give work", "Look", "Decide", "Steer", "Also", "For programs")


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
        self.quiet = False  # `screen.console.say` says only what went wrong
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

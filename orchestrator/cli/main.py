"""The program: finds the verb, runs it, and turns errors into messages and exit codes.

Verbs are imported when they are called (the one lazy import of the package), so that ``status`` does not pay for
what ``watch`` needs.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any, NoReturn

import click

from orchestrator import __version__
from orchestrator.cli.console import Console
from orchestrator.errors import FAILED, INTERRUPTED, OrchestratorError
from orchestrator.files import diagnostics
from orchestrator.files.layout import Layout, find_layout

# verb -> (section, what it does).  The module has the same name, with _ for - and a trailing _ for keywords.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("Work", "Create the work directory here"),
    "new": ("Work", "Queue a task"),
    "run": ("Work", "Claim one task and run it here, in the foreground"),
    "watch": ("Work", "Run the tasks in work/inbox"),
    "attach": ("Work", "Be the terminal of a running interactive task"),
    "wait": ("Work", "Wait for tasks; exit with their outcome"),
    "cancel": ("Work", "Stop a running task, or withdraw a waiting one"),
    "retry": ("Work", "Run a finished task again"),
    "hold": ("Work", "Park a waiting task"),
    "release": ("Work", "Put a parked task back into the queue"),
    "approve": ("Work", "Approve a task's start, or its result in review"),
    "reject": ("Work", "Reject a task, or its result in review"),
    "reload": ("Work", "Let the watcher take over changed settings"),
    "import": ("Work", "Take over task files of an older format"),
    "status": ("Look", "What runs, what waits, what went wrong"),
    "list": ("Look", "List tasks"),
    "show": ("Look", "Everything about one task"),
    "logs": ("Look", "What a task's tool prints"),
    "events": ("Look", "What happened, from the event log"),
    "why": ("Look", "Why a task does not run yet"),
    "report": ("Look", "What was done, how long it took, what it cost"),
    "query": ("Look", "Ask the past, in SQL"),
    "runs": ("Look", "Runs and how far they are"),
    "tools": ("Look", "Tools that can act"),
    "agents": ("Look", "Agents a task can name"),
    "validate": ("Fix", "Check task files without running them"),
    "doctor": ("Fix", "Find what is wrong, and mend it with --fix"),
    "archive": ("Fix", "Move old finished tasks to work/archive"),
    "guide": ("More", "What an agent or a newcomer needs to know, on one page"),
    "service": ("More", "A systemd unit that keeps the watcher running"),
    "demo": ("More", "Try it all in a temporary project"),
    "completion": ("More", "Completion for your shell"),
    "help": ("More", "Help on a command, or on exit-codes"),
}
SECTIONS = ("Work", "Look", "Fix", "More")
# An OSError of this kind is a mistake of ours; any other comes from the disk or its permissions.
INTERNAL = (errno.ENOENT, errno.EBADF, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


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
            self._layout = find_layout(self.start)
        return self._layout


class Verbs(click.Group):
    """A group whose commands are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{cmd_name}_")
        return module.command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name and name not in VERBS and not name.startswith("-"):
            import difflib  # here: only a mistyped command pays for it

            close = difflib.get_close_matches(name, VERBS, 1, 0.5)
            hint = f". Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"no such command '{name}'{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write("Usage: orchestrator [-C DIR] COMMAND\n\n"
                        "Run coding agents from YAML files in work/inbox. No server.\n\n"
                        '  orchestrator new "Explain src/retry.py in five lines"\n'
                        "  orchestrator watch\n"
                        "  orchestrator show retry\n")
        for section in SECTIONS:
            formatter.write(f"\n{section}\n")
            for name, (where, text) in VERBS.items():
                if where == section:
                    formatter.write(f"  {name:<11} {text}\n")
        formatter.write("\nOptions\n  -C DIR             act in DIR instead of the current folder\n"
                        "  --color WHEN       auto, always or never\n"
                        "  --plain            the form that pipes get, also on a terminal\n"
                        "  --version          print versions\n\n"
                        "orchestrator COMMAND --help   options and examples of one command\n")


def _versions(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import platform

        click.echo(f"orchestrator {__version__} (python {platform.python_version()}, click "
                   f"{importlib.import_module('importlib.metadata').version('click')})")
        ctx.exit()


@click.command(cls=Verbs, invoke_without_command=True,
               context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ORCHESTRATOR"})
@click.option("-C", "directory", metavar="DIR", envvar="ORCHESTRATOR_ROOT", type=click.Path(file_okay=False),
              help="Act in DIR instead of the current folder.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colours.")
@click.option("--plain", is_flag=True, help="The form that pipes get, also on a terminal.")
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_versions, help="Print versions.")
@click.pass_context
def cli(ctx: click.Context, directory: str | None, color: str, plain: bool) -> None:
    """Run coding agents from YAML files in work/inbox."""
    ctx.obj = App(directory, color, plain)
    if ctx.invoked_subcommand is None:
        ctx.invoke(importlib.import_module("orchestrator.cli.orientation").orientation, ctx.obj)


def main(argv: list[str] | None = None) -> None:
    """Run the program and leave with one of `errors.EXIT_CODES`."""
    try:
        code = cli.main(args=argv, prog_name="orchestrator", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _report(_wrong_words(error))
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except OrchestratorError as error:
        _report(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except OSError as error:  # a full disk, missing rights: nothing that a traceback would explain
        if error.errno in INTERNAL:
            _internal(error)
        _report(OrchestratorError(f"{error.filename or 'the disk'}: {error.strerror or error}",
                                  "nothing more was done; orchestrator doctor looks at disk and permissions"))
        sys.exit(FAILED)
    except Exception as error:
        _internal(error)


def _internal(error: Exception) -> NoReturn:
    """A bug of ours: one line and where the details are."""
    import platform  # only a bug and --version pay for these
    import tempfile
    import traceback

    details = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="orchestrator-", suffix=".log", delete=False) as file:
            file.write(f"orchestrator {__version__}, python {platform.python_version()}, {sys.argv}\n\n{details}")
        details = f"details: {file.name}"
    except OSError:  # no room for them
        pass
    click.echo(f"internal error: {type(error).__name__}: {error}\n{details}", err=True)
    sys.exit(FAILED)


def _wrong_words(error: click.ClickException) -> OrchestratorError:
    """What click found wrong with the words of the command, in the form that all our errors have."""
    message = error.format_message().removesuffix(".")
    if isinstance(error, click.NoSuchOption):
        near = f". Did you mean '{error.possibilities[0]}'?" if error.possibilities else ""  # the nearest comes first
        message = f"no such option '{error.option_name}'{near}"
    context = getattr(error, "ctx", None)
    what = "all commands" if context is not None and context.parent is None else "options and examples"
    return OrchestratorError(message[:1].lower() + message[1:], f"{context.command_path} --help   {what}" if context is not None else "")


def _report(error: OrchestratorError) -> None:
    console = Console(stream=sys.stderr)
    problems = getattr(error, "problems", None)
    if problems:
        found = [(error.path, error.document, problems)]
        click.echo(diagnostics.render("full", found, console.paint), err=True)
        return
    click.echo(f"{console.paint('error:', 'red')} {error.message}", err=True)
    if error.hint:
        click.echo(f"hint:  {error.hint}", err=True)

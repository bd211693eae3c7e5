"""The program: finds the verb, runs it, and turns errors into messages and exit codes.

Verbs are imported when they are called (the one lazy import of the package), so that ``status``
does not pay for what ``watch`` needs; and of what they import they load what they use
(`orchestrator.lazily`).
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from orchestrator import __version__, lazily
from orchestrator.cli import former, options
from orchestrator.cli.app import AT_ONCE, ELSEWHERE_OPTIONS, NOUNS, SECTIONS, VERBS, App, module_of
from orchestrator.cli.screen.console import Console, shown
from orchestrator.errors import FAILED, INTERRUPTED, OrchestratorError, machine
from orchestrator.files import configuration, diagnostics
from orchestrator.files.layout import WORK
from orchestrator.files.opening import Denied, NotAFile
from orchestrator.files.text import hang, on_a_line
from orchestrator.libraries import later

if TYPE_CHECKING:
    import textwrap
else:
    textwrap = later("textwrap")

TOLD = ("why", "help")  # elsewhere in the help
# An OSError of this kind is a mistake of ours; any other comes from the disk or its permissions.
INTERNAL = (errno.ENOENT, errno.EBADF, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class Verbs(click.Group):
    """A group whose commands are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(module_of(cmd_name))
        if cmd_name not in AT_ONCE:
            lazily.settle()
        found: click.Command = module.command
        options.accept_everywhere(found)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name and not name.startswith("-"):
            args = former.translated(args, ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.BadOptionUsage as error:
            name = ctx.invoked_subcommand
            command = self.get_command(ctx, name) if error.ctx is None and name else None
            if command is not None:  # click does not say whose option lacks its value
                error.ctx = click.Context(command, parent=ctx, info_name=name)
            raise

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(
            "Run coding agents from YAML files in work/inbox. No server.\n\n"
            '  orchestrator new "Explain src/retry.py in five lines"\n'
            "  orchestrator watch                 run what waits, in this pane\n"
            "  orchestrator review                decide what needs you\n\n"
        )
        for section in SECTIONS[:4]:
            formatter.write(f"{section}\n")
            for name, (where, text) in VERBS.items():
                if where == section:
                    formatter.write(f"  {name:<9} {text}\n")
        also = [name for name, (where, _) in VERBS.items() if where == "Also" and name not in TOLD]
        acts = " ".join(name for name in also if name not in NOUNS)
        lines = textwrap.wrap(f"{acts}; {' '.join(NOUNS)}", 72, break_on_hyphens=False)
        formatter.write("\nAlso  " + "\n      ".join(lines) + "\n")
        formatter.write(
            "Every verb  several ids, or any unique part of one\n"
            "      -C DIR  --json  --plain  --color WHEN  -q quiet  -n dry run  -h help\n"
            "More  help VERB · help guide · help task · help exit-codes · help all\n"
        )


@click.command(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ORCHESTRATOR"},
)
@click.option(
    "-C",
    "directory",
    metavar="DIR",
    envvar="ORCHESTRATOR_ROOT",
    type=click.Path(file_okay=False),
    help="Act in DIR instead of the current folder.",
)
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colours."
)
@click.option("--plain", is_flag=True, help="Plain output as in a pipe, even on a terminal.")
@click.option(
    "-V",
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=options.versions,
    help="Print versions.",
)
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
        hint = "nothing else was done; orchestrator doctor checks disk and permissions"
        if _is_of_others(error):
            hint = (
                "something else is in the place of a file or folder of orchestrator: move it away"
            )
        elif error.errno in INTERNAL:
            _internal(error)
        why = f"{error.filename or 'the disk'}: {error.strerror or error}"
        _report(OrchestratorError(why, hint))
        sys.exit(FAILED)
    except Exception as error:
        if not machine(error):
            _internal(error)
        hint = "free some memory, or allow more: ulimit -v, ulimit -u, the container's limits"
        _report(OrchestratorError(str(error) or "there is not enough memory", hint))
        sys.exit(FAILED)


def _is_of_others(error: OSError) -> bool:
    """Whether somebody has put a pipe, a link or a file below ``work/`` where something of ours
    belongs: that is no bug."""
    odd = (isinstance(error, NotAFile) and not isinstance(error, Denied)) or error.errno in (
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    )
    return odd and f"/{WORK}/" in os.fsdecode(error.filename or "")


def _internal(error: Exception) -> NoReturn:
    """A bug of ours: one line and where the details are."""
    import platform  # only a bug and --version pay for these
    import tempfile
    import traceback

    details = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="orchestrator-", suffix=".log", delete=False
        ) as file:
            file.write(
                f"orchestrator {__version__}, python {platform.python_version()},"
                f" {sys.argv}\n\n{details}"
            )
        details = f"details: {file.name}"
    except OSError:  # no room for them
        pass
    click.echo(shown(f"internal error: {type(error).__name__}: {error}\n{details}"), err=True)
    sys.exit(FAILED)


def _wrong_words(error: click.ClickException) -> OrchestratorError:
    """What click found wrong with the words of the command, in the form that all our errors
    have."""
    message = error.format_message().removesuffix(".")
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption):
        near = (
            f". Did you mean '{error.possibilities[0]}'?" if error.possibilities else ""
        )  # the nearest comes first
        verb = context.info_name or "" if context is not None else ""
        if said := ELSEWHERE_OPTIONS.get((verb, error.option_name)):
            near = f". {said}"
        message = f"no such option '{error.option_name}'{near}"
    what = (
        "all commands" if context is not None and context.parent is None else "options and examples"
    )
    return OrchestratorError(
        message[:1].lower() + message[1:],
        f"{context.command_path} --help   {what}" if context is not None else "",
    )


def _report(error: OrchestratorError) -> None:
    console = Console(stream=sys.stderr)
    if isinstance(error, configuration.ConfigProblems):
        found = [(error.path, error.document, error.problems)]
        text = diagnostics.render("full", found, console.paint, console.width)
        click.echo(shown(text), err=True)
        return
    lines = hang(console.paint("error:", "red") + " ", on_a_line(error.message), console.width)
    if error.hint:
        lines += hang("hint:  ", on_a_line(error.hint), console.width)
    click.echo(shown("\n".join(lines)), err=True)

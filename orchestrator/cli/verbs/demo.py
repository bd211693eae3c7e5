"""``demo``: the whole thing in a temporary project, with no key and no service."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import aside
from orchestrator.cli.options import examples, json_option
from orchestrator.cli.program import itself

TASKS = {
    "quick": "prompt: Say hello.\n",
    "slow": "title: Look around for a few seconds\nprompt: |\n  Look around.\n  demo: work 4s\n",
    "flaky": (
        "title: Fail once, then succeed\nretries: 1\nprompt: |\n  Reach the model.\n  demo:"
        " fail 1\n"
    ),
    "tidy-up": (
        "title: Runs when slow is done\nneeds: [slow]\nprompt: |\n  Sum up.\n  demo: write"
        " SUMMARY.md It works.\nartifacts: [SUMMARY.md]\n"
    ),
    "release": (
        "title: Release 0.2\nmax_parallel: 2\ntasks:\n  changelog: Write the changelog.\n  tests:"
        " Raise coverage.\n  review:\n    prompt: Review both.\n    needs: [changelog, tests]\n"
    ),
}


@click.command(epilog=examples("orchestrator demo", "orchestrator demo --dir /tmp/try-it"))
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False),
    help="Where. Default: a new temporary folder.",
)
@json_option
@click.pass_obj
def command(app: App, folder: str | None, as_json: bool) -> int:
    """Create a project, drop tasks and a run into its inbox, run them, and show the results."""
    root = os.path.abspath(folder) if folder else tempfile.mkdtemp(prefix="orchestrator-demo-")
    os.makedirs(root, exist_ok=True)
    with aside(app, as_json):
        code = _play(root, bool(folder))
    if as_json:
        app.console.json("demo", {"folder": root, "exit_code": code})
    return code


def _play(root: str, kept: bool) -> int:
    """Show it all; the exit code of the watcher."""

    def show(command_line: str) -> int:
        click.echo(f"\n$ {command_line}")
        sys.stdout.flush()
        words = command_line.split()[1:]
        return subprocess.run(
            itself(root, *words), cwd=root, stdout=sys.stdout, check=False
        ).returncode

    click.echo(f"A project to play with: {root}")
    if show("orchestrator init"):
        return 1
    with open(f"{root}/work/orchestrator.yaml", "a", encoding="utf-8") as file:
        file.write("\nretry: {delay: 1s}          # the demo is in a hurry\n")
    click.echo("\n# Five files are dropped into work/inbox, as you, a script or an agent would:")
    for name, text in TASKS.items():
        draft, final = f"{root}/work/inbox/.{name}.tmp", f"{root}/work/inbox/{name}.yaml"
        if os.path.exists(final):
            continue
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(draft, final)
        click.echo(f"  work/inbox/{name}.yaml")
    began = time.monotonic()
    code = show("orchestrator watch --until-empty")
    click.echo(f"# took {time.monotonic() - began:.1f} s")
    for line in (
        "orchestrator status",
        "orchestrator runs release",
        "orchestrator show flaky",
        "orchestrator logs slow",
    ):
        show(line)
    program = _program()
    click.echo(
        f"\nNow look around:  cd {root}\n"
        "  ls work/done work/results work/logs      the folders are the status\n"
        "  cat work/results/flaky.yaml              how a task ended\n"
        f"  {program} events\n"
        f'  {program} new "Say it again"\n'
        f"  {program} watch"
    )
    if not kept:
        click.echo(f"Remove it with:  rm -r {root}")
    return code


def _program() -> str:
    """How this program is called from another folder: by its name if that is on the PATH, else by
    the path it has."""
    if shutil.which("orchestrator"):
        return "orchestrator"
    return shlex.quote(os.path.abspath(sys.argv[0]))

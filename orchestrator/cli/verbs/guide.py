"""``guide``: what an agent or a newcomer needs to know, on one page, offline."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import examples
from orchestrator.files.layout import data_file


@click.command(epilog=examples("orchestrator guide", "orchestrator guide | less"))
@click.pass_obj
def command(app: App) -> None:
    """Print the guide: how to hand over work, see the results, and change your mind."""
    with open(data_file("cli", "guide.md"), encoding="utf-8") as file:
        app.console.out(file.read().rstrip("\n"))

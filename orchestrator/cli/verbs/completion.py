"""``completion``: the script that makes a shell complete verbs, options, ids and agents."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from orchestrator.cli.options import Choice, examples


@click.command(
    epilog=examples(
        'eval "$(orchestrator completion bash)"           # in ~/.bashrc',
        'eval "$(orchestrator completion zsh)"            # in ~/.zshrc',
        "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish",
    )
)
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL."""
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "orchestrator", "_ORCHESTRATOR_COMPLETE").source())

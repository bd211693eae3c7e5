"""``completion``: the script that makes a shell complete verbs, options, ids and agents."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, examples, json_option


@click.command(
    epilog=examples(
        'eval "$(orchestrator completion bash)"           # in ~/.bashrc',
        'eval "$(orchestrator completion zsh)"            # in ~/.zshrc',
        "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish",
    )
)
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
@json_option
@click.pass_context
def command(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the completion script for SHELL."""
    made = get_completion_class(shell)
    assert made is not None
    script = made(ctx.find_root().command, {}, "orchestrator", "_ORCHESTRATOR_COMPLETE").source()
    if as_json:
        app: App = ctx.obj
        app.console.json("completion", {"shell": shell, "script": script})
    else:
        click.echo(script)

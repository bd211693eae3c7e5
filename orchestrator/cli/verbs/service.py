"""``service``: a systemd unit that keeps a watcher running.  Printed, never installed."""

from __future__ import annotations

import os
import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import examples, json_option
from orchestrator.errors import Unusable

# KillMode=process: stopping or restarting the service leaves agents alone; the next watcher adopts
# them.
UNIT = """\
# {home}/.config/systemd/user/{name}.service
# systemctl --user daemon-reload && systemctl --user enable --now {name}
[Unit]
Description=orchestrator watch in {root}

[Service]
WorkingDirectory={root}
ExecStart={python} -P -m orchestrator watch --quiet
Environment=PATH={path}
KillMode=process
Restart=on-failure
RestartPreventExitStatus=5

[Install]
WantedBy=default.target
"""


@click.command(
    epilog=examples(
        "orchestrator service",
        "orchestrator service > ~/.config/systemd/user/orchestrator-acme-api.service",
    )
)
@json_option
@click.pass_obj
def command(app: App, as_json: bool) -> None:
    """Print a systemd user unit that runs the watcher of this project. It installs nothing.

    Stopping the service does not stop running agents: the next watcher takes them over.
    """
    root = app.layout.root
    if "\n" in root:
        raise Unusable(
            "the project's path has a line break, which a unit file cannot name", "move the project"
        )
    name = "orchestrator-" + "".join(
        char if char.isalnum() or char in "-_" else "-" for char in os.path.basename(root)
    )
    unit = UNIT.format(
        home="~",
        name=name,
        root=_escaped(root),
        python=_escaped(sys.executable),
        path=_escaped(os.environ.get("PATH", os.defpath)),
    ).rstrip("\n")
    if as_json:
        app.console.json("service", {"name": f"{name}.service", "unit": unit})
    else:
        app.console.block(unit)


def _escaped(text: str) -> str:
    """As unit files want it: % begins a specifier, white space ends a word."""
    return text.replace("%", "%%").replace(" ", "\\x20")

"""``service``: a systemd unit that keeps a watcher running.  Printed, never installed."""

from __future__ import annotations

import os
import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import examples, json_option
from orchestrator.errors import Unusable
from orchestrator.files.text import clean
from orchestrator.patterns import bytes_regex, regex

_NOT_PLAIN = bytes_regex(rb"[^!-~]|[\"'\\]")  # in a word
# In a path, which systemd takes as it stands, with its spaces, quotes and backslashes.
_NO_PATH = regex(r"[\n\t]|[ \\]\Z")
# KillMode=process: stopping or restarting the service leaves agents alone; the next watcher adopts
# them. The colon: a dollar in the program's path is a dollar.
UNIT = """\
# {home}/.config/systemd/user/{name}.service
# systemctl --user daemon-reload && systemctl --user enable --now {name}
[Unit]
Description=orchestrator watch in {root}

[Service]
WorkingDirectory={root}
ExecStart=:{python} -P -m orchestrator watch --quiet
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
    if _NO_PATH.search(root) or root != clean(root):
        raise Unusable(
            "the project's path has a line break, a tab, a space or backslash at its end, or what"
            " nobody sees; a unit file cannot name it",
            "move the project",
        )
    name = "orchestrator-" + "".join(
        char if char.isalnum() or char in "-_" else "-" for char in os.path.basename(root)
    )
    unit = UNIT.format(
        home="~",
        name=name,
        root=root.replace("%", "%%"),
        python=_word(sys.executable),
        path=_word(os.environ.get("PATH", os.defpath)),
    ).rstrip("\n")
    if as_json:
        app.console.json("service", {"name": f"{name}.service", "unit": unit})
    else:
        app.console.block(unit)


def _word(text: str) -> str:
    """As unit files want a word: % begins a specifier, and what is not plain is its bytes."""
    plain = _NOT_PLAIN.sub(lambda found: b"\\x%02x" % ord(found[0]), os.fsencode(text))
    return plain.decode().replace("%", "%%")

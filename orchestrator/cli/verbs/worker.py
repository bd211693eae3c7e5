"""``worker``: runs what watchers on other machines offer over a broker."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import deque

import click

from orchestrator import waiting
from orchestrator.cli.app import App
from orchestrator.cli.changes import aside
from orchestrator.cli.consent import obtain, refuse_serving
from orchestrator.cli.options import examples, json_option
from orchestrator.cli.writing import open_config
from orchestrator.coordination.elsewhere.hub import Hub
from orchestrator.coordination.elsewhere.once import Once, spool_of
from orchestrator.coordination.elsewhere.spool import DISPATCH, Spool
from orchestrator.coordination.elsewhere.worker import Worker
from orchestrator.coordination.elsewhere.workplace import Workplace
from orchestrator.distributors.direct import DirectDistributor
from orchestrator.distributors.engines.base import has_password, shown
from orchestrator.distributors.engines.choice import engine, lacking
from orchestrator.distributors.queue import URL_ENV
from orchestrator.errors import Busy, Unusable
from orchestrator.files.statehome import state_home
from orchestrator.model.config import Config
from orchestrator.tools.specs import Toolbox


@click.command(
    epilog=examples(
        "export ORCHESTRATOR_QUEUE=nats://broker:4222",
        "orchestrator worker --slots 4",
        "orchestrator worker --queue redis://broker:6379 --label gpu --tool claude",
    )
)
@click.option(
    "--queue",
    metavar="URL",
    default="",
    help=(
        "The broker: nats://, tls://, redis:// or rediss://, or folder:///DIR. Default:"
        f" ${URL_ENV}."
    ),
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL",
    help="Something this machine has; on: farm+LABEL asks for it.",
)
@click.option(
    "--tool",
    "tools",
    multiple=True,
    metavar="TOOL",
    help="Only these tools. Default: every installed tool.",
)
@click.option(
    "--slots", type=click.IntRange(1, 512), default=4, show_default=True, help="Attempts at once."
)
@click.option(
    "--spool",
    metavar="DIR",
    default="",
    help=(
        "Where attempts run and are kept until the watcher has their results. Default:"
        " ~/.local/state/orchestrator/spool."
    ),
)
@click.option("--name", default="", help="Its name for people. Default: the host's name.")
@click.option(
    "--once",
    metavar="DISPATCH",
    default="",
    help="Run this one dispatch and exit: what a launcher (Slurm, ssh, ...) starts on a machine.",
)
@click.option(
    "--until-empty", is_flag=True, help="Exit when there is nothing to take and nothing is running."
)
@click.option(
    "--accept",
    metavar="SHA256",
    default="",
    help="Accept the settings with this checksum (a refused worker prints it); for CI.",
)
@json_option
@click.pass_obj
def command(
    app: App,
    queue: str,
    labels: tuple[str, ...],
    tools: tuple[str, ...],
    slots: int,
    spool: str,
    name: str,
    once: str,
    until_empty: bool,
    accept: str,
    as_json: bool,
) -> None:
    """Run attempts that watchers on other machines offer through a broker.

    This machine decides what may run on it: the agents, tools and limits in this project's
    work/orchestrator.yaml count, and an offer only chooses among them. The worker reads them when
    it starts.

    Press Ctrl-C once to take nothing more and wait for running attempts. Press it twice to leave
    at once; they go on, and the next worker with the same spool folder takes them over.

    With --once it runs one dispatch, in a spool folder of its own. If another worker already has
    that dispatch, it does nothing and exits with 0. Ctrl-C ends the attempt, which then counts as
    lost.
    """
    if once and (labels or tools or until_empty):
        raise click.UsageError(
            "--once takes the one dispatch it names: no --label, --tool or --until-empty"
        )
    if once and not DISPATCH.match(once):
        raise click.UsageError(f"'{once[:40]}' is not a dispatch: 32 hexadecimal digits")
    called = name or socket.gethostname()
    with aside(app, as_json):
        lines = Lines(app)
        _work(app, queue, labels, tools, slots, spool, called, once, until_empty, accept, lines)
    if as_json:
        app.console.json("worker", {"name": called, "lines": list(lines.said)})


def _work(
    app: App,
    queue: str,
    labels: tuple[str, ...],
    tools: tuple[str, ...],
    slots: int,
    spool: str,
    called: str,
    once: str,
    until_empty: bool,
    accept: str,
    lines: Lines,
) -> None:
    refuse_serving(app.layout)
    url = _address(queue)
    obtain(app, accept, wait=not (until_empty or once))
    config, toolbox = open_config(app)
    if once:
        _once(app, url, once, spool or _default_spool(), called, config, toolbox, lines)
        return
    offered = _tools(tools, config, toolbox)
    for label in labels:
        if not label.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise Unusable(
                f"'{label[:40]}' is not a label", "letters, digits and . _ - are allowed"
            )
    folder = Spool(spool or _default_spool())

    async def serve() -> None:
        broker = engine(url, f"worker-{folder.worker[:8]}")
        place = Workplace(app.layout, folder.folder)
        hub = Hub(
            called,
            broker,
            folder,
            place,
            DirectDistributor(),
            config,
            {name: toolbox.tools[name] for name in offered},
            app.layout.root,
            lines,
        )
        await Worker(hub, offered, sorted(set(labels)), slots).run(until_empty)

    lines.say(f"worker {called}, {shown(url)}, spool {folder.folder}")
    waiting.run(serve())


def _once(
    app: App,
    url: str,
    dispatch: str,
    base: str,
    called: str,
    config: Config,
    toolbox: Toolbox,
    lines: Lines,
) -> None:
    try:
        folder = Spool(spool_of(base, socket.gethostname(), dispatch))
    except Busy:
        lines.say(f"{dispatch} is running here already")
        return

    async def serve() -> None:
        broker = engine(url, f"once-{dispatch[:8]}")
        place = Workplace(app.layout, folder.folder)
        hub = Hub(
            called, broker, folder, place, DirectDistributor(), config, toolbox.tools, app.layout.root, lines,
        )  # fmt: skip
        await Once(hub, dispatch).run()

    lines.say(f"worker {called}, {shown(url)}, for {dispatch}")
    waiting.run(serve())


def _address(given: str) -> str:
    url = given or os.environ.get(URL_ENV, "")
    if not url:
        raise Unusable("no broker is named", f"--queue URL, or export {URL_ENV}=nats://broker:4222")
    if has_password(given):
        raise Unusable(
            "an address with a password would be visible to everyone who lists processes",
            f"export {URL_ENV}=... instead of --queue",
        )
    if why := lacking(url):
        raise Unusable(why)
    return url


def _tools(wanted: tuple[str, ...], config: Config, toolbox: Toolbox) -> list[str]:
    """The tools that are offered: those of them that are there and that the settings allow."""
    there = [
        name
        for name, tool in toolbox.tools.items()
        if tool.at_hand and name not in config.disabled_tools
    ]
    for name in wanted:
        if name not in there:
            raise Unusable(f"the tool '{name[:60]}' is not here", "orchestrator agents")
    return sorted(set(wanted or there))


def _default_spool() -> str:
    home = state_home()
    if not home:
        raise Unusable(
            "there is no home folder to keep orders in", "set XDG_STATE_HOME, or say --spool"
        )
    return f"{home}/spool"


class Lines:
    """What happens, a line each, with the time."""

    def __init__(self, app: App) -> None:
        self._console = app.console
        self.said: deque[str] = deque(maxlen=1000)  # the last of them

    def say(self, text: str) -> None:
        """Seen at once, in a pipe, too."""
        self.said.append(text)
        self._console.out(f"{time.strftime('%H:%M:%S')}  {text}")
        sys.stdout.flush()

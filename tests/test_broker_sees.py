"""What lies at a broker while attempts run on another machine: nothing that only one of the two machines knows."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from brokers import broker_of
from conftest import wait_until
from farms import Farm


class Capture(threading.Thread):
    """Keeps all bytes that are seen in a folder while it looks, names included."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.over = folder, threading.Event()
        self.seen: dict[tuple[str, int, int, int], bytes] = {}

    def run(self) -> None:
        while not self.over.wait(0.005):
            self.look()
        self.look()

    def look(self) -> None:
        for place, _, names in os.walk(self.folder):
            for name in names:
                path = f"{place}/{name}"
                with suppress(OSError):
                    found = os.stat(path)
                    key = (path, found.st_ino, found.st_size, found.st_mtime_ns)
                    if key not in self.seen:
                        self.seen[key] = Path(path).read_bytes()

    def all(self) -> bytes:
        """What was seen so far."""
        found = list(self.seen.items())
        return b"\n".join(path.encode() + b"\n" + data for (path, *_), data in found)

    def close(self) -> None:
        self.over.set()
        self.join()


def test_what_the_broker_sees(tmp_path):
    """Of either machine no secret, no variable and no path, also if a secret is printed in two pieces."""
    broker = broker_of("folder", tmp_path / "broker")
    farm = Farm(tmp_path, broker)
    given = "sh: {tool: shell, command: [sh]"
    try:
        for project, name in ((farm.near, "near"), (farm.far, "far")):
            secret = f", secrets: {{MINE: {{command: [echo, {name}-role-secret]}}}}"
            text = (project.work / "orchestrator.yaml").read_text().replace(given, given + secret)
            project.config(f"{text}environment: {{pass: [OTHER_TOKEN, PLAIN]}}\n")
            project.env |= {"OTHER_TOKEN": f"{name}-token-value", "PLAIN": f"{name}-plain-value"}
        capture = Capture(broker.folder / "mounted")
        capture.start()
        seen = (
            "printf %s ${MINE%secret}; printf ke%s pt >&2\nuntil [ -e $GO ]; do sleep 0.05; done\n"
        )
        rest = 'echo "secret $OTHER_TOKEN"; exit 0'
        farm.drop("a", seen.replace("$GO", str(tmp_path / "go")) + rest)
        farm.worker()
        watcher = farm.watch()
        wait_until(lambda: b"kept" in capture.all(), "what it says is at the broker")
        (tmp_path / "go").touch()
        wait_until(lambda: farm.near.where("a") == "done", "it is done")
        watcher.stop()
        wait_until(lambda: len(os.listdir(farm.workers[0].spool)) == 3, "all is told")
        capture.close()
        said = capture.all().replace(str(broker.folder).encode(), b"")
        assert farm.log("a") == b"*" * 15 + b" " + b"*" * 15 + b"\n"
        assert b"printf %s" in said, "the prompt is seen"
        own = ("{0}-role-", "{0}-token", "{0}-plain", f"{farm.folder}/{{0}}", "home-{0}", "spool-")
        told = [word.format(name).encode() for name in ("near", "far") for word in own]
        assert [word for word in told if word in said] == []
    finally:
        farm.close()
        broker.close()

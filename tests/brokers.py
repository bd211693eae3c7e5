"""Real brokers for tests: on the loopback, with a folder of their own.  ``scripts/test-engines`` installs them."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

KINDS = ("nats", "redis")  # with a server and credentials
ALL = (*KINDS, "folder")
NATS_SERVER = Path(sys.executable).parent / "nats-server"


def missing(kind: str) -> str:
    """Why tests with this broker are skipped; empty if they can run."""
    if kind == "folder":
        return ""
    server = NATS_SERVER if kind == "nats" else shutil.which("redis-server")
    if server is None or not Path(server).exists() or find_spec(kind) is None:
        return f"{kind} is not installed: ./scripts/test-engines {kind}"
    return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """One broker process; its data survives `kill` and `start`, and not `wipe`.  ``more`` is added to its configuration.

    ``prefix`` puts it into a network namespace, where it listens at ``host``.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        more: str = "",
        host: str = "127.0.0.1",
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.kind, self.folder, self.port = kind, folder, free_port()
        self.more, self.host, self.prefix = more, host, prefix
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"{self.kind}://{self.host}:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "broker.conf"
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        if self.kind == "nats":
            text = f"listen: {self.host}:{self.port}\njetstream {{store_dir: {data}}}\n"
            words = [str(NATS_SERVER), "-c", str(path)]
        else:
            text = f"bind {self.host}\nprotected-mode no\nport {self.port}\ndir {data}\nappendonly yes\nappendfsync always\n"
            words = ["redis-server", str(path)]
        path.write_text(text + self.more)
        with open(self.folder / "broker.log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._await()

    def _await(self) -> None:
        end = time.monotonic() + 15
        if self.prefix:
            look = f"import socket; socket.create_connection(('{self.host}', {self.port}), 1)"
            while subprocess.run(
                [*self.prefix, sys.executable, "-c", look], stderr=subprocess.DEVNULL, check=False
            ).returncode:
                assert time.monotonic() < end, (self.folder / "broker.log").read_text()[-2000:]
            return
        while time.monotonic() < end:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(16):
                        return
            except OSError:
                time.sleep(0.02)
        raise AssertionError((self.folder / "broker.log").read_text()[-2000:])

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(10)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """It is killed and starts again without its data."""
        self.kill()
        shutil.rmtree(self.folder / "data")
        self.start()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.kill()


class SharedFolder(Broker):
    """The same for a folder that both sides see: `kill` and `freeze` take its file system away, `start` and `thaw` bring it back."""

    @property
    def url(self) -> str:
        return f"folder://{self.folder}/mounted/orchestrator"

    def start(self) -> None:
        here, away = self.folder / "mounted", self.folder / "away"
        if away.exists():
            away.rename(here)
        here.mkdir(parents=True, exist_ok=True)

    def kill(self, number: int = signal.SIGKILL) -> None:
        (self.folder / "mounted").rename(self.folder / "away")

    freeze = kill
    thaw = start

    def wipe(self) -> None:
        self.kill()
        shutil.rmtree(self.folder / "away")
        self.start()

    def close(self) -> None:
        """Nothing to end."""


def broker_of(kind: str, folder: Path, **more: Any) -> Broker:
    """A broker of this kind."""
    return (SharedFolder if kind == "folder" else Broker)(kind, folder, **more)


class Link:
    """A line to a broker that can be cut in one direction.  What is sent then arrives once it is mended, as over TCP.
    ``delay`` is how many seconds everything takes each way."""

    THERE, BACK = "there", "back"

    def __init__(self, broker: Broker) -> None:
        self._broker, self._cut, self.delay = broker, "", 0.0
        self._server = socket.create_server(("127.0.0.1", 0))
        self._mended = threading.Event()
        self._mended.set()
        self._sockets: list[socket.socket] = []
        self._begin(self._accept)

    @property
    def url(self) -> str:
        return f"{self._broker.kind}://127.0.0.1:{self._server.getsockname()[1]}"

    def cut(self, direction: str) -> None:
        self._mended.clear()
        self._cut = direction

    def mend(self) -> None:
        self._cut = ""
        self._mended.set()

    def close(self) -> None:
        self.mend()
        for one in (self._server, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _begin(self, work: Callable[..., None], *words: Any) -> None:
        threading.Thread(target=work, args=words, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection((self._broker.host, self._broker.port))
                self._sockets += [near, far]
                self._begin(self._carry, near, far, self.THERE)
                self._begin(self._carry, far, near, self.BACK)

    def _carry(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self._cut == direction:
                    self._mended.wait()
                time.sleep(self.delay)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

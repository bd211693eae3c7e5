"""The pseudo-terminal of an interactive attempt, and the people who are attached to it.

The supervisor owns the terminal: whoever looks at it comes and goes over a socket in the attempt's
log folder, and neither a closed window nor a killed watcher ends the tool. What the tool prints is
recorded in the log and sent to everybody who is attached.

From a client come frames: one byte of kind (``i`` input, ``s`` rows and columns), two bytes of
length, the content. To a client goes what the tool prints, as it is.

Standard library only, and imported only by a supervisor that needs it.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from collections.abc import Sequence

NAME = "attach.sock"
SIZE = (24, 80)  # rows, columns, while nobody has said
REPLAY = 1 << 16  # bytes of what was printed before, for somebody who attaches
BEHIND = 1 << 22  # bytes that a client may be behind before it is let go
SETTLE = 0.1  # seconds after which a size that was changed to make the tool draw again is put right


class Client:
    """Somebody who is attached."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.setblocking(False)
        self.received = b""
        self.pending = b""

    def frames(self) -> list[tuple[bytes, bytes]] | None:
        """What has come; None if the client is gone."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self.received += data
        found = []
        while len(self.received) >= 3:
            size = int.from_bytes(self.received[1:3], "big")
            if len(self.received) < 3 + size:
                break
            found.append((self.received[:1], self.received[3 : 3 + size]))
            self.received = self.received[3 + size :]
        return found

    def send(self, data: bytes = b"") -> bool:
        """Send this, and what is left from before; False if the client is gone or too far
        behind."""
        self.pending += data
        try:
            while self.pending:
                self.pending = self.pending[self.socket.send(self.pending) :]
        except BlockingIOError:
            return len(self.pending) < BEHIND
        except OSError:
            return False
        return True


class Terminal:
    """Open from before the tool starts until it has ended. ``log`` is the descriptor that what it
    prints is appended to."""

    def __init__(self, run_dir: str, log: int, signals: tuple[int, ...]) -> None:
        self.run_dir, self.log, self.signals = run_dir, log, signals
        self.master, self.slave = os.openpty()
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self.slave)
        self.size = SIZE
        self.set_size(SIZE)
        self.clients: list[Client] = []
        self.to_tool = b""
        self.right_size_at = 0.0
        self.open = True
        try:
            self.listener = self.listen()
        except OSError:
            os.close(self.master)
            os.close(self.slave)
            raise
        # Signals stay blocked but for the moment of the select; one that comes then is noted in
        # this pipe, so none is missed.
        self.woken, self.wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.before = [signal.signal(number, lambda *_: None) for number in signals]
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)

    def listen(self) -> socket.socket:
        """The socket, bound by a relative name: a whole path may be longer than a socket's
        address."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        os.chdir(self.run_dir)
        try:
            if os.path.lexists(NAME):
                os.unlink(NAME)
            listener.bind(NAME)
        finally:
            os.chdir("/")
            os.umask(before)
        listener.listen(8)
        listener.setblocking(False)
        return listener

    def actions(self) -> list[tuple[int, ...] | tuple[int, int, str, int, int]]:
        """What `os.posix_spawn` does so that the terminal is the new session's own."""
        return [
            (os.POSIX_SPAWN_OPEN, 0, self.path, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ]

    def started(self) -> None:
        """The tool has its side: when it closes it, the terminal ends."""
        os.close(self.slave)
        self.slave = -1

    def serve(self, seconds: float) -> int | None:
        """Pass on what is typed and printed for so long, or until a signal comes; the signal's
        number."""
        if self.right_size_at:
            seconds = min(seconds, max(self.right_size_at - time.monotonic(), 0.0))
        reading: list[int | socket.socket] = [
            self.woken,
            self.listener,
            *(client.socket for client in self.clients),
        ]
        if self.open:
            reading.append(self.master)
        writing: list[int | socket.socket] = [
            client.socket for client in self.clients if client.pending
        ]
        if self.to_tool and self.open:
            writing.append(self.master)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.signals)
        try:
            ready, writable, _ = select.select(reading, writing, [], seconds)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, self.signals)
        if self.right_size_at and time.monotonic() >= self.right_size_at:
            self.right_size_at = 0.0
            self.set_size(self.size)
        if self.master in ready:
            self.printed()
        if self.listener in ready:
            self.attach()
        self.clients = [client for client in self.clients if self.heard(client, ready, writable)]
        self.typed()
        if self.woken in ready:
            numbers = os.read(self.woken, 256)
            return next((number for number in numbers if number != signal.SIGCHLD), signal.SIGCHLD)
        return None

    def heard(self, client: Client, ready: Sequence[object], writable: Sequence[object]) -> bool:
        """Take what a client sent, and send what it has not had; whether it is still there."""
        if client.socket in ready:
            frames = client.frames()
            if frames is None:
                client.socket.close()
                return False
            for kind, content in frames:
                if kind == b"i":
                    self.to_tool += content
                elif kind == b"s" and len(content) == 4:
                    self.resize(struct.unpack(">HH", content))
        if client.socket in writable and not client.send():
            client.socket.close()
            return False
        return True

    def attach(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        client = Client(connection)
        try:
            size = os.fstat(self.log).st_size
            with open(f"/proc/self/fd/{self.log}", "rb") as file:
                file.seek(max(0, size - REPLAY))
                if not client.send(file.read(REPLAY)):
                    return
        except OSError:
            pass
        self.clients.append(client)

    def printed(self) -> None:
        """Record and pass on what the tool has printed."""
        try:
            data = os.read(self.master, 1 << 16)
        except BlockingIOError:
            return
        except OSError:  # the last process has closed the terminal
            data = b""
        if not data:
            self.open = False
            return
        try:
            os.write(self.log, data)
        except OSError:  # a disk that refuses the record must not end the tool
            pass
        self.clients = [client for client in self.clients if client.send(data)]

    def typed(self) -> None:
        try:
            while self.to_tool and self.open:
                self.to_tool = self.to_tool[os.write(self.master, self.to_tool) :]
        except BlockingIOError:
            pass
        except OSError:
            self.to_tool = b""

    def resize(self, size: tuple[int, int]) -> None:
        """Take over the size of a client's terminal. If it is no other than before, a full-screen
        tool has to be made to draw all the same: it is told of a smaller one, and of the right one
        a moment later."""
        if min(size) < 1:
            return
        if size == self.size and size[0] > 1:
            self.set_size((size[0] - 1, size[1]))
            self.right_size_at = time.monotonic() + SETTLE
        else:
            self.set_size(size)
        self.size = size

    def set_size(self, size: tuple[int, int]) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def close(self) -> None:
        """Record what is left, and let everybody go."""
        while self.open and select.select([self.master], [], [], 0)[0]:
            self.printed()
        signal.set_wakeup_fd(-1)
        for number, handler in zip(self.signals, self.before, strict=True):
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        for client in self.clients:
            client.socket.setblocking(True)
            client.socket.settimeout(0.5)
            try:
                client.socket.sendall(client.pending)
            except OSError:
                pass
            client.socket.close()
        self.listener.close()
        for fd in (self.master, self.slave, self.woken, self.wake):
            if fd >= 0:
                os.close(fd)
        try:
            os.unlink(f"{self.run_dir}/{NAME}")
        except OSError:
            pass

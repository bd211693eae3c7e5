"""A program's own session log: what an attempt used, where its output does not say it.

It is read when an attempt has ended, and while it runs (`Following`). Agents that are stopped, run
out of time, or run on a terminal report nothing; but they write every call of the model into a file
of their own (a transcript, a rollout, a chat). A spec's ``session_log`` says where that is and how
to read it. A session can be older than the attempt: only what was written since the attempt began
counts.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.files.opening import open_file, read_bytes
from orchestrator.libraries import later
from orchestrator.model.result import session_name
from orchestrator.model.units import when
from orchestrator.patterns import regex
from orchestrator.records import dataclass, field
from orchestrator.tools import queries
from orchestrator.tools import tally as tally_tools

if TYPE_CHECKING:
    import glob
else:
    glob = later("glob")

LONGEST = 1 << 24  # bytes of one line; a longer one is passed over
HEAD = 1 << 16  # bytes in which a log names its folder
MOST = 50  # files that are looked at
STEP = 1 << 19  # bytes that are read at once while an attempt runs
PAUSE = 2.0  # seconds between looks when there was nothing new
SLACK = 2.0  # seconds by which a log may seem older than its attempt
MOST_CALLS = 10_000  # that are remembered by name
_REFUSED = regex(
    r"Read-only file system|Permission denied|Operation not permitted|\b(?:denied|refused|blocked)"
    r" by (?:the |its )?(?:sandbox|policy)|\bsandbox(?:ed)? (?:denied|refused|error)",
    re.IGNORECASE,
)
_VARIABLE = regex(r"\{([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class SessionLog:
    """Where it is: patterns with ``{session}`` and ``{VARIABLE}`` of the attempt's environment, the
    first that has files; ``beside`` are further files of the same session. Queries are over one
    event; ``figures`` as in `tools.activity.Live`. ``call`` is the id, the tool and the input of a
    tool call, ``refused`` the id and the output of one that failed: programs do not print every
    call that their sandbox refused."""

    path: tuple[str, ...]
    beside: str = ""
    session: str = ""
    at: str = ""
    key: str = ""
    quota: str = ""
    call: str = ""
    refused: str = ""
    includes_cached: bool = False
    figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Logged:
    """What it says of one attempt; ``refused`` are the calls (a tool and its input) that a sandbox
    refused."""

    session: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    windows: tuple[Mapping[str, Any], ...] = ()
    refused: tuple[tuple[str, Any], ...] = ()


def session_log_from(data: Mapping[str, Any] | None) -> SessionLog | None:
    """The ``session_log`` of a tool spec (a mapping that fits ``tool.schema.json``)."""
    if not data:
        return None
    known = {
        "path",
        "beside",
        "session",
        "at",
        "key",
        "quota",
        "call",
        "refused",
        "includes_cached",
    }
    path = data["path"]
    return SessionLog(
        path=(path,) if isinstance(path, str) else tuple(path),
        figures={key: query for key, query in data.items() if key not in known},
        **{key: data[key] for key in known - {"path"} if key in data},
    )


def read(log: SessionLog, run_dir: str, session: str, since: float) -> Logged:
    """What was logged for an attempt since it began (seconds since the epoch). Nothing in the file
    raises."""
    path = _of_attempt(log, run_dir, session, since)
    return of_file(log, path, since) if path else Logged()


def _of_attempt(log: SessionLog, run_dir: str, session: str, since: float) -> str:
    """`locate`, for the attempt with this folder; empty if that does not say how it was started."""
    try:
        command = json.loads(read_bytes(f"{run_dir}/command.json"))
        env, cwd = dict(command["env"]), str(command["cwd"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return locate(log, env, cwd, session, since)


def locate(log: SessionLog, env: Mapping[str, str], cwd: str, session: str, since: float) -> str:
    """The file of this session. Without a session it is the one file that was begun since and names
    the folder; empty if there is none, or more than one."""
    for pattern in log.path:
        if any(not env.get(name) for name in _VARIABLE.findall(pattern)):
            continue
        base = _VARIABLE.sub(lambda match: glob.escape(env[match[1]]), pattern)
        found = glob.glob(base.replace("{session}", glob.escape(session) if session else "*"))
        found = [path for path in found if _written(path) >= since - SLACK][:MOST]
        if "{session}" not in pattern or not session:
            found = [path for path in found if _belongs(path, cwd, session)]
        if found:
            return found[0] if len(found) == 1 else ""
    return ""


def of_file(log: SessionLog, path: str, since: float) -> Logged:
    """What a file says of the time since then."""
    tally = tally_tools.Tally(log.key, log.figures, log.includes_cached)
    session = ""
    windows: tuple[Mapping[str, Any], ...] = ()
    refusals = _Refusals(log)
    for event in _events(path):
        if log.session and not session:
            session = session_name(queries.search(log.session, event))
        if not _since(log, event, since):
            continue
        tally.add(event)
        refusals.hear(event)
        found = queries.search(log.quota, event) if log.quota else None
        if isinstance(found, list):
            windows = tuple(item for item in found if isinstance(item, dict))
    for other in beside(log, path):
        for event in _events(other):
            if _since(log, event, since):
                tally.add(event)
    return Logged(session, tally.usage, windows, tuple(refusals.calls.values()))


class _Refusals:
    """The calls that a sandbox refused."""

    def __init__(self, log: SessionLog) -> None:
        self._log = log
        self._begun: dict[str, tuple[str, Any]] = {}
        self.calls: dict[str, tuple[str, Any]] = {}

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take one event: a call, or what one gave back."""
        if not self._log.refused:
            return
        call = queries.search(self._log.call, event)
        if isinstance(call, list) and len(call) == 3 and len(self._begun) < MOST_CALLS:
            self._begun[str(call[0])] = (str(call[1]), call[2])
        given = queries.search(self._log.refused, event)
        if isinstance(given, list) and len(given) == 2 and _REFUSED.search(str(given[1])):
            name = str(given[0])
            self.calls[name] = self._begun.get(name, ("a command", ""))


class Following:
    """Reads on in a session log while its attempt runs.  Nothing is found before the program has
    begun one; nothing in it raises."""

    def __init__(self, log: SessionLog, run_dir: str, most: int | None = None) -> None:
        """``most``: bytes of a log that is read at all; None: any."""
        self._most = most
        self._log, self._run_dir = log, run_dir
        self._tally = tally_tools.Tally(log.key, log.figures, log.includes_cached)
        self._since = _written(f"{run_dir}/command.json")
        self._path = ""
        self._read: dict[str, int] = {}  # bytes that were read of each file, to the end of a line
        self._next = 0.0

    @property
    def usage(self) -> dict[str, int]:
        return self._tally.usage

    def look(self, session: str) -> bool:
        """Read at most `STEP` bytes of each file; whether there were any.  When there is nothing
        new, it looks again after `PAUSE`."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._path = self._path or self._found(session)
        files = [self._path, *beside(self._log, self._path)] if self._path else []
        read = [self._read_on(path) for path in files]
        if any(read):
            return True
        self._next = now + PAUSE
        return False

    def _found(self, session: str) -> str:
        path = _of_attempt(self._log, self._run_dir, session, self._since)
        return path if self._most is None or _size(path) <= self._most else ""

    def _read_on(self, path: str) -> bool:
        position = self._read.get(path, 0)
        try:
            with open_file(path) as file:
                file.seek(position)
                data = file.read(STEP)
                if data and b"\n" not in data:
                    data += file.readline(LONGEST)
        except OSError:
            return False
        whole, newline, _ = data.rpartition(b"\n")
        self._read[path] = position + len(whole) + len(newline)
        for line in whole.split(b"\n") if newline else ():
            for event in queries.events_of(line):
                if _since(self._log, event, self._since):
                    self._tally.add(event)
        return bool(newline)


def beside(log: SessionLog, path: str) -> list[str]:
    """Further files of the session that this one is of."""
    if not log.beside:
        return []
    folder, name = os.path.split(path)
    pattern = log.beside.replace("{session}", glob.escape(os.path.splitext(name)[0]))
    return sorted(glob.glob(f"{glob.escape(folder)}/{pattern}"))[:MOST]


def _since(log: SessionLog, event: Mapping[str, Any], since: float) -> bool:
    said = queries.search(log.at, event) if log.at else None
    if not isinstance(said, str):
        return True
    try:
        return when(said) >= since
    except ValueError:
        return True


def _events(path: str) -> Iterator[dict[str, Any]]:
    try:
        with open_file(path) as file:
            while line := file.readline(LONGEST):
                yield from queries.events_of(line.rstrip(b"\n"))
    except OSError:
        return


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _written(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _belongs(path: str, cwd: str, session: str) -> bool:
    """Whether a log is of this session; of one that is not known, whether it names the folder that
    the attempt ran in."""
    try:
        with open_file(path) as file:
            head = file.read(HEAD)
    except OSError:
        return False
    if session:
        return session.encode() in head
    return json.dumps(cwd)[1:-1].encode() in head

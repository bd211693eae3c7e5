"""What a tool is doing, as its own output tells it: lines for people, tokens and cost so far.

Agents print one JSON object a line. A spec's ``show`` turns one such event into what a person wants
to see of it, its ``live`` into the usage it reports while it runs; both are JMESPath over one
event. What is no JSON is shown as it is. Reading only, and without the schemas: ``status`` and
``logs`` use this as well as the pane.
"""

from __future__ import annotations

import json
import os
import shlex
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.files import documents, masked, opening
from orchestrator.files.layout import Layout, data_file
from orchestrator.files.text import clean, one_line
from orchestrator.model.units import plural
from orchestrator.records import dataclass, field
from orchestrator.tools import queries, secrecy, sessionlog
from orchestrator.tools import tally as tally_tools
from orchestrator.tools.protocols import completed

if TYPE_CHECKING:
    from orchestrator.model.config import Model

TAIL = 1 << 16  # bytes at the end of a log that are enough to know what a tool does now
EVENT_MOST = 1 << 25  # bytes of an event that is shown
LONGEST = 1 << 24  # bytes; a line longer than this is passed over
GLANCE = 1 << 22  # bytes of log that are read for the sake of figures
STEP = 1 << 20  # bytes read at a time, and at most in one look at a running attempt
PRINTED = 6  # lines of what a tool call gave back


@dataclass(frozen=True, slots=True)
class Show:
    """Queries over one event. ``says``: texts of the agent; ``pieces``: parts of a text that
    arrives in parts; ``calls``: pairs of a tool's name and its input; ``prints``: what a call gave
    back; ``errors``; ``retries``: that it tries again by itself, and why."""

    says: str = ""
    pieces: str = ""
    calls: str = ""
    prints: str = ""
    errors: str = ""
    retries: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """Queries over one event for the usage it adds. Of events with the same ``key`` the last
    counts; ``includes_cached`` as in `tools.output.Parse.input_includes_cached`."""

    key: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)
    includes_cached: bool = False


@dataclass(frozen=True, slots=True)
class Presentation:
    """How a tool's output is shown while it runs and afterwards."""

    show: Show | None = None
    live: Live | None = None
    log: sessionlog.SessionLog | None = None  # the program's own, where that knows more
    session: str = ""  # the query for its session, over the list of its events

    @property
    def counts(self) -> bool:
        """Whether anything is known of what an attempt has used so far."""
        return self.live is not None or self.log is not None


@dataclass(frozen=True, slots=True)
class Line:
    """One line for a person.  ``kind``: says, call, print, error, retry, or plain (not JSON)."""

    kind: str
    text: str


def presentation_from(data: Mapping[str, Any]) -> Presentation:
    """The presentation in a tool spec (a mapping that fits ``tool.schema.json``)."""
    data = completed(data)
    live = dict(data.get("live") or {})
    cached = bool((data.get("parse") or {}).get("input_includes_cached"))
    return Presentation(
        Show(**data["show"]) if data.get("show") else None,
        Live(live.pop("key", ""), live, cached) if live else None,
        sessionlog.session_log_from(data.get("session_log")),
        str((data.get("parse") or {}).get("session") or ""),
    )


@cache
def presentation(layout: Layout, tool: str) -> Presentation:
    """How a tool of this name is shown; nothing special if its spec cannot be read."""
    if "/" in tool or tool.startswith("."):
        return Presentation()
    for path in (
        f"{layout.tools}/{tool}.yaml",
        f"{layout.tools}/{tool}.yml",
        data_file("tools", "catalog", f"{tool}.yaml"),
    ):
        try:
            return presentation_from(
                documents.parse(
                    opening.read_bytes(os.path.realpath(path), documents.MAX_BYTES)
                ).data
                or {}
            )
        except FileNotFoundError:
            continue
        except (OSError, TypeError, AttributeError, ValueError):
            break
    return Presentation()


class Renderer:
    """Turns pieces of a log, cut at line ends, into lines for people."""

    def __init__(self, show: Show | None) -> None:
        self.show = show
        self._rest = b""  # of an event that is larger than a piece of the log
        self._skipping = False
        self._piece = ""  # a text that arrives in parts, as far as its last line has come

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that a piece of a log makes; an event whose rest is still to come waits for
        it."""
        if self.show is not None:
            data = yield from self._whole(data)
        for raw in data.split(b"\n"):
            events = queries.events_of(raw) if self.show is not None else []
            for event in events:
                yield from self.event(event)
            if events:
                continue
            if raw.strip():
                yield from self.flush()
                yield Line(
                    "plain", clean(raw.decode("utf-8", "replace").rstrip("\r").rsplit("\r", 1)[-1])
                )
            elif raw and self.show is None:
                yield Line("plain", "")

    def event(self, event: Mapping[str, Any]) -> Iterator[Line]:
        show = self.show
        assert show is not None
        if piece := "".join(_texts(show.pieces, event)):
            *whole, self._piece = (self._piece + piece).split("\n")
            yield from (Line("says", clean(line)) for line in whole if line.strip())
            return
        found = [
            Line("says", clean(line))
            for text in _texts(show.says, event)
            for line in text.split("\n")
            if line.strip()
        ]
        found += [
            Line("call", one_line(describe(*call), 400)) for call in _calls(show.calls, event)
        ]
        for text in _texts(show.prints, event):
            lines = [clean(line).rstrip() for line in text.split("\n") if line.strip()]
            found += [Line("print", line) for line in lines[:PRINTED]]
            if len(lines) > PRINTED:
                found.append(Line("print", f"… {plural(len(lines) - PRINTED, 'more line')}"))
        found += [Line("error", one_line(text, 400)) for text in _texts(show.errors, event)]
        found += [Line("retry", one_line(text, 400)) for text in _texts(show.retries, event)]
        if found:
            yield from self.flush()
            yield from found

    def _whole(self, data: bytes) -> Generator[Line, None, bytes]:
        """The whole lines of what has come so far; one that is larger than `EVENT_MOST` is passed
        over, and that is told."""
        head, end, tail = data.rpartition(b"\n")
        if not end:
            self._rest += data
            if len(self._rest) > EVENT_MOST:
                self._rest, self._skipping = b"", True
            return b""
        head, self._rest = self._rest + head, tail
        if self._skipping:
            self._skipping = False
            yield Line("print", f"… an event of more than {EVENT_MOST >> 20} MiB: logs --raw")
            head = head.partition(b"\n")[2]
        return head

    def end(self) -> Iterator[Line]:
        """The log has ended: what waited for its rest."""
        rest, self._rest = self._rest, b""
        if rest.strip():
            yield from self.feed(rest + b"\n")
        yield from self.flush()

    def flush(self) -> Iterator[Line]:
        """The end of a text whose parts have all come."""
        if self._piece.strip():
            yield Line("says", clean(self._piece))
        self._piece = ""

    @property
    def unfinished(self) -> str:
        """The part of a line that has come so far."""
        return clean(self._piece)


def speaks(show: Show, event: Mapping[str, Any]) -> bool:
    """Whether an event tells of words, deeds or errors, and not only of figures or housekeeping."""
    return bool(_texts(show.pieces, event)) or any(True for _ in Renderer(show).event(event))


class Progress:
    """A running attempt: its last line, and its tokens and cost so far. `look` reads what was added
    since the last look."""

    def __init__(
        self,
        path: str,
        how: Presentation,
        model: Model | None = None,
        secrets: Sequence[str] = (),
        session: str = "",
        reads: bool = True,
        most: int | None = None,
    ) -> None:
        """``session``: if it is known already; ``reads``: whether what it prints is for us, and not
        for a person's terminal; ``most``: bytes of a session log that is read."""
        self.path, self.how, self.model, self.secrets = path, how, model, secrets
        self.line = ""
        self.answered = False  # whether its agent has said or done something
        self.usage: dict[str, int] = {}
        self.cost: float | None = None
        self._renderer = Renderer(how.show)
        self._position = 0
        self._rest = b""
        self._tally = _tally(how.live)
        self._session, self._reads = session, reads
        self._log = sessionlog.Following(how.log, os.path.dirname(path), most) if how.log else None
        self._lock = (
            threading.Lock()
        )  # the loop looks for the sake of budgets, the pane's thread for people

    def look(self) -> bool:
        """Read on; whether there was anything new. At most `STEP` bytes: of more, the middle is
        passed over unless it is counted."""
        with self._lock:
            printed = self._reads and self._look()
            logged = self._log is not None and self._log.look(self._session)
            if logged:
                self._sum_up()
            return printed or logged

    def _look(self) -> bool:
        try:
            size = masked.end(self.path)
            if size == self._position:
                return False
            with opening.open_file(self.path) as file:
                if size < self._position:  # it was over its limit and has been cut
                    self._position, self._rest = 0, b""
                if self.how.live is None and size - self._position > TAIL:
                    self._position, self._rest = size - TAIL, b""
                    file.seek(self._position)
                    self._position += len(file.readline())
                file.seek(self._position)
                data = file.read(min(STEP, max(size - self._position, 0)))
        except OSError:
            return False
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            self._rest = b""
        for raw in lines:
            self._take(raw)
        if self.how.show is None and (
            last := one_line(self._rest.decode("utf-8", "replace").rsplit("\r", 1)[-1], 200)
        ):
            self.line = last
        elif self._renderer.unfinished.strip():
            self.line = one_line(self._renderer.unfinished, 200)
        self.line = secrecy.mask(self.line, self.secrets)
        return True

    def _take(self, raw: bytes) -> None:
        reads = self.how.show is not None or self.how.counts
        events = queries.events_of(raw) if reads else []
        for event in events:
            self._hear(event)
        if not events:
            for line in Renderer(None).feed(raw):
                self.line = one_line(line.text, 200) or self.line
                self.answered = self.answered or (self.how.show is None and bool(line.text.strip()))

    def _hear(self, event: dict[str, Any]) -> None:
        if self.how.show is not None:
            for line in self._renderer.event(event):
                self.answered = self.answered or line.kind in ("says", "call")
                if line.kind != "print":
                    self.line = one_line(line.text, 200) or self.line
        if self._log is not None and not self._session and self.how.session:
            found = queries.search(self.how.session, [event])
            self._session = found if isinstance(found, str) else ""
        if self.how.live is not None:
            self._count(event)

    def _count(self, event: Mapping[str, Any]) -> None:
        if self._tally.add(event):
            self._sum_up()

    def _sum_up(self) -> None:
        """Of what it prints and what it logs, the larger figures: either may be late, or leave
        something out."""
        printed, logged = self._tally.usage, self._log.usage if self._log is not None else {}
        more = _sum(logged) > _sum(printed)
        self.usage = logged if more else printed
        estimate = self.model.cost(self.usage) if self.model is not None else None
        told = self._tally.cost
        self.cost = (estimate or told) if more else (told or estimate)


def _sum(usage: Mapping[str, int]) -> int:
    return usage.get("input", 0) + usage.get("output", 0)


def _tally(live: Live | None) -> tally_tools.Tally:
    return (
        tally_tools.Tally(live.key, live.figures, live.includes_cached)
        if live
        else tally_tools.Tally("", {}, False)
    )


def total(path: str, live: Live) -> tally_tools.Tally:
    """The figures of a whole log, whatever its size: every event is read, one at a time."""
    tally = _tally(live)
    try:
        with opening.open_file(path) as file:
            while line := file.readline(LONGEST):
                for event in queries.events_of(line.rstrip(b"\n")):
                    tally.add(event)
    except OSError:
        pass
    return tally


def glance(
    path: str,
    how: Presentation,
    model: Model | None = None,
    session: str = "",
    reads: bool = True,
) -> Progress:
    """How far an attempt is, for somebody who looks once: of a log that is larger than `GLANCE`
    only the end, without figures."""
    try:
        small = os.stat(path).st_size <= GLANCE
    except OSError:
        small = True
    how = how if small else Presentation(how.show, log=how.log, session=how.session)
    progress = Progress(path, how, model, session=session, reads=reads, most=GLANCE)
    while progress.look():
        pass
    return progress


def _texts(query: str, event: Mapping[str, Any]) -> list[str]:
    found = queries.search(query, event) if query else None
    return [
        text
        for text in (found if isinstance(found, list) else [found])
        if isinstance(text, str) and text
    ]


def _calls(query: str, event: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found = queries.search(query, event) if query else None
    if not isinstance(found, list):
        return []
    pairs = [found] if found and isinstance(found[0], str) else found
    return [
        (pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
    ]


# What agents call the tools that all of them have, and which part of the input says most.
_VERBS = (
    (
        "$",
        (
            "bash",
            "shell",
            "run_shell_command",
            "command_execution",
            "run_command",
            "execute",
            "exec",
            "exec_command",
            "terminal",
            "local_shell",
        ),
        ("command", "cmd", "script"),
    ),
    (
        "Read",
        ("read", "read_file", "read_many_files", "view", "cat", "open"),
        ("file_path", "path", "absolute_path", "filePath", "paths"),
    ),
    ("Write", ("write", "write_file", "create", "create_file"), ("file_path", "path", "filePath")),
    (
        "Edit",
        (
            "edit",
            "replace",
            "multiedit",
            "str_replace",
            "str_replace_editor",
            "search_replace",
            "apply_patch",
            "patch",
            "file_change",
            "notebookedit",
            "update",
        ),
        ("file_path", "path", "filePath", "notebook_path", "changes"),
    ),
    (
        "Search",
        (
            "grep",
            "glob",
            "search",
            "find",
            "rg",
            "search_file_content",
            "grep_search",
            "web_search",
            "websearch",
            "google_web_search",
        ),
        ("pattern", "query", "regex"),
    ),
    ("Fetch", ("webfetch", "web_fetch", "fetch"), ("url", "prompt")),
    ("List", ("ls", "list", "list_directory"), ("path", "dir_path", "filePath")),
    ("Delegate", ("task", "agent", "subagent"), ("description", "prompt")),
    ("Plan", ("todowrite", "todo_write", "write_todos", "update_plan", "todo", "todo_list"), ()),
)
_BY_NAME = {name: (verb, keys) for verb, names, keys in _VERBS for name in names}


def describe(name: str, given: Any) -> str:
    """A tool call in a few words: ``$ pytest -q``, ``Read src/retry.py``, ``Edit docs/ja.md (+12
    -3)``."""
    if isinstance(given, str) and given[:1] == "{":
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            pass
    verb, keys = _BY_NAME.get(name.lower().rsplit("__", 1)[-1].rsplit(".", 1)[-1], ("", ()))
    values = given if isinstance(given, dict) else {}
    subject = next((_subject(values[key]) for key in keys if values.get(key)), "")
    if not verb:
        verb = name
        subject = next((value for value in values.values() if isinstance(value, str) and value), "")
    if isinstance(given, (str, list)) and not subject:
        subject = _subject(given)
    if verb == "$":
        subject = _bare_command(subject)
    if verb == "Search" and subject:
        subject = f'"{subject}"'
    return f"{verb} {one_line(subject, 300)}{_size_of_change(values) if verb == 'Edit' else ''}".strip()


def _subject(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(
            _subject(item.get("path", "") if isinstance(item, dict) else item) for item in value
        )
    return str(value)


def _bare_command(command: str) -> str:
    """``pytest -q`` of ``/bin/bash -lc 'pytest -q'``."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    wrapped = (
        len(words) == 3
        and words[0].rsplit("/", 1)[-1] in ("bash", "sh", "zsh")
        and words[1] in ("-c", "-lc")
    )
    return words[2] if wrapped else command


def _size_of_change(values: Mapping[str, Any]) -> str:
    old, new = (
        next((values[key] for key in keys if isinstance(values.get(key), str)), None)
        for keys in (("old_string", "oldString", "oldText"), ("new_string", "newString", "newText"))
    )
    if old is None or new is None:
        return ""
    return f" (+{len(new.splitlines())} -{len(old.splitlines())})"

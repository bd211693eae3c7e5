"""YAML text to plain data, safely, remembering where everything stood.

Files in the inbox are untrusted. PyYAML's own composer recurses (in C: a deep file ends the
process) and expands aliases; so this reads the parser's flat event stream and builds the data
itself: no anchors, aliases, tags or merge keys, bounded depth and size, duplicate keys refused,
scalars resolved as YAML 1.2 does (``no`` is text, a date is text, ``010`` is ten). Every problem
has a line and a column.
"""

from __future__ import annotations

import bisect
import re
import sys
from typing import Any

from orchestrator.files import encodings, mistakes
from orchestrator.patterns import LaterToo, regex
from orchestrator.records import dataclass, field

MAX_BYTES = 1 << 20
MAX_DEPTH = 24
MAX_NODES = 20_000  # of a file, but for a run's tasks: of each of those
MAX_TASKS = 10_000  # of a run
MAX_DIGITS = 300
LARGEST = sys.float_info.max
STANDARD = "tag:yaml.org,2002:"  # what !! stands for

Path = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Where something stands: 1-based line and column, and how many characters it takes on that
    line."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a file: where, what, and what to do."""

    line: int
    column: int
    message: str
    hint: str = ""
    width: int = 1
    warning: bool = False


@dataclass(slots=True)
class Document:
    """Parsed text. ``values`` and ``keys`` map a path such as ``("tasks", "a", "prompt")`` to its
    `Span`."""

    text: str
    data: Any = None
    body: str = ""  # what follows YAML front matter
    values: dict[Path, Span] = field(default_factory=dict)
    keys: dict[Path, Span] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)  # what is read otherwise than meant
    _lines: list[str] | None = field(default=None, repr=False, compare=False)

    def line(self, number: int) -> str:
        """The source line with this 1-based number, without its end."""
        if self._lines is None:
            self._lines = self.text.split("\n")
        return self._lines[number - 1].rstrip("\r") if 0 < number <= len(self._lines) else ""

    def value_at(self, path: Path) -> Any:
        """What the mappings say at a path; None if one of them is not there."""
        found = self.data
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def problem_at(
        self, path: Path, message: str, hint: str = "", *, key: bool = False, warning: bool = False
    ) -> Problem:
        """A problem at a value (or its key), or at the nearest thing around it that has a place."""
        while path:
            span = (
                (self.keys if key else self.values).get(path)
                or self.keys.get(path)
                or self.values.get(path)
            )
            if span:
                return Problem(span.line, span.column, message, hint, span.width, warning)
            path = path[:-1]
        span = self.values.get((), Span(1, 1))
        return Problem(span.line, span.column, message, hint, 1, warning)

    def place_of(self, value: object) -> Path:
        """Where this value stands first; the whole document if it stands nowhere."""
        for path in self.values:
            found = self.data
            try:
                for step in path:
                    found = found[step]
            except (KeyError, IndexError, TypeError):  # what was built from it has another shape
                continue
            if path and found == value and type(found) is type(value):
                return path
        return ()


class _Stop(Exception):
    """Parsing cannot go on; carries the problem."""


def decode(raw: bytes) -> tuple[str, Problem | None]:
    """The text of a file: UTF-8, with or without a byte order mark."""
    try:
        return raw.decode("utf-8").removeprefix("\ufeff"), None
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        return raw.decode("utf-8", "replace"), Problem(
            line, column, f"byte 0x{raw[error.start]:02x} is not UTF-8", encodings.hint(raw)
        )


def split_front_matter(text: str, markdown: bool) -> tuple[str, str] | None:
    """``(yaml, body)`` of text that starts with YAML between two ``---`` lines; None if it does
    not.

    In a ``.yaml`` file it is front matter only if something follows the second line.
    """
    head = re.match(r"---[ \t]*\r?\n", text) if text.startswith("---") else None
    if not head:
        return None
    end = re.compile(r"^---[ \t]*\r?$\n?", re.M).search(text, head.end())
    if not end or not (markdown or text[end.end() :].strip()):
        return None
    return text[: end.start()], text[end.end() :]


# A later part of a file is another document if it begins with one of these, and not text.
_KEY_LINE = regex(
    r"(?:prompt|prompt_file|agent|title|tasks|needs|id|task_id|name|status|description|model|tool)["
    r" \t]*:(?:[ \t]|$)"
)


def another_document(body: str) -> int | None:
    """Where in the text below front matter another YAML document begins; None if it is text."""
    place = 0
    for part in re.split(r"^---[ \t]*\r?\n", body, flags=re.M):
        lines = (line for line in part.split("\n") if line.strip() and not line.startswith("#"))
        if _KEY_LINE.match(next(lines, "")):
            return place
        place = body.find(part, place) + len(part)
    return None


def _another_document(source: str, body: str, place: int) -> Problem:
    line = source.count("\n") + 1 + body.count("\n", 0, place) + bool(place)
    return Problem(
        line,
        1,
        "another YAML document begins at this ---",
        "one file is one task: give each its own file, or list them under  tasks:",
        3,
    )


def parse(raw: bytes | str, markdown: bool = False) -> Document:
    """Parse a file's content; what is wrong is in ``problems`` and then ``data`` is None (or what
    was read)."""
    text, bad = decode(raw) if isinstance(raw, bytes) else (raw.removeprefix("\ufeff"), None)
    document = Document(text)
    if bad:
        document.problems.append(bad)
        return document
    marked = "<<<<<<< " in text and re.search(r"^<{7} ", text, re.M)
    conflict = re.search(r"^(<{7} .*|={7}|>{7} .*)\r?$", text, re.M) if marked else None
    if conflict:
        document.problems.append(
            Problem(
                text.count("\n", 0, conflict.start()) + 1,
                1,
                "a conflict that git left here is not resolved",
                "keep one side and remove the lines with <<<<<<<, ======= and >>>>>>>",
                len(conflict[1]),
            )
        )
        return document
    parts = split_front_matter(text, markdown)
    if markdown and parts is None:
        document.problems.append(Problem(1, 1, *mistakes.front_matter(text)))
        return document
    source, document.body = parts or (text, "")
    again = None if markdown or not document.body else another_document(document.body)
    if again is not None:
        document.problems.append(_another_document(source, document.body, again))
        return document
    try:
        document.data = _build(source, document)
    except _Stop as stop:
        document.problems.append(stop.args[0])
    return document


def _build(source: str, document: Document) -> Any:
    with LaterToo():
        import yaml  # here, not above: reading verbs that open no YAML do not pay for it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events = yaml.parse(source, Loader=loader)
    builder = _Builder(document, events, yaml, source)
    try:
        data = builder.build()
    except yaml.YAMLError as error:
        _refuse_hidden_breaks(source, builder.quoted)
        raise _Stop(_yaml_problem(error, document)) from None
    _refuse_hidden_breaks(source, builder.quoted)
    return data


def _refuse_hidden_breaks(source: str, quoted: list[tuple[int, int]]) -> None:
    found = mistakes.hidden_break(source, quoted)
    if found is not None:
        before = source[: found[0]]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise _Stop(Problem(line, column, found[1], found[2]))


class _Lines:
    """Places as editors count them: a line ends at a line feed. For YAML it ends at a few other
    characters, too."""

    def __init__(self, source: str) -> None:
        odd = mistakes.HIDDEN_BREAKS.search(source) is not None
        self._ends = [found.start() for found in re.finditer("\n", source)] if odd else None

    def place(self, mark: Any) -> tuple[int, int]:
        """1-based line and column of a parser's mark."""
        if self._ends is None:
            return mark.line + 1, mark.column + 1
        line = bisect.bisect_left(self._ends, mark.index)
        return line + 1, mark.index - (self._ends[line - 1] + 1 if line else 0) + 1


class _Builder:
    """Builds data from parser events with a stack of its own."""

    def __init__(self, document: Document, events: Any, yaml: Any, source: str) -> None:
        self.document, self.events, self.yaml, self.source = document, events, yaml, source
        self.nodes = self.tasks = 0
        self.lines = _Lines(source)
        self.quoted: list[tuple[int, int]] = []  # from where to where in the source

    def build(self) -> Any:
        yaml, document = self.yaml, self.document
        values, keys = document.values, document.keys
        root: list[Any] = []
        stack: list[tuple[Any, Path]] = []  # open containers
        container: Any = root
        path: Path = ()
        key: Any = None
        have_key = False
        for event in self.events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._guard(event)
                mark, end = event.start_mark, event.end_mark
                if event.style in ("'", '"'):
                    self._note_quoted(event)
                width = end.column - mark.column if end.line == mark.line else 1
                span = Span(*self.lines.place(mark), max(width, 1))
                if type(container) is dict and not have_key:
                    key = self._key(event, container, span)
                    keys[path + (key,)] = span
                    if path == ("tasks",):
                        self._next_task(event)
                    have_key = True
                    continue
                value = _scalar(event.value, self, event) if event.implicit[0] else event.value
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._guard(event)
                if type(container) is dict and not have_key:
                    braces = self.source[event.start_mark.index - 1 :].startswith("{{")
                    hint = "text that starts with { needs quotes" if braces else "write  key: value"
                    raise self._stop(event, "a key must be text", hint)
                if len(stack) >= MAX_DEPTH:
                    raise self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
                span = Span(*self.lines.place(event.start_mark))
                value = {} if kind is yaml.MappingStartEvent else []
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                container, path = stack.pop()
                have_key = False
                continue
            elif kind is yaml.AliasEvent:
                raise self._stop(
                    event,
                    "aliases (*name) are not allowed in a task file",
                    "write the value out; text that begins with * needs quotes",
                )
            elif kind is yaml.DocumentStartEvent:
                if root:
                    raise self._stop(
                        event,
                        "a second YAML document begins here",
                        "one file is one task: give each its own file, or remove the --- line",
                    )
                continue
            else:
                continue
            if type(container) is dict:
                container[key] = value
                here = path + (key,)
                have_key = False
            else:
                here = path + (len(container),) if container is not root else ()
                container.append(value)
            values[here] = span
            if type(value) in (dict, list) and kind is not yaml.ScalarEvent:
                stack.append((container, path))
                container, path = value, here
                have_key = False
        return root[0] if root else None

    def _next_task(self, event: Any) -> None:
        self.nodes = 0
        self.tasks += 1
        if self.tasks > MAX_TASKS:
            hint = "make several runs of it: a run may need another's tasks"
            raise self._stop(event, f"more than {MAX_TASKS:,} tasks", hint)

    def _guard(self, event: Any) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self._stop(event, f"more than {MAX_NODES:,} values")
        if event.anchor:
            raise self._stop(
                event,
                "anchors (&name) are not allowed in a task file",
                "write the value out; text that begins with & needs quotes",
            )
        if event.tag and event.tag != "!":
            raise self._stop(
                event,
                f"the tag {event.tag.replace(STANDARD, '!!')[:40]} is not allowed in a task file",
                "remove it; text that begins with ! needs quotes",
            )

    def _note_quoted(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        self.quoted.append((start, end))
        text = self.source[start:end]
        if event.style == '"' and "\\" in text:
            place = mistakes.silent_escape(text)
            if place >= 0:
                line = self.source.count("\n", 0, start + place) + 1
                column = start + place - self.source.rfind("\n", 0, start + place)
                self.document.warnings.append(
                    Problem(
                        line,
                        column,
                        f"in double quotes {text[place : place + 2]} is an escape, not a backslash",
                        "write '...' with single quotes, or two backslashes",
                        2,
                        True,
                    )
                )

    def _key(self, event: Any, container: dict[Any, Any], span: Span) -> str:
        key = event.value
        if key == "<<" and event.implicit[0]:
            raise self._stop(
                event, "merge keys (<<) are not allowed in a task file", "write the values out"
            )
        if key in container:
            raise _Stop(
                Problem(
                    span.line,
                    span.column,
                    f"the key '{key[:60]}' appears twice",
                    "keep one of them",
                    span.width,
                )
            )
        return str(key)

    def _stop(self, event: Any, message: str, hint: str = "") -> _Stop:
        return _Stop(Problem(*self.lines.place(event.start_mark), message, hint))


_INT = regex(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = regex(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


def is_number(text: str) -> bool:
    """Whether we read this text as a number where it stands without quotes."""
    return text[:1] in "-+.0123456789" and bool(_INT.match(text) or _FLOAT.match(text))


def _scalar(text: str, builder: _Builder, event: Any) -> Any:
    """A plain scalar by the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "-+.0123456789":
        if _INT.match(text):
            if len(text) > MAX_DIGITS:
                raise builder._stop(
                    event,
                    f"a number of more than {MAX_DIGITS} digits",
                    'quote it if it is text: "..."',
                )
            whole = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            _refuse_large(whole, builder, event)
            return whole
        if _FLOAT.match(text):
            number = float(text)
            _refuse_large(number, builder, event)
            return number
    return text


def _refuse_large(number: float, builder: _Builder, event: Any) -> None:
    """No number is more than the calculations of ours can hold, a whole one neither."""
    if not -LARGEST <= number <= LARGEST:
        raise builder._stop(event, "a number that is too large", "write a smaller one")


def _yaml_problem(error: Any, document: Document) -> Problem:
    """PyYAML's complaint in our words, with a hint for the mistakes people really make."""
    mark = getattr(error, "problem_mark", None)
    context = getattr(error, "context_mark", None)
    text = (
        getattr(error, "problem", None)
        or getattr(error, "reason", None)
        or str(error).split("\n", 1)[0]
    )
    if mark is None:
        position = getattr(error, "position", 0)
        before = document.text[:position]
        return Problem(
            before.count("\n") + 1,
            position - (before.rfind("\n") + 1) + 1,
            f"not valid YAML: {text}",
            (
                "remove the control character"
                if encodings.guess(document.text.encode())[0] in ("Latin-1", "no text", "")
                else encodings.hint(document.text.encode())
            ),
        )
    lines = _Lines(document.text)
    own = lines.place(mark)
    began = lines.place(context) if context is not None else own
    place = mistakes.explain(text, own, began, document.line)
    return Problem(place.line, place.column, f"not valid YAML: {text}", place.hint)

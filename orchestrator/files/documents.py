"""YAML text to plain data, safely, remembering where everything stood.

Files in the inbox are untrusted.  PyYAML's own composer recurses (in C: a deep file ends the process) and
expands aliases; so this reads the parser's flat event stream and builds the data itself: no anchors, aliases,
tags or merge keys, bounded depth and size, duplicate keys refused, scalars resolved as YAML 1.2 does (``no`` is
text, a date is text, ``010`` is ten).  Every problem has a line and a column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 1 << 20
MAX_DEPTH = 24
MAX_NODES = 20_000
MAX_DIGITS = 300

Path = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Where something stands: 1-based line and column, and how many characters it takes on that line."""

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
    """Parsed text.  ``values`` and ``keys`` map a path such as ``("tasks", "a", "prompt")`` to its `Span`."""

    text: str
    data: Any = None
    body: str = ""  # what follows YAML front matter
    values: dict[Path, Span] = field(default_factory=dict)
    keys: dict[Path, Span] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, number: int) -> str:
        """The source line with this 1-based number, without its end."""
        lines = self.text.split("\n", number)
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""

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
            line, column, f"byte 0x{raw[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        )


def split_front_matter(text: str, markdown: bool) -> tuple[str, str] | None:
    """``(yaml, body)`` of text that starts with YAML between two ``---`` lines; None if it does not.

    In a ``.yaml`` file it is front matter only if something follows the second line.
    """
    head = re.match(r"---[ \t]*\r?\n", text)
    if not head:
        return None
    end = re.compile(r"^---[ \t]*\r?$\n?", re.M).search(text, head.end())
    if not end or not (markdown or text[end.end() :].strip()):
        return None
    return text[: end.start()], text[end.end() :]


def parse(raw: bytes | str, markdown: bool = False) -> Document:
    """Parse a file's content; what is wrong is in ``problems`` and then ``data`` is None (or what was read)."""
    text, bad = decode(raw) if isinstance(raw, bytes) else (raw.removeprefix("\ufeff"), None)
    document = Document(text)
    if bad:
        document.problems.append(bad)
        return document
    conflict = re.search(r"^(<{7} .*|={7}|>{7} .*)\r?$", text, re.M)
    if conflict and re.search(r"^<{7} ", text, re.M):
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
        document.problems.append(
            Problem(
                1,
                1,
                "a Markdown task starts with YAML front matter",
                "begin with:  ---, keys, ---, then the prompt",
            )
        )
        return document
    source, document.body = parts or (text, "")
    try:
        document.data = _build(source, document)
    except _Stop as stop:
        document.problems.append(stop.args[0])
    return document


def _build(source: str, document: Document) -> Any:
    import yaml  # here, not above: reading verbs that open no YAML do not pay for it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events = yaml.parse(source, Loader=loader)
    try:
        return _Builder(document, events, yaml).build()
    except yaml.YAMLError as error:
        raise _Stop(_yaml_problem(error, document)) from None


class _Builder:
    """Builds data from parser events with a stack of its own."""

    def __init__(self, document: Document, events: Any, yaml: Any) -> None:
        self.document, self.events, self.yaml = document, events, yaml
        self.nodes = 0

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
                width = end.column - mark.column if end.line == mark.line else 1
                span = Span(mark.line + 1, mark.column + 1, max(width, 1))
                if type(container) is dict and not have_key:
                    key = self._key(event, container, span)
                    keys[path + (key,)] = span
                    have_key = True
                    continue
                value = _scalar(event.value, self, event) if event.implicit[0] else event.value
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._guard(event)
                if type(container) is dict and not have_key:
                    raise self._stop(event, "a key must be text", "write  key: value")
                if len(stack) >= MAX_DEPTH:
                    raise self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
                mark = event.start_mark
                span = Span(mark.line + 1, mark.column + 1)
                value = {} if kind is yaml.MappingStartEvent else []
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                container, path = stack.pop()
                have_key = False
                continue
            elif kind is yaml.AliasEvent:
                raise self._stop(
                    event, "aliases (*name) are not allowed in a task file", "write the value out"
                )
            elif kind is yaml.DocumentStartEvent:
                if root:
                    raise self._stop(
                        event,
                        "a second YAML document begins here",
                        "one file is one task: remove the --- line",
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

    def _guard(self, event: Any) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self._stop(event, f"more than {MAX_NODES:,} values")
        if event.anchor:
            raise self._stop(
                event, "anchors (&name) are not allowed in a task file", "write the value out"
            )
        if event.tag and event.tag != "!":
            raise self._stop(
                event, f"the tag {event.tag[:40]} is not allowed in a task file", "remove it"
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
                    f"the key '{key[:60]}' is there twice",
                    "keep one of them",
                    span.width,
                )
            )
        return key

    def _stop(self, event: Any, message: str, hint: str = "") -> _Stop:
        mark = event.start_mark
        return _Stop(Problem(mark.line + 1, mark.column + 1, message, hint))


_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
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
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.match(text):
            return float(text)
    return text


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
            "remove the control character",
        )
    line, column = mark.line, mark.column
    hint = ""
    source = document.line(line + 1)
    if "mapping values are not allowed" in text:
        hint = 'text that contains ": " needs quotes, or a block:  prompt: |'
    elif "cannot start any token" in text or "found character" in text:
        char = source[column : column + 1]
        hint = (
            "indent with spaces, not tabs"
            if char == "\t" or source.lstrip(" ").startswith("\t")
            else f"text that starts with {char or 'this'} needs quotes"
        )
    elif (
        "unexpected end" in text
        or "end of stream" in text
        or "quoted scalar" in str(getattr(error, "context", ""))
    ):
        hint = "a quote or bracket that opens here is never closed"
        if context is not None:
            line, column = context.line, context.column
    elif "expected ',' or" in text:
        hint = "a bracket is not closed, or a comma is missing"
        if context is not None:
            line, column = context.line, context.column
    elif "could not find expected ':'" in text:
        hint = "every line at this level is  key: value ; longer text goes into a block:  prompt: |"
    elif "expected <block end>" in text or "did not find expected" in text:
        hint = "check the indentation, and quotes around text with : # [ ] { }"
    return Problem(line + 1, column + 1, f"not valid YAML: {text}", hint)

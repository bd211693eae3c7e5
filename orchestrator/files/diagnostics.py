"""Problems as text: for people, for editors and CI, for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from orchestrator.files.documents import Document, Problem
from orchestrator.files.text import clean, hang, on_a_line, width
from orchestrator.patterns import regex
from orchestrator.records import asdict

FORMATS = ("full", "concise", "json", "github")
_MARKDOWN = regex(
    r"[\\\[<`]"
)  # what begins a link, an image, HTML or code, and what undoes an escape
Paint = Callable[[str, str], str]


def _plain(text: str, _: str) -> str:
    return text


def full(
    path: str, document: Document, problem: Problem, paint: Paint = _plain, columns: int = 0
) -> str:
    """``file:line:col``, the line with a caret under it, and the hint, for a terminal of so many
    ``columns`` (0: a pipe, where a sentence stays on its line)."""
    word, colour = ("warning", "yellow") if problem.warning else ("error", "red")
    place = f"{on_a_line(path)}:{problem.line}:{problem.column}:"
    said = hang(
        "", f"{place} {paint(word, colour)}: {on_a_line(problem.message)}", max(columns - 4, 0)
    )
    lines = [said[0], *(f"    {line}" for line in said[1:])]
    source = document.line(problem.line).replace("\t", " ")
    if source.strip():
        room = min(110, max(columns - 7, 20) if columns else 110)
        # Of a very long line the part around the problem.
        start = max(0, problem.column - room * 6 // 11)
        shown = clean(source[start : start + room])
        before = clean(source[start : problem.column - 1])
        marked = min(problem.width, max(1, len(shown) - len(before)))
        number = str(problem.line)
        lines.append(f"{number:>3} | {shown}")
        lines.append(f"    | {' ' * width(before)}{paint('^' * marked, colour)}")
    if problem.hint:
        lines += hang("    = hint: ", on_a_line(problem.hint), columns)
    return "\n".join(lines)


def concise(path: str, problem: Problem) -> str:
    """One line: ``file:line:col: message (hint)``."""
    hint = f" ({on_a_line(problem.hint)})" if problem.hint else ""
    word = "warning: " if problem.warning else ""
    return f"{on_a_line(path)}:{problem.line}:{problem.column}: {word}{on_a_line(problem.message)}{hint}"


def github(path: str, problem: Problem) -> str:
    """A workflow command, which GitHub shows beside the line."""
    text = on_a_line(f"{problem.message}. {problem.hint}".strip()).replace("%", "%25")
    level = "warning" if problem.warning else "error"
    place = on_a_line(path).replace("%", "%25").replace(",", "%2C").replace(":", "%3A")
    return f"::{level} file={place},line={problem.line},col={problem.column}::{text}"


def render(
    style: str,
    found: Sequence[tuple[str, Document, Sequence[Problem]]],
    paint: Paint = _plain,
    columns: int = 0,
) -> str:
    """All problems of all files in one of `FORMATS`; ``columns`` as in `full`."""
    if style == "json":
        listed = [
            {"path": path, **asdict(problem)} for path, _, problems in found for problem in problems
        ]
        return json.dumps(
            {"schema_version": 2, "kind": "problems", "problems": listed},
            ensure_ascii=False,
            indent=2,
        )
    lines = []
    for path, document, problems in found:
        for problem in problems:
            if style == "full":
                lines.append(full(path, document, problem, paint, columns))
            else:
                lines.append((github if style == "github" else concise)(path, problem))
    return "\n".join(lines)


def note(name: str, document: Document, problems: Sequence[Problem], digest: str) -> str:
    """The text of ``<id>.error.md``: first line short and exact, since readers show only that.

    Outside the fence no word of the file can be an image, HTML, or a link that shows anything but
    its address in a preview.
    """
    first = problems[0]
    said = _MARKDOWN.sub(r"\\\g<0>", on_a_line(first.message)[:200])
    body = "\n".join(full(name, document, problem) for problem in problems[:20])
    return (
        f"{first.line}:{first.column} {said}\n\nThis file does not run. Correct it and save: the"
        f" watcher checks it again at once and removes this note.\n\n```\n{body}\n```\n<!-- {digest} -->\n"
    )

"""The files that an entry of a run with ``each:`` is about: git's own list, never that of a shell.
A pure read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.files import git
from orchestrator.model import matrix

Files = Callable[[str], list[str]]  # the files that are like a pattern; raises `CannotList`
Path = tuple[Any, ...]
MOST_PATTERNS = 100  # different ones in one run: git is asked for each


class CannotList(Exception):
    """There is no such list; the text says why, ``hint`` what to do."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


def beside(path: str) -> Files:
    """Lists the files of the project in one of whose folders of tasks this file lies."""
    work = os.path.dirname(os.path.dirname(os.path.abspath(path)))
    return of_project(os.path.dirname(work))


def of_project(root: str) -> Files:
    """Lists the files of this project, relative to it."""
    return lambda pattern: like(root, pattern)


def anything(pattern: str) -> list[str]:
    """Stands in for the list where only the rest of a file is judged: a schedule's files are those
    of its time."""
    return [pattern]


def like(root: str, pattern: str) -> list[str]:
    """The files that are like a pattern of git's, ignored ones and those of ``work/`` left out; at
    least one, at most `MOST`."""
    if os.path.isabs(pattern) or ".." in pattern.split("/") or "\0" in pattern:
        raise CannotList(f"'{pattern[:60]}' leads out of the project", "src/**/*.py")
    found = [name for name in _listed(root, pattern) if not name.startswith("work/")]
    if not found:
        raise CannotList(
            f"no file of this project matches '{pattern[:60]}'", "git ls-files  lists them"
        )
    if len(found) > matrix.MOST:
        raise CannotList(
            f"{len(found)} files match '{pattern[:60]}', more than {matrix.MOST}",
            "use a narrower pattern",
        )
    for name in found:
        if not name.isprintable():
            raise CannotList(
                f"the name of a file cannot be a value: {ascii(name)[:80]}", "rename it"
            )
    return sorted(found)


def _listed(root: str, pattern: str) -> list[str]:
    try:
        repository = git.nearest(root)
        if repository is None:
            raise CannotList("git lists the files, and this is not a git repository", "git init")
        prefix = os.path.relpath(os.path.realpath(root), repository.folder)
        prefix = "" if prefix == "." else f"{prefix}/"
        with git.reading(repository) as reader:
            words = ("--cached", "--others", "--exclude-standard", "-z", "--")
            out = reader.ask("ls-files", *words, f":(top,glob){_literal(prefix)}{pattern}").out
    except git.Unclear as error:
        raise CannotList(f"git does not say which files there are: {error}") from None
    names = dict.fromkeys(os.fsdecode(name) for name in out.split(b"\0") if name)
    return [name.removeprefix(prefix) for name in names]


def _literal(prefix: str) -> str:
    """A folder's name in a pattern, as it is."""
    return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in prefix)


def patterns(data: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """Every pattern that a run still has to be told the files of: its place, the name it fills, and
    itself."""
    listed = data.get("tasks")
    for key, body in listed.items() if isinstance(listed, Mapping) else ():
        each = body.get("each") if isinstance(body, Mapping) else None
        if isinstance(each, str):
            yield ("tasks", key, "each"), "file", each
        elif isinstance(each, Mapping):
            for name, wanted in each.items():
                if isinstance(wanted, str):
                    yield ("tasks", key, "each", name), name, wanted


def filled(data: Mapping[str, Any], lists: Mapping[Path, list[str]]) -> dict[str, Any]:
    """The run with lists of files in place of its patterns."""
    tasks = dict(data["tasks"])
    for path, names in lists.items():
        key, inner = path[1], path[3:]
        body = dict(tasks[key])
        body["each"] = {**body["each"], inner[0]: names} if inner else {"file": names}
        tasks[key] = body
    return {**data, "tasks": tasks}

"""What lies in the folders, by name only: nothing is parsed, so it costs the same whatever the
files say."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator

from orchestrator.errors import NotFound
from orchestrator.files import foldercounts
from orchestrator.files.layout import CANCEL, NOTE, SUFFIXES, Layout, is_draft, stem_of
from orchestrator.model import ids
from orchestrator.model.closeness import closest
from orchestrator.model.hold import MARK
from orchestrator.model.names import SIGNS
from orchestrator.model.status import ENDED, FOLDERS, Status
from orchestrator.patterns import regex

MOST_SETTINGS = 1000  # files in one of work/'s folders of settings
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def names(folder: str) -> list[str]:
    """The names in a folder; none if it is missing (git removes empty folders), or no folder lies
    there."""
    try:
        return os.listdir(folder)
    except OSError as error:
        if error.errno in NO_FOLDER:
            return []
        raise


class Ambiguous(NotFound):
    """A word is a part of several ids."""


Names = Callable[[str], list[str]]  # what lists a folder: `names`, or that of one `Look`


class Look:
    """The folders as one look finds them: each is listed when it is first asked for, and once."""

    def __init__(self) -> None:
        self._seen: dict[str, list[str]] = {}

    def names(self, folder: str) -> list[str]:
        """The names in a folder, as `scan.names`."""
        if folder not in self._seen:
            self._seen[folder] = names(folder)
        return self._seen[folder]


def settings_names(folder: str, names: Names = names) -> list[str]:
    """The names in a folder of settings, sorted; of more than `MOST_SETTINGS` the first ones
    (`files.configuration` refuses them)."""
    return sorted(names(folder))[:MOST_SETTINGS]


def walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, top down and without following links, for trees of any depth: `os.walk` calls
    itself for every level."""
    todo = [folder]
    while todo:
        place = todo.pop()
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    (folders if entry.is_dir() else files).append(entry.name)
        except OSError:  # gone, not ours to read, or too deep to be named
            continue
        yield place, folders, files
        inner = [os.path.join(place, name) for name in reversed(folders)]
        todo += [path for path in inner if not os.path.islink(path)]


def task_names(folder: str, names: Names = names) -> list[tuple[str, str]]:
    """``(id, file name)`` of the task files in a folder."""
    found = []
    beside = MARK if folder.endswith(f"/{Status.HELD}") else "/"
    for name in names(folder):
        if not is_draft(name) and not name.startswith(beside):
            stem = stem_of(name)
            if stem:
                found.append((stem, name))
    return found


def sorted_names(folder: str, names: Names = names) -> list[tuple[str, str]]:
    """`task_names` in alphabetical order, for people."""
    return sorted(task_names(folder, names))


def counts(
    layout: Layout, folders: Iterable[Status] = FOLDERS, names: Names = names
) -> dict[Status, int]:
    """How many task files each folder holds, by their names, or as a watcher has counted them."""
    known = foldercounts.written(layout)
    kept = {status: foldercounts.of(layout, status, known) for status in folders}
    return {
        status: count(names(layout.folder(status))) if found is None else found.tasks
        for status, found in kept.items()
    }


def beside_tasks(
    layout: Layout, folders: Iterable[Status], names: Names = names
) -> Iterator[tuple[Status, str]]:
    """Folder and name of what may lie there beside task files; where nothing was written down about
    a folder, all names in it."""
    known = foldercounts.written(layout)
    for status in folders:
        kept = foldercounts.of(layout, status, known)
        listed = names(layout.folder(status)) if kept is None else kept.others
        yield from ((status, name) for name in listed)


_NEVER = regex(rf"\n(?=[._#{MARK}])[^\n]*\.ya?ml(?=\n)")
_OTHER = regex(r"\n([^\n]*\.md)(?=\n)")


def count(listed: list[str]) -> int:
    """How many of these names are those of task files.

    There may be very many, so all are looked at as one text; only names with the sign of a copy are
    looked at one by one.
    """
    text = "\n" + "\n".join(listed) + "\n"
    if text.count("\n") != len(listed) + 1:  # a name with a line end in it
        return sum(map(_counts, listed))
    yaml, dots, other = text.count(".yaml\n"), text.count("."), 0
    if dots == yaml:  # no other kind, no hidden name, nothing with a dot in it: the usual case
        dots = 0
    else:
        yaml += text.count(".yml\n")
        other = text.count(".md\n")
        hidden = text.count("\n.") - sum(text.count(f"\n{suffix}\n") for suffix in SUFFIXES)
        dots -= yaml + other + hidden  # those that are no part of an ordinary name
    found = yaml - len(_NEVER.findall(text))
    if dots or "conflict" in text.lower() or any(sign in text for sign in " (~_"):  # as copies have
        low = text.lower()
        signs = [sign for sign in SIGNS if sign in low]
        odd = {name for sign in signs for name in listed if sign in name.lower()}
        copies = (name for name in odd if name.endswith(YAML) and name[0] not in NEVER)
        found -= sum(map(is_draft, copies))
    return found + (sum(map(_counts, _OTHER.findall(text))) if other else 0)


YAML, NEVER = (".yaml", ".yml"), f"._#{MARK}"


def _counts(name: str) -> bool:
    return name.endswith(SUFFIXES) and not is_draft(name) and name[0] != MARK


def invalid(layout: Layout) -> list[str]:
    """Ids of files in the inbox that cannot be tasks: those with a note beside them."""
    listed = names(layout.folder(Status.INBOX))
    stems = {stem_of(name) for name in listed if not is_draft(name)}
    return sorted(
        name[: -len(NOTE)] for name in listed if name.endswith(NOTE) and name[: -len(NOTE)] in stems
    )


def locate(
    layout: Layout, task_id: str, folders: Iterable[Status] = FOLDERS
) -> tuple[Status, str] | None:
    """``(status, file name)`` of the task with exactly this id: a few stat calls, however many
    tasks there are.

    A file that is moved against the order of the look, as by a claim, is met by a second one.
    """
    listed = tuple(folders) if not task_id.startswith(MARK) else ()
    for status in (*listed, *listed):
        for suffix in SUFFIXES:
            if os.path.lexists(f"{layout.work}/{status}/{task_id}{suffix}"):
                return status, task_id + suffix
    return None


def namesake(layout: Layout, task_id: str) -> str:
    """What to do about a file in the inbox that has the id of an ended task; empty if there are not
    both."""
    other = locate(layout, task_id, (Status.INBOX,))
    if other is None or locate(layout, task_id, ENDED) is None:
        return ""
    shown = layout.shown(layout.file(*other))
    return (
        f"rename {shown}, and it runs as another task; or remove it, then:"
        f" orchestrator retry {task_id}"
    )


def find(layout: Layout, word: str, folders: Iterable[Status] = FOLDERS) -> tuple[str, Status, str]:
    """``(id, status, file name)`` of the one task that ``word`` names: its id, or any unique part
    of it.

    A path to a task file counts as its id.  Raises `NotFound`, or `Ambiguous` with the candidates.
    """
    folders = tuple(folders)
    word = stem_of(os.path.basename(word)) or word if word.endswith(SUFFIXES) else word
    exact = locate(layout, word, folders) if word and "/" not in word else None
    if exact:
        return word, *exact
    found: dict[str, tuple[Status, str]] = {}
    for status in folders:
        for task_id, name in task_names(layout.folder(status)):
            if ids.key(word) in ids.key(task_id):
                found.setdefault(task_id, (status, name))
    live = {task_id: place for task_id, place in found.items() if place[0] is not Status.ARCHIVE}
    matches = live or found
    best = [task_id for task_id in matches if ids.key(task_id) == ids.key(word)] or list(matches)
    if len(best) == 1:
        return best[0], *matches[best[0]]
    if not best:
        raise NotFound(f"there is no task '{word}'", suggest(layout, word, folders))
    shown = ", ".join(sorted(best)[:8]) + (f" and {len(best) - 8} more" if len(best) > 8 else "")
    raise Ambiguous(f"'{word}' fits {len(best)} tasks", shown)


def suggest(
    layout: Layout, word: str, folders: Iterable[Status] = FOLDERS, names: Names = names
) -> str:
    """A hint for an id that does not exist."""
    known = [
        task_id for status in folders for task_id, _ in task_names(layout.folder(status), names)
    ]
    close = closest(word, known[:5000])
    return f"did you mean '{close}'?" if close else "orchestrator list   shows all tasks"


def cancel_requests(layout: Layout) -> list[str]:
    """Ids that somebody asked to stop by a file ``running/<id>.cancel`` (or
    ``<id>.yaml.cancel``)."""
    found = []
    for name in names(layout.folder(Status.RUNNING)):
        if name.endswith(CANCEL):
            stem = name[: -len(CANCEL)]
            found.append(stem_of(stem) or stem)
    return found

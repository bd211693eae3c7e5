"""Dependencies as other programs and people write them: ids, short ids, numbers, sentences,
mappings with a type.

An id that a file is known to have counts wherever it is named; a word that only looks like an id
counts if it stands for itself. Everything else is prose, which is kept and never waited for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.model import ids
from orchestrator.model.meanings import is_soft, plain, sounds_soft, status_of
from orchestrator.model.status import Status
from orchestrator.patterns import regex
from orchestrator.records import dataclass, field

Known = Callable[
    [str], str
]  # what a file calls itself -> its id here; empty if there is no such file

# Keys that list what has to be done first.  Those of the second kind often list other things: only
# known ids count there.
KEYS = (
    "dependencies dependency depends_on dependson depends blocked_by blockedby blockers needs after"
    " waits_for requires_tasks required_tasks task_dependencies upstream predecessors".split()
)
LOOSE_KEYS = "prerequisites prerequisite requires required_by_me prereqs preconditions".split()
NAME_KEYS = "task_id id task taskid ref reference task_ref key ticket issue depends_on target name file".split()
KIND_KEYS = "type kind relation relationship relation_type dependency_type strength nature".split()
NOTHING = frozenset("none n/a na - -- nil null nothing no tbd keine {} [] ~".split())

# Words with digits that are no ids: programs and formats with their versions.
NOT_IDS = regex(
    r"(?:python|node|nodejs|java|jdk|php|ruby|go|golang|rust|postgres|postgresql|mysql|redis|ubuntu|debian|windows|ios|android|"
    r"react|vue|angular|django|es|http|utf|oauth|sha|md|ipv|s|ec|v|k|x|h|py|pytest|numpy|i|l)[-_.]?\d[\d.x]*\+?\Z",
    re.I,
)
_WORD = regex(r"[^\W_](?:[\w.-]*\w)?|\w")
_LONG = regex(r"\d{4}-\d\d-\d\d[T_-]?\d*-[\w.-]*\w")
_LEADING = regex(
    r"[\s\[#@'\"`*]*(?P<id>[\w][\w./+-]*\w|\w)[\]'\"`*]*\s*(?:(?:[(:;,\u2013\u2014]|-+\s|$).*)?\Z",
    re.S,
)


@dataclass(slots=True)
class Found:
    """``needs`` in the order they were found; ``prose`` to be read; ``notes`` on what a person may
    want to check."""

    needs: list[str] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(data: Mapping[str, Any], known: Known | None = None) -> tuple[Found, set[str]]:
    """The dependencies in a file, and the keys they were under."""
    found, keys = Found(), set()
    lookup = known or (lambda word: "")
    for key, value in data.items():
        form = plain(key)
        if form in KEYS or form in LOOSE_KEYS:
            keys.add(key)
            for item, kind in _items(value):
                _take(found, item, kind, lookup, loose=form in LOOSE_KEYS)
    found.needs = list(dict.fromkeys(found.needs))
    return found, keys


def _items(value: Any, kind: str = "") -> Iterator[tuple[Any, str]]:
    """Every single dependency, with its kind. A mapping of lists (``required: [a]``) has its kinds
    as keys."""
    if isinstance(value, list):
        for item in value:
            yield from _items(item, kind) if isinstance(item, list) else [(item, kind)]
    elif isinstance(value, Mapping) and not _name(value):
        for key, inner in value.items():
            if isinstance(inner, list):
                yield from _items(inner, str(key))
            else:
                yield ({key: inner}, kind)
    elif isinstance(value, str) and re.search(r"[,;\n]", value) and _are_ids(value):
        yield from ((part.strip(), kind) for part in re.split(r"[,;\s]+", value.strip()) if part)
    else:
        yield value, kind


def _are_ids(text: str) -> bool:
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    return all(_looks(part) for part in parts)


def _looks(word: str) -> bool:
    """Whether a word that stands for itself is an id: it has a digit and is no program with its
    version."""
    word = word.strip("#@[]'\"`")
    return bool(re.search(r"\d", word)) and not NOT_IDS.match(word) and not ids.problem(word)


def _name(item: Mapping[str, Any]) -> Any:
    forms = {plain(key): value for key, value in item.items()}
    return next(
        (
            forms[key]
            for key in NAME_KEYS
            if isinstance(forms.get(key), (str, int)) and forms[key] != ""
        ),
        None,
    )


def _take(found: Found, item: Any, kind: str, known: Known, loose: bool) -> None:
    soft = bool(kind) and is_soft(kind)
    text = said(item)
    if not text or plain(text) in {"", *map(plain, NOTHING)}:
        return
    word: Any = item
    if isinstance(item, Mapping):
        forms = {plain(key): value for key, value in item.items()}
        soft = soft or any(is_soft(forms[key]) for key in KIND_KEYS if forms.get(key))
        soft = soft or forms.get("optional") is True or forms.get("required") is False
        soft = soft or forms.get("blocking") is False or forms.get("hard") is False
        word = _name(item)
        if word is None and len(item) == 1:
            word = next(iter(item))
    if soft:
        found.prose.append(text)
        found.notes.append(
            f"dependency '{text}' is not waited for: it is {kind or 'not a hard one'}"
        )
        return
    named = _ids(str(word) if word is not None else text, known, loose)
    if sounds_soft(text) and (not isinstance(item, Mapping) or not named):
        named = []
    elif not named:
        named = _mentioned(text, known, loose)
    if named:
        found.needs += named
        if len(_more(item).split()) > 2:  # what else it says is worth reading
            found.prose.append(text)
        return
    found.prose.append(text)
    found.notes.append(f"dependency '{text}' is prose: it became a note in the prompt, not a need")


def _ids(word: str, known: Known, loose: bool) -> list[str]:
    """The id that a word or the beginning of a sentence is."""
    match = _LEADING.match(word)
    if not match:
        return []
    name = re.sub(r"\.(ya?ml|md)$", "", os.path.basename(match["id"].rstrip("/")))
    here = known(name)
    if here:
        return [here]
    if loose or "/" in match["id"] or not _looks(name):
        return []
    if match["id"] != word.strip("#@[]'\"`* \t\n") and not _is_sure(name, word):
        return []
    return [name]


def _is_sure(name: str, sentence: str) -> bool:
    """An unknown id at the beginning of a sentence: a long one; and not one that the sentence says
    is done."""
    rest = sentence.partition(name)[2].strip(" ()[]:;,.-")
    return (
        len(name) > 4
        and not ids.problem(name)
        and not rest[:1].islower()
        and status_of(rest) is not Status.DONE
    )


def _mentioned(text: str, known: Known, loose: bool) -> list[str]:
    """Ids in a sentence: of files that are known, and such as nobody writes by chance."""
    found = []
    for match in _WORD.finditer(text):
        word, in_path = match[0], text[match.start() - 1 : match.start()] == "/"
        if re.search(r"\d", word) or (len(word) > 11 and "-" in word):
            here = known(word)
            if here:
                found.append(here)
            elif not (loose or in_path) and _LONG.fullmatch(word) and _is_sure(word, text):
                found.append(word)
    return found


def _more(item: Any) -> str:
    """What a dependency says beside its id and its kind."""
    if not isinstance(item, Mapping):
        return said(item)
    known = {*NAME_KEYS, *KIND_KEYS}
    return said(
        [
            inner
            for key, inner in item.items()
            if plain(key) not in known or len(item) == 1 or len(said(inner).split()) > 1
        ]
    )


def said(value: Any) -> str:
    """A dependency as one line of text."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {said(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(said(item) for item in value)
    return "" if value is None else " ".join(str(value).split())

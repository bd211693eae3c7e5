"""One entry of a run that stands for many tasks: ``matrix: {file: [a.py, b.py], lang: [de, fr]}``,
or ``each: src/*.py``.

The files that ``each`` is about are listed before (`files.listing`), so that here they are values
like any others. Every combination of values is a task of its own. A value takes the place of its
name in braces inside texts that are parsed already, so that it can be anything and inject nothing.
The key of a task follows from its values, not from their order.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.libraries import later
from orchestrator.model import filling, ids
from orchestrator.model.closeness import closest

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")

MOST = 500  # tasks of one matrix
ROOM = 50  # bytes of the values in a key
NAME = 60  # characters of an id, about
# Keys of a task whose texts are filled.
FILLED = (
    *("title", "prompt", "prompt_file", "context", "cwd", "artifacts", "env", "labels", "locks"),
    "with",
)
OWN = ("matrix", "each", "exclude")
Path = tuple[Any, ...]
Values = Mapping[str, str]


def expand(key: str, body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks that one entry of a run stands for, by key; an entry without a matrix is itself."""
    rest = {name: value for name, value in body.items() if name not in OWN}
    if not axes_of(body):
        return {key: rest}
    wanted = list(combinations(body))
    plain = [_plain(key, values) for values in wanted]
    often = Counter(ids.key(name) for name in plain)
    return {
        name if often[ids.key(name)] == 1 else _exact(key, values): _filled(rest, values)
        for name, values in zip(plain, wanted, strict=True)
    }


def axes_of(body: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values by name: those of the matrix, and the files of ``each``.

    A pattern whose files nobody has listed is a value itself: `files.requests` lets no such run
    pass.
    """
    patterns = _patterns(body)
    files = {name: [item] if isinstance(item, str) else item for name, item in patterns.items()}
    return {**(body.get("matrix") or {}), **files}


def entries(listed: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """The tasks of every entry of a run, by key and key."""
    return {
        key: expand(key, {"prompt": body} if isinstance(body, str) else body)
        for key, body in listed.items()
    }


def tasks(expanded: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    """Every task with the key of its entry and its own."""
    for key, made in expanded.items():
        for name, body in made.items():
            yield key, name, body


def twins(listed: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Entries that would make a task that another entry makes, and its key; they fit otherwise."""
    if not any(isinstance(body, Mapping) and axes_of(body) for body in listed.values()):
        return
    seen: dict[str, str] = {}
    for key, name, _ in tasks(entries(listed)):
        if seen.setdefault(ids.key(name), key) != key:
            yield key, name


def weight(data: Mapping[str, Any]) -> tuple[int, int]:
    """How many tasks a run makes, and about how many characters they are together: at most so many.
    It need not fit its schema."""
    listed, defaults = data["tasks"], data.get("defaults")
    if not isinstance(listed, Mapping):
        return (len(listed) if isinstance(listed, list) else 0), 0
    counts = {key: _count(body) for key, body in listed.items()}
    shared = _characters(defaults, 0)
    total = 0
    for key, body in listed.items():
        own = _characters(body, _longest(body)) + shared + NAME * _needs(body, defaults, counts)
        total += counts[key] * own
    return sum(counts.values()), total


def _count(body: Any) -> int:
    return math.prod(len(values) for values in _axes(body))


def _axes(body: Any) -> list[list[Any]]:
    found: list[list[Any]] = []
    for key in ("matrix", "each"):
        axes = body.get(key) if isinstance(body, Mapping) else None
        listed = axes.values() if isinstance(axes, Mapping) else ()
        found += [values for values in listed if isinstance(values, list)]
    return found


def _longest(body: Any) -> int:
    return max((len(as_text(value)) for values in _axes(body) for value in values), default=0)


def _characters(value: Any, longest: int) -> int:
    """Of all texts in a value, if each of its braces is filled with the longest text there is for
    them."""
    return sum(len(text) + text.count("{") * longest for _, text in filling.texts(value))


def _needs(body: Any, defaults: Any, counts: Mapping[str, int]) -> int:
    """How many tasks a task of this entry needs: the name of a matrix stands for all its tasks."""
    named = [
        item["needs"]
        for item in (defaults, body)
        if isinstance(item, Mapping) and item.get("needs")
    ]
    needs = named[-1] if named and isinstance(named[-1], list | Mapping) else ()
    return sum(counts.get(need, 1) for need in needs if isinstance(need, str))


def combinations(body: Mapping[str, Any]) -> Iterator[Values]:
    """The values of every task, those that are excluded left out; the last name changes fastest."""
    axes = {name: [as_text(value) for value in values] for name, values in axes_of(body).items()}
    left_out = [
        {name: as_text(value) for name, value in item.items()} for item in body.get("exclude", ())
    ]
    for chosen in itertools.product(*axes.values()):
        values = dict(zip(axes, chosen, strict=True))
        if not any(item.items() <= values.items() for item in left_out):
            yield values


def problems(body: Any) -> list[tuple[Path, str, str]]:
    """What is wrong with the matrix of one entry that fits its schema: path within the entry,
    message, hint."""
    if not isinstance(body, Mapping) or not axes_of(body):
        lonely = isinstance(body, Mapping) and "exclude" in body
        return (
            [(("exclude",), "there is no matrix to exclude from", "matrix: ...")] if lonely else []
        )
    axes = axes_of(body)
    key = "matrix" if "matrix" in body else "each"
    found: list[tuple[Path, str, str]] = []
    for name in body.get("matrix") or {}:
        if name in _patterns(body):
            what = f"'{name}' is filled by matrix and by each"
            found.append((("matrix", name), what, "each: {path: PATTERN}   fills {path}"))
    for place, item in enumerate(body.get("exclude", ())):
        for name in item:
            if name not in axes:
                found.append(
                    (
                        ("exclude", place, name),
                        f"'{name}' is not a name of the matrix",
                        _near(name, axes),
                    )
                )
    texts = {name: body[name] for name in FILLED if name in body}
    for path, name in filling.unknown(texts, axes):
        what = f"nothing fills {{{name}}}"
        found.append((path, what, f"{_near(name, axes)}; {{{{{name}}}}} is the text itself"))
    size = 1
    for values in axes.values():
        size *= len(values)
    if size > MOST:
        what = f"the matrix makes {size} tasks, more than {MOST}"
        found.append(((key,), what, "use fewer values, or several runs"))
    elif not any(True for _ in combinations(body)):
        found.append((("exclude",), "everything is excluded: no task is left", ""))
    return found


def _patterns(body: Mapping[str, Any]) -> Mapping[str, Any]:
    each = body.get("each") or {}
    return {"file": each} if isinstance(each, str) else each


def _near(name: str, axes: Mapping[str, Any]) -> str:
    close = closest(name, axes)
    return f"did you mean '{close}'?" if close else f"there are: {', '.join(axes)}"


def as_text(value: Any) -> str:
    """A value as it stands in the file: numbers and yes or no as JSON writes them."""
    return value if isinstance(value, str) else json.dumps(value)


def _filled(body: Mapping[str, Any], values: Values) -> dict[str, Any]:
    return {
        name: filling.everywhere(value, lambda text: filling.fill(text, values))
        if name in FILLED
        else value
        for name, value in body.items()
    }


def _plain(key: str, values: Values) -> str:
    words = "-".join(ids.slug(value, ROOM) for value in values.values())
    name = f"{key}-{words}"
    return name if len(words.encode()) <= ROOM and "." not in words else _exact(key, values)


def _exact(key: str, values: Values) -> str:
    """A key that no other values have."""
    text = json.dumps(dict(sorted(values.items())), ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    words = "-".join(ids.slug(value, 16) for value in values.values())
    short = words.encode()[:30].decode("utf-8", "ignore").rstrip("-")
    return f"{key}-{short}-{digest}"

"""The JSON Schemas in ``schemas/`` and what a document that does not fit them is told.

They are the single definition of every file format: editors, ``validate`` and the program use the
same files. Sentences for patterns come from ``patternErrorMessage`` in the schema, which editors
show as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestrator.files import documents, fitting, mistakes, nearness
from orchestrator.files.layout import schema_bytes
from orchestrator.libraries import later
from orchestrator.model import foreign, units
from orchestrator.model.closeness import closest
from orchestrator.patterns import regex

if TYPE_CHECKING:
    import difflib
else:
    difflib = later("difflib")

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

    from orchestrator.files.documents import Document, Path

MOST_PROBLEMS = 100  # that are told of one file
KINDS = ("task", "run", "result", "event", "config", "tool", "schedule", "hold", "template")
_TYPES = {
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
    "NoneType": "nothing",
}
FEW = 10  # keys that a hint lists
SLIP = 0.78  # how like one of ours a key is that is taken for a slip of the pen
_WANTED = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


_END = regex(r"(\\.|\[(?:\\.|[^]\\])*\])|\$")  # of a text; not where it stands for itself


@cache
def schema(kind: str) -> dict[str, Any]:
    """The schema of ``task``, ``run``, ``result``, ``event``, ``config`` or ``tool``; its patterns
    as Python means them."""
    found: dict[str, Any] = json.loads(schema_bytes(kind), object_hook=_with_ends)
    return found


def _with_ends(rule: dict[str, Any]) -> dict[str, Any]:
    """``$`` is the end in JSON Schema; in Python it is also the place before a last line end."""
    pattern = rule.get("pattern")
    if isinstance(pattern, str):
        rule["pattern"] = _END.sub(lambda found: found[1] or r"\Z", pattern)
    return rule


def judge(own: Any, value: Any) -> str:
    """What is wrong with a value by a schema of somebody's own, in words; empty if nothing is.

    Nothing is fetched: a schema refers to itself only. It may name an older draft.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        draft = validator_for(own, default=Draft202012Validator)
        draft.check_schema(own)
        errors = list(islice(draft(own, registry=Registry()).iter_errors(value), 20))
    except SchemaError as error:
        return f"this is not a schema: {error.message[:200]}"
    except (Unresolvable, ValueError, TypeError, re.error, RecursionError) as error:
        return f"the schema cannot be used: {str(error)[:200]}"
    if not errors:
        return ""
    worst = best_match(errors)
    where = worst.json_path if worst is not None else "$"
    message = worst.message if worst is not None else ""
    return f"{where}: {message[:300]}"


@cache
def _validator(kind: str) -> Any:
    from jsonschema import Draft202012Validator  # here: what surely fits (`fitting`) does not pay
    from jsonschema.validators import extend

    return extend(Draft202012Validator, {"uniqueItems": _unique})(schema(kind))


def _unique(validator: Any, wanted: bool, instance: Any, schema_: Any) -> Iterator[ValidationError]:
    """``uniqueItems`` in linear time: jsonschema compares every item with every other if they
    cannot be sorted."""
    if not wanted or not isinstance(instance, list):
        return
    seen = set()
    for item in instance:
        text = json.dumps(item, sort_keys=True)
        if text in seen:
            from jsonschema.exceptions import ValidationError

            yield ValidationError("an item appears twice")
            return
        seen.add(text)


def check(kind: str, document: Document, data: Any = None) -> list[documents.Problem]:
    """Every place where the document's data (or ``data`` built from it) does not fit the schema."""
    data = document.data if data is None else data
    kind_of = foreign.kind_of(data) if kind in ("task", "run") else None
    if kind_of is not None:
        return [document.problem_at((), *foreign.not_a_task(kind_of))]
    if fitting.fits(schema(kind), data):
        return []
    problems = list(islice(_problems(kind, document, data), MOST_PROBLEMS))
    misspelt = {
        problem.line
        for problem in problems
        if "unknown key" in problem.message
        and ("'prompt" in problem.hint or "in the key" in problem.hint)
    }
    if misspelt:  # "there is no prompt" says nothing new beside "did you mean 'prompt'?"
        problems = [problem for problem in problems if problem.message != "there is no prompt"]
    problems = _without_narrower(set(problems))
    return sorted(problems, key=lambda problem: (problem.line, problem.column))


def _without_narrower(problems: Collection[documents.Problem]) -> list[documents.Problem]:
    """One value of the wrong type is one mistake: what allows the most types is told, and not the
    branches of its schema."""
    found: dict[tuple[int, int], documents.Problem] = {}
    others = []
    for problem in problems:
        place = problem.line, problem.column
        if " must be " not in problem.message or ", not " not in problem.message:
            others.append(problem)
        elif place not in found or len(problem.message) > len(found[place].message):
            found[place] = problem
    return [*others, *found.values()]


def _problems(kind: str, document: Document, data: Any) -> Iterator[documents.Problem]:
    near: dict[frozenset[str], nearness.Near] = {}
    for error in _validator(kind).iter_errors(data):
        yield from _explain(error, document, near)


def _nothing_of(options: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """What is wrong, and what to do, where one of several keys has to be there."""
    first, *others = [key for option in options for key in option.get("required", ())]
    if first == "prompt":
        return "there is no prompt", "say what to do: prompt: ..."
    return f"'{first}' is missing", f"write {first}: or {' or '.join(f'{key}:' for key in others)}"


def did_you_mean(word: str, choices: Iterable[str], prefix: str = "did you mean") -> str:
    """``did you mean 'claude'?``, or nothing if no choice is close."""
    close = closest(str(word), map(str, choices))
    return f"{prefix} '{close}'?" if close else ""


def _explain(
    error: ValidationError, document: Document, near: dict[frozenset[str], nearness.Near]
) -> Iterator[documents.Problem]:
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        words = near.setdefault(frozenset(known), nearness.Near(known))
        yield from _unknown_keys(error, document, known, words)
    else:
        yield from _RULES.get(str(error.validator), _unfit)(error, document)


def _unknown_keys(
    error: ValidationError, document: Document, known: dict[str, Any], words: nearness.Near
) -> Iterator[documents.Problem]:
    unknown = [key for key in error.instance if not (key in known or key.startswith("x-"))]
    missing = [key for key in error.schema.get("required", ()) if key not in error.instance]
    for key in unknown:
        meant, odd = mistakes.odd_key(key)
        close = words.close_to(key, SLIP)
        if len(unknown) == len(missing) == 1:
            close = close or missing[0]
        slip = f"did you mean '{close}'?" if close else _not_ours(known)
        if below := _above(key, known):
            slip = f"write it below {below}: ({below}: {{{_short(key)}: ...}})"
        hint = odd or _foreign(meant, known, tuple(error.absolute_path)) or slip
        place = (*error.absolute_path, key)
        yield document.problem_at(place, f"unknown key '{_short(key)}'", hint, key=True)


def _not_ours(known: dict[str, Any]) -> str:
    """Of a key that is like none of ours: those that are, if they are few."""
    own = "your own keys start with x-"
    return f"known here: {', '.join(known)}; {own}" if 0 < len(known) <= FEW else own


def _above(key: str, known: dict[str, Any]) -> str:
    """The key below which one belongs that stands beside it: ``task`` of a schedule, ``defaults``
    of a run or of the settings.  Empty if it belongs to none."""
    for name in ("task", "defaults"):
        rule = known.get(name, {})
        inner = rule.get("properties") or schema("task")["properties"]
        if rule.get("type") == "object" and key in inner:
            return name
    return ""


def _nothing_said(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    if isinstance(error.instance, dict):
        said = _nothing_of(error.validator_value)
        yield document.problem_at(tuple(error.absolute_path), *said, key=True)
    else:
        yield from _unfit(error, document)


def _not_allowed(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    choices = error.validator_value
    hint = f"{did_you_mean(error.instance, choices)} allowed: {', '.join(map(str, choices))}"
    said = f"'{_short(error.instance)}' is not one of the allowed values"
    yield document.problem_at(tuple(error.absolute_path), said, hint.strip())


def _wrong_type(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    path, value = tuple(error.absolute_path), error.instance
    if not path:
        yield _not_a_mapping(value, document)
        return
    said = error.validator_value
    wanted = said if isinstance(said, list) else [said]
    text = " or ".join(_WANTED[kind] for kind in wanted if kind != "null" or len(wanted) == 1)
    message = f"{_name(path)} must be {text}, not {_TYPES[type(value).__name__]}"
    hint = _type_hint(value, wanted, error.schema, document, path)
    yield document.problem_at(path, message, hint)


def _missing_keys(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    for key in error.validator_value:
        if key not in error.instance:
            said = f"the key '{key}' is missing"
            yield document.problem_at(tuple(error.absolute_path), said, "", key=True)


def _wrong_form(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    path, value = tuple(error.absolute_path), error.instance
    sentence, _, hint = error.schema.get("patternErrorMessage", "does not fit").partition("; ")
    if sentence.startswith("is not a duration"):
        sentence = sentence.removesuffix(" above zero") if re.search("[1-9]", value) else sentence
        hint = f"write {meant}" if (meant := units.meant(value)) else hint
    said = f"'{_short(value)}' {sentence}"
    if "propertyNames" in error.absolute_schema_path:
        yield document.problem_at((*path, value), said, hint, key=True)
    else:
        yield document.problem_at(path, said, hint)


_BOUNDS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than"}


def _out_of_bounds(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    bound = f"{_BOUNDS[str(error.validator)]} {error.validator_value}"
    yield _about(error, document, f"must be {bound}, not {_short(error.instance)}")


def _too_few(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    if error.validator == "minLength" and "pattern" in error.schema:
        return  # nothing fits no pattern either, and that says more
    count, least = len(error.instance), error.validator_value
    few = f"has {count} of at least {least} entries" if count else "is empty"
    yield _about(error, document, few)


def _too_many(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    count, most = len(error.instance), error.validator_value
    yield _about(error, document, f"has {count} entries; at most {most} are allowed")


def _too_long(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    yield _about(error, document, f"is longer than {error.validator_value} characters")


def _twice(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    yield _about(error, document, "lists something twice")


def _unfit(error: ValidationError, document: Document) -> Iterator[documents.Problem]:
    yield _about(error, document, f"does not fit the schema ({error.validator})")


def _about(error: ValidationError, document: Document, said: str) -> documents.Problem:
    path = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:  # then the key itself is what was judged
        key = error.instance
        return document.problem_at((*path, key), f"the key '{_short(key)}' {said}", key=True)
    return document.problem_at(path, f"{_name(path)} {said}")


# What each rule of a schema says to people, but for ``additionalProperties``.
_Rule = Callable[["ValidationError", "Document"], Iterator[documents.Problem]]
_RULES: Mapping[str, _Rule] = {
    "anyOf": _nothing_said,
    "enum": _not_allowed,
    "type": _wrong_type,
    "required": _missing_keys,
    "pattern": _wrong_form,
    "minimum": _out_of_bounds,
    "maximum": _out_of_bounds,
    "exclusiveMinimum": _out_of_bounds,
    "minItems": _too_few,
    "minLength": _too_few,
    "minProperties": _too_few,
    "maxItems": _too_many,
    "maxProperties": _too_many,
    "maxLength": _too_long,
    "uniqueItems": _twice,
}


def _foreign(key: str, known: dict[str, Any], path: Path) -> str:
    """The word of another program, but a slip of the pen first: ``promt`` is nobody's word."""
    word = foreign.hint_for(key, known)
    if word == foreign.IS_ID and path:
        word = foreign.IS_NEXT if "then" in path else foreign.IS_KEY
    close = difflib.get_close_matches(key, known, 1, SLIP)
    return "" if close and not word else word


def _not_a_mapping(value: Any, document: Document) -> documents.Problem:
    """A file that is YAML, but not keys: the line that spoils it, or what the text should have
    been."""
    if value is None:
        return documents.Problem(
            1, 1, "there is no task in this file", "say what to do: prompt: ..."
        )
    message = f"a task must be a mapping, not {_TYPES[type(value).__name__]}"
    found = mistakes.first_shape(document.text) if isinstance(value, str) else None
    if found is not None:
        return documents.Problem(found.line, found.column, message, found.hint)
    hint = {
        "str": "write  prompt: |  and the text below it, indented",
        "list": "one file is one task; several go under  tasks:  by name",
    }.get(type(value).__name__, "write  key: value")
    return document.problem_at((), message, hint)


def _name(path: Path) -> str:
    if not path:
        return "a task"
    return f"'{_short(path[-1])}'" if isinstance(path[-1], str) else "an entry"


def _short(value: object, limit: int = 60) -> str:
    """A value from a file for a message: never a dump of the document, never a control
    character."""
    text = "..." if isinstance(value, (dict, list)) else str(value)
    text = "".join(char if char.isprintable() else "·" for char in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


_WORDS = regex(r"[\w.-]+([ ,;]+[\w.-]+)+")  # several words, written as one text


def _type_hint(
    value: Any, wanted: list[str], rule: dict[str, Any], document: Document, path: Path
) -> str:
    """What to write instead of a value of the wrong type; empty where there is nothing to
    advise."""
    if value is None:
        return _instead_of_nothing(wanted, document, path)
    if isinstance(value, str):
        return _instead_of_text(value, wanted, document, path)
    if isinstance(value, (int, float, bool)) and "string" in wanted:
        if "duration" in rule.get("patternErrorMessage", ""):
            return f"write a unit: {value}s, {value}m or {value}h"
        span = document.values.get(path)  # as it is written: 0755 is no 755
        text = span and document.line(span.line)[span.column - 1 :][: span.width].strip()
        return f'quote it:  "{text or str(value).lower()}"'
    if isinstance(value, list) and "object" in wanted:
        return "write  NAME: value  on each line, without a dash"
    if isinstance(value, list) and "string" in wanted:
        return f"write one text:  {path[-1]}: |  and its lines below, indented"
    if isinstance(value, dict) and len(value) == 1 and "string" in wanted:
        return 'text that contains ": " needs quotes, or a block with |'
    return ""


def _instead_of_nothing(wanted: list[str], document: Document, path: Path) -> str:
    text = "string" in wanted
    if text and isinstance(path[-1], str) and ":" in path[-1]:
        return "put a space after the colon"
    span = document.keys.get(path)
    if span and re.match(r"\S+?\s*:\s+#", document.line(span.line)[span.column - 1 :]):
        return "the text after # is a comment: put it in quotes"
    return "write something after the colon, or remove the line" if text else ""


def _instead_of_text(value: str, wanted: list[str], document: Document, path: Path) -> str:
    if "boolean" in wanted and value in ("true", "false"):
        return f"remove the quotes: {value}"
    if "boolean" in wanted and value.lower() in ("yes", "no", "on", "off"):
        return f"write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    here = document.values.get(path)
    odd = mistakes.shape(document.line(here.line))[1] if here else ""
    if odd:
        return odd
    if "array" in wanted:
        return _instead_of_one(value)
    return f"remove the quotes: {value}" if "integer" in wanted and value.isdecimal() else ""


def _instead_of_one(value: str) -> str:
    """Where a list is wanted."""
    if value.startswith("-"):
        return f"put a space after the dash:  - {_short(value.lstrip('- ').split(' -')[0], 30)}"
    if _WORDS.fullmatch(value):
        return f"write  [{_short(', '.join(re.split('[ ,;]+', value)), 30)}]"
    return f"write  [{_short(value, 30)}]"

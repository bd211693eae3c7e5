"""A quick look whether data surely fits a schema. It is sure, or it is silent; then the schema
library decides.

Nearly every file fits, and reading verbs judge many: this spares them the library. A test proves
with generated data that what is sure here has no error there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

# Words that only describe; every other word has a rule below, or nothing is sure.
SILENT = frozenset(
    "$schema $id title description examples default defaultSnippets patternErrorMessage then else"
    " $defs".split()
)
TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "boolean": lambda value: type(value) is bool,
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
    "null": lambda value: value is None,
}


def fits(rule: Any, value: Any) -> bool:
    """Whether ``value`` surely fits; False also means "not sure"."""
    if rule is True:
        return True
    if not isinstance(rule, Mapping):
        return False
    return all(
        word in SILENT or (word in RULES and RULES[word](wanted, value, rule))
        for word, wanted in rule.items()
    )


def _type(wanted: Any, value: Any, _: Any) -> bool:
    names = wanted if isinstance(wanted, list) else [wanted]
    return any(name in TYPES and TYPES[name](value) for name in names)


def _properties(wanted: Any, value: Any, _: Any) -> bool:
    if not isinstance(value, dict):
        return True
    return all(fits(rule, value[key]) for key, rule in wanted.items() if key in value)


def _pattern_properties(wanted: Any, value: Any, _: Any) -> bool:
    if not isinstance(value, dict):
        return True
    return all(
        fits(rule, item)
        for pattern, rule in wanted.items()
        for key, item in value.items()
        if not isinstance(key, str) or _compiled(pattern).search(key)
    )


def _additional(wanted: Any, value: Any, rule: Any) -> bool:
    if not isinstance(value, dict):
        return True
    known, patterns = rule.get("properties", {}), rule.get("patternProperties", {})
    return all(
        fits(wanted, item)
        for key, item in value.items()
        if key not in known
        and not (
            isinstance(key, str) and any(_compiled(pattern).search(key) for pattern in patterns)
        )
    )


def _names(wanted: Any, value: Any, _: Any) -> bool:
    return not isinstance(value, dict) or all(fits(wanted, key) for key in value)


def _items(wanted: Any, value: Any, _: Any) -> bool:
    return not isinstance(value, list) or all(fits(wanted, item) for item in value)


def _unique(wanted: Any, value: Any, _: Any) -> bool:
    if not wanted or not isinstance(value, list):
        return True
    return all(type(item) is str for item in value) and len(set(value)) == len(value)


def _if(wanted: Any, value: Any, rule: Any) -> bool:
    then, other = fits(rule.get("then", True), value), fits(rule.get("else", True), value)
    return then if fits(wanted, value) else other and (then or _surely_not(wanted, value))


def _surely_not(wanted: Any, value: Any) -> bool:
    """Whether a condition that only names a type is surely not met."""
    if not isinstance(wanted, Mapping) or list(wanted) != ["type"]:
        return False
    return wanted["type"] in ("string", "array", "object") and not _type(wanted["type"], value, {})


def _text(value: Any) -> bool:
    return type(value) is str


def _number(value: Any) -> bool:
    return type(value) in (int, float)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


RULES: Mapping[str, Callable[[Any, Any, Any], bool]] = {
    "type": _type,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
    "uniqueItems": _unique,
    "if": _if,
    "anyOf": lambda wanted, value, _: any(fits(rule, value) for rule in wanted),
    "required": lambda wanted, value, _: (
        not isinstance(value, dict) or all(key in value for key in wanted)
    ),
    "enum": lambda wanted, value, _: _text(value) and value in wanted,
    "pattern": lambda wanted, value, _: not _text(value) or bool(_compiled(wanted).search(value)),
    "minLength": lambda wanted, value, _: not _text(value) or len(value) >= wanted,
    "maxLength": lambda wanted, value, _: not _text(value) or len(value) <= wanted,
    "minItems": lambda wanted, value, _: not isinstance(value, list) or len(value) >= wanted,
    "maxItems": lambda wanted, value, _: not isinstance(value, list) or len(value) <= wanted,
    "minProperties": lambda wanted, value, _: not isinstance(value, dict) or len(value) >= wanted,
    "maxProperties": lambda wanted, value, _: not isinstance(value, dict) or len(value) <= wanted,
    "minimum": lambda wanted, value, _: not _number(value) or value >= wanted,
    "maximum": lambda wanted, value, _: not _number(value) or value <= wanted,
    "exclusiveMinimum": lambda wanted, value, _: not _number(value) or value > wanted,
}

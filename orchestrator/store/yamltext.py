"""Documents as YAML for people: results, tasks and runs that this program writes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from orchestrator.files.documents import is_number

SHORT = 64  # characters of a text whose tag is kept: keys, and words that come again


class _Tags(yaml.resolver.BaseResolver):
    """What a text without a tag is taken for.  Moments are text: YAML 1.2 has no type for them."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


_tags = _Tags()


@lru_cache(4096)
def _tag(value: str, implicit: tuple[bool, bool]) -> Any:
    return _tags.resolve(yaml.ScalarNode, value, implicit)  # type: ignore[no-untyped-call]


class _ResultDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Text of several lines as a block; moments unquoted."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The tag of a node that says none: the keys of all documents are the same, and are asked
        about once."""
        if kind is yaml.ScalarNode and len(value) < SHORT:
            return _tag(value, implicit)
        return _tags.resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


def _text(dumper: Any, value: str) -> Any:
    value = value.encode("utf-8", "replace").decode()  # a file's name may be no UTF-8
    quoted = "'" if is_number(value) else None
    style = "|" if "\n" in value else quoted
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_ResultDumper.add_representer(str, _text)


def result_text(document: Mapping[str, Any]) -> bytes:
    """A document as YAML for people: keys in the order given, blocks for long text."""
    text: str = yaml.dump(
        dict(document), Dumper=_ResultDumper, sort_keys=False, allow_unicode=True, width=110
    )
    return text.encode()


def task_text(document: Mapping[str, Any], modeline: str = "task") -> str:
    """A task (or run) as the text of a file, with the line that tells editors its schema."""
    return (
        f"# yaml-language-server: $schema=../schemas/{modeline}.schema.json\n"
        + result_text(document).decode()
    )

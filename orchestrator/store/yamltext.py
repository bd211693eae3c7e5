"""Documents as YAML for people: results, tasks and runs that this program writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


class _ResultDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Text of several lines as a block; moments unquoted, since YAML 1.2 has no type for them."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


def _text(dumper: Any, value: str) -> Any:
    value = value.encode("utf-8", "replace").decode()  # a file's name may be no UTF-8
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


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

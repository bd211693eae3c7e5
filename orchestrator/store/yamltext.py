"""Documents as YAML for people: results, tasks and runs that this program writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from orchestrator.files.documents import is_number
from orchestrator.patterns import LaterToo, regex

with LaterToo():
    import yaml

_ESCAPED = regex(r"[\t\U00010000-\U0010ffff]| (?=\n)")
# What no block can hold, or only one that says how deep it is.
_NO_BLOCK = regex(
    r"\A\s|\s\Z(?<!\S\n)|[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\u2028\u2029]"
)
_TOKEN = "block.{}.of.this.text"
_PLACE = regex(r"(?m)^(?P<before> *(?:- )*(?:[^\n:]+: )?)block\.(?P<number>\d+)\.of\.this\.text$")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
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
    blocks: list[str] = []
    text = _dump(_without_blocks(document, blocks))
    if blocks:
        text = _with_blocks(text, blocks)
        if yaml.load(text, Loader=_LOADER) != yaml.load(_dump(document), Loader=_LOADER):
            text = _dump(document)
    return text.encode()


def _dump(document: Any) -> str:
    text: str = yaml.dump(
        document, Dumper=_ResultDumper, sort_keys=False, allow_unicode=True, width=110
    )
    return text


def _without_blocks(value: Any, blocks: list[str]) -> Any:
    """The value with a token for each text that is a block, and that the library writes in quotes
    with escapes: it has a tab, an emoji or a space at the end of a line."""
    if isinstance(value, str) and _ESCAPED.search(value) and not _NO_BLOCK.search(value):
        blocks.append(value)
        return _TOKEN.format(len(blocks) - 1)
    if isinstance(value, Mapping):
        return {key: _without_blocks(item, blocks) for key, item in value.items()}
    return [_without_blocks(item, blocks) for item in value] if isinstance(value, list) else value


def _with_blocks(text: str, blocks: list[str]) -> str:
    """The text with a block in place of each token."""

    def block(found: re.Match[str]) -> str:
        said = blocks[int(found["number"])]
        chomp = "" if said.endswith("\n") else "-"
        chomp = "+" if said.endswith("\n\n") else chomp
        inner = len(found["before"]) - len(found["before"].lstrip(" -")) + 2
        lines = said.removesuffix("\n").split("\n")
        body = "\n".join(line and " " * inner + line for line in lines)
        return f"{found['before']}|{chomp}\n{body}"

    return _PLACE.sub(block, text)


def task_text(document: Mapping[str, Any], modeline: str = "task") -> str:
    """A task (or run) as the text of a file, with the line that tells editors its schema."""
    return (
        f"# yaml-language-server: $schema=../schemas/{modeline}.schema.json\n"
        + result_text(document).decode()
    )

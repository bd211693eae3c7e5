"""A run that is accepted has the files of its patterns in its own file, so that it never means
something else.

Only the pattern is replaced where that can be done: what else the file says, comments too, stays as
it was written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.files import listing
from orchestrator.files.documents import Document, parse
from orchestrator.store.yamltext import task_text

Lists = Mapping[tuple[Any, ...], list[str]]


def frozen(raw: bytes, markdown: bool, lists: Lists) -> bytes:
    """The text of a run's file with these lists in place of its patterns."""
    document = parse(raw, markdown=markdown)
    wanted = listing.filled(document.data, lists)
    text = _replaced(document, lists)
    if parse(text, markdown=markdown).data == wanted:
        return text
    whole = task_text(wanted, "run").encode()
    return b"---\n" + whole + b"---\n" if markdown else whole


def _replaced(document: Document, lists: Lists) -> bytes:
    """Each pattern is one word of one line; from the end, so that places stay true."""
    lines = document.text.split("\n")
    spans = {path: document.values[path] for path in lists if path in document.values}
    for path, span in sorted(spans.items(), key=lambda item: (-item[1].line, -item[1].column)):
        value = lists[path] if path[3:] else {"file": lists[path]}
        line = lines[span.line - 1]
        before, after = line[: span.column - 1], line[span.column - 1 + span.width :]
        lines[span.line - 1] = before + json.dumps(value, ensure_ascii=False) + after
    return "\n".join(lines).encode()

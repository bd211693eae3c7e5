"""Specs of tools that speak a protocol: they only say what is special about their program, the rest
is the same for all.

``adapter: acp`` or ``appserver`` in a spec stands for ``catalog/_spoken.yaml``, for what the spec
does not say itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from orchestrator.files import documents, opening
from orchestrator.files.layout import data_file

SPOKEN = ("acp", "appserver")  # each with a client of that name beside us
CLIENTS = (*SPOKEN, "pi")  # pi tells in its own events what happens, and asks nobody
_MERGED = ("parse", "show")  # of these a spec may say a part


@cache
def _common() -> dict[str, Any]:
    path = data_file("tools", "catalog", "_spoken.yaml")
    return dict(documents.parse(opening.read_bytes(path, documents.MAX_BYTES)).data)


def completed(data: Mapping[str, Any]) -> dict[str, Any]:
    """A tool's spec with what its protocol adds; unchanged if it speaks none."""
    if data.get("adapter") not in SPOKEN:
        return dict(data)
    common = _common()
    whole = {**common, **data}
    for key in _MERGED:
        if isinstance(data.get(key), dict):
            whole[key] = {**common[key], **data[key]}
    return whole

"""Tokens as budgets count them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def counted(usage: Mapping[str, Any]) -> int:
    """Tokens sent and received; those from a cache are among the sent ones."""
    found = 0
    for kind in ("input", "output"):
        value = usage.get(kind)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15:
            found += int(value)
    return found

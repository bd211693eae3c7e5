"""Parsers for tools whose output is not JSON.  Each takes the ends of stdout and stderr."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def llm(stdout: str, stderr: str) -> dict[str, Any]:
    """``llm --usage``: the answer on stdout, ``Token usage: 1,000 input, 50 output`` on stderr."""
    found = re.search(r"Token usage: ([\d,]+) input(?:, ([\d,]+) output)?", stderr)
    groups = found.groups("0") if found else ()
    figures = [int(group.replace(",", "")) for group in groups]
    cached = re.search(r'"cached_tokens": ?(\d+)', stderr[found.end() :]) if found else None
    return {
        "done": found is not None,
        "text": stdout.strip(),
        "usage": dict(zip(("input", "output"), figures, strict=False))
        | ({"cached": int(cached[1])} if cached else {}),
    }


PARSERS: dict[str, Callable[[str, str], dict[str, Any]]] = {"llm": llm}

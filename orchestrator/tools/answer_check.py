"""Judges one answer by one schema, in a process of its own: ``{"schema": ..., "answer": ...}`` in,
``{"value": ..., "why": ...}`` out."""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

from orchestrator.files.schemas import judge
from orchestrator.tools.answers import MOST, value_of

MEMORY = 2 << 30  # bytes of address space


def judged(schema: Any, answer: Any) -> tuple[Any, str]:
    """The value in an answer, and what is wrong with it; empty if nothing is."""
    value, why = value_of(answer)
    if why:
        return None, why
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return None, "it has a number that is not finite"
    if len(text) > MOST:
        return None, f"it has {len(text)} bytes of JSON, more than {MOST}"
    return value, judge(schema, value)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    question = json.load(sys.stdin)
    value, why = judged(question["schema"], question["answer"])
    json.dump({"value": value, "why": why}, sys.stdout)


if __name__ == "__main__":
    main()

"""Judges one answer by one schema, in a process of its own: ``{"schema": ..., "value": ...}`` in,
what is wrong out."""

from __future__ import annotations

import json
import sys

from orchestrator.files.schemas import judge


def main() -> None:
    question = json.load(sys.stdin)
    sys.stdout.write(judge(question["schema"], question["value"]))


if __name__ == "__main__":
    main()

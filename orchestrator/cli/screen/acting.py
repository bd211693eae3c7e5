"""Doing what a key stands for: each is a verb, run as a command of its own on the same terminal."""

from __future__ import annotations

import subprocess
import sys

from orchestrator.cli.app import App
from orchestrator.cli.program import itself


def run_verb(app: App, *words: str) -> int:
    """Run a verb here and wait for its end; its exit code."""
    sys.stdout.flush()
    return subprocess.run(itself(app.layout.root, *words), check=False).returncode

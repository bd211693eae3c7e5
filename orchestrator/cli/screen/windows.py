"""A tmux window of its own for every interactive task, when the watcher runs in tmux."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from orchestrator.files.layout import Layout


def in_tmux() -> bool:
    return bool(os.environ.get("TMUX"))


def open_window(layout: Layout, task_id: str) -> None:
    """Open a window that is attached to a task.  In a thread: whatever tmux does, the watcher does not wait for it."""
    words = [
        "tmux",
        "new-window",
        "-d",
        "-n",
        task_id,
        "-c",
        layout.root,
        sys.executable,
        "-m",
        "orchestrator",
        "-C",
        layout.root,
        "attach",
        task_id,
    ]
    threading.Thread(target=_run, args=(words,), daemon=True).start()


def _run(words: list[str]) -> None:
    try:
        subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError):
        pass

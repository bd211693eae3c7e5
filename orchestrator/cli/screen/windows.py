"""A tmux window of its own for every interactive task, when the watcher runs in tmux."""

from __future__ import annotations

import os
import subprocess
import threading

from orchestrator.cli.program import itself
from orchestrator.files.layout import Layout


def in_tmux() -> bool:
    return bool(os.environ.get("TMUX"))


def open_window(layout: Layout, task_id: str) -> None:
    """Open a window that is attached to a task. In a thread: whatever tmux does, the watcher does
    not wait for it."""
    words = [
        "tmux",
        "new-window",
        "-d",
        "-n",
        task_id,
        "-c",
        layout.root,
        *itself(layout.root, "attach", task_id),
    ]
    threading.Thread(target=_run, args=(words,), daemon=True).start()


def open_pane(words: list[str], folder: str, popup: bool = False) -> bool:
    """Run a program in a pane below this one (or in a popup over it); whether tmux has opened
    it."""
    here = os.environ.get("TMUX_PANE", "")
    at = ["-t", here] if here else []
    how = ["display-popup", "-E", "-w", "90%", "-h", "80%"] if popup else ["split-window", "-v"]
    opened = ["tmux", *how, *at, *(["-d", folder] if popup else ["-c", folder]), *words]
    if popup:  # it lasts as long as the popup: only its beginning can be looked at
        process = subprocess.Popen(
            opened, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return process.wait(0.5) == 0
        except subprocess.TimeoutExpired:
            threading.Thread(target=process.wait, daemon=True).start()
            return True
    try:
        done = subprocess.run(
            opened, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _run(words: list[str]) -> None:
    try:
        subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError):
        pass

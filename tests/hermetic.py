"""Tests see nothing of the person who runs them: no HOME, no agent programs on the PATH, no ignored signals.

Without this a test ran the person's own Claude (a paid call), a golden screen named the agents that are installed, and tests of Ctrl-C
failed under ``nohup`` or ``&``, where the shell has SIGINT ignored.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
# Settings of agents, keys and switches that change what the program or a tool does.
FOREIGN = (
    "ORCHESTRATOR_",
    "CLAUDE",
    "ANTHROPIC_",
    "OPENAI_",
    "CODEX_",
    "GEMINI_",
    "GOOGLE_",
    "GIT_",
    "XDG_",
    "TMUX",
    "PYTEST_ADDOPTS",
)
KEPT = ("ORCHESTRATOR_SCRIPT", "GIT_SSL_CAINFO")
SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP)


def agent_programs() -> set[str]:
    """The programs that the catalog's tools would run."""
    from orchestrator.tools.specs import load_tools

    tools = load_tools(None).tools
    return {name for name in tools if name not in ("demo", "shell")}


def shut_out() -> None:
    """Change this process, and so whatever it starts."""
    home = tempfile.mkdtemp(prefix="orchestrator-test-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    for name in list(os.environ):
        if name.startswith(FOREIGN) and name not in KEPT:
            del os.environ[name]
    os.environ["HOME"] = home
    os.environ["XDG_STATE_HOME"] = f"{home}/state"
    os.environ["PATH"] = _path(Path(home), agent_programs())
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(
                number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            )
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _path(home: Path, agents: set[str]) -> str:
    """The system's folders; one with an agent in it is replaced by links to everything else that it holds."""
    found = []
    for place, folder in enumerate(FOLDERS):
        names = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if names & agents:
            copy = home / f"bin{place}"
            copy.mkdir()
            for name in names - agents:
                (copy / name).symlink_to(f"{folder}/{name}")
            folder = str(copy)
        found.append(folder)
    return ":".join(found)

"""Which files of the project changed while a tool ran, according to git.

Two looks at ``git status``, before and after: what is new or different in the second, and what was committed in between.
Attempts that run side by side in one tree see each other's changes; git cannot tell whose they are.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

SECONDS = 20.0
MOST = 500  # paths that are kept in a result
Look = dict[str, Any]  # {"head": commit, "files": {path: [status, mtime in ns, size]}}


def look(root: str, work: str) -> Look | None:
    """The state of the tree outside the work directory; None without git, or if it takes too long."""
    listed = _git(
        root,
        "status",
        "--porcelain=v1",
        "-z",
        "--untracked-files=all",
        "--no-renames",
        "--",
        ".",
        f":(exclude){work}",
    )
    if listed is None:
        return None
    files = {}
    for entry in listed.split("\0"):
        if len(entry) > 3:
            try:
                info = os.lstat(os.path.join(root, entry[3:]))
                files[entry[3:]] = [entry[:2], info.st_mtime_ns, info.st_size]
            except OSError:
                files[entry[3:]] = [entry[:2], 0, 0]
    return {
        "head": (_git(root, "rev-parse", "-q", "--verify", "HEAD") or "").strip(),
        "files": files,
    }


def between(root: str, work: str, before: Look, after: Look) -> list[str]:
    """The paths that changed from one look to the other."""
    old, new = before["files"], after["files"]
    changed = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    if before["head"] != after["head"] and after["head"]:
        names = (
            _git(
                root,
                "diff",
                "--name-only",
                "-z",
                before["head"] or EMPTY_TREE,
                after["head"],
                "--",
                ".",
                f":(exclude){work}",
            )
            or ""
        )
        changed |= {name for name in names.split("\0") if name}
    return sorted(changed)[:MOST]


EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def save(path: str, seen: Look) -> None:
    """Keep a look beside the logs, so that a later watcher can still compare."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(seen, file)


def load(path: str) -> Look | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            seen = json.load(file)
        return (
            seen
            if isinstance(seen.get("files"), dict) and isinstance(seen.get("head"), str)
            else None
        )
    except (OSError, ValueError, AttributeError):
        return None


def _git(root: str, *words: str) -> str | None:
    # --no-optional-locks: a look must not disturb a git of somebody else's.
    try:
        done = subprocess.run(
            ["git", "-C", root, "--no-optional-locks", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None

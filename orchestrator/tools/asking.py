"""Asks a person for an agent that waits: the command of Claude's permission hook, and of whoever
speaks the same.

``asking.py RUN_DIR SECONDS`` reads the request (JSON) on standard input, writes it to
``RUN_DIR/asked/``, waits until the file of the same name lies in ``RUN_DIR/answers/``, and prints
the decision. After SECONDS (0: never) nobody has answered, and that is a no.

It needs no watcher: the question is a file, and it is open for as long as this process holds the
lock on it. So a question whose agent has been killed is no question any more, whoever looks, on
whichever side of a sandbox.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
import uuid

LOOK = 0.1  # seconds between looks for the answer
MOST = 1 << 15  # characters of a request; of a longer one the beginning
NOBODY = "Nobody answered in time. Go on without it, or say at the end what you need."
NOBODY_ANSWERED: dict[str, object] = {"allow": False, "message": NOBODY, "words": NOBODY}


def main() -> int:
    folder, limit = sys.argv[1], float(sys.argv[2])
    request = json.load(sys.stdin)
    name = new_name()
    lock = ask(folder, name, request, limit)
    sys.stdout.write(json.dumps(decision(wait(f"{folder}/answers/{name}", limit))) + "\n")
    sys.stdout.flush()
    os.close(lock)
    return 0


def new_name() -> str:
    """The name of a question's file, and of its answer's: what binds them."""
    return f"{uuid.uuid4().hex}.json"


def ask(folder: str, name: str, request: dict[str, object], limit: float) -> int:
    """Write the question; the descriptor that holds its lock."""
    given = json.dumps(request.get("tool_input", {}), ensure_ascii=False)
    body = {
        "tool": str(request.get("tool_name", "")),
        "input": request.get("tool_input") if len(given) <= MOST else given[:MOST],
        "since": time.time(),
        "limit": limit,
    }
    if request.get("options"):  # else they are: allow, deny
        body["options"] = request["options"]
    hidden = f"{folder}/asked/.{name}"
    fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
    os.fsync(fd)
    os.rename(hidden, f"{folder}/asked/{name}")
    return fd


def wait(path: str, limit: float) -> dict[str, object]:
    """The answer, once there is one."""
    end = time.monotonic() + limit if limit else None
    while end is None or time.monotonic() < end:
        found = look(path)
        if found is not None:
            return found
        time.sleep(LOOK)
    return NOBODY_ANSWERED


def look(path: str) -> dict[str, object] | None:
    """The answer, if there is one by now."""
    try:
        with open(path, encoding="utf-8") as file:
            found: dict[str, object] = json.load(file)
            return found
    except (OSError, ValueError):
        return None


def decision(answer: dict[str, object]) -> dict[str, object]:
    """What the hook of Claude Code prints."""
    allowed = answer.get("allow") is True
    decided: dict[str, object] = {"behavior": "allow" if allowed else "deny"}
    if not allowed:
        decided["message"] = str(answer.get("message") or "A person said no.")
    return {"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": decided}}


if __name__ == "__main__":
    sys.exit(main())

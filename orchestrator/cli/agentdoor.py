"""What an agent may do by ``orchestrator mcp``: make tasks, look, wait, and talk to the tasks it
made. Nothing here decides.

Each step is a verb of this very program, run as a process of its own: the same checks, the same
words, the same bounds.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cli.app import App
from orchestrator.cli.consent import is_child
from orchestrator.cli.program import itself
from orchestrator.cli.writing import open_config, open_store
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.settings import Fixed
from orchestrator.errors import Refused
from orchestrator.model.status import ENDED
from orchestrator.queries import whereabouts
from orchestrator.records import dataclass, field
from orchestrator.store import replying

LONGEST_WAIT = 600.0  # seconds that one call may wait
SLACK = 30.0  # seconds that a verb may take beside what it waits for


@dataclass(slots=True)
class Door:
    """One agent's door. Its children are the tasks that it made, here or (inside an attempt) by any
    way."""

    app: App
    made: set[str] = field(default_factory=set)

    def new(
        self, prompt: str, options: Mapping[str, str | None], needs: Sequence[str]
    ) -> dict[str, Any]:
        """Make a task; its id."""
        words = [f"--{name}={value}" for name, value in options.items() if value]
        words += [f"--needs={need}" for need in needs]
        path = self._said("new", *words, "--", prompt).splitlines()[-1]
        task_id = os.path.basename(path).rpartition(".")[0]
        self.made.add(task_id)
        return {"id": task_id, "path": path}

    def list(self, status: str | None) -> dict[str, Any]:
        """The tasks, as ``list --json`` has them."""
        return self._json("list", *([f"--status={status}"] if status else []))

    def show(self, task_id: str) -> dict[str, Any]:
        """One task, as ``show --json`` has it."""
        return self._json("show", "--", task_id)

    def wait(self, task_id: str, seconds: float) -> dict[str, Any]:
        """Wait for its end, for so long at most; then as `show`."""
        most = max(0.1, min(seconds, LONGEST_WAIT))
        done = self._run("wait", f"--timeout={int(most * 1000)}ms", "--", task_id, seconds=most)
        if done.returncode not in (0, 1, 7, 124):
            raise Refused(_error(done))
        return {"ended": done.returncode != 124, **self.show(task_id)}

    def reply(self, task_id: str, text: str) -> dict[str, Any]:
        """Say something to the agent of a task that this one made.  `Refused` for any other."""
        found, status, _ = whereabouts.find(self.app.layout, task_id)
        if not self._is_child(found):
            raise Refused(f"{found} is not a task that you made: only a person can talk to it")
        config, _ = open_config(self.app)
        store = open_store(self.app)
        replying.place(store, found, status, text)
        if status in ENDED:
            Replies(self.app.layout, Fixed(config), store).send(found)
        return {"id": found, "told": "in its next attempt"}

    def _is_child(self, task_id: str) -> bool:
        me = os.environ.get("ORCHESTRATOR_TASK_ID", "")
        return task_id in self.made or is_child(self.app.layout, task_id, me)

    def _json(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._said(words[0], "--json", *words[1:]))
        return found

    def _said(self, *words: str) -> str:
        done = self._run(*words)
        if done.returncode:
            raise Refused(_error(done))
        return done.stdout

    def _run(self, *words: str, seconds: float = 0.0) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                itself(self.app.layout.root, "--plain", *words),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + SLACK,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Refused(f"{words[0]} took longer than {seconds + SLACK:.0f} s") from None
        except (OSError, ValueError) as error:  # too long for an argument, NUL, half a surrogate
            raise Refused(f"these words cannot be passed on: {error}") from None


def _error(done: subprocess.CompletedProcess[str]) -> str:
    said = done.stderr.strip().removeprefix("error: ")
    return said or f"exit code {done.returncode}"

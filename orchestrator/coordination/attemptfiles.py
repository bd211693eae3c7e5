"""The files beside the logs of an attempt, wherever it runs: ``prompt.md``, and ``command.json``
with its secrets masked. What the attempt itself leaves is in `coordination.artifacts`."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.task import Task
from orchestrator.store import atomic
from orchestrator.tools import secrecy
from orchestrator.tools.invocation import Invocation, recorded, secret_values


def hidden(made: Invocation, task: Task, redact: Sequence[str]) -> tuple[str, ...]:
    """What must not be read anywhere: values that the tool is given, but for those that the task
    itself has set.

    ``redact``: patterns of names.
    """
    given = {name: value for name, value in made.env.items() if name not in task.env}
    return secrecy.forms(secret_values(given, redact))


def write_prompt(run_dir: str, prompt: str) -> str:
    """Its path.  OSError if the disk refuses."""
    return _write(f"{run_dir}/prompt.md", prompt.encode("utf-8", "replace"))


def write(run_dir: str, made: Invocation, secrets: Sequence[str]) -> str:
    """Prompt and command; the path of the prompt.  OSError if the disk refuses."""
    path = write_prompt(run_dir, made.prompt)
    _write(f"{run_dir}/command.json", recorded(made, secrets))
    return path


def _write(path: str, data: bytes) -> str:
    atomic.remove(path)
    atomic.write_temporary(path, data, mode=0o600, sync=False)
    return path

"""Events: immutable facts in the past tense, one JSON object a line.

Delivery is at least once; ``event_id`` is the same for the same fact, so a reader can drop
repetitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.model.units import timestamp

SCHEMA_VERSION = 1

# Every event there is, and what it says (docs/reference/events.md is generated from this).
EVENTS: dict[str, str] = {
    "task_submitted": "A verb, a run, a schedule or another task placed a task in the inbox.",
    "schedule_skipped": (
        "A schedule skipped a time: no watcher was running then, or the previous task has not"
        " ended."
    ),
    "task_invalid": (
        "A file in the inbox cannot be a task; <id>.error.md beside it says why. Once per content."
    ),
    "task_claimed": "The watcher took the task: it is in running/ and is about to start.",
    "attempt_dispatched": (
        "The attempt is about to be offered to a distributor that is not on this machine."
    ),
    "attempt_started": "The supervisor started the tool.",
    "attempt_finished": (
        "The attempt ended, perhaps before its tool began; outcome, exit_code and error_class say"
        " how."
    ),
    "task_retrying": "Another attempt follows after a wait.",
    "task_finished": (
        "The task is in done/, failed/, cancelled/ or review/ and its result is written."
    ),
    "task_cancelled": "A waiting task was cancelled; nothing was running.",
    "task_cancel_requested": "Somebody asked for a running task to be stopped.",
    "task_held": "A waiting task was moved to held/.",
    "task_released": "A held task was moved back to the inbox.",
    "task_removed": "The file of a waiting task was removed by hand.",
    "task_moved": "A person moved a task's file; summary says from where to where.",
    "task_approved": "A person approved the task: to start, or its result.",
    "task_rejected": "A person rejected the task or its result.",
    "task_replied": (
        "A person replied to the task's agent; summary says when the agent gets the reply."
    ),
    "question_asked": (
        "A running agent asked a person something; summary says which of its tools needs"
        " permission."
    ),
    "question_answered": "A person answered such a question; summary says allowed or denied.",
    "task_requeued": "A task was moved back to the inbox to run again.",
    "task_adopted": "A new watcher took over an attempt that was still running.",
    "task_restored": (
        "The watcher restored a file that somebody removed or edited while its task was running."
    ),
    "task_refused": "A file in the inbox has an id that has already run; it is not started.",
    "task_foreign": (
        "A file in running/ was never claimed on this machine; it was moved to review/."
    ),
    "task_merged": "The task's branch was merged; summary says into what, and by which commit.",
    "task_archived": "An ended task was moved to archive/.",
    "task_imported": "A task file of an older format was imported.",
    "tool_parked": (
        "A tool's limit is used up. The tool is held until the given time, or until somebody"
        " releases it."
    ),
    "hold_placed": (
        "A person or a program held a tool, an agent, a run or everything with the verb hold;"
        " summary says what and why."
    ),
    "hold_released": "A hold ended: somebody released it, or its time is over.",
    "budget_exceeded": "A soft limit of a budget was passed; hard limits are gates (see why).",
    "run_created": "A run file was accepted and its tasks were placed in the inbox.",
    "run_finished": "No task of the run is still waiting or running.",
    "watcher_started": "A watcher began to coordinate this work directory.",
    "watcher_stopped": "The watcher ended.",
    "settings_changed": (
        "The settings changed: orchestrator.yaml, profiles, tools, templates or schedules; summary"
        " names what changed, or at a start the files."
    ),
    "store_failed": "The disk refused a write; claiming stops until it works again.",
    "store_recovered": "The disk works again; claiming resumes.",
}

FIELDS = (
    "task_id",
    "run_id",
    "attempt",
    "agent",
    "tool",
    "model",
    "mode",
    "phase",
    "status",
    "summary",
)


def move_step(ctime_ns: int) -> str:
    """The step of a move from folder to folder, by when the file system says that it happened.

    Whoever tells of a move, the verb that made it or the watcher that saw it, tells it under the
    same id.
    """
    return f"moved@{ctime_ns}"


def event(kind: str, now: float, event_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """One event as the log has it: the common fields first (null where they do not apply), then its
    own."""
    assert kind in EVENTS, kind
    result: dict[str, Any] = {"ts": timestamp(now), "event_id": event_id, "event": kind}
    for name in FIELDS:
        result[name] = fields.get(name)
    for name, value in fields.items():
        result[name] = value
    return result

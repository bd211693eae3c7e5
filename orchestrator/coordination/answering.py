"""Answers as data: the schema at hand for each attempt, the answer judged, one more turn for one
that does not fit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.coordination.tasktrees import Claimed
from orchestrator.files.layout import OWN, Layout
from orchestrator.files.opening import read_bytes
from orchestrator.model.journal import AttemptFacts, Journal
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.store import atomic
from orchestrator.tools import answers
from orchestrator.tools.invocation import schema_text

NAME = "result-schema.json"
CLASS = "answer"  # the kind of failure


def place(layout: Layout, life: Claimed, run_dir: str) -> None:
    """Put the schema beside the attempt's logs, as it is now: what the attempt changes of it does
    not count.

    One copy is for the program, one for us. CannotStart if it is none; OSError if the disk refuses.
    """
    if not life.task.result_schema:
        return
    text = schema_text(layout.root, life.task.result_schema)
    for path in (f"{run_dir}/{NAME}", f"{run_dir}/{OWN}/{NAME}"):
        atomic.remove(path)
        atomic.write_temporary(path, text.encode(), sync=False)


async def checked(life: Claimed, reading: Reading, run_dir: str) -> Reading:
    """The reading with its answer as data, or as a failure if it does not fit."""
    if not life.task.result_schema or reading.outcome is not Outcome.SUCCEEDED:
        return reading
    try:
        schema = read_bytes(os.path.join(run_dir, NAME)).decode()
    except OSError:
        return _bad(reading, "its schema is gone")
    value, why = await asyncio.to_thread(answers.problem, schema, reading.answer)
    return _bad(reading, why) if why else replace(reading, data=value)


def _bad(reading: Reading, why: str) -> Reading:
    reason = f"its answer does not fit the schema: {why}"
    return replace(reading, outcome=Outcome.FAILED, error_class=CLASS, reason=reason)


def again(reading: Reading, attempts: Sequence[AttemptFacts]) -> bool:
    """Whether one more turn follows an answer that does not fit; ``attempts`` are those of this
    turn so far."""
    return reading.error_class == CLASS and misfits(attempts[:-1]) == 0


def misfits(attempts: Sequence[AttemptFacts]) -> int:
    """How many of these attempts answered what does not fit."""
    return sum(facts.read.get("error_class") == CLASS for facts in attempts)


def words(journal: Journal) -> str:
    """What an agent is told whose answer did not fit; empty if that was not so."""
    before = journal.attempt
    if before is None or before.read.get("error_class") != CLASS:
        return ""
    return answers.words(str(before.read.get("reason", "")))

"""Questions of agents that wait, made known in ``asks/``, and their answers, taken to the agent:
each once, wherever it is cut off.

The answer in the attempt's own folder is the commit point: it is published under a name that can be
made only once, so that the first answer counts and a second watcher, or a verb beside it, changes
nothing.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from orchestrator.errors import Refused
from orchestrator.files.asks import (
    ANSWER_MOST,
    CHOICES,
    Ask,
    Raw,
    given,
    next_number,
    number_of,
    text_of,
)
from orchestrator.files.layout import ANSWERS
from orchestrator.files.text import clean
from orchestrator.model.question import answer as option_of
from orchestrator.model.question import options
from orchestrator.store import atomic, places, smallfiles
from orchestrator.store.transitions import Store

YES = ("allow", "yes", "y", "ok", "1")
NO = ("deny", "no", "n", "2")
REFUSED = "A person said no."


def publish(store: Store, task_id: str, attempt: int, raw: Raw) -> str:
    """Make a question known, in which no secret is left; the name of its file."""
    places.make_folder(store.layout, store.layout.asks)
    _tell(store, "question_asked", task_id, attempt, raw.key, raw.what)  # first, under one id
    run_dir = store.layout.logs(task_id, attempt)
    while True:
        known = number_of(run_dir, raw.key)
        number = known or next_number(store.layout, task_id)
        path = f"{store.layout.asks}/{task_id}.{number}.md"
        try:
            _publish(store, path, text_of(task_id, attempt, raw).encode("utf-8", "replace"))
            with suppress(FileExistsError):
                text = raw.question.encode("utf-8", "replace")
                _publish(store, f"{run_dir}/{ANSWERS}/{raw.key}.{number}", text)
            return path
        except FileExistsError:
            # What lies there under the question's own number was spoilt, or we would know it.
            if known and not places.clear(store.layout, path):
                atomic.remove(path)


def answer(store: Store, ask: Ask, words: str) -> None:
    """Leave a person's answer beside its question.  `Refused` if it has one, or is over."""
    raw = (words.strip() + "\n").encode("utf-8", "replace")
    if len(raw) > ANSWER_MOST:
        raise Refused(
            f"the answer has more than {ANSWER_MOST // 1024} KiB",
            "send the rest as a reply when it has ended",
        )
    there = given(ask)
    if there is not None and there.problem:  # what cannot be an answer is in the way of none
        with suppress(OSError):
            atomic.remove(ask.answer_path)
    try:
        _publish(store, ask.answer_path, raw)
    except FileExistsError:
        raise Refused(f"{ask.name} has already been answered") from None
    if not os.path.lexists(ask.path) and atomic.remove(ask.answer_path):
        raise Refused(f"{ask.name} is over: it was answered meanwhile, or its agent has gone on")
    with suppress(OSError):  # a watcher may have taken it by now
        store.vouch_for(os.path.basename(ask.answer_path), ask.answer_path)


def deliver(store: Store, ask: Ask, words: str) -> bool:
    """Take an answer to the agent that waits; whether it was the first one."""
    folder = f"{store.layout.logs(ask.task_id, ask.attempt)}/{ANSWERS}"
    meant = verdict(ask.question, words)
    data = json.dumps(meant, ensure_ascii=False).encode("utf-8", "replace")
    said = "allowed" if meant["allow"] is True else "denied"
    try:
        _publish(store, f"{folder}/{ask.key}.json", data)
    except FileExistsError:
        return False
    _tell(store, "question_answered", ask.task_id, ask.attempt, ask.key, said)
    return True


def verdict(question: str, words: str) -> dict[str, object]:
    """What an answer means: a yes, a no, or a no that says what to do instead; and which of the
    agent's own options it is."""
    said = clean(words).strip()
    offered = options(question)
    chosen = option_of(question, said).partition(". ")[2] or said
    if chosen in offered and chosen not in CHOICES:
        allowed = chosen.split()[0] == YES[0]
        return {"allow": allowed, "option": chosen} | ({} if allowed else {"message": REFUSED})
    if chosen.casefold() in YES:
        return {"allow": True}
    if chosen.casefold() in NO or chosen in CHOICES:
        return {"allow": False, "message": REFUSED}
    return {"allow": False, "message": f"A person said: {said}", "words": said}


def forget(ask: Ask) -> None:
    """Take a question that is over off the list, and what was answered to it."""
    for path in (ask.path, ask.answer_path):
        atomic.remove(path)


def _tell(store: Store, kind: str, task_id: str, attempt: int, key: str, summary: str) -> None:
    facts = {"phase": "attempt", "status": "running", "summary": summary}
    told = store.log.event(
        kind, task_id, f"{attempt}.{key}", task_id=task_id, attempt=attempt, **facts
    )
    store.log.commit_and_wait([told])


def _publish(store: Store, path: str, data: bytes) -> None:
    smallfiles.put(store.layout, path, data, "ask", anew=True)

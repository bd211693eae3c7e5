"""Questions that agents ask while they run: ``asks/<id>.<n>.md``, and ``asks/<id>.<n>.answer``
beside it.

The tool's side is below the attempt's logs: ``asked/<key>.json``, which its asker keeps locked for
as long as it waits, and ``answers/<key>.json``. The watcher makes the one from the other; ``key``
binds them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any

from orchestrator.files import jsonlines, opening, requests
from orchestrator.files.layout import ANSWERS, ASKED, Layout
from orchestrator.files.scan import names
from orchestrator.files.text import clean, lines_of, one_line
from orchestrator.model.question import misnumbered
from orchestrator.model.units import LATEST, timestamp, when
from orchestrator.records import dataclass

ANSWER = ".answer"
ANSWER_MOST = 16 * 1024  # bytes
RESTS = 2.0  # seconds after which what is not whole is taken to stay so
SHOWN = 4000  # characters of what is asked
_NAME = re.compile(r"^(.+)\.(\d{1,6})\.md$")
_KEY = re.compile(r"^[0-9a-f]{32}$")
CHOICES = ("allow", "deny")


@dataclass(frozen=True, slots=True)
class Ask:
    """One question that is open. ``since`` is seconds since the epoch, ``question`` text with
    numbered options."""

    task_id: str
    number: int
    path: str
    attempt: int
    key: str
    since: float
    question: str

    @property
    def answer_path(self) -> str:
        """Where its answer is expected."""
        return self.path.removesuffix(".md") + ANSWER

    @property
    def name(self) -> str:
        """``fix-login.1``, as its files are called."""
        return f"{self.task_id}.{self.number}"


@dataclass(frozen=True, slots=True)
class Raw:
    """A question as the tool's side has it."""

    key: str
    since: float
    question: str
    what: str  # a word for the log: the name of the agent's tool


@dataclass(frozen=True, slots=True)
class Given:
    """What lies beside a question as its answer: words, or a ``problem`` that lets it be none."""

    words: str = ""
    problem: str = ""


def given(ask: Ask, leased: bool = False) -> Given | None:
    """The answer to a question; None if none is there, or none that is whole yet.

    ``leased``: look whether somebody is still writing it; SIGIO must be ignored.
    """
    try:
        content = requests.read(ask.answer_path, leased, most=ANSWER_MOST)
    except FileNotFoundError:
        return None
    except (OSError, requests.Unreadable) as error:
        why = str(error) if isinstance(error, requests.Unreadable) else str(error.strerror)
        return Given(problem=why) if _rests(ask.answer_path) else None
    try:
        words = content.raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return Given(problem="it is not UTF-8 text")
    if content.being_written:
        return None
    if not words:
        return Given(problem="it is empty") if _rests(ask.answer_path) else None
    wrong = misnumbered(ask.question, words)
    return Given(problem=f"the question {wrong}") if wrong else Given(words)


def _rests(path: str) -> bool:
    """Whether nobody is likely to be still at it."""
    try:
        return time.time() - os.lstat(path).st_ctime > RESTS
    except OSError:
        return False


def listed(layout: Layout, task_id: str = "") -> list[Ask]:
    """The questions that were made known, of one task or of all, the oldest first."""
    found = []
    for name in names(layout.asks):
        match = _NAME.match(name)
        if match is None or (task_id and match[1] != task_id):
            continue
        ask = _read(layout, f"{layout.asks}/{name}", match[1], int(match[2]))
        found += [ask] if ask is not None else []
    return sorted(found, key=lambda ask: (ask.task_id, ask.number))


def unanswered(layout: Layout, task_id: str = "") -> list[Ask]:
    """Those that have no answer yet, not even one that waits to be taken; what cannot be one is
    none.

    A question that is over goes before its answer does: only if it still lies there when no answer
    did, it has none.
    """
    found = [ask for ask in listed(layout, task_id) if not _is_answered(ask)]
    return [ask for ask in found if os.path.lexists(ask.path)]


def _is_answered(ask: Ask) -> bool:
    if not os.path.lexists(ask.answer_path):
        return False
    found = given(ask)
    return found is None or not found.problem


def _read(layout: Layout, path: str, task_id: str, number: int) -> Ask | None:
    try:
        text = requests.read(path).raw.decode("utf-8", "replace")
    except (OSError, requests.Unreadable):
        return None
    head, _, body = text.removeprefix("---\n").partition("\n---\n")
    facts = dict(line.split(": ", 1) for line in lines_of(head) if ": " in line)
    key = facts.get("key", "")
    try:
        since, attempt = when(facts["since"]), int(facts["attempt"])
    except (KeyError, ValueError):
        return None
    if not _KEY.match(key):
        return None
    # The file is for people, and git; in the moment before the other one is there it has to do.
    question = _published(layout.logs(task_id, attempt), key, number)
    question = body if question is None else question
    return Ask(task_id, number, path, attempt, key, since, clean(question).strip())


def text_of(task_id: str, attempt: int, raw: Raw) -> str:
    """What the file of a question says."""
    head = f"task: {task_id}\nattempt: {attempt}\nkey: {raw.key}\nsince: {timestamp(raw.since)}\n"
    return f"---\n{head}---\n{raw.question}\n"


def next_number(layout: Layout, task_id: str) -> int:
    """A number that no question of this task ever had, and no answer that lies there: what was
    written for another one, or before there was a question, is of none."""
    used = [0]
    for name in names(layout.asks):
        stem, _, _ = name.rpartition(".")
        before, _, number = stem.rpartition(".")
        if before == task_id and number.isdecimal():
            used.append(int(number))
    for attempt in names(layout.logs(task_id)):
        used += _numbers(f"{layout.logs(task_id)}/{attempt}").values()
    return max(used) + 1


def number_of(run_dir: str, key: str) -> int | None:
    """The number that a question has been given."""
    return _numbers(run_dir).get(key)


def _published(run_dir: str, key: str, number: int) -> str | None:
    """A question as it was made known, without secrets; None if it was not."""
    try:
        raw = opening.read_bytes(f"{run_dir}/{ANSWERS}/{key}.{number}", 1 << 18)
    except OSError:
        return None
    return raw.decode("utf-8", "replace")


def _numbers(run_dir: str) -> dict[str, int]:
    """What is written down beside the answers: ``<key>.<number>``, which has the question."""
    found = {}
    for name in names(f"{run_dir}/{ANSWERS}"):
        key, _, number = name.partition(".")
        if number.isdecimal():
            found[key] = int(number)
    return found


def open_questions(run_dir: str) -> Iterator[Raw]:
    """What the tool of an attempt waits for now, the oldest first: asked, not answered, and its
    asker lives."""
    yield from sorted(_waiting(run_dir), key=lambda raw: (raw.since, raw.key))


def _waiting(run_dir: str) -> Iterator[Raw]:
    folder = f"{run_dir}/{ASKED}"
    for name in names(folder):
        key = name.removesuffix(".json")
        if not _KEY.match(key) or os.path.lexists(f"{run_dir}/{ANSWERS}/{name}"):
            continue
        raw = _raw(f"{folder}/{name}", waiting=True)
        if raw is not None:
            yield raw


def _raw(path: str, waiting: bool = False) -> Raw | None:
    """What the tool's side asks; None if that cannot be read, or (``waiting``) its asker has
    gone."""
    key = os.path.basename(path).removesuffix(".json")
    try:
        with opening.open_file(path) as file:
            if waiting and not _locked(file.fileno()):
                return None
            body = jsonlines.loads(file.read(1 << 18))
        tool = one_line(str(body["tool"]), 60)
        since = float(body["since"])
        if not 0 <= since <= LATEST:  # as execution.attemptlimits has it
            return None
        return Raw(key, since, question_of(body), tool)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def question_of(body: dict[str, Any]) -> str:
    """``May it use Bash: npm test?``, with what it would do, and the options."""
    tool, given = one_line(str(body["tool"]), 60), body.get("input")
    facts = given if isinstance(given, dict) else {"": given}
    said = [facts.get(key) for key in ("command", "file_path", "url") if facts.get(key)]
    first = one_line(str(said[0]), 160) if said else ""
    lines = [f"May it use {tool}{': ' + first if first else ''}?", ""]
    detail = json.dumps(given, ensure_ascii=False, indent=2) if given else ""
    if said and isinstance(said[0], str) and len(facts) == 1:
        detail = str(said[0])
    detail = clean(detail)
    lines += [f"    {line}" for line in detail[:SHOWN].splitlines()]
    if len(detail) > SHOWN:
        lines += ["", f"{len(detail) - SHOWN:,} more characters are not shown."]
    offered = [f"{number}. {word}" for number, word in enumerate(_options(body), 1)]
    return "\n".join([*lines, "", *offered])


def _options(body: dict[str, Any]) -> tuple[str, ...]:
    """What may be answered: each is a yes or a no by its first word, and then in the agent's own
    words."""
    given = body.get("options")
    words = [one_line(str(word), 100) for word in given] if isinstance(given, list) else []
    return tuple(word for word in words if word.split(maxsplit=1)[:1] != []) or CHOICES

"""Last words as data: a task's ``result: {schema: FILE}``.

Programs that can keep to a schema are given it (``result_schema`` in a spec), others are asked for
it in the prompt; whatever they say is judged. Schema and answer are other people's, some schemas take for
ever, and so does the search for a value in many megabytes: so both are done by a process of its own
(`answer_check`), which has a time limit and so much memory.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.libraries import later
from orchestrator.patterns import regex

if TYPE_CHECKING:
    import subprocess
else:
    subprocess = later("subprocess")

SECONDS = 10.0  # that judging an answer may take
SCHEMA_MOST = 64 << 10  # bytes of a schema: it may have to be an argument
MOST = 256 << 10  # bytes of an answer as a result keeps it
LINES = 200  # lines of the last words at which a value may begin
_FENCED = regex(r"^[ \t]*(```|~~~)[\w-]*[ \t]*\n(.*?)^[ \t]*\1", re.DOTALL | re.MULTILINE)
_BEGINS = regex(r"[{\[]")

REQUEST = """

End your work with your answer as data: one JSON value that fits the JSON Schema below, as the whole of your last message. No other
words, no code fence.

{schema}
"""


def request(schema: str) -> str:
    """What is added to the prompt of a program that cannot be given a schema."""
    return REQUEST.format(schema=schema)


def words(problem: str) -> str:
    """What the agent is told whose answer does not fit."""
    return (
        f"Your answer is not accepted: {problem}.\n\nSend it again: one JSON value that fits the"
        " schema you were given, as the whole message. Change nothing else.\n"
    )


def value_of(answer: Any) -> tuple[Any, str]:
    """The value in an answer, and why there is none (empty: there is).

    Of a text it is the whole, else the last fenced block, else the object or list that the text
    ends with, wherever that begins.
    """
    if not isinstance(answer, str):
        return answer, "" if answer is not None else "there is no answer"
    for text in _candidates(answer.replace("\r\n", "\n").strip().lstrip("\ufeff")):
        try:
            return json.loads(text, parse_constant=_refuse), ""
        except (ValueError, RecursionError):
            continue
    return None, "it is not JSON" if answer.strip() else "there is no answer"


def problem(schema: str, answer: Any) -> tuple[Any, str]:
    """The value in an answer, and what is wrong with it by this schema (a JSON text); empty if
    nothing is."""
    try:
        question = json.dumps({"schema": json.loads(schema), "answer": answer})
    except (ValueError, RecursionError) as error:
        return None, f"it cannot be read: {str(error)[:200]}"
    command = [sys.executable, "-I", "-m", "orchestrator.tools.answer_check"]
    try:
        done = subprocess.run(
            command, input=question, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"judging it by its schema took longer than {SECONDS:g} s"
    if done.returncode:
        return None, "it could not be judged by its schema"
    judged = json.loads(done.stdout)
    return judged["value"], judged["why"]


def _candidates(text: str) -> Iterator[str]:
    yield text
    fenced = _FENCED.findall(text + "\n")
    if fenced:
        yield fenced[-1][1]
    lines = text.split("\n")
    begin = max(0, len(lines) - LINES)
    for place in range(begin, len(lines)):
        found = _BEGINS.search(lines[place])
        if found:
            yield "\n".join((lines[place][found.start() :], *lines[place + 1 :]))


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")

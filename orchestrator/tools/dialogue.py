"""What stands between the supervisor and an agent that wants to be talked to: its process, its
messages, its questions.

Agents with a protocol (`tools.acp`, `tools.appserver`) read and write one JSON message a line. The
agent is a child in a process group of its own: the supervisor's first signal, an interrupt, comes
to us alone, and we tell the agent in its own words to stop. The sterner ones come to both, and
whatever is left is the supervisor's to end.

Run with ``python -I``: standard library, and the modules beside this one.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from orchestrator.records import dataclass, field
from orchestrator.tools import asking
from orchestrator.tools.queries import events_of

LOOK = 0.1  # seconds between looks for answers
PIECE = 1 << 20
LONGEST = 1 << 26  # bytes of one message; whoever sends more is not listened to any longer
LEAVES = 2.0  # seconds that an agent has to end by itself when its work is done
TERMINATES = 1.0  # and when it was sent SIGTERM
DETAIL = 1 << 15  # characters of what a tool was given or gave back


class Over(Exception):
    """The agent has ended, or says nothing that can be understood."""


class Refusal(Exception):
    """The agent has answered a request with an error."""


def tell(kind: str, **facts: Any) -> None:
    """Print one event of ours: what the tool's spec reads."""
    event = {"type": kind, **{key: value for key, value in facts.items() if value is not None}}
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def cut(text: str) -> str:
    """The beginning of what may be long."""
    return text if len(text) <= DETAIL else f"{text[:DETAIL]}…"


class Interrupt:
    """Whether we were asked to stop.  Its descriptor can be waited for."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGINT, lambda *_: None)
        self.came = False

    def take(self) -> bool:
        """Whether it has come since the last look."""
        try:
            came = bool(os.read(self.reader, 64))
        except BlockingIOError:
            came = False
        self.came = self.came or came
        return came


class Agent:
    """The program that is talked to. ``version`` goes into each message as ``jsonrpc`` (empty: left
    out)."""

    def __init__(self, argv: list[str], version: str = "2.0") -> None:
        self.head = {"jsonrpc": version} if version else {}
        self.interrupt = Interrupt()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self._lines: list[bytes] = []  # whole, and not looked at yet
        self._rest = bytearray()
        self._number = 0

    # -- what we say
    # ----------------------------------------------------------------------------------------------

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps({**self.head, **message}).encode() + b"\n"
        try:
            self.stdin.write(data)
            self.stdin.flush()
        except OSError:
            raise Over(self.how()) from None

    def request(self, method: str, **params: Any) -> int:
        """Ask for something; the id that its answer will have."""
        self._number += 1
        self.send({"id": self._number, "method": method, "params": params})
        return self._number

    def notify(self, method: str, **params: Any) -> None:
        self.send({"method": method, "params": params})

    def answer(self, ident: Any, result: dict[str, Any]) -> None:
        self.send({"id": ident, "result": result})

    def refuse(self, ident: Any, method: str) -> None:
        """We cannot do what the agent asks us to: read and write files for it, say, which it can do
        itself."""
        error = {"code": -32601, "message": f"{method} is not offered"}
        self.send({"id": ident, "error": error})

    # -- what it says
    # ----------------------------------------------------------------------------------------------

    def messages(self, others: Sequence[int] = ()) -> Iterator[dict[str, Any] | None]:
        """What the agent says, as it comes; None when nothing has come for `LOOK` seconds, we are
        to stop, or there is something to be read from one of the ``others`` (descriptors)."""
        while True:
            while self._lines:
                yield from events_of(self._lines.pop(0))
            output = self.stdout.fileno()
            ready, _, _ = select.select([output, self.interrupt.reader, *others], [], [], LOOK)
            if output in ready:
                data = os.read(output, PIECE)
                if not data and self._rest:  # its last message had no end of line
                    self._split(b"\n")
                    continue
                if not data or len(self._rest) > LONGEST:
                    raise Over(self.how() if not data else "it sent a message without an end")
                self._split(data)
            else:
                yield None

    def _split(self, data: bytes) -> None:
        """Only what is new is looked through: a message of many megabytes comes in pieces."""
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._lines.append(bytes(self._rest) + piece)
            self._rest.clear()
        self._rest += rest

    def result(self, ident: int) -> dict[str, Any]:
        """The answer to a request, when nothing else may be of interest meanwhile. Raises `Refusal`
        or `Over`."""
        for message in self.messages():
            if message is None:
                if self.interrupt.take():
                    raise Over("it was stopped before it began")
            elif is_answer(message, ident):
                return outcome(message)
            elif "id" in message and "method" in message:
                self.refuse(message["id"], str(message["method"]))
        raise Over(self.how())

    def how(self) -> str:
        """How it ended, in words."""
        try:
            code = self.process.wait(TERMINATES)
        except subprocess.TimeoutExpired:
            return "it closed its output before its turn was over"
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit {code}"
        return f"it ended {how} before its turn was over"

    def leave(self) -> None:
        """Its work is done: it may go, and is made to if it does not."""
        try:
            self.stdin.close()
        except OSError:
            pass
        for seconds, number in ((LEAVES, signal.SIGTERM), (TERMINATES, signal.SIGKILL)):
            if self._gone(seconds):
                return
            os.killpg(self.process.pid, number)
        self.process.wait()

    def _gone(self, seconds: float) -> bool:
        """Whether it ends in this time. What it still says is read, so that no full pipe keeps
        it."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() >= end:
                return False
            ready, _, _ = select.select([self.stdout], [], [], 0.05)
            if ready and not os.read(self.stdout.fileno(), PIECE):
                time.sleep(0.02)
        return True


def is_answer(message: dict[str, Any], ident: int) -> bool:
    return message.get("id") == ident and "method" not in message


def outcome(message: dict[str, Any]) -> dict[str, Any]:
    """The result in an answer.  Raises `Refusal`, in the agent's own words."""
    if "error" not in message:
        found = message.get("result")
        return found if isinstance(found, dict) else {}
    error = message["error"] if isinstance(message["error"], dict) else {}
    raise Refusal(words(error))


def words(error: dict[str, Any]) -> str:
    """What a JSON-RPC error says, with the details that many put beside it."""
    data = error.get("data")
    details = {"details": data} if isinstance(data, str) else data
    found = details if isinstance(details, dict) else {}
    more = [found.get(key) for key in ("details", "message", "error", "reason", "errorName")]
    said = [str(error.get("message") or "an error without words")]
    said += [text for text in more if isinstance(text, str) and text and text not in said[0]]
    return " ".join(": ".join(said).split())


# -- questions
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """One that is open. ``ident`` is the agent's request, ``what`` it is about; ``choices`` are
    what each option, as a person sees it, means to the agent."""

    ident: Any
    what: str
    path: str
    lock: int
    until: float | None
    choices: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's answer, or that there was none in time. ``choice`` is None if the agent offered
    none for it; ``words`` are what the agent is to be told beside it."""

    question: Question
    allowed: bool
    choice: Any
    words: str


@dataclass(slots=True)
class Questions:
    """Those of one agent, asked as files (`tools.asking`). ``limit`` is in seconds; 0: as long as
    it takes; None: nobody is asked."""

    run_dir: str
    limit: float | None
    open: list[Question] = field(default_factory=list)

    @property
    def possible(self) -> bool:
        return self.limit is not None and os.path.isdir(f"{self.run_dir}/asked")

    def ask(self, ident: Any, tool: str, given: dict[str, Any], choices: dict[str, Any]) -> None:
        """Have a person asked what one of the agent's requests is to be answered."""
        assert self.limit is not None
        request: dict[str, object] = {
            "tool_name": tool,
            "tool_input": given,
            "options": list(choices),
        }
        name = asking.new_name()
        lock = asking.ask(self.run_dir, name, request, self.limit)
        until = time.monotonic() + self.limit if self.limit else None
        path = f"{self.run_dir}/answers/{name}"
        what = str(next(iter(given.values()), ""))
        self.open.append(Question(ident, what, path, lock, until, choices))

    def answers(self) -> list[Answer]:
        """Those that have come since the last look; their questions are closed."""
        found = []
        for question in list(self.open):
            said = asking.look(question.path)
            late = question.until is not None and time.monotonic() >= question.until
            if said is None and not late:
                continue
            found.append(_understood(question, said or asking.NOBODY_ANSWERED))
            self._close(question)
        return found

    def drop(self) -> list[Any]:
        """Nobody waits any more; the requests that were not answered."""
        idents = [question.ident for question in self.open]
        for question in list(self.open):
            self._close(question)
        return idents

    def _close(self, question: Question) -> None:
        self.open.remove(question)
        os.close(question.lock)


def _understood(question: Question, said: dict[str, object]) -> Answer:
    allowed = said.get("allow") is True
    option = said.get("option")
    choice = question.choices.get(option) if isinstance(option, str) else None
    if choice is None:
        choice = first(question.choices, "allow" if allowed else "deny")
    return Answer(question, allowed, choice, str(said.get("message")) if said.get("words") else "")


def first(choices: dict[str, Any], word: str) -> Any:
    """The mildest yes or no that an agent offers; None if it offers none."""
    return next((meant for text, meant in choices.items() if text.split()[0] == word), None)


# -- what we are told
# --------------------------------------------------------------------------------------------------


class Words:
    """Our own standard input: the prompt, or ``lines`` of JSON with an ``id`` and a ``text``, of
    which the prompt is the first."""

    def __init__(self, lines: bool = False) -> None:
        self.lines = lines
        self.descriptors: list[int] = [0] if lines else []
        self._rest = b""
        self._later: list[tuple[str, str]] = []

    def first(self) -> tuple[str, str]:
        """The prompt and its id; the id is empty if it has none."""
        if not self.lines:
            return "", sys.stdin.buffer.read().decode("utf-8", "replace")
        while self.descriptors:
            found = self._read()
            if found:
                self._later = found[1:]
                return found[0]
        raise Over("it got no prompt")

    def more(self) -> list[tuple[str, str]]:
        """What has come since."""
        found, self._later = self._later, []
        if self.descriptors and select.select(self.descriptors, [], [], 0)[0]:
            found += self._read()
        return found

    def _read(self) -> list[tuple[str, str]]:
        data = os.read(0, PIECE)
        if not data:
            self.descriptors.clear()  # whoever waits for them has this list
        *whole, self._rest = (self._rest + data).split(b"\n")
        found = [event for line in whole for event in events_of(line)]
        return [(str(event["id"]), str(event["text"])) for event in found]


class Conversation(Protocol):
    """What a protocol's client does."""

    def begin(self) -> None:
        """Open the session.  Raises `Refusal` or `Over`."""

    def hold(self) -> int:
        """Have the turns of one attempt; the exit code."""


class Opens(Protocol):
    """What a protocol's module gives to `run`: the maker of its conversation."""

    def __call__(self, agent: Agent, options: argparse.Namespace) -> Conversation:
        """A conversation with an agent."""


def run(parser: argparse.ArgumentParser, opens: Opens, version: str = "2.0") -> int:
    """The whole of a client: its options, the agent, the conversation, the end.  The exit code."""
    options = _options(parser)
    try:
        agent = Agent(options.argv, version)
    except OSError as error:
        tell("error", message=f"it cannot be started: {error.strerror}: {options.argv[0]}")
        return 127
    try:
        conversation = opens(agent, options)
        conversation.begin()
        return conversation.hold()
    except (Over, Refusal) as error:
        tell("error", message=str(error))
        return 1
    finally:
        agent.leave()


def _options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--session", default="", help="to go on with")
    parser.add_argument("--model", default="", help="to choose in the session")
    parser.add_argument("--mode", default="", help="of the session")
    parser.add_argument(
        "--ask", type=float, help="a person, for so many seconds at most; 0: always"
    )
    parser.add_argument("--permissions", default="default", help="full: allow all, read: nothing")
    parser.add_argument("argv", nargs="+")
    return parser.parse_args()

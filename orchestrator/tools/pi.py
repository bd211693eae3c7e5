"""Talks to ``pi --mode rpc``: the process of tools with ``adapter: pi``.

What pi tells is passed on as it is, without what it repeats: the pieces of messages that come
whole, and all messages again when a turn is over.  A person's words reach the turn that runs: with
``--words`` standard input is a line of JSON (``id``, ``text``) for the prompt, and one for each
reply (`execution.feeding`).  pi hears what it was told in the order in which it was told, each as a
message of its own: so words are taken when that message begins, and not when pi has put them into
its queue.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

if __name__ == "__main__":  # run by its path, so that nothing but Python is needed to find us
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from orchestrator.tools.dialogue import Agent, Over, Refusal, Words, run, tell

PIECES = ("message_update", "tool_execution_update", "bash_execution_update")
REPEATS = {"agent_end": "messages", "turn_end": "message"}
LOOK = 0.3  # seconds between looks whether it is over
DIALOGS = ("select", "confirm", "input", "editor")  # of an extension, which waits for an answer


def main() -> int:
    parser = argparse.ArgumentParser(prog="pi.py")
    parser.add_argument("--words", action="store_true", help="standard input is lines of JSON")
    return run(parser, Talk, version="")


class Talk:
    """One session with one pi, for what is told to it in one attempt."""

    def __init__(self, agent: Agent, options: argparse.Namespace) -> None:
        self.agent = agent
        self.words = Words(lines=options.words)
        self.unheard: list[str] = []  # ids of what it was told and has not begun with, in order
        self.runs = False  # it works, or is about to
        self.again = False  # it said that it goes on by itself
        self.stopped = False  # its turn is over, and another may follow
        self.looked = 0.0
        self.settles = False  # this version says when it is over for good
        self.lived = 0.0

    def begin(self) -> None:
        """Have the session's name.  Raises `Over`."""
        self._send("get_state", "begin")
        for message in self.agent.messages():
            if message is None:
                if self.agent.interrupt.take():
                    raise Over("it was stopped before it began")
            elif message.get("id") == "begin":
                tell("session", id=_facts(message).get("sessionId"))
                return
            else:
                self._extension(message)

    def hold(self) -> int:
        """The turns until it has nothing more to do.  The exit code."""
        ident, prompt = self.words.first()
        self.unheard.append(ident)
        self._send("prompt", "prompt", message=prompt)
        for message in self.agent.messages(self.words.descriptors):
            if message is not None and self._over(message):
                break
            if message is None and self.stopped and not self.settles:
                self._look()
            if self.runs:
                self._steer()
            if self.agent.interrupt.take() and self.runs:
                self._send("abort", "abort")
        came = self.agent.interrupt.came
        tell("end", reason="interrupted" if came else "end_turn")
        return 1 if came else 0

    def _over(self, message: dict[str, Any]) -> bool:
        """Whether nothing comes any more after this."""
        kind = message.get("type")
        if kind == "response":
            return self._answered(message)
        if kind == "extension_ui_request":
            self._extension(message)
            return False
        self._pass_on(message)
        if kind == "agent_start":
            self.runs, self.again, self.stopped = True, False, False
            if self.agent.interrupt.came:
                self._send("abort", "abort")
        elif kind == "message_start":
            self._heard(message.get("message"))
        elif kind in ("auto_retry_start", "compaction_start"):
            self.again = True
        elif kind in ("auto_retry_end", "compaction_end"):
            self.again = message.get("willRetry") is True
        elif kind == "agent_end":
            self.stopped = True
        return kind == "agent_settled"

    def _look(self) -> None:
        """Ask now and then whether it is over: a version before 1.0 does not say so, and still
        works when it says that a turn has ended."""
        now = time.monotonic()
        if now - self.looked >= LOOK:
            self.looked = now
            self._send("get_state", "state")

    def _answered(self, message: dict[str, Any]) -> bool:
        ident, facts = message.get("id"), _facts(message)
        if ident == "prompt":
            if message.get("success") is not True:
                raise Refusal(str(message.get("error") or "it did not take the prompt"))
            self.settles = "disposition" in facts
            return facts.get("disposition") == "handled"  # by an extension: no turn follows
        if ident != "state" or self.again or not self.stopped:
            return False
        return not (facts.get("isStreaming") or facts.get("isCompacting"))

    def _steer(self) -> None:
        """Say in its turn what people have said since."""
        for ident, text in self.words.more():
            self.unheard.append(ident)
            self._send("prompt", ident, message=text, streamingBehavior="steer")

    def _heard(self, message: Any) -> None:
        if isinstance(message, dict) and message.get("role") == "user" and self.unheard:
            ident = self.unheard.pop(0)
            if ident:
                tell("taken", id=ident)

    def _extension(self, message: dict[str, Any]) -> None:
        """What an extension asks, nobody is there to answer."""
        if message.get("method") in DIALOGS:
            answer = {"type": "extension_ui_response", "id": message.get("id"), "cancelled": True}
            self.agent.send(answer)

    def _pass_on(self, message: dict[str, Any]) -> None:
        kind = str(message.get("type"))
        if kind in PIECES:
            self._lives()
            return
        left = {key: value for key, value in message.items() if key != REPEATS.get(kind)}
        sys.stdout.write(json.dumps(left, ensure_ascii=False, separators=(",", ":")) + "\n")
        sys.stdout.flush()

    def _lives(self) -> None:
        now = time.monotonic()
        if now - self.lived >= 1.0:
            self.lived = now
            tell("works")

    def _send(self, kind: str, ident: str, **facts: Any) -> None:
        self.agent.send({"id": ident, "type": kind, **facts})


def _facts(message: dict[str, Any]) -> dict[str, Any]:
    found = message.get("data")
    return found if isinstance(found, dict) else {}


if __name__ == "__main__":
    sys.exit(main())

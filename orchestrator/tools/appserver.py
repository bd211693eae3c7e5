"""Talks to ``codex app-server`` (JSON-RPC over stdio): the process of tools with ``adapter:
appserver``.

As `tools.acp`, with the same events and the same questions. Beside that a person's words reach the
turn that runs: with ``--words`` standard input is a line of JSON (``id``, ``text``) for the prompt,
and one for each reply, which steers the turn (`execution.feeding`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

if __name__ == "__main__":  # run by its path, so that nothing but Python is needed to find us
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from orchestrator.tools.dialogue import (
    Agent,
    Answer,
    Over,
    Questions,
    Refusal,
    Words,
    cut,
    first,
    is_answer,
    outcome,
    run,
    tell,
)

CHOICES = {
    "allow": "accept",
    "allow always: in this session": "acceptForSession",
    "deny": "decline",
}
SANDBOX = "workspace-write"
# What a command prints that its sandbox has stopped.
WALLS = ("Read-only file system", "Permission denied", "Operation not permitted", "sandbox")


def main() -> int:
    parser = argparse.ArgumentParser(prog="appserver.py")
    parser.add_argument("--words", action="store_true", help="standard input is lines of JSON")
    return run(parser, Talk, version="")


class Talk:
    """One thread with one codex, for the turn of one attempt."""

    def __init__(self, agent: Agent, options: argparse.Namespace) -> None:
        self.agent, self.options = agent, options
        self.questions = Questions(options.run_dir, options.ask)
        self.words = Words(lines=options.words)
        self.thread = self.turn = ""
        self.items: dict[str, dict[str, Any]] = {}  # what was begun
        self.text = ""
        self.steered: dict[int, str] = {}  # requests to steer the turn, and the ids of their words

    def begin(self) -> None:
        """Open the thread.  Raises `Refusal` or `Over`."""
        self._ask("initialize", clientInfo={"name": "orchestrator", "version": "1"})
        self.agent.notify("initialized")
        asks = self.questions.possible and self.options.permissions not in ("full", "read")
        how = {
            "cwd": os.getcwd(),
            "approvalPolicy": "on-request" if asks else "never",
            "sandbox": self.options.mode or SANDBOX,
        }
        if self.options.model:
            how["model"] = self.options.model
        self.thread = self.options.session
        if self.thread:
            try:
                self._ask("thread/resume", threadId=self.thread, **how)
            except Refusal as error:
                raise Refusal(f"unknown session {self.thread}: {error}") from None
        else:
            opened = self._ask("thread/start", **how).get("thread")
            self.thread = str(opened.get("id") if isinstance(opened, dict) else "")
        tell("session", session=self.thread, model=self.options.model or None)

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self.agent.result(self.agent.request(method, **params))

    # -- its turn
    # ----------------------------------------------------------------------------------------------

    def hold(self) -> int:
        """One turn, which words may reach.  The exit code."""
        ident, prompt = self.words.first()
        begun = self.agent.request("turn/start", threadId=self.thread, input=_input(prompt))
        if ident:
            tell("taken", id=ident)
        for message in self.agent.messages(self.words.descriptors):
            if message is not None and is_answer(message, begun):
                self.turn = str((outcome(message).get("turn") or {}).get("id") or "")
            elif message is not None and message.get("method") == "turn/completed":
                return self._ended(message.get("params"))
            elif message is not None:
                self._heard(message)
            for answer in self.questions.answers():
                self._answered(answer)
            if self.turn:
                self._steer()
            if self.agent.interrupt.take():
                self._cancel()
        raise Over(self.agent.how())

    def _ended(self, params: Any) -> int:
        turn = params.get("turn") if isinstance(params, dict) else None
        facts = turn if isinstance(turn, dict) else {}
        reason = str(facts.get("status") or "unknown")
        if self.agent.interrupt.came:
            reason = "interrupted"
        elif isinstance(facts.get("error"), dict):
            raise Refusal(str(facts["error"].get("message") or reason))
        tell("end", reason="end_turn" if reason == "completed" else reason, text=self.text)
        return 0 if reason == "completed" else 1

    def _steer(self) -> None:
        """Say in the turn what people have said since."""
        for ident, text in self.words.more():
            self.steered[self._say(text)] = ident

    def _say(self, text: str) -> int:
        where = {"threadId": self.thread, "expectedTurnId": self.turn}
        return self.agent.request("turn/steer", **where, input=_input(text))

    def _cancel(self) -> None:
        for ident in self.questions.drop():
            self.agent.answer(ident, {"decision": "cancel"})
        self.agent.request("turn/interrupt", threadId=self.thread, turnId=self.turn)

    def _heard(self, message: dict[str, Any]) -> None:
        method, params = str(message.get("method") or ""), message.get("params")
        given = params if isinstance(params, dict) else {}
        if not method:
            ident = self.steered.pop(message.get("id", -1), "")
            if ident and "error" not in message:  # else the next attempt tells it
                tell("taken", id=ident)
        elif method.endswith("/requestApproval") and "id" in message:
            self._permission(message["id"], given)
        elif "id" in message:
            self.agent.refuse(message["id"], method)
        else:
            self._news(method, given)

    def _news(self, method: str, given: dict[str, Any]) -> None:
        if method in ("item/started", "item/completed") and isinstance(given.get("item"), dict):
            self._item(given["item"], method == "item/completed")
        elif method == "item/agentMessage/delta" and isinstance(given.get("delta"), str):
            tell("says", text=given["delta"])
        elif method == "thread/tokenUsage/updated" and given.get("turnId") == self.turn:
            _tell_usage(given.get("tokenUsage"))
        elif method == "account/rateLimits/updated":
            _tell_limits(given.get("rateLimits"))
        elif method == "error" and isinstance(given.get("error"), dict):
            kind = "retry" if given.get("willRetry") else "trouble"
            tell(kind, message=str(given["error"].get("message") or ""))

    def _item(self, item: dict[str, Any], over: bool) -> None:
        kind, ident = item.get("type"), str(item.get("id"))
        if kind == "agentMessage" and over:
            self.text = str(item.get("text") or "")
        about = _about(item)
        if about is None:
            return
        if ident not in self.items:
            tell("call", tool=about[0], input=about[1])
        self.items[ident] = item
        output = item.get("aggregatedOutput")
        if not over or not isinstance(output, str):
            return
        tell("prints", text=cut(output))
        if item.get("status") == "failed" and any(sign in output for sign in WALLS):
            tell("denied", tool=about[0], what=str(next(iter(about[1].values()), "")))

    # -- what it may do
    # ----------------------------------------------------------------------------------------------

    def _permission(self, ident: Any, params: dict[str, Any]) -> None:
        item = self.items.get(str(params.get("itemId")), {})
        tool, about = _about({**item, **params}) or ("other", {})
        if isinstance(params.get("reason"), str):
            about = {**about, "reason": params["reason"]}
        if not self.questions.possible:
            tell("denied", tool=tool, what=str(next(iter(about.values()), "")))
            self.agent.answer(ident, {"decision": first(CHOICES, "deny")})
            return
        tell("asks", tool=tool, what=str(next(iter(about.values()), "")))
        self.questions.ask(ident, tool, about, CHOICES)

    def _answered(self, answer: Answer) -> None:
        about = answer.question.what
        tell("answered", what=about, allowed=answer.allowed, text=answer.words or None)
        self.agent.answer(answer.question.ident, {"decision": answer.choice})
        if answer.words and self.turn:
            self._say(answer.words)


def _input(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


def _about(item: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The tool and its input, under the names that people's lines and questions know; None if it is
    no deed."""
    kind = item.get("type")
    if isinstance(item.get("command"), str):
        return "shell", {"command": item["command"]}
    if kind == "fileChange":
        listed = item.get("changes") if isinstance(item.get("changes"), list) else []
        changes = [change for change in listed or () if isinstance(change, dict)]
        diffs = "\n".join(str(change.get("diff") or "") for change in changes)
        paths = " ".join(str(change.get("path")) for change in changes)
        return "edit", {"file_path": paths, "diff": cut(diffs)}
    if kind == "webSearch":
        return "search", {"query": str(item.get("query") or "")}
    if kind == "mcpToolCall":
        return str(item.get("tool")), {"what": cut(json.dumps(item.get("arguments")))}
    return None


def _tell_usage(usage: Any) -> None:
    """Tokens of the last call; those from a cache are among the input."""
    last = usage.get("last") if isinstance(usage, dict) else None
    if isinstance(last, dict):
        tell(
            "usage",
            input=last.get("inputTokens"),
            cached=last.get("cachedInputTokens"),
            cache_write=last.get("cacheWriteInputTokens"),
            output=last.get("outputTokens"),
            reasoning=last.get("reasoningOutputTokens"),
        )


def _tell_limits(limits: Any) -> None:
    found = limits if isinstance(limits, dict) else {}
    windows = [found.get(name) for name in ("primary", "secondary")]
    listed = [
        {
            "minutes": window.get("windowDurationMins"),
            "percent": window.get("usedPercent"),
            "resets": window.get("resetsAt"),
        }
        for window in windows
        if isinstance(window, dict)
    ]
    if listed:
        tell("limits", windows=listed)


if __name__ == "__main__":
    sys.exit(main())

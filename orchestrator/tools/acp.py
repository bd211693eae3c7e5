"""Talks to an agent by the Agent Client Protocol (JSON-RPC over stdio): the process of tools with
``adapter: acp``.

``acp.py [OPTIONS] -- PROGRAM ARGUMENTS`` reads the prompt on standard input, begins a session or
goes on with one, and prints what happens as events of its own (`dialogue.tell`), which are the same
for every agent: ``catalog/_spoken.yaml`` reads them. A permission that the agent asks for is a
question to a person, if its role asks one; else it is refused. The end of the turn is the end of
the process.

We offer no file system and no terminal: an agent has its own, and a sandbox around both of us holds
for them.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from typing import Any

if __name__ == "__main__":  # run by its path, so that nothing but Python is needed to find us
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from orchestrator.patterns import regex
from orchestrator.records import dataclass, field
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

PROTOCOL = 1
FOLLOW_UPS = 20  # turns that follow since a person said what to do instead
LOOKS = ("read", "search", "think")  # kinds of tool calls that change nothing
NAMES = {  # of kinds, as people know the tools (`activity.describe`)
    "execute": "shell",
    "edit": "edit",
    "read": "read",
    "search": "search",
    "fetch": "fetch",
    "switch_mode": "leave plan mode",
}
OPTIONS = {  # kinds of answers, as a person sees them; the agent's own words follow
    "allow_once": "allow",
    "allow_always": "allow always",
    "reject_once": "deny",
    "reject_always": "deny always",
}
# What a call gives back that its agent has refused without asking.
WALLS = regex(
    r"not in (?:the )?workspace|outside (?:of )?(?:the|your|this) \w+|permission denied|(?:not|n't)"
    r" (?:allowed|permitted)"
    r"|read-only file system|denied by",
    re.IGNORECASE,
)
# Agents that tell what befell themselves in the voice of their model: how such words of news and of
# troubles begin.
NOTICES = {"Copilot": ("Info: ", "Error: ")}


def main() -> int:
    return run(argparse.ArgumentParser(prog="acp.py"), Talk)


@dataclass(slots=True)
class Call:
    """What is known of one tool call.  The agent tells it piece by piece."""

    facts: dict[str, Any] = field(default_factory=dict)
    told: bool = False
    asked: bool = False  # the agent asked for it, and was answered

    @property
    def kind(self) -> str:
        return str(self.facts.get("kind") or "other")

    @property
    def name(self) -> str:
        return NAMES.get(self.kind) or self.kind.replace("_", " ")

    @property
    def known(self) -> bool:
        """Whether it says by now what it is going to do."""
        raw = self.facts.get("rawInput")
        told = isinstance(raw, dict) and bool(raw.get("command") if self.kind == "execute" else raw)
        return told or self.facts.get("status") not in (None, "pending")

    @property
    def input(self) -> dict[str, Any]:
        """What it is about, under the names that people's lines and questions know."""
        raw = self.facts.get("rawInput")
        given = raw if isinstance(raw, dict) else {}
        title = str(self.facts.get("title") or "")
        if self.kind == "execute":
            command = given.get("command") or title
            return {"command": " ".join(command) if isinstance(command, list) else str(command)}
        found: dict[str, Any] = {}
        if path := self._path(given):
            found["file_path"] = path
        for part in self._parts("diff"):
            found |= {"old_string": part.get("oldText"), "new_string": part.get("newText")}
        for key in ("url", "query", "pattern"):
            if given.get(key):
                found[key] = given[key]
        found = {key: cut(str(value)) for key, value in found.items() if value is not None}
        return found or {"what": title}

    @property
    def output(self) -> str:
        """What it gave back, as text."""
        texts = [_text(part.get("content")) for part in self._parts("content")]
        return cut("\n".join(text for text in texts if text))

    def _path(self, given: dict[str, Any]) -> str:
        places = self.facts.get("locations")
        first = places[0] if isinstance(places, list) and places else {}
        said = [first.get("path")] if isinstance(first, dict) else []
        said += [given.get(key) for key in ("file_path", "filePath", "path", "absolute_path")]
        return next((text for text in said if isinstance(text, str) and text), "")

    def _parts(self, kind: str) -> list[dict[str, Any]]:
        parts = self.facts.get("content")
        listed = parts if isinstance(parts, list) else []
        return [part for part in listed if isinstance(part, dict) and part.get("type") == kind]


def _text(part: Any) -> str:
    """The text in a block of content; empty if it is none."""
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


class Talk:
    """One session with one agent, for the turns of one attempt."""

    def __init__(self, agent: Agent, options: argparse.Namespace) -> None:
        self.agent, self.options = agent, options
        self.questions = Questions(options.run_dir, options.ask)
        self.session = ""
        self.calls: dict[str, Call] = {}
        self.text = ""  # its words since its last tool call
        self.said: list[str] = []  # what people want it to be told when its turn is over
        self.notices = ("", "")
        self.trouble = ""  # what befell it, if nothing came afterwards
        self.thought = 0.0
        self.counted = False  # whether the agent told the usage of each call

    # -- the session
    # ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Open the session.  Raises `Refusal` or `Over`."""
        limits = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
        us = {"name": "orchestrator", "version": "1"}
        hello = self._ask(
            "initialize", protocolVersion=PROTOCOL, clientCapabilities=limits, clientInfo=us
        )
        if hello.get("protocolVersion") != PROTOCOL:
            said = hello.get("protocolVersion")
            raise Refusal(f"it speaks version {said} of the protocol, and we speak {PROTOCOL}")
        opened = self._open(hello)
        about = hello.get("agentInfo")
        name = about if isinstance(about, dict) else {}
        if self.options.model:
            self._choose_model(opened)
        if self.options.mode:
            self._choose_mode(opened)
        self.notices = NOTICES.get(str(name.get("name")), self.notices)
        version = f"{name.get('name', '')} {name.get('version', '')}".strip()
        tell("session", session=self.session, agent=version, model=self.options.model or None)

    def _open(self, hello: dict[str, Any]) -> dict[str, Any]:
        place = {"cwd": os.getcwd(), "mcpServers": []}
        if not self.options.session:
            try:
                opened = self._ask("session/new", **place)
            except Refusal as error:
                raise Refusal(f"{error}{_ways_in(hello)}") from None
            self.session = str(opened.get("sessionId") or "")
            return opened
        can = hello.get("agentCapabilities")
        method = _way_back(can if isinstance(can, dict) else {})
        self.session = self.options.session
        if not method:
            raise Refusal(f"unknown session {self.session}: the agent cannot go on with one")
        try:
            return self._ask(method, sessionId=self.session, **place)
        except Refusal as error:
            raise Refusal(f"unknown session {self.session}: {error}") from None

    def _choose_model(self, opened: dict[str, Any]) -> None:
        model, option = self.options.model, _option(opened, "model")
        if option:
            self._configure(option, model)
        elif isinstance(opened.get("models"), dict):
            self._ask("session/set_model", sessionId=self.session, modelId=model)
        else:
            raise Refusal(f"it offers no choice of model, so it cannot use {model}")

    def _choose_mode(self, opened: dict[str, Any]) -> None:
        mode, modes = self.options.mode, opened.get("modes")
        if isinstance(modes, dict):
            self._ask("session/set_mode", sessionId=self.session, modeId=mode)
        elif option := _option(opened, "mode"):
            self._configure(option, mode)
        else:
            raise Refusal(f"it has no mode '{mode}'")

    def _configure(self, option: str, value: str) -> None:
        ask = {"sessionId": self.session, "configId": option, "value": value}
        self._ask("session/set_config_option", **ask)

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        """A request before the first turn. What an agent tells meanwhile, an old session again say,
        is no news."""
        return self.agent.result(self.agent.request(method, **params))

    # -- its turns
    # ----------------------------------------------------------------------------------------------

    def hold(self) -> int:
        """One turn, and another as long as people said what to do instead of what they refused. The
        exit code."""
        _, prompt = Words().first()
        last = ""
        for _ in range(FOLLOW_UPS):
            self.text, self.said = "", []
            reason = self._turn(prompt)
            last = self.text or last
            if reason != "end_turn" or not self.said:
                break
            prompt = "\n\n".join(self.said)
        tell("end", reason=reason, text=last, message=self.trouble or None)
        return 0 if reason == "end_turn" else 1

    def _turn(self, prompt: str) -> str:
        """Why it ended."""
        turn = self.agent.request(
            "session/prompt", sessionId=self.session, prompt=[{"type": "text", "text": prompt}]
        )
        for message in self.agent.messages():
            if message is not None and is_answer(message, turn):
                return self._ended(outcome(message))
            if message is not None:
                self._heard(message)
            for answer in self.questions.answers():
                self._answered(answer)
            if self.agent.interrupt.take():
                self._cancel()
        raise Over(self.agent.how())

    def _ended(self, result: dict[str, Any]) -> str:
        if not self.counted:
            _tell_usage(_reported(result))
        reason = str(result.get("stopReason") or "unknown")
        reason = "error" if self.trouble else reason
        return "cancelled" if self.agent.interrupt.came else reason

    def _cancel(self) -> None:
        """Stop in the agent's own words: what it asks is answered first, as the protocol wants
        it."""
        self.agent.notify("session/cancel", sessionId=self.session)
        for ident in self.questions.drop():
            self.agent.answer(ident, {"outcome": {"outcome": "cancelled"}})

    def _heard(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params")
        given = params if isinstance(params, dict) else {}
        if method == "session/request_permission" and "id" in message:
            self._permission(message["id"], given)
        elif method == "session/update" and isinstance(given.get("update"), dict):
            self._update(given["update"])
        elif "id" in message and method:
            self.agent.refuse(message["id"], str(method))

    def _update(self, update: dict[str, Any]) -> None:
        kind = update.get("sessionUpdate")
        meta, cost = update.get("_meta"), update.get("cost")
        if isinstance(meta, dict) and isinstance(meta.get("usage"), dict):
            self.counted = True
            _tell_usage(meta["usage"])
        if kind == "agent_message_chunk" and (text := _text(update.get("content"))):
            self._says(text)
        elif kind == "agent_thought_chunk":
            self._thinks()
        elif kind in ("tool_call", "tool_call_update"):
            self._call(update)
        elif kind == "usage_update" and isinstance(cost, dict):
            tell("cost", session_cost=cost.get("amount"))

    def _says(self, text: str) -> None:
        news, trouble = self.notices
        if news and text.startswith(news):
            tell("retry", message=text.removeprefix(news)) if "etry" in text else self._thinks()
            return
        self.trouble = text.removeprefix(trouble) if trouble and text.startswith(trouble) else ""
        if not self.trouble:
            self.text += text
            tell("says", text=text)

    def _thinks(self) -> None:
        """Say that it lives; its thoughts are its own."""
        now = time.monotonic()
        if now - self.thought >= 1.0:
            self.thought = now
            tell("thinks")

    def _call(self, update: dict[str, Any]) -> Call:
        call = self.calls.setdefault(str(update.get("toolCallId")), Call())
        call.facts |= {key: value for key, value in update.items() if value not in (None, [], {})}
        if call.known:
            self._tell_call(call)
        if update.get("status") in ("completed", "failed") and call.output:
            tell("prints", text=call.output)
        if update.get("status") == "failed" and not call.asked and WALLS.search(call.output):
            tell("denied", tool=call.name, what=_what(call) or " ".join(call.output.split())[:200])
        return call

    def _tell_call(self, call: Call) -> None:
        if not call.told:
            call.told, self.text, self.trouble = True, "", ""
            tell("call", tool=call.name, input=call.input)

    # -- what it may do
    # ----------------------------------------------------------------------------------------------

    def _permission(self, ident: Any, params: dict[str, Any]) -> None:
        told = params.get("toolCall")
        call = self._call({**told, "status": None} if isinstance(told, dict) else {})
        self._tell_call(call)
        call.asked = True
        choices = _choices(params.get("options"))
        level = self.options.permissions
        if level == "full" or (level == "read" and call.kind in LOOKS):
            self._decide(ident, first(choices, "allow"))
        elif level == "read" or not self.questions.possible:
            tell("denied", tool=call.name, what=_what(call))
            self._decide(ident, first(choices, "deny"))
        else:
            tell("asks", tool=call.name, what=_what(call))
            self.questions.ask(ident, call.name, call.input, choices)

    def _answered(self, answer: Answer) -> None:
        about = answer.question.what
        tell("answered", what=about, allowed=answer.allowed, text=answer.words or None)
        if answer.words:
            self.said.append(answer.words)
        self._decide(answer.question.ident, answer.choice)

    def _decide(self, ident: Any, choice: Any) -> None:
        """Answer the agent; without an option for it, it is told that its question was given up."""
        chosen = {"outcome": "selected", "optionId": choice} if choice else {"outcome": "cancelled"}
        self.agent.answer(ident, {"outcome": chosen})


def _what(call: Call) -> str:
    return next(iter(call.input.values()), "")


def _choices(offered: Any) -> dict[str, Any]:
    """What each option, as a person sees it, is for the agent. Kinds that nobody knows are not
    offered."""
    found: dict[str, Any] = {}
    listed = [option for option in offered or () if isinstance(option, dict)]
    for kind, word in OPTIONS.items():
        for option in listed:
            if option.get("kind") == kind and option.get("optionId"):
                name = " ".join(str(option.get("name") or "").split())
                always = f"{word}: {name}" if name else word
                found.setdefault(word if kind.endswith("once") else always, option["optionId"])
    return found


def _way_back(can: dict[str, Any]) -> str:
    """How an agent goes on with a session: without telling all of it again, if it can."""
    more = can.get("sessionCapabilities")
    if isinstance(more, dict) and isinstance(more.get("resume"), dict):
        return "session/resume"
    return "session/load" if can.get("loadSession") else ""


def _ways_in(hello: dict[str, Any]) -> str:
    """How one logs in, if it says so."""
    ways = hello.get("authMethods")
    listed = [way for way in ways if isinstance(way, dict)] if isinstance(ways, list) else []
    names = ", ".join(str(way.get("name") or way.get("id")) for way in listed)
    return f" (it offers: {names})" if names else ""


def _option(opened: dict[str, Any], category: str) -> str:
    """The id of what can be chosen in a session; empty if it cannot."""
    options = opened.get("configOptions")
    listed = options if isinstance(options, list) else []
    found = (item for item in listed if isinstance(item, dict) and item.get("category") == category)
    return next((str(item.get("id")) for item in found), "")


def _reported(result: dict[str, Any]) -> dict[str, Any]:
    """The usage of a turn, where agents put it."""
    if isinstance(result.get("usage"), dict):
        found: dict[str, Any] = result["usage"]
        return found
    meta = result.get("_meta")
    quota = meta.get("quota") if isinstance(meta, dict) else None
    count = quota.get("token_count") if isinstance(quota, dict) else None
    if not isinstance(count, dict):
        return {}
    return {"inputTokens": count.get("input_tokens"), "outputTokens": count.get("output_tokens")}


def _tell_usage(said: dict[str, Any]) -> None:
    """Tokens of one call or turn, those from a cache among the input: agents count them in or
    beside it, and the total says which."""
    names = ("inputTokens", "cachedReadTokens", "cachedWriteTokens", "outputTokens")
    given = [said.get(name) for name in (*names, "thoughtTokens", "totalTokens")]
    sent, cached, written, output, thought, total = (
        value if isinstance(value, int) and not isinstance(value, bool) else 0 for value in given
    )
    if not sent and not output:
        return
    if total >= sent + cached + written + output and cached + written:
        sent += cached + written
    tell("usage", input=sent, cached=cached, cache_write=written, output=output, reasoning=thought)


if __name__ == "__main__":
    sys.exit(main())

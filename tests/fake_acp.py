"""A fake agent that speaks the Agent Client Protocol.  Lines ``fake: ...`` of a prompt say what it does:

    say TEXT           answer
    notice TEXT        say this in one piece
    fail TEXT          a call that fails without being asked for, and gives this back
    run A | B          ask whether it may run these, all at once, and say what became of each
    refuse             end the turn, as some do when they were refused something
    sleep              wait until it is cancelled, and say so
    ignore             from now on heed neither a cancel nor a signal
    exit 3             end in the middle of the turn
    linger             do not end when its input ends
    odd STYLE          from now on its messages look odd: glued, escaped, or unended (the last one has no end of line)

``fake_acp.py FOLDER [NAME]`` keeps its sessions in FOLDER, and calls itself NAME.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid

OPTIONS = [
    {"optionId": "s", "kind": "allow_always", "name": "Always in this session"},
    {"optionId": "y", "kind": "allow_once", "name": "Yes"},
    {"optionId": "n", "kind": "reject_once", "name": "No"},
]


STYLE: list[str] = []


def send(**message) -> None:
    text = json.dumps({"jsonrpc": "2.0", **message})
    if "glued" in STYLE:  # with another message on its line
        text = json.dumps({"jsonrpc": "2.0", "method": "note", "params": {}}) + text
    if "escaped" in STYLE:
        text = f"\ufeffworking\r\x1b[2K\0{text}\x1b[0m"
    last = "unended" in STYLE and "result" in message
    sys.stdout.write(text + "\n" * (not last))
    sys.stdout.flush()
    if last:
        sys.exit(0)


class Agent:
    """One session, and what it was told to do."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.session, self.mode = "", "build"
        self.lingers = self.ignores = False
        self.number = 100

    def update(self, **facts) -> None:
        send(method="session/update", params={"sessionId": self.session, "update": facts})

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            content = {"type": "text", "text": piece}
            self.update(sessionUpdate="agent_message_chunk", content=content)

    def hear(self) -> dict:
        line = sys.stdin.readline()
        if not line:
            while self.lingers:
                time.sleep(1)
            sys.exit(0)
        return json.loads(line)

    def run(self, *commands: str) -> str:
        """Ask for all, and say what was decided; the reason why the turn ends now, if it does."""
        asked = {}
        for command in commands:
            self.number += 1
            call = {"toolCallId": f"c{self.number}", "title": command, "kind": "execute"}
            self.update(sessionUpdate="tool_call", status="pending", rawInput={}, **call)
            params = {"sessionId": self.session, "toolCall": call, "options": OPTIONS}
            send(id=self.number, method="session/request_permission", params=params)
            asked[self.number] = command
        cancelled = False
        while asked:
            heard = self.hear()
            if heard.get("method") == "session/cancel":
                cancelled = True
            elif heard.get("id") in asked:
                outcome = heard["result"]["outcome"]
                said = outcome.get("optionId", outcome["outcome"])
                self.update(
                    sessionUpdate="tool_call_update",
                    toolCallId=f"c{heard['id']}",
                    status="completed" if said in "ys" else "failed",
                    content=[{"type": "content", "content": {"type": "text", "text": said}}],
                )
                self.say(f"{said} {asked.pop(heard['id'])}. ")
        return "cancelled" if cancelled else ""

    def turn(self, prompt: str) -> str:
        for line in prompt.splitlines():
            if line.startswith("A person said: "):
                self.say(f"Then I {line.partition(': ')[2]}.")
            if not line.strip().startswith("fake: "):
                continue
            order, _, rest = line.strip().removeprefix("fake: ").partition(" ")
            if order == "say":
                text = rest.replace("MODE", self.mode)
                self.say(text[:3], text[3:])
            elif order == "run" and (why := self.run(*rest.split(" | "))):
                return why
            elif order == "refuse":
                return "end_turn"
            elif order == "notice":
                self.say(rest)
            elif order == "fail":
                content = [{"type": "content", "content": {"type": "text", "text": rest}}]
                call = {"toolCallId": rest, "kind": "edit", "status": "failed", "content": content}
                self.update(sessionUpdate="tool_call_update", **call)
            elif order == "sleep":
                return self.sleep()
            elif order == "ignore":
                self.ignores = True
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            elif order == "exit":
                sys.exit(int(rest))
            elif order == "odd":
                STYLE.append(rest)
            elif order == "linger":
                self.lingers = True
        return "end_turn"

    def sleep(self) -> str:
        self.say("sleeping")
        while self.ignores or self.hear().get("method") != "session/cancel":
            time.sleep(0.05)
        self.say("was cancelled")
        return "cancelled"

    def answer(self, method: str, params: dict) -> dict:
        if method == "initialize":
            return {
                "protocolVersion": 1,
                "agentCapabilities": {"loadSession": True},
                "agentInfo": {"name": (*sys.argv, "fake")[2], "version": "1"},
                "authMethods": [{"id": "key", "name": "A key"}],
            }
        if method == "session/new":
            self.session = str(uuid.uuid4())
        if method == "session/load":
            self.session = params["sessionId"]
            if not os.path.exists(f"{self.home}/{self.session}"):
                raise LookupError(f"Session {self.session} not found")
            self.say("what it said long ago")  # the protocol has it told again
        if method in ("session/new", "session/load"):
            modes = {"currentModeId": self.mode, "availableModes": [{"id": "build"}, {"id": "plan"}]}  # fmt: skip
            return {"sessionId": self.session, "modes": modes}
        if method == "session/set_mode":
            self.mode = params["modeId"]
            return {}
        assert method == "session/prompt", method
        with open(f"{self.home}/{self.session}", "a") as file:
            file.write("a turn\n")
        reason = self.turn(self.remembered(params["prompt"][0]["text"]))
        usage = {"inputTokens": 800, "cachedReadTokens": 200, "outputTokens": 50, "totalTokens": 1050}  # fmt: skip
        return {"stopReason": reason, "usage": usage}

    def remembered(self, prompt: str) -> str:
        """The prompt; of one to go on, what the session was to run, as a program that was cut short would know it."""
        path = f"{self.home}/{self.session}.runs"
        runs = "".join(f"{line}\n" for line in prompt.splitlines() if "fake: run " in line)
        if runs:
            with open(path, "w") as file:
                file.write(runs)
        if prompt.startswith("Go on with the task where you left off") and os.path.exists(path):
            with open(path) as file:
                return prompt + "\n" + file.read()
        return prompt

    def serve(self) -> None:
        print("a banner that is no message")
        while True:
            heard = self.hear()
            if "id" not in heard or "method" not in heard:
                continue
            try:
                send(id=heard["id"], result=self.answer(heard["method"], heard["params"]))
            except LookupError as error:
                send(id=heard["id"], error={"code": -32603, "message": "no", "data": str(error)})


Agent(sys.argv[1]).serve()

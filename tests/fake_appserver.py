"""A fake of ``codex app-server``.  Lines ``fake: ...`` of its turn's words say what it does: ``say TEXT``, ``run COMMAND`` (it asks for
approval), ``wait`` (until somebody steers the turn, or interrupts it), ``fail``."""

from __future__ import annotations

import json
import sys

from fake_orders import orders


def send(**message) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def hear() -> dict:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def text_of(heard: dict) -> str:
    return heard["params"]["input"][0]["text"]


def say(text: str) -> None:
    send(method="item/agentMessage/delta", params={"delta": text})
    item = {"type": "agentMessage", "id": "m", "text": text}
    send(method="item/completed", params={"item": item})


def run(command: str) -> None:
    item = {"type": "commandExecution", "id": "c", "command": command}
    send(method="item/started", params={"item": item})
    params = {"itemId": "c", "command": command, "reason": "may I?"}
    send(method="item/commandExecution/requestApproval", id=0, params=params)
    while True:
        heard = hear()
        if heard.get("id") == 0 and "result" in heard:
            return say(f"{heard['result']['decision']} {command}")
        over(heard)


def over(heard: dict) -> None:
    """What may be said to a turn: an interrupt ends it."""
    if heard.get("method") == "turn/steer":
        assert heard["params"]["expectedTurnId"] == "u1"
        send(id=heard["id"], result={"turnId": "u1"})
        say(f"Heard: {text_of(heard)}")
    elif heard.get("method") == "turn/interrupt":
        send(id=heard["id"], result={})
        end("interrupted")
        hear()


def end(status: str, error: dict | None = None) -> None:
    send(method="turn/completed", params={"turn": {"id": "u1", "status": status, "error": error}})


def turn(words: str) -> None:
    for order, rest in orders(words):
        if order == "say":
            say(rest)
        elif order == "run":
            run(rest)
        elif order == "wait":
            say("waiting")
            over(hear())
        elif order == "fail":
            return end("failed", {"message": "You've hit your usage limit."})
    last = {"inputTokens": 1000, "cachedInputTokens": 200, "outputTokens": 50}
    send(method="thread/tokenUsage/updated", params={"turnId": "u1", "tokenUsage": {"last": last}})
    return end("completed")


while True:
    heard = hear()
    method = heard.get("method", "")
    if method in ("thread/start", "thread/resume"):
        assert {"sandbox", "approvalPolicy", "cwd"} <= set(heard["params"])
        send(id=heard["id"], result={"thread": {"id": heard["params"].get("threadId", "th-1")}})
    elif method == "turn/start":
        send(id=heard["id"], result={"turn": {"id": "u1"}})
        turn(text_of(heard))
    elif "id" in heard:
        send(id=heard["id"], result={})

"""A fake of ``pi --mode rpc``.  Lines ``fake: ...`` of a prompt say what its turn does: ``say TEXT``,
``wait`` (until it is told more, or is to stop), ``retry`` (it fails and tries again by itself),
``fail``, ``refuse`` (it does not take the prompt), ``dialog`` (an extension asks).  With ``--old`` it does not say when it is over, as the versions before 1.0."""

from __future__ import annotations

import json
import sys

from fake_orders import orders

OLD = "--old" in sys.argv
told: list[dict] = []  # to be heard before the next call of the model


def send(kind: str, **facts) -> None:
    sys.stdout.write(json.dumps({"type": kind, **facts}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def respond(heard: dict, success: bool = True, **facts) -> None:
    send("response", id=heard["id"], command=heard["type"], success=success, **facts)


def hear() -> dict:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def ends() -> None:
    """A turn is over; it still works for the first who asks."""
    send("agent_end", messages=[{"role": "user", "content": "again"}])
    while OLD and meet() != "get_state":
        pass


def meet(works: bool = True) -> str:
    """Hear one command while a turn runs; its type."""
    heard = hear()
    if heard["type"] == "get_state":
        respond(heard, data={"sessionId": "pi-1", "isStreaming": works})
    elif heard["type"] == "prompt":
        assert heard["streamingBehavior"] == "steer"
        told.append(heard)
        respond(heard, **({} if OLD else {"data": {"disposition": "queued"}}))
    elif heard["type"] == "abort":
        respond(heard)
    return heard["type"]


def user(text: str) -> None:
    send("message_start", message={"role": "user", "content": [{"type": "text", "text": text}]})


def says(text: str, stop: str = "stop", **more) -> None:
    usage = {"input": 800, "cacheRead": 200, "output": 50, "cost": {"total": 0.001}}
    for _ in range(3):
        send("message_update", partial=text)
    content = [{"type": "text", "text": text}] if text else []
    message = {"role": "assistant", "content": content, "stopReason": stop, "usage": usage, **more}
    send("message_end", message=message)


def turn(words: str) -> None:
    for order, rest in orders(words):
        if order == "say":
            says(rest)
        elif order == "wait":
            send("tool_execution_start", toolName="bash", args={"command": "sleep 99"})
            while (met := meet()) not in ("prompt", "abort"):
                pass
            if met == "abort":
                return says("", "aborted", errorMessage="Request was aborted")
        elif order == "dialog":
            send("extension_ui_request", id="d", method="confirm", title="Sure?")
            assert hear() == {"type": "extension_ui_response", "id": "d", "cancelled": True}
        elif order == "retry":
            says("", "error", errorMessage="529 overloaded")
            send("agent_end", messages=[])
            send("auto_retry_start", attempt=1, maxAttempts=3, errorMessage="529 overloaded")
            while OLD and meet(works=False) != "get_state":
                pass  # it is asked, and has not begun again
            send("agent_start")
            send("auto_retry_end", success=True, attempt=1)
        elif order == "fail":
            return says("", "error", errorMessage="401 invalid x-api-key")
    for heard in list(told):
        told.remove(heard)
        user(heard["message"])
        says(f"Heard: {heard['message']}")


while True:
    heard = hear()
    if heard["type"] == "get_state":
        respond(heard, data={"sessionId": "pi-1", "isStreaming": False})
    elif "fake: refuse" in heard.get("message", ""):
        respond(heard, success=False, error="No API key found for anthropic")
    elif heard["type"] == "prompt":
        respond(heard, **({} if OLD else {"data": {"disposition": "started"}}))
        send("agent_start")
        user(heard["message"])
        turn(heard["message"])
        ends()
        if not OLD:
            send("agent_settled", aborted=False)

"""The ``demo`` tool: behaves like a small agent, as far as a control plane can tell.

It reads a prompt on standard input, prints as it goes and ends. Lines of the prompt that begin with
``demo:`` say how:

    demo: work 4s              take so long (300ms, 2m), printing a line about every second
    demo: fail 1               fail the first attempt and succeed afterwards
    demo: exit 3               end with this exit code
    demo: write PATH TEXT      write a file below the current folder
    demo: ask QUESTION | A | B ask a person at the end of the first attempt, with options
    demo: permit COMMAND       ask a person while it runs, if its role has ask: person
    demo: ignore signals       do not stop when asked politely

With ``--read`` it says what it would write and writes nothing. With ``--interactive PROMPT`` it
talks to a person instead: it answers every line, and ends with ``done`` or ``exit N``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}  # in seconds


def main() -> int:
    if sys.argv[1:2] == ["--interactive"]:
        return _talk(sys.argv[2] if len(sys.argv) > 2 else "")
    prompt = sys.stdin.read()
    words = next((line.strip(" #") for line in prompt.splitlines() if line.strip(" #")), "nothing")
    print(f"Reading the task: {words[:72]}")
    attempt = int(os.environ.get("ORCHESTRATOR_ATTEMPT", "1"))
    code = 0
    for line in prompt.splitlines():
        order = (
            line.strip().removeprefix("demo:").strip() if line.strip().startswith("demo:") else ""
        )
        if order.startswith("work ") and (seconds := _seconds(order[5:].strip())) is not None:
            _work(seconds)
        elif found := re.match(r"fail (\d+)$", order):
            if attempt <= int(found[1]):
                print(f"cannot reach the model (attempt {attempt})", file=sys.stderr)
                return 1
        elif found := re.match(r"exit (\d+)$", order):
            code = int(found[1])
        elif found := re.match(r"write (\S+) (.*)$", order):
            _change(found[1], found[2])
        elif order.startswith("ask "):
            if attempt == 1:
                _ask(*(part.strip() for part in order[4:].split("|")))
        elif order.startswith("permit "):
            _permit(order[7:].strip())
        elif order == "ignore signals":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif order:
            print(f"I do not understand this: demo: {order}")
    print("Done." if code == 0 else f"Giving up with {code}.")
    return code


def _seconds(text: str) -> float | None:
    """Of ``90s``, ``300ms`` or ``1m30s``; None if it is no such time."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", text)
    whole = "".join(map("".join, parts)) == text
    return sum(float(count) * UNITS[unit] for count, unit in parts) if whole else None


def _change(name: str, text: str) -> None:
    if "--read" in sys.argv:
        print(f"I would write {name}.")
        return
    path = os.path.join(os.getcwd(), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _write(path, text)
    print(f"Wrote {name}")


def _ask(question: str, *options: str) -> None:
    lines = [question, "", *(f"{number}. {text}" for number, text in enumerate(options, 1))]
    _write(f"{os.environ['ORCHESTRATOR_ARTIFACTS']}/question.md", "\n".join(lines))
    print(f"I need an answer: {question}")


def _permit(command: str) -> None:
    """As an agent that may not do something by itself: by the hook that it was given, else it does
    not."""
    if "--ask" not in sys.argv:
        print(f"I may not run {command}, and there is nobody to ask.")
        return
    request = json.dumps({"tool_name": "Bash", "tool_input": {"command": command}})
    hook = json.loads(sys.argv[sys.argv.index("--ask") + 1])[0]
    done = subprocess.run(
        ["/bin/sh", "-c", hook], input=request, capture_output=True, text=True, check=False
    )
    decision = json.loads(done.stdout)["hookSpecificOutput"]["decision"]
    why = f": {decision['message']}" if decision.get("message") else ""
    print(f"{decision['behavior']} {command}{why}", flush=True)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def _talk(prompt: str) -> int:
    print(
        f"Reading the task: {prompt.strip().splitlines()[0][:72] if prompt.strip() else 'nothing'}"
    )
    print(
        "Say something. 'done' ends this, 'exit 3' ends it with 3, 'size' tells the size of the"
        " terminal."
    )
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            return 0
        if said == "done":
            return 0
        if found := re.match(r"exit (\d+)$", said):
            return int(found[1])
        columns, rows = os.get_terminal_size()
        print(f"{columns}x{rows}" if said == "size" else f"You said: {said}")


def _work(seconds: float) -> None:
    steps = (
        "Looking around",
        "Reading the code",
        "Trying an idea",
        "Running the tests",
        "Tidying up",
    )
    end = time.monotonic() + seconds
    number = 0
    while (left := end - time.monotonic()) > 0:
        print(f"{steps[number % len(steps)]} ...")
        number += 1
        time.sleep(min(1.0, left))


if __name__ == "__main__":
    sys.exit(main())

"""The ``anthropic`` and ``openai`` tools: one question to a model, through the vendors' official
packages (extra ``[sdk]``).

A program of its own like any other tool: it reads the prompt on standard input, prints one JSON
object a line as the answer comes, and ends; time limits, cancelling, logs and accounting are the
supervisor's.

    {"type": "start", "model": ...}
    {"type": "text", "text": ...}          a line of the answer
    {"type": "usage", "id": ..., "usage": {"input", "cached", "output", "reasoning"}}
    {"type": "result", "text": ..., "stop_reason": ..., "usage": {...}, "id": ...}
    {"type": "error", "status": ..., "message": ...}

``input`` counts cached tokens too. Exit codes: 0 answered, 1 the provider refused or failed, 2
usage, 127 the package is missing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import adding

DONE = ("end_turn", "stop_sequence", "stop", "completed", "refusal")


class Answer:
    """The answer as it comes: whole lines are printed, and all of it is kept for the result."""

    def __init__(self) -> None:
        self.text, self._line = "", ""

    def add(self, piece: str) -> None:
        self.text += piece
        *whole, self._line = (self._line + piece).split("\n")
        for line in whole:
            emit(type="text", text=line)

    def end(self) -> None:
        if self._line:
            emit(type="text", text=self._line)
        self._line = ""


def emit(**event: Any) -> None:
    print(json.dumps(event, ensure_ascii=False), flush=True)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser(prog="sdk")
    parser.add_argument("provider", choices=("anthropic", "openai"))
    parser.add_argument("--model")
    parser.add_argument("--max-tokens", type=int, default=8192)
    parser.add_argument("--version", action="store_true")
    given = parser.parse_args()
    try:
        package = importlib.import_module(given.provider)
    except ImportError:
        print(
            f"the package '{given.provider}' is not installed: {adding('sdk')}",
            file=sys.stderr,
        )
        return 127
    if given.version:
        print(package.__version__)
        return 0
    if not given.model:
        print(
            "no model is named: model: in the task, the agent or the tool's spec", file=sys.stderr
        )
        return 2
    emit(type="start", provider=given.provider, model=given.model)
    answer = Answer()
    try:
        ask = _anthropic if given.provider == "anthropic" else _openai
        identity, reason, usage = ask(
            package, given.model, given.max_tokens, sys.stdin.read(), answer
        )
    except package.APIStatusError as error:
        wait = error.response.headers.get("retry-after", "")
        emit(
            type="error",
            status=error.status_code,
            message=f"{error.status_code} {_message(error)}"
            + (f"; retry after {wait} s" if wait else ""),
        )
        return 1
    except package.APIError as error:  # no connection, or the stream broke off
        emit(type="error", status=None, message=f"connection error: {_message(error)}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    # whatever else the package raises (no key: OpenAIError there, TypeError here) is the attempt's
    # end
    except Exception as error:
        emit(type="error", status=None, message=_message(error))
        return 1
    finally:
        answer.end()
    if reason not in DONE:
        emit(
            type="error",
            status=None,
            message=(
                f"the answer is incomplete: {reason or 'the stream ended early'} (at most"
                f" {given.max_tokens} tokens)"
            ),
        )
    emit(type="result", text=answer.text, stop_reason=reason, usage=usage, id=identity)
    return 0 if reason in DONE else 1


def _message(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", "") or error).split())


def _anthropic(
    package: Any, model: str, most: int, prompt: str, answer: Answer
) -> tuple[str, str, Mapping[str, int]]:
    usage: dict[str, int] = {}
    with package.Anthropic().messages.stream(
        model=model, max_tokens=most, messages=[{"role": "user", "content": prompt}]
    ) as stream:
        for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                answer.add(event.delta.text)
            elif event.type in ("message_start", "message_delta"):
                said = event.message.usage if event.type == "message_start" else event.usage
                cached = said.cache_read_input_tokens or usage.get("cached", 0)
                fresh = (said.input_tokens or 0) + (said.cache_creation_input_tokens or 0)
                usage = {
                    "input": fresh + cached if fresh else usage.get("input", 0),
                    "cached": cached,
                    "output": said.output_tokens or 0,
                }
                emit(type="usage", id="message", usage=usage)
        message = stream.get_final_message()
    return message.id, message.stop_reason or "", usage


def _openai(
    package: Any, model: str, most: int, prompt: str, answer: Answer
) -> tuple[str, str, Mapping[str, int]]:
    identity, reason, usage = "", "", {}
    for event in package.OpenAI().responses.create(
        model=model, input=prompt, max_output_tokens=most, stream=True
    ):
        if event.type == "response.output_text.delta":
            answer.add(event.delta)
        elif event.type in ("response.completed", "response.incomplete", "response.failed"):
            response = event.response
            details = response.incomplete_details
            identity, reason = (
                response.id,
                (details.reason if details else None) or response.status or "",
            )
            if response.usage:
                usage = {
                    "input": response.usage.input_tokens,
                    "cached": getattr(response.usage.input_tokens_details, "cached_tokens", 0) or 0,
                    "output": response.usage.output_tokens,
                    "reasoning": (
                        getattr(response.usage.output_tokens_details, "reasoning_tokens", 0) or 0
                    ),
                }
            if response.error:
                emit(type="error", status=None, message=response.error.message)
    return identity, reason, usage


if __name__ == "__main__":
    sys.exit(main())

"""Hooks: commands of the person's own that are told of events.

An event is offered once it is on disk. Commands run beside the work, in threads, a few at a time,
each with a time limit; whatever becomes of one is told to the pane and concerns nobody else.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.settings import Configured
from orchestrator.files.text import one_line
from orchestrator.model.config import Hook
from orchestrator.patterns import regex
from orchestrator.store import owned
from orchestrator.tools import secrecy
from orchestrator.tools.invocation import secret_values

AT_ONCE = 2
KEPT = 1000  # events that may wait for a slow hook; of more, the newest are left out
_PLACEHOLDER = regex(r"\{(event|task_id|run_id|status|outcome|agent|tool|summary|cost_usd)\}")
_STOP = None


class Hooks:
    """Those that are configured at the moment; ``listener`` hears of those that fail, from threads
    of theirs."""

    def __init__(self, configured: Configured, root: str, listener: Listener) -> None:
        self._configured, self._root, self._listener = configured, root, listener
        self._queue: queue.Queue[tuple[Hook, Mapping[str, Any]] | None] = queue.Queue(KEPT)
        self._threads: list[threading.Thread] = []  # none before a hook is to run

    def offer(self, events: Iterable[Mapping[str, Any]]) -> None:
        """These events are on disk now."""
        hooks = self._configured.config.hooks
        for event in events if hooks else ():
            for hook in hooks:
                if hook.wants(event):
                    self._begin()
                    try:
                        self._queue.put_nowait((hook, event))
                    except queue.Full:
                        why = f"skipped {event['event']}: {KEPT} events are waiting for it"
                        self._complain(event, f"{hook.run[0]}: {why}")

    def _begin(self) -> None:
        while len(self._threads) < AT_ONCE:
            self._threads.append(threading.Thread(target=self._serve, name="hook", daemon=True))
            self._threads[-1].start()

    def close(self, patience: float = 3.0) -> None:
        """Tell what is left; hooks that take longer than this go on alone."""
        end = time.monotonic() + patience
        for _ in self._threads:
            try:
                self._queue.put(_STOP, timeout=max(0.0, end - time.monotonic()))
            except queue.Full:
                return
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _serve(self) -> None:
        while (item := self._queue.get()) is not _STOP:
            hook, event = item
            why = self._run(hook, event)
            if why:
                self._complain(event, f"{' '.join(hook.run)[:60]}: {why}")

    def _complain(self, event: Mapping[str, Any], words: str) -> None:
        self._listener.hear(Remark(About.HOOK, str(event.get("task_id") or ""), words))

    def _run(self, hook: Hook, event: Mapping[str, Any]) -> str:
        """Run it; why that failed, empty if it did not."""
        argv = [
            _PLACEHOLDER.sub(lambda found: _safe(event.get(found[1])), word) for word in hook.run
        ]
        try:
            # Files, not pipes: a hook that reads nothing, or leaves a process with its output open,
            # must not hold anything up.
            with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as errors:
                given.write(
                    json.dumps({**event, "project": self._root}, ensure_ascii=False).encode(
                        "utf-8", "replace"
                    )
                    + b"\n"
                )
                given.seek(0)
                told = {
                    "ORCHESTRATOR_EVENT": str(event["event"]),
                    "ORCHESTRATOR_ROOT": self._root,
                }
                process = owned.begin(
                    partial(
                        subprocess.Popen,
                        argv,
                        stdin=given,
                        stdout=subprocess.DEVNULL,
                        stderr=errors,
                        cwd=self._root,
                        start_new_session=True,
                        env={**os.environ, **told},
                    )
                )
                try:
                    code = process.wait(hook.timeout)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return f"took longer than {hook.timeout:g} s and was ended"
                if code:
                    errors.seek(0)
                    hidden = secret_values(os.environ, self._configured.config.redact)
                    said = secrecy.last_line(errors.read(secrecy.MOST_SAID), hidden)
                    return f"exit {code}" + (f": {said}" if said else "")
        except (OSError, ValueError) as error:
            return f"could not be started: {getattr(error, 'strerror', None) or error}"
        return ""


def _safe(value: object) -> str:
    """A value of an event as a word of a command: one line, and never an option."""
    text = one_line(str(value if value is not None else ""), 500)
    return f" {text}" if text.startswith("-") else text

"""What signals ask of the watcher: nothing new, an interruption, to leave, to read the settings
again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping

from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import Draining, Interrupting, Listener, Resumed, Suspended
from orchestrator.store.transitions import Store


class Signals:
    """Receives them and wakes the loop, which acts.

    ``draining``: nothing new starts. ``interrupted``: what ran has been asked to stop. ``leave``:
    the watcher goes at once; supervisors and agents go on.
    """

    def __init__(
        self,
        store: Store,
        running: Mapping[str, Life],
        health: Health,
        listener: Listener,
        hints: Hints,
    ) -> None:
        self.store, self.running, self.health = store, running, health
        self.listener, self.hints = listener, hints
        self.draining = False
        self.interrupted = False
        self.leave = False
        self._news = False
        self._reload = False

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """From here on they come to this loop."""
        # A broken read lease must not end us (files.requests).
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.received, number)
        loop.add_signal_handler(signal.SIGUSR1, self._reload_wanted)
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        loop.add_signal_handler(signal.SIGCONT, self._continued)

    def received(self, number: int) -> None:
        """Ctrl-C once: drain. Twice: interrupt. Three times, TERM, HUP: leave, whatever is waited
        for."""
        if number != signal.SIGINT or self.interrupted:
            self.leave = True
        elif self.draining:
            self._interrupt()
        else:
            self._drain()
        self._news = True
        self.hints.stir()

    def news(self) -> bool:
        """Whether one has come since this was asked last."""
        had, self._news = self._news, False
        return had

    def reload(self) -> bool:
        """Whether the settings are to be read again, since this was asked last."""
        had, self._reload = self._reload, False
        return had

    def _drain(self) -> None:
        self.draining = True
        busy = sum(life.retry_at is None for life in self.running.values())
        self.listener.hear(Draining(busy, self.health.fault))

    def _interrupt(self) -> None:
        self.interrupted = True
        self.listener.hear(Interrupting(len(self.running)))
        for life in list(self.running.values()):
            if life.handle is not None:
                self.store.request_cancel(life.id, "the watcher was interrupted", requeue=True)
                life.handle.cancel()

    def _reload_wanted(self) -> None:
        """`orchestrator approve --settings`: only who may send us signals may say so, which a task
        with less than a shell may not."""
        self._reload = True
        self.hints.stir()

    def _suspend(self) -> None:
        """Ctrl-Z: stop only after the terminal has been given back."""
        self.listener.hear(Suspended())
        os.kill(os.getpid(), signal.SIGSTOP)

    def _continued(self) -> None:
        """It was stopped: hints may be old, and others have written to the terminal."""
        self.hints.overflow()
        self.listener.hear(Resumed())

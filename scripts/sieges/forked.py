"""The program in a process that is forked from this one: it begins within milliseconds, since everything is imported already."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.cli import main as program
from orchestrator.cli.app import VERBS, module_of

for verb in VERBS:
    __import__(module_of(verb))

PATIENCE = 90.0  # seconds until one that does not end counts as hanging


class Forked:
    """``orchestrator WORDS`` in ``root``; ``before`` is called in the new process before the program begins."""

    def __init__(
        self,
        root: Path,
        words: tuple[str, ...],
        env: Mapping[str, str],
        log: Path,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        sys.stdout.flush()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._become(root, words, env, log, before)

    def _become(self, root: Path, words: tuple[str, ...], env: Mapping[str, str], log: Path, before: Callable[[], None]) -> None:  # fmt: skip
        code = 70
        try:
            os.setsid()
            os.chdir(root)
            os.environ.clear()
            os.environ.update(env)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.argv = ["orchestrator", *words]
            before()
            program.main(list(words))
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, patience: float = PATIENCE) -> int | None:
        """How it ended; None, and it is killed, if it does not."""
        until = time.monotonic() + patience
        while self.poll() is None:
            if time.monotonic() > until:
                self.send_signal(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.returncode = -signal.SIGKILL
                return None
            time.sleep(0.003)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

"""The pane under a person's hands: keys become verbs of the command line, each run as a process of
its own.

The loop is never asked and never waits: a verb changes files, and the loop notices. What opens a
verb for reading is a split of tmux, or the terminal itself, which is then lent to it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Sequence

from orchestrator.cli.program import itself
from orchestrator.cli.screen.footer import View, targets
from orchestrator.cli.screen.hand import DRAIN, Act, Hand, Key, passed, press
from orchestrator.cli.screen.keyboard import Keyboard
from orchestrator.cli.screen.printer import Printer
from orchestrator.cli.screen.windows import in_tmux, open_pane
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.records import replace

JOB_CONTROL = (signal.SIGTTIN, signal.SIGTTOU)
LINES, LONGEST = 6, 400  # of what a verb says, and characters of each
SLOW = 120.0  # seconds that a verb may take
# Run a verb, and wait for a key.  Of a text that is longer than its pane of tmux the beginning is
# shown: copy mode scrolls, and q leaves it.
WAIT = """
"$@"
echo
if [ "$SPLIT" ] && [ "$(tmux display-message -p -t "$TMUX_PANE" "#{history_size}")" -gt 0 ]; then
    printf "[q, then any key, goes back] "
    tmux copy-mode -t "$TMUX_PANE"; tmux send-keys -t "$TMUX_PANE" -X history-top
else
    printf "[any key goes back] "
fi
was=$(stty -g) && stty -icanon -echo min 1 time 0 && dd bs=16 count=1 >/dev/null 2>&1; stty "$was"
"""
READ = ["/bin/sh", "-c", WAIT, "sh"]


class Steering:
    """Keys for a pane. ``view`` is what is on the screen; ``say(ok, text)`` leaves lines; ``how``
    is ``pane.open``."""

    def __init__(
        self,
        layout: Layout,
        printer: Printer,
        fd: int,
        view: Callable[[], View],
        say: Callable[[bool, str], None],
        how: Callable[[], str],
    ) -> None:
        self.layout, self.printer, self.fd = layout, printer, fd
        self.view, self.say, self.how = view, say, how
        self.hand = Hand()
        self._keyboard: Keyboard | None = None

    def start(self) -> None:
        self._keyboard = Keyboard(self.fd, self.typed, self.tick)

    def close(self) -> None:
        if self._keyboard is not None:
            self._keyboard.close()

    def typed(self, keys: Sequence[Key]) -> None:
        """Keys, in order. What was typed ahead of a question is dropped: an answer is typed by one
        who has read it."""
        for key in keys:
            asked = self.hand.mode == "ask"
            view = self.view()
            hand = replace(self.hand, all_held=view.all_held)
            self.hand, acts = press(hand, key, targets(view, hand), _now())
            self.printer.poke()
            for act in acts:
                self._do(act)
            if self.hand.mode == "ask" and not asked:
                self.printer.shown()
                self._drop_typed()
                return

    def tick(self) -> None:
        """Time has passed."""
        before = self.hand
        self.hand = passed(before, targets(self.view()), _now())
        if self.hand is not before:
            self.printer.poke()

    def _drop_typed(self) -> None:
        try:
            termios.tcflush(self.fd, termios.TCIFLUSH)
        except termios.error:
            pass
        self.hand = replace(self.hand, since=_now())

    def _do(self, act: Act) -> None:
        if act == DRAIN:
            os.kill(os.getpid(), signal.SIGINT)  # the same as Ctrl-C
            return
        if not act.opens:
            threading.Thread(target=self._quietly, args=(act,), daemon=True).start()
            return
        words = self._words(act)
        words = words if act.edits else [*READ, *words]
        how = self.how()
        split = words if act.edits or how == "popup" else ["env", "SPLIT=1", *words]
        if how == "here" or not in_tmux() or not open_pane(split, self.layout.root, how == "popup"):
            self._here(words)

    def _words(self, act: Act) -> list[str]:
        color = () if act.edits else ("--color", "always")
        return itself(self.layout.root, *color, *act.words)

    def _quietly(self, act: Act) -> None:
        """Run a verb without a terminal, and leave a line of what it says."""
        words = itself(self.layout.root, *act.words)
        given = act.stdin.encode() if act.stdin is not None else b""
        try:
            done = subprocess.run(
                words,
                input=given,
                capture_output=True,
                timeout=SLOW,
                start_new_session=True,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self.say(False, f"{' '.join(act.words[:2])}: {one_line(str(error), 160)}")
            return
        told = done.stdout if not done.returncode else done.stderr
        lines = told.decode("utf-8", "replace").replace("\t", " ").splitlines()
        text = "\n".join(one_line(line, LONGEST) for line in lines[:LINES] if line.strip())
        self.say(not done.returncode, text or " ".join(act.words[:2]))

    def _here(self, words: list[str]) -> None:
        """Lend the terminal to a program in a process group of its own: its Ctrl-C is not ours."""
        self.printer.lend()
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, JOB_CONTROL)  # it would inherit that
            try:
                process = subprocess.Popen(words, process_group=0)
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, JOB_CONTROL)
            self._foreground(process.pid)
            while True:
                _, status = os.waitpid(process.pid, os.WUNTRACED)
                if not os.WIFSTOPPED(status):
                    break
                # It read before the terminal was its own, or somebody pressed Ctrl-Z: it goes on.
                self._foreground(process.pid)
                os.killpg(process.pid, signal.SIGCONT)
            process.returncode = os.waitstatus_to_exitcode(status)
        except OSError as error:
            self.say(False, one_line(str(error), 160))
        finally:
            self._foreground(os.getpgrp())
            self.printer.redraw_after_loan()

    def _foreground(self, group: int) -> None:
        try:
            os.tcsetpgrp(self.fd, group)
        except OSError:
            pass


def _now() -> float:
    return time.monotonic()

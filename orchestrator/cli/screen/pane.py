"""What ``watch`` prints: one line for everything that happened.

On a terminal the lines scroll into its history, above a footer that tells what runs now; in a pipe
they carry full times and ``key=value`` pairs. What the lines say is in `cli.screen.newslines`, what
the footer shows in `cli.screen.viewing`.
"""

from __future__ import annotations

import threading
import time

from orchestrator import __version__
from orchestrator.cli.screen import keyboard, newslines
from orchestrator.cli.screen.console import Console
from orchestrator.cli.screen.footer import View, badge, footer, steady
from orchestrator.cli.screen.hand import STILL, Hand
from orchestrator.cli.screen.lines import INSET, Line, rows
from orchestrator.cli.screen.panefiles import PaneFiles
from orchestrator.cli.screen.printer import REPAINT, Footer, Printer
from orchestrator.cli.screen.steering import Steering
from orchestrator.cli.screen.viewing import Viewing
from orchestrator.cli.screen.windows import in_tmux, open_window
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import Begun, News, Resumed, Started, Stuck, Suspended
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.watch import Watcher
from orchestrator.files.layout import Layout
from orchestrator.files.text import hang
from orchestrator.model.units import plural
from orchestrator.patterns import regex
from orchestrator.tools.routing import agents_at_hand

KIND = regex(r"(?:error|hint|note|warning): +")  # how a verb begins a line for people
BELLS = ("failed", "review", "problem")  # a failure, or a question
QUIET = (
    "failed",
    "invalid",
    "review",
    "problem",
    "fault",
    "internal",
    "restored",
    "ignored",
    "warned",
    "foreign",
    "draining",
    "held",
    "budget",
    "hook",
)


class Pane:
    """Prints what the watcher tells, above a footer. What the footer shows is looked at in a thread
    of its own, for it reads logs: neither the loop nor a typed key waits for a disk. The printer's
    thread draws what was seen last."""

    def __init__(
        self, console: Console, layout: Layout, settings: Settings, quiet: bool = False
    ) -> None:
        self.console, self.layout, self.settings, self.quiet = console, layout, settings, quiet
        self._watcher: Watcher | None = None
        self._viewing: Viewing | None = None
        # By id: what was said that it waits for, and nothing since.
        self._waits: dict[str, str] = {}
        self._files = PaneFiles(layout)
        self._view_at, self._last_view = -1.0, View()
        self._view_wanted, self._closing = threading.Event(), False
        self._stopped = False  # by Ctrl-Z
        self._began_watching = False
        self._steering: Steering | None = None
        steers = console.steers and not quiet
        keys = keyboard.of_terminal(console.stream.fileno()) if steers else None
        keys = keys if settings.config.pane.keys else None
        self._printer = Printer(
            console.stream, self._footer if steers else None, keys=keys is not None
        )
        if steers:
            self._files.start()
            threading.Thread(target=self._keep_viewing, name="view", daemon=True).start()
        if keys is not None:
            self._steering = Steering(
                layout,
                self._printer,
                keys,
                lambda: self._last_view,
                self._acted,
                lambda: settings.config.pane.open,
            )

    def attach(self, watcher: Watcher) -> None:
        """Say what is about to be watched."""
        self._watcher = watcher
        self._viewing = Viewing(self.console, self.layout, self.settings, self._files, watcher)
        agents = " ".join(agents_at_hand(self.settings.config, self.settings.toolbox.tools))
        if not self.quiet:
            slots = self.settings.config.limits.running
            self._prose(f"orchestrator {__version__} · work/ · {plural(slots, 'slot')} · {agents}")

    def goodbye(self) -> None:
        """The last line."""
        if self._watcher is not None and not self.quiet:
            self._prose(f"stopped: {self._watcher.summary()}")

    def close(self) -> None:
        """Print what is left."""
        self._files.close()
        self._closing = True
        self._view_wanted.set()
        if self._steering is not None:
            self._steering.close()
        self._printer.close()

    # -- what happened
    # ----------------------------------------------------------------------------------------------

    def hear(self, news: News) -> None:
        """One thing that happened."""
        self._act(news)
        if not self._said_before(news):
            said = newslines.said(news, self.layout, self.console)
            if isinstance(said, Line):
                self._line(said)
            elif said is not None:
                self._prose(said)
        self._files.look_soon()

    def _act(self, news: News) -> None:
        """What the screen does about it, beside printing a line."""
        if isinstance(news, Begun):
            self._begun()
        elif isinstance(news, Suspended):
            self._stopped = True
            self._printer.lend()
        elif isinstance(news, Resumed):
            self._resumed()
        elif isinstance(news, Started):
            self._open_window(news.life)

    def _begun(self) -> None:
        """From here on a signal is understood, so from here on keys count."""
        self._began_watching = True
        if self._steering is not None:
            self._steering.start()

    def _resumed(self) -> None:
        if self._stopped:
            self._stopped = False
            self._printer.redraw_after_loan()
        else:
            self._printer.redraw()

    def _open_window(self, life: Life) -> None:
        """A terminal of its own for an interactive task, if the settings ask for one."""
        if life.route.mode == "interactive" and self.settings.config.pane.windows and in_tmux():
            open_window(self.layout, life.id)

    def _said_before(self, news: News) -> bool:
        """Whether it waits for what was said last, and nothing has happened since."""
        if not isinstance(news, Stuck):
            self._waits.clear()
            return False
        why = newslines.waits_for(news.gates)
        before, self._waits[news.id] = self._waits.get(news.id), why
        return before == why

    # -- lines
    # ----------------------------------------------------------------------------------------------

    def _line(self, line: Line) -> None:
        if self.quiet and line.status not in QUIET and line.name not in QUIET:
            return
        first, *further = rows(line, self.console, time.time())
        rings = line.status in BELLS and self.settings.config.pane.bell and self.console.tty
        self._printer.line(first, rings)
        for row in further:
            self._printer.line(row)

    def _acted(self, ok: bool, text: str) -> None:
        """What came of a key. A refusal is told in whole, with its hint: it says what to do now."""
        sign = self.console.sign("ok" if ok else "problem")
        moment = time.strftime("%H:%M:%S", time.localtime())
        word = self.console.paint(f"{'you':<9}", "cyan")
        head = f"{moment} {sign} {word} "
        for line in text.splitlines():
            kind = KIND.match(line)
            first = head + (kind[0] if kind and not ok else "")
            for row in hang(
                first, line[kind.end() :] if kind and not ok else line, self.console.width
            ):
                self._printer.line(row)
            head = " " * INSET
        self._files.look_soon()
        self._printer.poke()

    def _prose(self, text: str) -> None:
        """A sentence, broken between words."""
        for row in hang("", text, self.console.width):
            self._printer.line(row)

    # -- the footer: drawn in the printer's thread, looked at in another
    # ----------------------------------------------------------------------------------------------

    def _footer(self, columns: int, rows: int) -> Footer:
        if self._watcher is None or not self._began_watching:
            return Footer()
        if time.monotonic() - self._view_at >= REPAINT * 0.8:
            self._view_wanted.set()
        if self._view_at < 0:
            return Footer()
        view = self._last_view
        return Footer(
            footer(view, self.console, columns, rows, self._hand),
            badge(view, self.console) if self.settings.config.pane.title else "",
        )

    def _keep_viewing(self) -> None:
        """Look anew whenever the printer wants it, and have it drawn: a key is shown with what is
        known already."""
        while self._view_wanted.wait() and not self._closing:
            self._view_wanted.clear()
            assert self._viewing is not None
            now = time.monotonic()
            try:
                view = self._viewing.look()
            except Exception:  # a file that vanished, a bug: what was seen last stays on the screen
                continue
            hand = self._hand
            if hand is not None and now - hand.last < STILL:
                view = steady(self._last_view, view)
            self._view_at, self._last_view = now, view
            self._printer.poke()

    @property
    def _hand(self) -> Hand | None:
        """What the person at the keys has selected, if there are keys."""
        return self._steering.hand if self._steering is not None else None

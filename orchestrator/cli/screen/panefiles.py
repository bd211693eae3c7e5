"""What the files say, for the pane: looked at in a thread of its own, never by the loop and never
while a key is drawn."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import islice

from orchestrator.cli.screen.footer import Row
from orchestrator.files import eventreader, scan
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.status import ASIDE, COUNTED, Status
from orchestrator.queries import tasks
from orchestrator.queries.needs import Need, needs_you
from orchestrator.records import dataclass

SOON, SELDOM = 0.3, 5.0  # seconds between looks: when something has happened, when nothing has
SHARE = 10  # a look may take a tenth of a processor at most, however long it waits for one
ENDED = 30  # tasks that ended last
EVENTS = 400  # that are looked at for them
OTHERS = tuple(  # the watcher itself knows how many wait and run
    status for status in COUNTED if status not in (Status.INBOX, Status.RUNNING)
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One look.  ``counts`` are files in folders."""

    needs: Sequence[Need] = ()
    counts: Sequence[tuple[str, int]] = ()
    held: Sequence[Row] = ()
    ended: Sequence[Row] = ()


def look(layout: Layout, now: float) -> Seen:
    """What the files say now."""
    counts = scan.counts(layout, OTHERS)
    held = [
        Row(task_id, status.word, status.word)
        for status in ASIDE
        for task_id, _ in scan.sorted_names(layout.folder(status))
    ]
    return Seen(
        needs_you(layout, now),
        [(status.word, counts[status]) for status in OTHERS],
        held,
        _ended(layout),
    )


def _ended(layout: Layout) -> list[Row]:
    """The tasks that ended last."""
    ends = islice(tasks.ended_last(layout, eventreader.ends(layout, EVENTS)), ENDED)
    return [
        Row(
            str(event["task_id"]),
            place[0].word,
            place[0].word,
            one_line(str(event.get("summary") or ""), 200),
        )
        for event, place in ends
    ]


class PaneFiles:
    """Looks again and again until `close`. ``seen`` is the last look; ``changed`` is called after
    one that differs."""

    def __init__(self, layout: Layout) -> None:
        self.seen = Seen()
        self._layout = layout
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="panefiles", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look_soon(self) -> None:
        """Something has happened."""
        self._wake.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()

    def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            began = time.thread_time()
            try:
                self.seen = look(self._layout, time.time())
            except Exception:  # a file that vanished: the last look stays
                pass
            time.sleep(max(SOON, SHARE * (time.thread_time() - began)))
            self._wake.wait(SELDOM)

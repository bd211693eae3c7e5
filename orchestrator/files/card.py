"""The watcher's card: what it says of itself, and whether that very process still lives."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.files.lockstate import locked
from orchestrator.model import admission
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    from orchestrator.model.admission import InForce

# A file system that copies on write may refuse to change the card, too: then only its mode says so.
UNWRITTEN = "the disk takes nothing, not even the watcher's card"
STALE = 30.0  # seconds without a heartbeat after which a watcher does not answer


@dataclass(frozen=True, slots=True)
class Card:
    """``beat`` is the age of the heartbeat in seconds; ``alive`` is what the kernel says, not the
    heartbeat: the process, or the lock where another container's process cannot be seen."""

    pid: int
    host: str
    started_at: str
    version: str
    slots: int
    fault: str
    draining: bool
    notifications: str
    beat: float
    alive: bool
    cost_usd: float = 0.0  # what today has cost
    tokens: int = 0
    settings_read: str = ""  # when they were last read
    # what is wrong with orchestrator.yaml or a tool's file and what follows, or what is held
    settings: str = ""
    settings_held: bool = False

    @property
    def answers(self) -> bool:
        """Whether it lives and has lately given a sign of life."""
        return self.alive and self.beat <= STALE

    in_force: InForce | None = None  # None: an older watcher, which does not say
    settings_wait: bool = False  # nothing starts because of what `settings` says
    trust: str = ""  # the folder where it keeps what it trusts
    held: Mapping[str, str] = field(default_factory=dict)  # what may not start, and why
    here: bool = True  # whether its pid means it here, too: else it lives in another container


def read(layout: Layout, now: float) -> Card | None:
    """The card of the last watcher; None if there is none (it ended in good order, or never
    was)."""
    try:
        with opening.open_file(layout.watcher_card) as file:
            data = jsonlines.loads(file.read(opening.MOST))
            info = os.fstat(file.fileno())
        beat = now - info.st_mtime
        unwritten = "" if info.st_mode & stat.S_IWUSR else UNWRITTEN
        here = process_lives(data["pid"], data["pid_start"], data["boot"])
        return Card(
            data["pid"],
            data["host"],
            data["started_at"],
            data["version"],
            data["slots"],
            data["fault"] or unwritten,
            data["draining"],
            data["notifications"],
            max(0.0, beat),
            here or locked(layout.watcher_lock),
            *_today(data.get("today"), now),
            str(data.get("settings_read", "")),
            str(data.get("settings", "")),
            bool(data.get("settings_held")),
            admission.in_force_from(data["in_force"]) if "in_force" in data else None,
            bool(data.get("settings_wait")),
            str(data.get("trust", "")),
            dict(data.get("held", {})),
            here,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _today(data: object, now: float) -> tuple[float, int]:
    """Dollars and tokens, if the card speaks of this day (of UTC)."""
    if not isinstance(data, dict) or data.get("day") != time.strftime("%Y-%m-%d", time.gmtime(now)):
        return 0.0, 0
    return float(data.get("cost_usd", 0.0)), int(data.get("tokens", 0))


def process_lives(pid: int, started: int, boot: str) -> bool:
    """Whether exactly this process exists and has not ended.

    A pid is used again after a while; with its start time and the boot it names one process for
    ever.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            if file.read().strip() != boot:
                return False
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            return int(fields[19]) == started and fields[0] not in (b"Z", b"X")
    except (OSError, IndexError, ValueError):
        return False

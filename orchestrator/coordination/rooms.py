"""The rooms of a watcher, each built on those above it. What happens in them is the loop's business
(`coordination.watch`)."""

from __future__ import annotations

import collections

from orchestrator.clock import Clock
from orchestrator.coordination.aftermath import Aftermath
from orchestrator.coordination.alone import Alone
from orchestrator.coordination.asking import Asking
from orchestrator.coordination.background import Background
from orchestrator.coordination.byhand import ByHand
from orchestrator.coordination.calm import Calm
from orchestrator.coordination.cancels import Cancels
from orchestrator.coordination.card import OwnCard
from orchestrator.coordination.changes import Changes
from orchestrator.coordination.claiming import Claiming
from orchestrator.coordination.costs import Costs
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.holdnews import HoldNews
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.intake import Intake
from orchestrator.coordination.leaving import Leaving
from orchestrator.coordination.lending import Lending
from orchestrator.coordination.life import Life
from orchestrator.coordination.lifecycle import Lives
from orchestrator.coordination.lingering import Lingering
from orchestrator.coordination.liveworld import LiveWorld
from orchestrator.coordination.news import Listener
from orchestrator.coordination.notes import Notes
from orchestrator.coordination.repairs import Repairs
from orchestrator.coordination.rereading import Rereading
from orchestrator.coordination.reviewmoves import ReviewMoves
from orchestrator.coordination.reviews import Reviews
from orchestrator.coordination.runends import RunEnds
from orchestrator.coordination.runningtasks import RunningTasks
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.signals import Signals
from orchestrator.coordination.slots import Slots
from orchestrator.coordination.spending import Spending, Today
from orchestrator.coordination.starts import Starts
from orchestrator.coordination.stateguard import StateGuard
from orchestrator.coordination.takeover import Takeover
from orchestrator.coordination.timetable import Timetable
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.distributors.registry import Distributors
from orchestrator.files.layout import Layout
from orchestrator.store.locks import WatcherLock
from orchestrator.store.transitions import Store


class Rooms:
    """Built once for each watcher. ``running`` are the claimed tasks by id, ``tally`` counts how
    tasks have ended here, but for those in review."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        distributors: Distributors,
        store: Store,
        listener: Listener,
        clock: Clock,
    ) -> None:
        self.layout, self.settings, self.store, self.clock = layout, settings, store, clock
        self.distributors = distributors
        self.lock = WatcherLock(layout)
        self.running: dict[str, Life] = {}
        self.tally: collections.Counter[str] = collections.Counter()

        # what is heard, and what is told
        self.calm = self.listener = Calm(listener, clock)
        self.hints = Hints()
        self.health = Health(self.listener, self.hints, clock)
        self.signals = Signals(store, self.running, self.health, self.listener, self.hints)
        self.notes = Notes(store.log, clock)
        self.background = Background()

        # what may keep tasks from starting
        self.state = StateGuard(layout)
        self.changes = Changes(layout, settings, self.running)
        self.holds = Holds(layout, store, clock)
        self.groups = Groups(layout)
        self.slots = Slots()
        self.alone = Alone()
        self.today = Today(layout, clock)
        self.spending = Spending(layout, settings.config.budgets, self.groups, clock)
        self._build_what_waits()
        self._build_what_ends()
        self._build_what_is_claimed()
        self._build_what_acts()

    def _build_what_waits(self) -> None:
        """What waits, and what counts at this moment."""
        self.waitlist = Waitlist(
            self.layout,
            self.settings,
            self.store,
            Intake(self.layout, self.settings, self.clock),
            self.health,
            self.groups,
            self.running,
            self.listener,
            self.hints,
            self.clock,
        )
        self.timetable = Timetable(self.layout, self.store, self.clock)
        self.liveworld = LiveWorld(
            self.layout,
            self.settings,
            self.groups,
            self.waitlist,
            self.running,
            self.spending,
            self.alone,
            self.holds,
            self.slots.use,
            self.health,
            self.signals,
            self.clock,
        )
        self.card = OwnCard(
            self.settings,
            self.store,
            self.today,
            self.alone,
            self.health,
            self.signals,
            self.holds,
            self.hints,
            self.changes,
            self.state,
            self.clock,
        )
        self.holdnews = HoldNews(self.holds, self.alone, self.card, self.health, self.listener)
        self.rereading = Rereading(
            self.settings,
            self.changes,
            self.card,
            self.notes,
            self.spending,
            self.waitlist,
            self.distributors,
            self.listener,
            self.clock,
        )

    def _build_what_ends(self) -> None:
        """What has ended, and what follows from that."""
        self.reviewmoves = ReviewMoves(self.layout, self.store, self.listener)
        self.reviews = Reviews(
            self.settings,
            self.store,
            self.groups,
            self.waitlist,
            self.listener,
            self.tally,
            self.running,
            self.hints,
        )
        self.runends = RunEnds(self.groups, self.waitlist, self.notes, self.listener)
        self.aftermath = Aftermath(
            self.layout,
            self.waitlist,
            self.runends,
            self.reviews,
            self.reviewmoves,
            self.health,
            self.tally,
        )

    def _build_what_is_claimed(self) -> None:
        """What is claimed, and what it costs."""
        self.lives = Lives(
            self.layout,
            self.settings,
            self.store,
            self.distributors,
            self.health,
            self.listener,
            self.hints,
            self.holds,
        )
        self.takeover = Takeover(
            self.store, self.lives.resuming, self.running, self.health, self.listener
        )
        self.claiming = Claiming(self.store, self.waitlist, self.liveworld)
        self.runningtasks = RunningTasks(
            self.running,
            self.store,
            self.lives,
            self.waitlist,
            self.slots,
            self.spending,
            self.changes,
            self.takeover,
            self.aftermath,
            self.health,
            self.background,
            self.listener,
            self.hints,
            self.clock,
        )
        self.cancels = Cancels(
            self.layout,
            self.store,
            self.running,
            self.waitlist,
            self.runningtasks,
            self.notes,
            self.listener,
        )
        self.byhand = ByHand(self.layout, self.store, self.waitlist, self.running, self.listener)
        self.asking = Asking(self.layout, self.store, self.listener, self.settings)
        self.lending = Lending(
            self.running, self.slots, self.asking, self.liveworld, self.signals, self.hints
        )
        self.lingering = Lingering()
        self.costs = Costs(
            self.settings,
            self.running,
            self.spending,
            self.today,
            self.alone,
            self.notes,
            self.listener,
        )

    def _build_what_acts(self) -> None:
        """What starts, what is mended, and when all is done."""
        self.starts = Starts(
            self.settings,
            self.running,
            self.waitlist,
            self.liveworld,
            self.holds,
            self.claiming,
            self.runningtasks,
            self.rereading,
            self.changes,
            self.health,
            self.state,
            self.signals,
            self.hints,
            self.clock,
        )
        self.repairs = Repairs(
            self.layout,
            self.store,
            self.lock,
            self.health,
            self.distributors,
            self.runningtasks,
            self.takeover,
            self.waitlist,
            self.card,
            self.notes,
            self.listener,
        )
        self.leaving = Leaving(
            self.running,
            self.waitlist,
            self.starts,
            self.asking,
            self.lives.replies,
            self.reviews,
            self.liveworld,
            self.health,
            self.signals,
            self.hints,
            self.clock,
        )

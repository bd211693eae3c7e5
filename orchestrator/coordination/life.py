"""One claimed task, as the watcher keeps it in memory from the claim to its last folder.

``Stage`` is what it does: a value of a class of its own for each, with exactly the fields that make
sense then. Who asks matches all of them, and the type checker finds a match that has forgotten one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any, assert_never

from orchestrator.distributors.base import ExecutionHandle
from orchestrator.model.gates import InUse, Lane
from orchestrator.model.isolation import Change, CheckResult
from orchestrator.model.status import Status
from orchestrator.model.task import Task
from orchestrator.records import dataclass
from orchestrator.store.trees import Tree
from orchestrator.tools.activity import Progress
from orchestrator.tools.routing import Route


@dataclass(frozen=True, slots=True)
class Moving:
    """It is claimed, and its file still lies in the inbox."""


@dataclass(frozen=True, slots=True)
class Starting:
    """An attempt of it is being made ready, or is about to be taken over."""


@dataclass(frozen=True, slots=True)
class Acting:
    """An attempt runs. ``progress`` is what its log tells, once its tool has started and if it
    tells anything."""

    handle: ExecutionHandle
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """Its attempt has ended, and what follows is not settled yet. ``progress`` tells its costs
    until they are counted."""

    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Checking:
    """Its attempt has ended, and the check ``name`` of its work runs."""

    handle: ExecutionHandle
    name: str


@dataclass(frozen=True, slots=True)
class Between:
    """It lies in running/ until its next attempt is due, at ``retry_at`` (monotonic)."""

    retry_at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """It lies in its last folder, or in the inbox again. ``led_to``: the tasks that may have been
    made of it."""

    status: Status
    led_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Departed:
    """Somebody else has brought it to its end."""


Stage = Moving | Starting | Acting | Ending | Checking | Between | Ended | Departed


class Slot(Enum):
    """Whether it has one of the slots. Lent: it asks a person; its slot is for others, its locks
    are not."""

    NONE = "none"
    TAKEN = "taken"
    LENT = "lent"


@dataclass(slots=True)
class Life:
    """A claimed task.  ``began`` (monotonic) is when its newest attempt did; 0 before the first."""

    id: str
    name: str
    task: Task
    route: Route
    lane: Lane
    chain: tuple[Route, ...] = ()  # all that could act; `route` is the one that does
    submitted: int = 0
    attempt: int = 0
    stage: Stage = field(default_factory=Starting)
    slot: Slot = Slot.NONE
    began: float = 0.0
    inode: int = 0
    born: int | None = None  # what `files.identity` says of that file
    cost: float = 0.0  # of its attempts that have ended
    tokens: int = 0  # the same
    secrets: tuple[str, ...] = ()  # what its texts must not have, if this watcher began it
    fetched: Mapping[str, str] = field(default_factory=dict)  # the role's own secrets, by name
    records: list[Mapping[str, Any]] = field(
        default_factory=list
    )  # to rebuild the ledger if git clean removed it
    tree: Tree | None = None  # its own, if it has one
    change: Change | None = None  # what its branch holds, as of its last attempt
    planning: bool = False  # its attempts are to plan only
    checks: tuple[CheckResult, ...] = ()  # of its last attempt
    gone_told: bool = False  # its file was removed, and that was told

    @property
    def moving(self) -> bool:
        """Whether its file has not left the inbox yet."""
        return isinstance(self.stage, Moving)

    @property
    def ours_to_move(self) -> bool:
        """Whether a move of its file is ours: it leaves the inbox, or its work is over."""
        return isinstance(self.stage, Moving | Ending | Ended | Departed)

    @property
    def retry_at(self) -> float | None:
        """When (monotonic) its next attempt is due, if it waits for one."""
        return self.stage.retry_at if isinstance(self.stage, Between) else None

    @property
    def handle(self) -> ExecutionHandle | None:
        """What runs for it: its attempt, or a check."""
        match self.stage:
            case Acting(handle=handle) | Checking(handle=handle):
                return handle
            case Moving() | Starting() | Ending() | Between() | Ended() | Departed():
                return None
            case _:
                assert_never(self.stage)

    @property
    def progress(self) -> Progress | None:
        """What its newest attempt does and costs, while that is told by its log alone."""
        match self.stage:
            case Acting(progress=progress) | Ending(progress=progress):
                return progress
            case Moving() | Starting() | Checking() | Between() | Ended() | Departed():
                return None
            case _:
                assert_never(self.stage)

    @property
    def ending(self) -> bool:
        """Whether its attempt has ended, and nobody knows yet what that means."""
        return isinstance(self.stage, Ending | Checking)

    @property
    def where(self) -> str:
        """Where its attempt is, for people; empty for this machine."""
        handle = self.handle  # once: the screen's thread asks, too
        return handle.where if handle is not None else ""

    @property
    def in_slot(self) -> bool:
        """Whether others have to do without its slot."""
        return self.slot is Slot.TAKEN

    @property
    def to_count(self) -> Lane:
        """What a slot for it is counted as: with its locks, unless it has kept them."""
        return self.lane.unlocked if self.slot is Slot.LENT else self.lane

    def takes_slot(self, use: InUse) -> None:
        """It begins, or goes on."""
        use.count(self.to_count)
        self.slot = Slot.TAKEN

    def lends_slot(self, use: InUse) -> None:
        """It asks a person; its work is half done, so it keeps its locks."""
        use.count(self.lane.unlocked, -1)
        self.slot = Slot.LENT

    def leaves_slot(self, use: InUse) -> bool:
        """Its attempt is over; whether it had something that is free now."""
        had, self.slot = self.slot, Slot.NONE
        match had:
            case Slot.TAKEN:
                use.count(self.lane, -1)
            case Slot.LENT:
                use.lock(self.lane, -1)
            case Slot.NONE:
                pass
            case _:
                assert_never(had)
        return had is not Slot.NONE

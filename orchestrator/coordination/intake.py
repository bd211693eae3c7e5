"""Looking at one file of the inbox and deciding what it is. Nothing a file contains may raise out
of here."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any, Protocol

from orchestrator.clock import SYSTEM, Clock
from orchestrator.coordination import blame
from orchestrator.files import editing, listing
from orchestrator.files.documents import Document, Problem, parse
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.files.requests import Content, Unreadable, read
from orchestrator.model import matrix
from orchestrator.model.config import Config
from orchestrator.model.run import Run, is_run
from orchestrator.model.task import Task
from orchestrator.records import dataclass
from orchestrator.tools import judging
from orchestrator.tools.routing import Route
from orchestrator.tools.specs import Toolbox

OPEN = 0.1  # seconds between looks at a file that an editor or another program has open
CHEAP = 32 << 10  # bytes of a file that is judged at once
FEW, LITTLE = 200, 256 << 10  # tasks of a run that is judged at once, and their characters

Signature = tuple[int, int, int]  # inode, mtime in ns, size: a file that has the same is the same


@dataclass(frozen=True, slots=True)
class Ignored:
    """Not a task: gone, or a draft."""


@dataclass(frozen=True, slots=True)
class Same:
    """What it was when it was last looked at."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """Look again in ``after`` seconds; ``why`` is empty while a file merely has to rest.

    ``right``: what has been saved is a valid task or run.
    """

    signature: Signature
    after: float
    why: str = ""
    right: bool = False


@dataclass(frozen=True, slots=True)
class Invalid:
    """Cannot be a task or run."""

    signature: Signature
    document: Document
    problems: tuple[Problem, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A file of the inbox that is one valid task: what it says, and what will act."""

    signature: Signature
    content: Content
    task: Task
    chain: tuple[Route, ...]  # what acts first, and what to fall back to
    warnings: tuple[Problem, ...] = ()

    @property
    def route(self) -> Route:
        """What acts first."""
        return self.chain[0]


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file of the inbox that is a valid run, not accepted yet."""

    signature: Signature
    content: Content
    run: Run


@dataclass(frozen=True, slots=True)
class Heavy:
    """Read, and too much to be judged while others wait: see `coordination.largefiles`."""

    signature: Signature
    content: Content


Judged = Invalid | TaskFile | RunFile
Look = Ignored | Same | NotYet | Heavy | Judged


class Rules(Protocol):
    """What a file is judged by."""

    @property
    def config(self) -> Config: ...

    @property
    def toolbox(self) -> Toolbox: ...

    @property
    def agents(self) -> Collection[str]: ...


def signature_of(info: os.stat_result) -> Signature:
    return (info.st_ino, info.st_mtime_ns, info.st_size)


def heavy(data: Any) -> bool:
    """Whether judging what a short file says may take longer than others should wait."""
    if not is_run(data):
        return False
    if any(listing.patterns(data)):
        return True  # git is asked which files there are
    tasks, characters = matrix.weight(data)
    return tasks > FEW or characters > LITTLE


def understand(
    layout: Layout, rules: Rules, name: str, content: Content, parsed: Document | None = None
) -> Judged:
    """What the content says, once it is read (and ``parsed``, by whoever has done so).

    Raises what the machine is to blame for, and nothing else.
    """
    signature = signature_of(content.stat)
    try:
        path = f"{layout.work}/inbox/{name}"
        config, toolbox = rules.config, rules.toolbox
        request = judging.judged(
            path, stem_of(name), content.raw, config, toolbox, rules.agents, layout.root, parsed
        )
    except Exception as error:  # a bug of ours; it concerns this file only
        if blame.machine(error):
            raise
        problem = Problem(
            1, 1, f"internal error: {type(error).__name__}", "please report this file"
        )
        return Invalid(signature, Document(""), (problem,), content.sha256)
    if request.errors:
        if request.absent:
            # What it names may be written yet, which leaves no trace here: every full listing looks
            # again.
            signature = (signature[0], -1, signature[2])
        return Invalid(signature, request.document, tuple(request.problems), content.sha256)
    if request.run is not None:
        return RunFile(signature, content, request.run)
    assert request.task is not None
    return TaskFile(
        signature,
        content,
        request.task,
        request.chain,
        tuple(request.warnings),
    )


def _parsed(name: str, content: Content) -> Document | None:
    """The document, unless the file is so large that others would wait for it."""
    if len(content.raw) > CHEAP:
        return None
    return parse(content.raw, markdown=name.endswith(".md"))


class Intake:
    """Looks at files in the inbox."""

    def __init__(self, layout: Layout, settings: Rules, clock: Clock = SYSTEM) -> None:
        self.layout, self.settings, self.clock = layout, settings, clock
        self._rested: dict[
            str, tuple[Signature, float]
        ] = {}  # first seen like this, and when (monotonic)
        self._open: dict[str, tuple[Signature, Config]] = {}  # right, and in an editor

    def look(
        self,
        name: str,
        renamed: bool = False,
        before: TaskFile | RunFile | None = None,
        listed: bool = False,
        light: bool = False,
        known: str = "",
        same: Signature | None = None,
    ) -> Look:
        """What ``inbox/<name>`` is.

        ``renamed``: it was put there complete, by a rename. ``listed``: no notification told of it,
        so that its time may tell how long it has rested. ``before``: what it was at an earlier
        look; if its bytes are still the same it is not parsed again. ``light``: what would take
        long comes back as `Heavy`, but for what has the sha256 ``known``: a task that was judged
        before and is right takes little time. ``same`` is what it looked like when what it says
        was last taken in: then it is not read.
        """
        stem = stem_of(name)
        if not stem or is_draft(name):
            return Ignored()
        path = f"{self.layout.work}/inbox/{name}"
        try:
            info = os.lstat(path)
        except OSError:
            self._rested.pop(name, None)
            return Ignored()
        signature = signature_of(info)
        if self._open.pop(name, None) == (signature, self.settings.config):
            held = editing.in_editor(path)
            if held:
                self._open[name] = (signature, self.settings.config)
                return NotYet(signature, OPEN, held, right=True)
        if signature == same and not editing.in_editor(path):
            return Same()
        if not renamed and (left := self._rest_left(name, signature, listed)) > 0:
            return NotYet(signature, left)
        self._rested.pop(name, None)
        try:
            content = read(path, leased=True)
        except Unreadable as error:
            return self._unreadable(signature, name, str(error))
        except FileNotFoundError:
            return Ignored()
        except OSError as error:
            if blame.machine(error):  # the file is not to blame
                raise
            return self._unreadable(signature, name, f"cannot be read: {error.strerror}")
        if content.being_written:
            return NotYet(signature, OPEN, editing.WRITTEN)
        if (
            before is not None
            and before.content.raw == content.raw
            and before.signature == signature_of(content.stat)
        ):
            return self.unless_open(name, before)
        parsed = _parsed(name, content) if light else None
        if light and content.sha256 != known and (parsed is None or heavy(parsed.data)):
            return Heavy(signature_of(content.stat), content)
        return self.unless_open(name, understand(self.layout, self.settings, name, content, parsed))

    def unless_open(self, name: str, look: Judged) -> Judged | NotYet:
        """What is right waits until the editor that holds it has closed it; what is wrong is said
        to be wrong."""
        held = editing.in_editor(f"{self.layout.work}/inbox/{name}")
        if not held or isinstance(look, Invalid):
            return look
        self._open[name] = (look.signature, self.settings.config)
        return NotYet(look.signature, OPEN, held, right=True)

    def _unreadable(self, signature: Signature, name: str, why: str) -> Invalid:
        hint = "remove it, or put a regular file in its place"
        if why.startswith("cannot be read"):
            hint = f"chmod u+r work/inbox/{name}"
        problem = Problem(1, 1, why, hint)
        # A change of its mode leaves no trace in the signature, so this one equals none: every full
        # listing looks again.
        return Invalid((signature[0], -1, signature[2]), Document(""), (problem,), f"{signature}")

    def _rest_left(self, name: str, signature: Signature, listed: bool) -> float:
        """Seconds that a file written in place must still lie unchanged before it is believed to be
        whole.

        Counted from when it was first seen like this, so that no clock jump shortens it. Only a
        file that was found in a listing (after a start, say) may have rested unseen, and then only
        its time can tell.
        """
        now, quiet = self.clock.monotonic(), self.settings.config.quiet
        if listed and self.clock.wall() - signature[1] / 1e9 >= quiet:
            return 0.0
        before = self._rested.get(name)
        if before is None or before[0] != signature:
            before = self._rested[name] = (signature, now)
        return before[1] + quiet - now

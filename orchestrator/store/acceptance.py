"""The settings that this machine has accepted: compared at every start and at every change.

A person's own edit counts without a word.  Three things need a yes, for none of them is known to be
a person's: what git brought, what changed while an attempt was alive, and what came with a copy of
the project.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from orchestrator.errors import OrchestratorError
from orchestrator.files import approval, git, journals, opening, rules, trust
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import WORK, Layout, is_draft, stem_of
from orchestrator.files.scan import names, settings_names
from orchestrator.files.text import lines_of, visible
from orchestrator.model.journal import Phase
from orchestrator.records import dataclass, field
from orchestrator.store import appending, atomic, provenance, trusting
from orchestrator.store.provenance import LINK, Snapshot

# The folders whose files are settings, and how such files end.
FOLDERS = {
    "tools": (".yaml", ".yml"),
    "agents": (".md",),
    "templates": (".yaml", ".yml", ".md"),
    "schedules": (".yaml", ".yml"),
}
CONFIG = "orchestrator.yaml"
MOST_EARLIER = 1000  # accepted versions of files that are remembered


def snapshot(layout: Layout) -> dict[str, bytes]:
    """What the settings files say now.  One that cannot be read is as good as empty: it is told of
    when it is used."""
    found = {}
    paths = [CONFIG]
    for folder, endings in FOLDERS.items():
        listed = settings_names(layout.folder(folder))
        paths += [
            f"{folder}/{name}" for name in listed if name.endswith(endings) and not is_draft(name)
        ]
    for path in [*paths, *_guides(layout)]:
        try:
            real = os.path.realpath(provenance.place_of(layout, path))
            found[path] = opening.read_bytes(real)
        except FileNotFoundError:
            if path.startswith(".."):  # named and not there: what comes there later is a change
                found[path] = b""
        except OSError:
            found[path] = b""
        if links := provenance.links_to(layout, path):
            found[path + LINK] = links
    return found


def _guides(layout: Layout) -> list[str]:
    """The files of instructions that roles name, as paths from work/; none if the configuration
    cannot be read."""
    try:
        agents = load_config(layout).agents.values()
    except OrchestratorError:
        return []
    named = {agent.instructions for agent in agents if not agent.profile} - {""}
    return sorted(f"../{path}" for path in named if not rules.outside(path))


def _shown(path: str) -> str:
    return os.path.normpath(f"{WORK}/{path.removesuffix(LINK)}")


def digest_of(files: Snapshot) -> str:
    """One sha256 for all of them, for ``watch --accept``."""
    lines = "".join(
        f"{path}\0{hashlib.sha256(files[path]).hexdigest()}\n" for path in sorted(files)
    )
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(slots=True)
class Acceptance:
    """What was accepted for one project.  Where nothing can be remembered it counts for this
    process only."""

    layout: Layout
    known: trust.Trust
    _memory: dict[str, object] | None = field(default=None)

    def review(self, trusting_attempts: bool = False) -> list[str]:
        """Why the settings as they are now need a person's yes; empty if they do not.

        ``trusting_attempts``: what attempts write counts, too (``watch: {reload: always}``).
        """
        if self.known.state == trust.COPIED:
            return [self.known.why]
        now, before = snapshot(self.layout), self._accepted()
        changed = _changed(before, now)
        if not changed:
            return []
        if self._remembered().get("held") and not trusting_attempts:
            return [f"{_shown(path)} changed while tasks ran, or later" for path in sorted(changed)]
        found = self._brought(changed, now, before)
        since = trust.read_json(f"{self.known.folder}/alive.json") if self.known.folder else {}
        touched = _touched(self.layout, changed, since) if since and not trusting_attempts else []
        return sorted(found + [f"{_shown(path)} changed while a task ran" for path in touched])

    def doubts(self, template: str) -> list[str]:
        """Why a template needs a person's yes before it is used by hand: git brought it."""
        now, before = snapshot(self.layout), self._accepted()
        changed = [
            path
            for path in _changed(before, now)
            if path.startswith("templates/")
            and stem_of(os.path.basename(path.removesuffix(LINK))) == template
        ]
        return self._brought(changed, now, before)

    def _brought(self, changed: list[str], now: Snapshot, before: Snapshot) -> list[str]:
        brought = provenance.brought(self.layout, changed, now, before, set(self._earlier()))
        if brought:
            brought = _without_known(self.layout, self.known, brought, now)
        if brought and now.get(CONFIG) == before.get(CONFIG):
            brought = _without_merged(self.layout, brought, now)
        return [f"{_shown(path)} {why}" for path, why in brought.items()]

    def equal(self) -> bool:
        """Whether the settings are those that were accepted."""
        return snapshot(self.layout) == self._accepted()

    def edited(self, files: Snapshot) -> list[str]:
        """The files of settings that say something else than was accepted, as a person knows them;
        none if nothing was accepted before."""
        before = self._accepted()
        return sorted(set(map(_shown, _changed(before, files)))) if before else []

    def accept(self, files: Snapshot) -> None:
        """These settings count from now on."""
        if self.known.state == trust.COPIED:
            self.known = trusting.accept_copy(self.layout)
        said = {path: _text(raw) for path, raw in files.items()}
        sums = [provenance.sum_of(path, raw) for path, raw in files.items()]
        with self._alone():
            earlier = list(dict.fromkeys([*self._earlier(), *sums]))[-MOST_EARLIER:]
            self._write({"files": said, "at": time.time(), "earlier": earlier})

    def hold(self) -> None:
        """What has changed is held, over crashes and restarts, until it is undone or accepted."""
        self._mark(True)

    def release(self) -> None:
        """It was undone."""
        self._mark(False)

    def _mark(self, held: bool) -> None:
        if bool(self._remembered().get("held")) == held:
            return
        with self._alone():
            found = self._remembered()
            if bool(found.get("held")) != held:
                self._write({**found, "held": held})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """What is remembered is read and written by one process at a time: a verb's yes must
        outlast a watcher's hold. Who keeps the lock, as an agent can, stops nobody: at worst a yes
        of that moment is asked for again."""
        if not self.known.folder or not self.known.believed:
            yield
            return
        try:
            fd = os.open(self.known.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # what is written there will say why
            yield
            return
        try:
            with suppress(OSError):
                appending.lock(fd, self.known.folder)
            yield
        finally:
            os.close(fd)

    def begin(self) -> None:
        """An attempt is about to start: what changes from now on may be its doing, also after a
        power cut."""
        path = f"{self.known.folder}/alive.json"
        if self.known.folder and not os.path.exists(path):
            self._try(path, {"since": time.time()})

    def end(self) -> None:
        """No attempt is alive, and the settings are as they were accepted, or held."""
        if self.known.folder:
            atomic.remove(f"{self.known.folder}/alive.json")

    def ended(self) -> None:
        """An attempt beside the watcher, if there is one, has ended: what it changed is held."""
        if not self.equal():
            self.hold()
        elif not any(True for _ in journals.active(self.layout)):
            self.end()

    def difference(self, now: Snapshot) -> list[str]:
        """What a yes to these files would change: lines of a diff that hide nothing from who judges
        by them."""
        before = self._accepted()
        lines: list[str] = []
        for path in sorted({**before, **now}):
            old, new = before.get(path, b""), now.get(path, b"")
            if old != new:
                shown = _shown(path)
                lines += difflib.unified_diff(
                    _lines(old), _lines(new), f"accepted {shown}", f"now {shown}", lineterm=""
                )
        return list(map(visible, lines))

    def _accepted(self) -> dict[str, bytes]:
        return _files(self._remembered())

    def _earlier(self) -> list[str]:
        """The sums of what was accepted here at any time, by path and text."""
        found = self._remembered().get("earlier")
        return [str(item) for item in found] if isinstance(found, list) else []

    def _remembered(self) -> dict[str, object]:
        if self._memory is not None and not self.known.believed:
            return self._memory
        if not self.known.believed:
            return {}
        return trust.read_json(f"{self.known.source}/settings.json")

    def _write(self, data: dict[str, object]) -> None:
        self._memory = data
        if self.known.folder and self.known.believed:
            self._try(f"{self.known.folder}/settings.json", data)

    def _try(self, path: str, data: object) -> None:
        try:
            trusting.write_json(path, data)
        except OSError as error:
            why = f"{error.filename or path}: {error.strerror}"
            self.known = trust.Trust("", trust.NOWHERE, self.known.instance, "", why)


def _changed(before: Snapshot, now: Snapshot) -> list[str]:
    """The paths whose files say something else.  A file of instructions counts from when a setting
    names it: that is looked at itself."""
    return [
        path
        for path in {**before, **now}
        if before.get(path) != now.get(path)
        and (not path.startswith("../") or {path.removesuffix(LINK)} <= before.keys() & now.keys())
    ]


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")  # every byte is kept


def _lines(raw: bytes) -> list[str]:
    return lines_of(raw.decode("utf-8", "surrogateescape"))


def _without_known(
    layout: Layout, known: trust.Trust, brought: dict[str, str], now: Snapshot
) -> dict[str, str]:
    """What git brought, but for files that say what was accepted at the same path in another
    worktree of this repository."""
    kept = [trust.read_json(f"{folder}/settings.json") for folder in _worktrees(layout, known)]
    beside = [_files(remembered) for remembered in kept]
    return {
        path: why
        for path, why in brought.items()
        if path not in now or not any(now[path] == files.get(path) for files in beside)
    }


def _without_merged(layout: Layout, brought: dict[str, str], now: Snapshot) -> dict[str, str]:
    """What git brought, but for templates that are as the trusted branch has them, by the
    configuration as it was accepted (``from_git: {trusted: origin/main}``)."""
    try:
        config = load_config(layout)
    except OrchestratorError:
        return brought

    places = {
        provenance.place_of(layout, path): path
        for path in brought
        if path.startswith("templates/") and not path.endswith(LINK)
    }
    said = {place: now.get(path) for place, path in places.items()}
    merged: set[str] = set()
    with suppress(git.Unclear):  # what it could not tell is asked
        merged.update(places[place] for place in approval.merged_templates(layout, config, said))
    return {path: why for path, why in brought.items() if path not in merged}


def _worktrees(layout: Layout, known: trust.Trust) -> list[str]:
    """Where what was accepted is kept for the other worktrees of the repository that this project
    lies in."""
    home = os.path.dirname(known.folder)
    try:
        repository = git.nearest(layout.work)
    except git.Unclear:
        return []
    if not home or repository is None:
        return []
    found = []
    for name in names(home):
        root = str(trust.read_json(f"{home}/{name}/place.json").get("root") or "")
        if not root or trust.unsafe(f"{home}/{name}") or root == os.path.realpath(layout.root):
            continue
        try:
            other = git.nearest(Layout(root).work)
        except git.Unclear:
            continue
        if other is not None and other.common == repository.common:
            found.append(f"{home}/{name}")
    return found


def _files(remembered: Mapping[str, object]) -> dict[str, bytes]:
    """What settings files said, by their paths, as it was taken down when they were accepted."""
    files = remembered.get("files")
    if not isinstance(files, dict):
        return {}
    return {path: str(text).encode("latin-1", "replace") for path, text in files.items()}


def _touched(layout: Layout, changed: list[str], alive: Mapping[str, object]) -> list[str]:
    """Which of these changed (by ctime, which no program can set) before the last attempt ended.

    They were as they were accepted when the first one began. When that was is no matter: the clock
    may have been set back since, and what has changed in the future says that it was.
    """
    until = _last_end(layout, float(str(alive.get("since") or 0)))
    if until is None:
        return changed
    moments = {path: _changed_at(layout, path) for path in changed}
    return [path for path in changed if not until + 1 < moments[path] <= time.time()]


def _changed_at(layout: Layout, path: str) -> float:
    """When a file, a link that leads to it, or what took it away, came; now if nobody knows."""
    full = provenance.place_of(layout, path)
    places = [full] if os.path.lexists(full) else [os.path.dirname(full)]
    places += [os.path.realpath(full)] if os.path.exists(full) else []
    places += [link for link, _ in provenance.links(full)]
    try:
        return max(os.lstat(place).st_ctime for place in places)
    except OSError:
        return time.time()


def _last_end(layout: Layout, since: float) -> float | None:
    """When the last attempt, or check of one, ended that may have been alive after ``since``; None
    if one may still be alive.

    Those whose task is put away count as well: it may have been put away a moment before the
    watcher was killed.
    """
    if journals.blocked(layout):
        return None
    ends = []
    for journal in (*journals.active(layout), *journals.closed_since(layout, since)):
        if journal.phase is Phase.STARTED:
            return None
        for facts in (*journal.attempts, *journal.checks):
            if facts.ended is not None:
                ends.append(float(facts.ended.get("at", 0)))
    return max(ends) if ends else None

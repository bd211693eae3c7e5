"""What is wrong with a work directory, found by reading alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
from urllib.parse import quote

from orchestrator.errors import OrchestratorError
from orchestrator.files import (
    card,
    configuration,
    eventreader,
    git,
    journals,
    jsonlines,
    opening,
    owners,
    permissions,
    scan,
    schemas,
)
from orchestrator.files.held import held
from orchestrator.files.layout import (
    CANCEL,
    FOLDER_NAMES,
    NOTE,
    Layout,
    is_draft,
    schema_bytes,
    stem_of,
)
from orchestrator.model import ids
from orchestrator.model.journal import Phase
from orchestrator.model.status import FOLDERS, Status
from orchestrator.model.units import plural, show_duration, when
from orchestrator.queries.unlogged import unlogged
from orchestrator.records import dataclass

NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs")
LOW_DISK = 256 * 2**20
FEW_WATCHES, FEW_INSTANCES = 512, 16
AHEAD = 60.0  # seconds that clocks may differ by


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: ``status`` is ``ok``, ``note`` or ``problem``; ``fixable`` ones are mended by ``doctor --fix``."""

    id: str
    status: str
    summary: str
    fix: str = ""
    fixable: bool = False


def checks(layout: Layout, now: float) -> list[Check]:
    """Everything that is looked at, good or bad."""
    found = [
        _project(layout),
        *_folders(layout),
        _config(layout),
        _schemas(layout),
        _watcher(layout, now),
    ]
    found += _unfinished(layout, now)
    found += _files(layout)
    found += [
        _clock(layout, now),
        _events(layout),
        *_unlogged(layout),
        _index(layout),
        *_git(layout),
        _permissions(layout),
        _disk(layout),
    ]
    return found


def _project(layout: Layout) -> Check:
    kind = _filesystem(layout.work)
    devices = {
        os.stat(layout.folder(name)).st_dev
        for name in FOLDER_NAMES
        if os.path.isdir(layout.folder(name))
    }
    if len(devices) > 1:
        return Check(
            "project",
            "problem",
            "the folders of work/ lie on several file systems",
            "files cannot be renamed between them: put work/ on one",
        )
    if kind.startswith(NETWORK):
        return Check(
            "project",
            "note",
            f"{layout.work} is on {kind}: other machines' changes are not notified",
            "watch: {notify: poll}   in orchestrator.yaml",
        )
    watches, instances = (
        _number("/proc/sys/fs/inotify/max_user_watches"),
        _number("/proc/sys/fs/inotify/max_user_instances"),
    )
    if (watches.isdigit() and int(watches) < FEW_WATCHES) or (
        instances.isdigit() and int(instances) < FEW_INSTANCES
    ):
        return Check(
            "project",
            "note",
            f"{watches} inotify watches and {instances} instances are allowed, which other programs may use up",
            "sysctl fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=128, or  watch: {notify: poll}",
        )
    return Check(
        "project",
        "ok",
        f"{layout.work} ({kind or 'unknown file system'}, {watches} inotify watches allowed)",
    )


def _folders(layout: Layout) -> list[Check]:
    missing = [name for name in FOLDER_NAMES if not os.path.isdir(layout.folder(name))]
    if missing:
        return [
            Check(
                "folders",
                "problem",
                f"missing: {', '.join(missing)}",
                "orchestrator doctor --fix",
                True,
            )
        ]
    return [Check("folders", "ok", f"all {len(FOLDER_NAMES)} there")]


def _config(layout: Layout) -> Check:
    try:
        config = configuration.load_config(layout, schemas.check)
    except OrchestratorError as error:
        return Check("config", "problem", error.message, error.hint or "orchestrator validate")
    if config.left_out:
        why = f"left out: {next(iter(config.left_out.values()))}"
        return Check("config", "problem", why, "orchestrator validate")
    return Check("config", "ok", layout.shown(layout.config))


def _schemas(layout: Layout) -> Check:
    """Whether editors check files by what this version understands."""
    for kind in schemas.KINDS:
        try:
            here = opening.read_bytes(f"{layout.work}/schemas/{kind}.schema.json")
            if here != schema_bytes(kind):
                return Check(
                    "schemas",
                    "note",
                    "work/schemas/ is of another version: editors check by it",
                    "orchestrator init   writes them anew",
                )
        except (FileNotFoundError, opening.NotAFile):
            return Check(
                "schemas",
                "note",
                f"work/schemas/{kind}.schema.json is missing: editors cannot complete or check",
                "orchestrator init",
            )
    return Check("schemas", "ok", "work/schemas/, as this version has them")


def _watcher(layout: Layout, now: float) -> Check:
    known = card.read(layout, now)
    if known is None:
        return Check("watcher", "note", "none is running", "orchestrator watch")
    if not known.alive:
        return Check(
            "watcher", "note", f"the last one (pid {known.pid}) was killed", "orchestrator watch"
        )
    if known.fault:
        return Check(
            "watcher",
            "problem",
            f"pid {known.pid} claims nothing: {known.fault}",
            "make room, or mend the disk",
        )
    if known.settings_held:
        return Check(
            "watcher",
            "note",
            f"pid {known.pid} holds {known.settings}",
            "look at it, then: orchestrator reload",
        )
    if known.settings:
        return Check(
            "watcher", "problem", f"pid {known.pid} found {known.settings}", "orchestrator validate"
        )
    beat = f"beat {show_duration(known.beat)} ago"
    if not known.answers:
        return Check(
            "watcher",
            "problem",
            f"pid {known.pid} does not answer ({beat})",
            f"is it stopped (Ctrl-Z)?  kill -CONT {known.pid}",
        )
    if known.notifications:
        return Check(
            "watcher",
            "note",
            f"pid {known.pid}, {beat}; without notifications: {known.notifications}",
            "sysctl fs.inotify.max_user_instances",
        )
    return Check("watcher", "ok", f"pid {known.pid}, {beat}")


def _unfinished(layout: Layout, now: float) -> list[Check]:
    """Claimed tasks that nobody works on, and files in running/ that were never claimed here."""
    found = []
    active = {ids.key(journal.task_id): journal for journal in journals.active(layout)}
    known = card.read(layout, now)
    if known is None or not known.alive:
        for journal in active.values():
            if journal.phase in (Phase.FINAL, Phase.REQUEUED):
                continue
            started = journal.attempt.started if journal.attempt else {}
            alive = journal.phase is Phase.STARTED and (
                card.process_lives(
                    started.get("supervisor", 0),
                    started.get("supervisor_start", 0),
                    started.get("boot", ""),
                )
                or held(layout.journal(journal.task_id))
            )
            state = "is still running under its supervisor" if alive else "was cut off"
            if (where := journal.attempt.where if journal.attempt else "") and not alive:
                state = f"is at {where}, which goes on without a watcher"
            found.append(
                Check(
                    "unfinished",
                    "note",
                    f"{journal.task_id} {state}; no watcher is running",
                    "orchestrator watch   takes it up",
                )
            )
    blocked = dict(journals.blocked(layout))
    for key, why in blocked.items():
        fix = "use the version that wrote it, or move the journal away by hand"
        found.append(
            Check("journal", "problem", f"{key}: its journal is not understood: {why}", fix)
        )
    for task_id, name in scan.sorted_names(layout.folder(Status.RUNNING)):
        if ids.key(task_id) not in active and ids.key(task_id) not in blocked:
            found.append(
                Check(
                    "orphan",
                    "problem",
                    f"running/{name} was never claimed on this machine",
                    "orchestrator doctor --fix   (to review/)",
                    True,
                )
            )
    return found or [
        Check("unfinished", "ok", f"{plural(len(active), 'task')} in progress, none cut off")
    ]


def _files(layout: Layout) -> list[Check]:
    """Ids that are there twice, notes without a file, files that no folder should have."""
    found = []
    places = _places(layout)
    mendable = (
        {path for kept, _ in copies(layout) for path in [kept]}
        if any(len(where) > 1 for where in places.values())
        else set()
    )
    for where in places.values():
        if len(where) > 1:
            inodes = {
                os.lstat(f"{layout.work}/{path}").st_ino
                for path in where
                if os.path.lexists(f"{layout.work}/{path}")
            }
            if len(inodes) == 1:
                found.append(
                    Check(
                        "half-move",
                        "problem",
                        f"a move was cut off: {' and '.join(where)} are one file",
                        "orchestrator doctor --fix",
                        True,
                    )
                )
            elif mendable.intersection(where):
                found.append(
                    Check(
                        "duplicate",
                        "problem",
                        f"one task in several folders: {', '.join(where)}",
                        f"orchestrator doctor --fix   (keeps {next(path for path in where if path in mendable)}, as the latest event says)",
                        True,
                    )
                )
            else:
                found.append(
                    Check(
                        "duplicate",
                        "problem",
                        f"one id, several files: {', '.join(where)}",
                        "keep one and remove or rename the others",
                    )
                )
    stale = [
        key
        for key in scan.names(f"{layout.state}/cancel")
        if not os.path.exists(f"{layout.active}/{key}.jsonl")
    ]
    if stale:
        found.append(
            Check(
                "requests",
                "problem",
                f"{plural(len(stale), 'request')} to cancel what is not running",
                "orchestrator doctor --fix",
                True,
            )
        )
    leftovers = [
        name
        for name in scan.names(f"{layout.state}/tmp")
        if owners.abandoned(f"{layout.state}/tmp/{name}", name.split(".", 1)[0])
    ]
    if leftovers:
        found.append(
            Check(
                "leftovers",
                "problem",
                f"{plural(len(leftovers), 'temporary file')} of processes that are gone",
                "orchestrator doctor --fix",
                True,
            )
        )
    listed = scan.names(layout.folder(Status.INBOX))
    stems = {stem_of(name) for name in listed if not is_draft(name)}
    stale = [
        name for name in listed if name.endswith(NOTE) and name.removesuffix(NOTE) not in stems
    ]
    if stale:
        found.append(
            Check(
                "notes",
                "problem",
                f"{plural(len(stale), 'note')} about files that are gone",
                "orchestrator doctor --fix",
                True,
            )
        )
    for status in FOLDERS:
        odd = [
            name
            for name in scan.names(layout.folder(status))
            if not stem_of(name) and not is_draft(name) and not name.endswith((CANCEL, ".conflict"))
        ]
        if odd:
            found.append(
                Check(
                    "strangers",
                    "note",
                    f"{status}/ contains files that are not tasks: {', '.join(sorted(odd)[:5])}",
                    "move it elsewhere; task files end in .yaml, .yml or .md",
                )
            )
    return found or [Check("files", "ok", f"{plural(len(places), 'task')}, every id once")]


def copies(layout: Layout) -> list[tuple[str, list[str]]]:
    """Ids whose files in several folders are the same to the byte (git merged "done here" with "failed there"): which of them the
    latest event speaks of, and the others.  Paths are below work/."""
    found = []
    for where in _places(layout).values():
        if len(where) < 2:
            continue
        texts, inodes = set(), set()
        try:
            for path in where:
                with opening.open_file(f"{layout.work}/{path}") as file:
                    texts.add(file.read(1 << 21))
                    inodes.add(os.fstat(file.fileno()).st_ino)
        except OSError:
            continue
        if (
            len(texts) == 1
            and len(inodes) == len(where)
            and not any(path.startswith("running/") for path in where)
        ):
            kept = _latest(layout, where)
            if kept:
                found.append((kept, [path for path in where if path != kept]))
    return found


def _latest(layout: Layout, where: list[str]) -> str:
    """The path whose folder the latest event about this task names; empty if none does."""
    task_id = stem_of(os.path.basename(where[0]))
    for event in sorted(
        eventreader.about(layout, "task_id", task_id),
        key=lambda event: str(event.get("ts")),
        reverse=True,
    ):
        for path in where:
            if path.split("/")[0] == event.get("status"):
                return path
    return ""


def _places(layout: Layout) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for status in FOLDERS:
        for task_id, name in scan.task_names(layout.folder(status)):
            places.setdefault(ids.key(task_id), []).append(f"{status}/{name}")
    return places


def _clock(layout: Layout, now: float) -> Check:
    """Whether the clock goes back behind what has been written: retries, dates of events and not_before depend on it."""
    newest = next((str(event.get("ts", "")) for event in eventreader.newest_first(layout)), "")
    try:
        ahead = when(newest) - now if newest else 0.0
    except ValueError:
        ahead = 0.0
    if ahead > AHEAD:
        return Check(
            "clock",
            "problem",
            f"the newest event is {show_duration(ahead)} in the future",
            "set the clock; another machine's may be wrong",
        )
    return Check("clock", "ok", "events are not in the future")


def _events(layout: Layout) -> Check:
    bad = 0
    paths = eventreader.files(layout)
    for path in paths:
        bad += jsonlines.read(path)[1]
    if bad:
        return Check(
            "events",
            "note",
            f"{plural(bad, 'line')} damaged (skipped)",
        )
    return Check("events", "ok", f"{plural(len(paths), 'file')}, every line whole")


def _unlogged(layout: Layout) -> list[Check]:
    missing = [journal.task_id for journal in unlogged(layout)]
    if not missing:
        return []
    named = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
    words = (
        f"{plural(len(missing), 'result')} without an event: the log has lost the end of {named}"
    )
    return [Check("events", "note", words, "orchestrator doctor --fix   writes it again", True)]


def _index(layout: Layout) -> Check:
    """The index is made from the log, so nothing about it can be a problem; it may be large, or of no use."""
    path = f"{layout.state}/index.sqlite"
    try:
        with opening.open_file(path) as file:  # sqlite would wait at a pipe
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return Check("index", "ok", "none yet; report and query make it from the events")
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)
        try:
            count = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Check(
            "index",
            "note",
            f"cannot be read ({error}); the next report makes it anew",
            f"rm {layout.shown(path)}",
        )
    return Check("index", "ok", f"{plural(count, 'event')}, {size / 2**20:.1f} MiB")


def _git(layout: Layout) -> list[Check]:
    try:
        repository = git.nearest(layout.root)
        if repository is None:
            return [Check("git", "ok", "not a git repository")]
        with git.reading(repository) as reader:
            return _git_finds(layout, repository, reader)
    except git.Unclear as error:
        return [
            Check(
                "git",
                "problem",
                f"git gives no clear answer: {error}",
                "tasks that were not made here wait for approval until it does",
            )
        ]


def _git_finds(layout: Layout, repository: git.Repository, reader: git.Reader) -> list[Check]:
    project = os.path.realpath(layout.root)

    def inside(path: str) -> str:
        return os.path.relpath(os.path.join(project, path), repository.folder)

    def ignored(path: str) -> bool:
        return reader.ask("check-ignore", "-q", "--", inside(path), codes=(0, 1)).code == 0

    found = []
    if ignored("work/inbox/x.yaml"):
        found.append(
            Check(
                "git",
                "note",
                "work/inbox is ignored by git: tasks are not part of the history",
                "look at your .gitignore",
            )
        )
    for path in ("work/.state/active/x", "work/logs/x/1/stdout.log"):
        if not ignored(path):
            found.append(
                Check(
                    "git",
                    "problem",
                    f"{os.path.dirname(path)} is not ignored by git",
                    "orchestrator init   writes work/.gitignore",
                )
            )
    unmerged = reader.ask(
        "diff", "--name-only", "-z", "--diff-filter=U", "--", f":(literal){inside('work')}"
    )
    names = [name for name in os.fsdecode(unmerged.out).split("\0") if name]
    if names:
        found.append(
            Check("git", "problem", f"unmerged: {', '.join(names[:5])}", "resolve the merge")
        )
    return found or [Check("git", "ok", "logs and state are ignored, nothing unmerged")]


def _permissions(layout: Layout) -> Check:
    for path, why in permissions.unsafe(layout):
        return Check(
            "permissions",
            "problem",
            f"{layout.shown(path)} {why}: others could run programs as you",
            f"chmod o-w {layout.shown(path)}",
        )
    return Check("permissions", "ok", "only you (or your group) can write here")


def _disk(layout: Layout) -> Check:
    free = shutil.disk_usage(layout.work).free
    text = f"{free // 2**20} MiB free"
    return (
        Check("disk", "ok", text)
        if free >= LOW_DISK
        else Check("disk", "problem", text, "make room")
    )


def _filesystem(path: str) -> str:
    """The type of the file system that holds ``path``, from the longest mount point above it."""
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            for line in file:
                parts = line.split()
                mount = parts[1].replace("\\040", " ")
                if (path == mount or path.startswith(mount.rstrip("/") + "/")) and len(
                    mount
                ) >= len(best):
                    best, kind = mount, parts[2]
    except OSError:
        pass
    return kind


def _number(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"

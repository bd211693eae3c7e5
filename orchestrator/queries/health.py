"""What is wrong with a work directory, found by reading alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass
from urllib.parse import quote

from orchestrator.errors import OrchestratorError
from orchestrator.files import card, configuration, eventreader, journals, jsonlines, permissions, scan
from orchestrator.files.layout import CANCEL, FOLDER_NAMES, NOTE, Layout, is_draft, stem_of
from orchestrator.model import ids
from orchestrator.model.journal import Phase
from orchestrator.model.status import FOLDERS, Status
from orchestrator.model.units import plural, show_duration

NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs")
LOW_DISK = 256 * 2**20


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
    found = [_project(layout), *_folders(layout), _config(layout), _watcher(layout, now)]
    found += _unfinished(layout, now)
    found += _files(layout)
    found += [_events(layout), _index(layout), *_git(layout), _permissions(layout), _disk(layout)]
    return found


def _project(layout: Layout) -> Check:
    kind = _filesystem(layout.work)
    devices = {os.stat(layout.folder(name)).st_dev for name in FOLDER_NAMES if os.path.isdir(layout.folder(name))}
    if len(devices) > 1:
        return Check("project", "problem", "the folders of work/ lie on several file systems",
                     "files cannot be renamed between them: put work/ on one")
    if kind.startswith(NETWORK):
        return Check("project", "note", f"{layout.work} is on {kind}: other machines' changes are not notified",
                     "watch: {notify: poll}   in orchestrator.yaml")
    watches = _number("/proc/sys/fs/inotify/max_user_watches")
    return Check("project", "ok", f"{layout.work} ({kind or 'unknown file system'}, {watches} inotify watches allowed)")


def _folders(layout: Layout) -> list[Check]:
    missing = [name for name in FOLDER_NAMES if not os.path.isdir(layout.folder(name))]
    if missing:
        return [Check("folders", "problem", f"missing: {', '.join(missing)}", "orchestrator doctor --fix", True)]
    return [Check("folders", "ok", f"all {len(FOLDER_NAMES)} there")]


def _config(layout: Layout) -> Check:
    try:
        configuration.load_config(layout)
    except OrchestratorError as error:
        return Check("config", "problem", error.message, error.hint or "orchestrator validate")
    return Check("config", "ok", layout.shown(layout.config))


def _watcher(layout: Layout, now: float) -> Check:
    known = card.read(layout, now)
    if known is None:
        return Check("watcher", "note", "none is running", "orchestrator watch")
    if not known.alive:
        return Check("watcher", "note", f"the last one (pid {known.pid}) was killed", "orchestrator watch")
    if known.fault:
        return Check("watcher", "problem", f"pid {known.pid} claims nothing: {known.fault}", "make room, or mend the disk")
    beat = f"beat {show_duration(known.beat)} ago"
    if known.notifications:
        return Check("watcher", "note", f"pid {known.pid}, {beat}; without notifications: {known.notifications}",
                     "sysctl fs.inotify.max_user_instances")
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
            alive = journal.phase is Phase.STARTED and card.process_lives(
                started.get("supervisor", 0), started.get("supervisor_start", 0), started.get("boot", ""))
            state = "is still running under its supervisor" if alive else "was cut off"
            found.append(Check("unfinished", "note", f"{journal.task_id} {state}; no watcher is running",
                               "orchestrator watch   takes it up"))
    for task_id, name in scan.sorted_names(layout.folder(Status.RUNNING)):
        if ids.key(task_id) not in active:
            found.append(Check("orphan", "problem", f"running/{name} was never claimed on this machine",
                               "orchestrator doctor --fix   (to review/)", True))
    return found or [Check("unfinished", "ok", f"{plural(len(active), 'task')} in progress, none cut off")]


def _files(layout: Layout) -> list[Check]:
    """Ids that are there twice, notes without a file, files that no folder should have."""
    found = []
    places: dict[str, list[str]] = {}
    for status in FOLDERS:
        for task_id, name in scan.task_names(layout.folder(status)):
            places.setdefault(ids.key(task_id), []).append(f"{status}/{name}")
    for where in places.values():
        if len(where) > 1:
            inodes = {os.lstat(f"{layout.work}/{path}").st_ino for path in where if os.path.lexists(f"{layout.work}/{path}")}
            if len(inodes) == 1:
                found.append(Check("half-move", "problem", f"a move was cut off: {' and '.join(where)} are one file",
                                   "orchestrator doctor --fix", True))
            else:
                found.append(Check("duplicate", "problem", f"one id, several files: {', '.join(where)}",
                                   "keep one and remove or rename the others"))
    listed = scan.names(layout.folder(Status.INBOX))
    stems = {stem_of(name) for name in listed if not is_draft(name)}
    stale = [name for name in listed if name.endswith(NOTE) and name.removesuffix(NOTE) not in stems]
    if stale:
        found.append(Check("notes", "problem", f"{plural(len(stale), 'note')} about files that are gone",
                           "orchestrator doctor --fix", True))
    for status in FOLDERS:
        odd = [name for name in scan.names(layout.folder(status)) if not stem_of(name) and not is_draft(name)
               and not name.endswith(CANCEL)]
        if odd:
            found.append(Check("strangers", "note", f"{status}/ holds what is no task: {', '.join(sorted(odd)[:5])}",
                               "move it elsewhere; task files end in .yaml, .yml or .md"))
    return found or [Check("files", "ok", f"{plural(len(places), 'task')}, every id once")]


def _events(layout: Layout) -> Check:
    bad = 0
    paths = eventreader.files(layout)
    for path in paths:
        bad += jsonlines.read(path)[1]
    if bad:
        return Check("events", "note", f"{plural(bad, 'line')} cut off or spoilt in {plural(len(paths), 'file')}; readers pass over them")
    return Check("events", "ok", f"{plural(len(paths), 'file')}, every line whole")


def _index(layout: Layout) -> Check:
    """The index is made from the log, so nothing about it can be a problem; it may be large, or of no use."""
    path = f"{layout.state}/index.sqlite"
    try:
        size = os.path.getsize(path)
    except OSError:
        return Check("index", "ok", "none yet; report and query make it from the events")
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)
        try:
            count = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Check("index", "note", f"cannot be read ({error}); the next report makes it anew", f"rm {layout.shown(path)}")
    return Check("index", "ok", f"{plural(count, 'event')}, {size / 2**20:.1f} MiB")


def _git(layout: Layout) -> list[Check]:
    def git(*words: str) -> subprocess.CompletedProcess[str] | None:
        try:
            return subprocess.run(["git", "-C", layout.root, *words], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=20, check=False, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"})
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            return None

    inside = git("rev-parse", "--is-inside-work-tree") if shutil.which("git") else None
    if inside is None or inside.returncode:
        return [Check("git", "ok", "not a git repository")]
    found = []
    ignored = git("check-ignore", "-q", "work/inbox/x.yaml")
    if ignored is not None and ignored.returncode == 0:
        found.append(Check("git", "note", "work/inbox is ignored by git: tasks are not part of the history",
                           "look at your .gitignore"))
    for path in ("work/.state/active/x", "work/logs/x/1/stdout.log"):
        answer = git("check-ignore", "-q", path)
        if answer is not None and answer.returncode == 1:
            found.append(Check("git", "problem", f"{os.path.dirname(path)} is not ignored by git",
                               "orchestrator init   writes work/.gitignore"))
    unmerged = git("diff", "--name-only", "--diff-filter=U", "--", "work")
    if unmerged is not None and unmerged.stdout.strip():
        found.append(Check("git", "problem", f"unmerged: {', '.join(unmerged.stdout.split()[:5])}", "resolve the merge"))
    return found or [Check("git", "ok", "logs and state are ignored, nothing unmerged")]


def _permissions(layout: Layout) -> Check:
    for path, why in permissions.unsafe(layout):
        return Check("permissions", "problem", f"{layout.shown(path)} {why}: others could run programs as you",
                     f"chmod o-w {layout.shown(path)}")
    return Check("permissions", "ok", "only you (or your group) can write here")


def _disk(layout: Layout) -> Check:
    free = shutil.disk_usage(layout.work).free
    text = f"{free // 2**20} MiB free"
    return Check("disk", "ok", text) if free >= LOW_DISK else Check("disk", "problem", text, "make room")


def _filesystem(path: str) -> str:
    """The type of the file system that holds ``path``, from the longest mount point above it."""
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            for line in file:
                parts = line.split()
                mount = parts[1].replace("\\040", " ")
                if (path == mount or path.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
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

"""Whether the folders, the settings and the schemas of a work directory are as they should be."""

from __future__ import annotations

import os

from orchestrator.errors import OrchestratorError
from orchestrator.files import configuration, opening, schemas
from orchestrator.files.layout import FOLDER_NAMES, Layout, schema_bytes
from orchestrator.queries.health.check import Check, mendable, note, ok, problem

NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs")
FEW_WATCHES, FEW_INSTANCES = 512, 16


def place(layout: Layout) -> Check:
    """What kind of disk ``work/`` is on, and whether its changes are notified."""
    kind = _filesystem(layout.work)
    folders = [layout.folder(name) for name in FOLDER_NAMES]
    devices = {os.stat(folder).st_dev for folder in folders if os.path.isdir(folder)}
    watches = _number("/proc/sys/fs/inotify/max_user_watches")
    instances = _number("/proc/sys/fs/inotify/max_user_instances")
    if len(devices) > 1:
        return problem(
            "project",
            "the folders of work/ are on several file systems",
            "files cannot be renamed between them: put work/ on one",
        )
    if kind.startswith(NETWORK):
        return note(
            "project",
            f"{layout.work} is on {kind}: other machines' changes are not notified",
            "watch: {notify: poll}   in orchestrator.yaml",
        )
    if _fewer(watches, FEW_WATCHES) or _fewer(instances, FEW_INSTANCES):
        return note(
            "project",
            f"{watches} inotify watches and {instances} instances are allowed, which other programs"
            " may use up",
            "sysctl fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=128, or  watch:"
            " {notify: poll}",
        )
    kind = kind or "unknown file system"
    return ok("project", f"{layout.work} ({kind}, {watches} inotify watches allowed)")


def folders(layout: Layout) -> Check:
    missing = [name for name in FOLDER_NAMES if not os.path.isdir(layout.folder(name))]
    if missing:
        return mendable("folders", f"missing: {', '.join(missing)}")
    return ok("folders", f"all {len(FOLDER_NAMES)} there")


def settings(layout: Layout) -> Check:
    try:
        config = configuration.load_config(layout, schemas.check)
    except OrchestratorError as error:
        return problem("config", error.message, error.hint or "orchestrator validate")
    if config.left_out:
        why = f"left out: {next(iter(config.left_out.values()))}"
        return problem("config", why, "orchestrator validate")
    return ok("config", layout.shown(layout.config))


def editors(layout: Layout) -> Check:
    """Whether editors check files by what this version understands."""
    for kind in schemas.KINDS:
        try:
            here = opening.read_bytes(f"{layout.work}/schemas/{kind}.schema.json")
        except (FileNotFoundError, opening.NotAFile):
            return note(
                "schemas",
                f"work/schemas/{kind}.schema.json is missing: editors cannot complete or check",
                "orchestrator init",
            )
        if here != schema_bytes(kind):
            return note(
                "schemas",
                "work/schemas/ is from another version, and editors use it",
                "orchestrator init   writes them again",
            )
    return ok("schemas", "work/schemas/, those of this version")


def _filesystem(path: str) -> str:
    """The type of the file system that holds ``path``, from the longest mount point above it."""
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return ""
    for line in lines:
        parts = line.split()
        mount = parts[1].replace("\\040", " ")
        above = path == mount or path.startswith(mount.rstrip("/") + "/")
        if above and len(mount) >= len(best):
            best, kind = mount, parts[2]
    return kind


def _number(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def _fewer(number: str, limit: int) -> bool:
    return number.isdecimal() and int(number) < limit

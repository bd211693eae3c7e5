"""Who else can write here, and how much room the disk has."""

from __future__ import annotations

import shutil

from orchestrator.files import permissions
from orchestrator.files.layout import Layout
from orchestrator.queries.health.check import Check, ok, problem

LOW_DISK = 256 * 2**20


def others(layout: Layout) -> Check:
    for path, why in permissions.unsafe(layout):
        shown = layout.shown(path)
        words = f"{shown} {why}: others could run programs as you"
        verb = "chown $USER" if why.startswith("belongs") else "chmod o-w"
        return problem("permissions", words, f"{verb} {shown}")
    return ok("permissions", "only you (or your group) can write here")


def disk(layout: Layout) -> Check:
    free = shutil.disk_usage(layout.work).free
    words = f"{free // 2**20} MiB free"
    if free < LOW_DISK:
        return problem("disk", words, "make room")
    return ok("disk", words)

"""Keeping the list of a person's projects: one link each."""

from __future__ import annotations

import os

from orchestrator.errors import Refused, StoreFault
from orchestrator.files import projects, statehome
from orchestrator.files.layout import Layout
from orchestrator.model import ids


def add(layout: Layout, name: str = "") -> str:
    """Remember a project under its folder's name, or another; the name. One that already exists
    stays as it is."""
    root = os.path.realpath(layout.root)
    known = next((item for item in projects.listed() if item.root == root), None)
    if known is not None and name in ("", known.name):
        return known.name
    chosen = name or os.path.basename(root) or "root"
    why = ids.problem(chosen)
    if why:
        raise Refused(f"the name '{chosen[:60]}' {why}", "choose one with --name")
    path = f"{projects.folder()}/{chosen}"
    try:
        statehome.make(projects.folder())
        os.symlink(root, path)
    except FileExistsError:
        raise Refused(
            f"there is already a project '{chosen}'", "choose another name with --name"
        ) from None
    except OSError as error:
        raise StoreFault(f"{path} could not be made: {error.strerror}") from None
    return chosen


def remove(name: str) -> None:
    """Forget a project; nothing in it is touched."""
    try:
        os.unlink(f"{projects.folder()}/{name}")
    except OSError as error:
        raise Refused(f"{name} could not be removed: {error.strerror}") from None

"""Keeping the list of a person's projects: one link each."""

from __future__ import annotations

import os

from orchestrator.errors import Refused, StoreFault
from orchestrator.files import projects, statehome
from orchestrator.files.layout import Layout
from orchestrator.model import ids


def chosen(layout: Layout, name: str = "") -> str:
    """The name under which a project would be remembered. `Refused` if it is none, or taken."""
    root = os.path.realpath(layout.root)
    known = next((item for item in projects.listed() if item.root == root), None)
    if known is not None and name in ("", known.name):
        return known.name
    word = name or os.path.basename(root) or "root"
    why = ids.problem(word)
    if why:
        raise Refused(f"the name '{word[:60]}' {why}", "choose one with --name")
    if os.path.lexists(f"{projects.folder()}/{word}"):
        raise _taken(word)
    return word


def add(layout: Layout, name: str = "") -> str:
    """Remember a project under its folder's name, or another; the name. One that already exists
    stays as it is."""
    root, word = os.path.realpath(layout.root), chosen(layout, name)
    path = f"{projects.folder()}/{word}"
    try:
        statehome.make(projects.folder())
        os.symlink(root, path)
    except FileExistsError:
        if os.path.realpath(path) != root:
            raise _taken(word) from None
    except OSError as error:
        raise StoreFault(f"{path} could not be made: {error.strerror}") from None
    return word


def _taken(name: str) -> Refused:
    return Refused(f"there is already a project '{name}'", "choose another name with --name")


def remove(name: str) -> None:
    """Forget a project; nothing in it is touched."""
    try:
        os.unlink(f"{projects.folder()}/{name}")
    except OSError as error:
        raise Refused(f"{name} could not be removed: {error.strerror}") from None

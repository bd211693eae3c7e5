"""A person's projects: links in ``$XDG_CONFIG_HOME/orchestrator/projects``, each to the folder that
holds a ``work/``."""

from __future__ import annotations

import os

from orchestrator.errors import OrchestratorError, Unusable
from orchestrator.files import statehome
from orchestrator.files.layout import WORK, Layout
from orchestrator.files.ownership import foreign
from orchestrator.files.scan import names
from orchestrator.records import dataclass


@dataclass(frozen=True, slots=True)
class Project:
    """One link.  ``problem`` says why it cannot be looked at; then ``layout`` is None."""

    name: str
    root: str
    layout: Layout | None = None
    problem: str = ""


def folder() -> str:
    """Where the links are.  `Unusable` without a home."""
    home = statehome.config_home()
    if not home:
        raise Unusable("there is no home folder to keep projects in", "set XDG_CONFIG_HOME")
    return f"{home}/projects"


def listed() -> list[Project]:
    """Every project, those that have vanished or are broken included, by name."""
    place = folder()
    return [_project(place, name) for name in sorted(names(place)) if not name.startswith(".")]


def includes(root: str) -> bool:
    """Whether this folder is in the person's list; without a home nothing is."""
    home = statehome.config_home()
    place = f"{home}/projects"
    root = os.path.realpath(root)
    return bool(home) and any(os.path.realpath(f"{place}/{name}") == root for name in names(place))


def _project(place: str, name: str) -> Project:
    try:
        root = os.path.realpath(f"{place}/{name}", strict=True)
    except OSError:
        target = _target(f"{place}/{name}")
        return Project(name, target, problem=f"{target} is not there")
    if not os.path.isfile(f"{root}/{WORK}/orchestrator.yaml"):
        return Project(name, root, problem="it has no work/orchestrator.yaml")
    layout = Layout(root)
    try:
        why = foreign(layout)
    except (OSError, OrchestratorError) as error:
        why = str(error)
    return Project(name, root, None if why else layout, why)


def _target(path: str) -> str:
    try:
        return os.path.join(os.path.dirname(path), os.readlink(path))
    except OSError:
        return path

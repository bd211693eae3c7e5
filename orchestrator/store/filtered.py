"""Files that git would filter, by a filter that only the repository configures: nothing of ours
runs such a program.

In a tree these files are what is stored (of git lfs: a pointer), and what an agent writes there is
stored as it is. Both are told.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from orchestrator.files.text import first_few
from orchestrator.store.git import Git, Repository


def names_off(repo: Repository) -> set[str]:
    """Filters that are switched off."""
    found = (
        setting.removesuffix(".clean=") for setting in repo.filters if setting.endswith(".clean=")
    )
    return {name.removeprefix("filter.") for name in found}


def unfiltered(git: Git, off: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Those of the paths that one of these filters is for, as the attributes in the work tree of
    ``git`` say."""
    asked = "".join(f"{path}\0" for path in paths)
    if not asked:
        return []
    told = git("check-attr", "-z", "--stdin", "filter", stdin=os.fsencode(asked)).split("\0")
    wanted = set(off)
    return [path for path, value in zip(told[::3], told[2::3], strict=False) if value in wanted]


def not_seen(repo: Repository, commit: str) -> list[str]:
    """What a tree of this commit holds unfiltered, in words."""
    off = names_off(repo)
    if not off:
        return []
    listed = repo.shared("ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    found = unfiltered(repo.checkout, off, filter(None, listed))
    if not found:
        return []
    return [
        f"{first_few(found)}: here as stored, since only this repository configures the filter; {HINT}"
    ]


def stored_as_they_are(repo: Repository, git: Git, paths: Iterable[str]) -> list[str]:
    """What a change holds unfiltered, in words; ``git`` acts on its tree."""
    off = names_off(repo)
    found = unfiltered(git, off, paths) if off else []
    if not found:
        return []
    return [f"{first_few(found)}: stored as they are, not as the filter would; {HINT}"]


HINT = "in your own configuration it is run (git lfs install, git config --global)"

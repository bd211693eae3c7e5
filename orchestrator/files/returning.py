"""Whether a file outside the inbox counts although no person has named it: that of a task which
goes back there by itself, and an answer to an agent that waits.

Who names a task says yes to its file as it lies there. A reply, a plan's approval, a question that
nobody answered and a verb for many tasks at once say nothing of the file: it has to be the one that
ran here, one that this machine knows, or one that git did not bring.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestrator.files import git, journals, merged, opening, origin, trust
from orchestrator.files.identity import identity_of
from orchestrator.files.layout import Layout
from orchestrator.libraries import later

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")


class Returning:
    """Judges files outside the inbox.  One for a process: what git said is remembered."""

    def __init__(self, layout: Layout, known: trust.Trust) -> None:
        self.layout = layout
        self._vouched = trust.Vouched(known.approvals)
        self._origins = origin.Origins()

    def why_not(self, task_id: str, folder: str, name: str, from_git: str, now: float) -> str:
        """Why a person has to name the task first; empty if its file may go back. FileNotFoundError
        if that is gone."""
        try:
            if self.brought(task_id, folder, name, from_git, now):
                return f"{folder}/{name} came through git, and is not what ran here"
        except FileNotFoundError:
            raise
        except OSError as error:
            return f"{folder}/{name} cannot be read: {error.strerror}"
        except origin.Busy:
            return "a git command is running in this project"
        except git.Unclear as error:
            return origin.unclear_text(error)
        return ""

    def brought(self, key: str, folder: str, name: str, from_git: str, now: float) -> bool:
        """Whether git may have brought ``<folder>/<name>``, and nobody here has said yes to it.

        ``key`` is by what it is vouched for: the task's id, or the file's name. ``from_git`` is
        what is configured.  Raises OSError, `origin.Busy` and `git.Unclear`.
        """
        path = self.layout.file(folder, name)
        data, known_by = opening.read_bytes(path), identity_of(path)
        sha256 = hashlib.sha256(data).hexdigest()
        if from_git == "run" or (key, sha256, known_by) in self._vouched:
            return False
        journal = journals.of(self.layout, key)
        if journal is not None and journal.claim.get("sha256") == sha256:
            return False
        ran = journal.claim.get("sha256") if journal is not None else None
        place = self.layout.folder(folder)
        return bool(self._origins.wrote(place, name, data, now)) or self._merged(
            os.path.join(os.path.realpath(place), name), data, ran
        )

    def _merged(self, path: str, data: bytes, ran: object) -> bool:
        """Whether a person's edit has something in it that git brought, and that is not of the file
        that ran here (its sha256)."""
        for repository in git.above(os.path.dirname(path)):
            inside = os.path.relpath(path, repository.folder)
            with git.reading(repository) as reader:
                if merged.brought(
                    reader, inside, data, lambda text: hashlib.sha256(text).hexdigest() == ran
                ):
                    return True
        return False

"""Whether what git brought may count, for who only reads: the same judge that the watcher asks."""

from __future__ import annotations

import os
from functools import cached_property

from orchestrator.files import approval, configuration, origin, requests, trust
from orchestrator.files import identity as identity_files
from orchestrator.files.layout import Layout
from orchestrator.model.admission import InForce
from orchestrator.model.status import Status
from orchestrator.queries.settings import Settings


class Verdicts:
    """The verdicts of one look at ``now``. Git is asked once for each folder, and people's
    approvals are read once."""

    def __init__(self, layout: Layout, now: float, force: InForce, settings: Settings) -> None:
        self._layout, self._now = layout, now
        self._force, self._settings = force, settings

    def of(self, request: requests.Request, name: str, sha256: str = "") -> approval.Verdict:
        """Whether a file of the inbox may count without a person's yes; ``sha256`` of its bytes, if
        they have been read in this look."""
        path = self._layout.file(Status.INBOX, name)
        try:
            sha256 = sha256 or requests.read(path).sha256
            identity = identity_files.identity_of(path)
        except (OSError, requests.Unreadable):
            return approval.Verdict()
        arrived = approval.Arrived(request.id, name, sha256, identity, self._named(request))
        try:
            return self._judge.judge(arrived, self._force.from_git, self._force.trusted, self._now)
        except origin.Busy:
            gone = not os.path.lexists(path)  # the next look finds where it is by now
            return approval.Verdict(None if gone else approval.busy_gate())

    @cached_property
    def trust(self) -> trust.Trust:
        """What people have vouched for."""
        return trust.of(self._layout)

    @cached_property
    def origins(self) -> origin.Origins:
        """What git says of files."""
        return origin.Origins()

    @cached_property
    def _judge(self) -> approval.Approval:
        return approval.Approval(self._layout, self.trust, self.origins)

    def _named(self, request: requests.Request) -> tuple[str, ...]:
        """The files that decide what it does, where a trusted branch may bring it."""
        if self._force.from_git != "trusted":
            return ()
        config = self._settings.config or configuration.load_config(self._layout)
        return approval.named_files(request.tasks, config)

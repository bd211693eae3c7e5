"""A claim, from top to bottom: the file is read once more, admission is asked with everything that
is known, the store begins it."""

from __future__ import annotations

from orchestrator.coordination import blame
from orchestrator.coordination.intake import TaskFile
from orchestrator.coordination.life import Life, Moving
from orchestrator.coordination.liveworld import LiveWorld
from orchestrator.coordination.remembering import claim_facts
from orchestrator.coordination.waitingtasks import Waiting
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.errors import Taken
from orchestrator.files.identity import born
from orchestrator.model.admission import admit
from orchestrator.model.status import Status
from orchestrator.store.claiming import Claim, Vanished
from orchestrator.store.transitions import Store


class Claiming:
    """Begins the claims of tasks that wait."""

    def __init__(self, store: Store, waitlist: Waitlist, liveworld: LiveWorld) -> None:
        self.store, self.waitlist, self.liveworld = store, waitlist, liveworld

    def begin(self, waiting: Waiting) -> tuple[Life, Claim] | None:
        """A new life, and its claim for a commit to carry out; None if the task waits after all, or
        is not there any more."""
        try:
            # What is complete now counts, and nobody may be writing to it.
            look = self.waitlist.reread(waiting)
            if look is None:
                return None
            if self._waits_again(waiting):
                return None
            return self._begun(waiting, look)
        except Vanished:
            self.waitlist.inbox.forget(waiting.name)
            self.waitlist.look_soon(waiting.name)
        except Taken as error:
            self.waitlist.inbox.forget(waiting.name)
            self.waitlist.complaints.refuse(
                waiting.name, waiting.signature, error.message, error.hint
            )
        except Exception as error:  # whatever it is, it concerns this task only
            self.waitlist.failed(waiting.name, error)
            if blame.machine(error):
                self.waitlist.tasks.ready.add(waiting.candidate)
        return None

    def _waits_again(self, waiting: Waiting) -> bool:
        """Whether something keeps it that has changed since it was looked at."""
        world = self.liveworld.world(self.waitlist.tasks.statuses.fresh)
        if not admit(self.waitlist.tasks.ask(waiting), world):
            return False
        self.waitlist.tasks.judge(waiting)
        return True

    def _begun(self, waiting: Waiting, look: TaskFile) -> tuple[Life, Claim]:
        life = Life(
            waiting.id,
            waiting.name,
            look.task,
            look.route,
            waiting.candidate.lane,
            look.chain,
            waiting.candidate.submitted,
            inode=waiting.signature[0],
            born=born(self.store.layout.file(Status.INBOX, waiting.name)),
            stage=Moving(),
        )
        facts = claim_facts(look.task, look.route)
        claim = self.store.begin_claim(waiting.id, waiting.name, look.content, facts)
        self.waitlist.inbox.forget(waiting.name)
        return life, claim

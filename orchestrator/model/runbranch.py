"""The branch of a run: its tasks grow from it and are merged into it; a person looks at it once,
when the last has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.records import asdict, dataclass, field, replace

if TYPE_CHECKING:
    from orchestrator.model.isolation import Change, Role


@dataclass(frozen=True, slots=True)
class RunBranch:
    """``base`` is the commit that it began from, ``target`` the branch that its approval moves
    (empty: none).

    ``looked_at`` is the tip that the newest review is about; ``merge`` the newest record of its
    merge: planned or made.
    """

    run: str
    branch: str
    base: str
    target: str = ""
    looked_at: str = ""
    merge: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As it is kept in a file."""
        return asdict(self)

    def merged(self, tip: str) -> bool:
        """Whether what the branch holds, up to ``tip``, is in its target."""
        return self.merge.get("record") == "merged" and self.merge.get("tip") == tip

    def with_merge(self, record: Mapping[str, Any]) -> RunBranch:
        """The same after a step of its merge."""
        return replace(self, merge=dict(record))


def run_branch_from(record: Mapping[str, Any]) -> RunBranch:
    """The inverse of `RunBranch.record`.  Raises TypeError or KeyError for anything else."""
    return RunBranch(**{name: record[name] for name in RunBranch.__dataclass_fields__})


def within_run(role: Role) -> Role:
    """What counts for a task whose branch goes into that of its run: a person looks at the run, not
    at each of its tasks.

    Only ``review: always`` stops a task before, and ``merge: never`` keeps its branch out.
    """
    if role.merge == "never":
        return role
    review = "always" if role.reviews == "always" else "never"
    strategy = "merge" if role.strategy == "ff" else role.strategy  # the others have moved it
    return replace(role, merge="auto", review=review, strategy=strategy)


def conflict_turn(change: Change, target: str, files: str) -> str:
    """What an agent is told whose branch collides with its target."""
    return (
        f"Your branch {change.branch} cannot be merged into {target}: {files}.\nMerge it here (git"
        f" merge {target}), or put your work on top of it. Resolve the conflicts so that the intent"
        " of both sides is kept, and end when nothing is unfinished.\n"
    )

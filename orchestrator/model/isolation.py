"""A tree for a task: what is configured of trees, checks, review and merge, and what follows from
it.

Everything here is pure. A task file can only tighten what the configuration allows: it may ask for
a tree, for a check, for a lock; never for less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.model.sandbox import REVIEWS, Sandbox, sandbox_from
from orchestrator.model.units import duration
from orchestrator.records import dataclass, field, replace

CACHES = ("node_modules", "target", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache")
KEPT = 2000  # paths of a change that are kept in a result
CHECKOUT = "@checkout"  # the lock of agents that edit the person's own checkout
# Programs that fill a folder: such a folder must not be a link to the person's.
_FILLS = {
    "npm": ("node_modules",), "pnpm": ("node_modules",), "yarn": ("node_modules",), "bun": ("node_modules",),
    "pip": (".venv", "venv"), "uv": (".venv", "venv"), "poetry": (".venv", "venv"), "python": (".venv", "venv"),
    "python3": (".venv", "venv"), "pipenv": (".venv",), "cargo": ("target",), "bundle": ("vendor",),
    "composer": ("vendor",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trees:
    """``trees``: from what a tree is made, what it is given, how long it stays.  Times are seconds.

    ``base`` is ``HEAD``, ``working`` or a branch; ``copy`` and ``link`` are paths of the project;
    ``setup`` are commands.
    """

    base: str = "HEAD"
    prefix: str = "task"
    copy: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    setup: tuple[tuple[str, ...], ...] = ()
    setup_timeout: float = 600.0
    caches: tuple[str, ...] = CACHES
    keep: float = 7 * 86400.0
    max_gb: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """``checks``: a command that proves something.  It runs in the tree; exit code 0 is green."""

    name: str
    command: tuple[str, ...]
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class Change:
    """What a task's branch holds, as the journal keeps it.

    ``base`` and ``tip`` are commits; the figures count ``base..tip`` without ``work/``.
    ``unproven`` says why the branch does not hold what the agent left; ``target`` is the branch
    that a merge moves.
    """

    branch: str = ""
    base: str = ""
    tip: str = ""
    target: str = ""
    commits: int = 0
    insertions: int = 0
    deletions: int = 0
    files: tuple[str, ...] = ()  # the first of them
    count: int = 0  # of all
    unproven: str = ""
    warnings: tuple[str, ...] = ()
    suspicious: str = ""  # what the repository would execute has changed while it ran
    unsaved: tuple[
        str, ...
    ] = ()  # paths of its tree that could not be saved: only the tree has them

    @property
    def empty(self) -> bool:
        """Whether there is nothing to review or to merge."""
        return not self.files

    def facts(self) -> dict[str, Any]:
        """The change as a result and its events tell it."""
        return {
            "branch": self.branch,
            "base": self.base,
            "tip": self.tip,
            "target": self.target,
            "commits": self.commits,
            "insertions": self.insertions,
            "deletions": self.deletions,
        }


def change_from(record: Mapping[str, Any]) -> Change | None:
    """The change in a ``saved`` record of a journal; None if there is none."""
    if not record.get("tip"):
        return None
    known = {name: record[name] for name in Change.__dataclass_fields__ if name in record}
    for name in ("files", "warnings", "unsaved"):
        known[name] = tuple(known.get(name, ()))
    return Change(**known)


@dataclass(frozen=True, slots=True)
class Role:
    """What a role says of its work: proof, review, merge.  Empty strings stand for the default."""

    isolation: str = ""
    edits: bool | None = None
    verify: tuple[str, ...] = ()
    verify_retries: int = 2
    review: str = ""
    ask: str = ""  # person, deny, or how long a person may take
    plan: bool = False  # its tasks plan first
    merge: str = "ask"
    strategy: str = "merge"
    protect: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    sandbox: Sandbox = Sandbox()

    @property
    def reviews(self) -> str:
        """``always``, ``changed`` or ``never``: what is proven and merged by itself needs no look
        by default."""
        return self.review or ("changed" if self.merge == "ask" else "never")

    @property
    def waits(self) -> bool:
        """Whether a person may be asked while its agent runs."""
        return self.ask not in ("", "deny")


def role_from(body: Mapping[str, Any]) -> Role:
    """The part of a role that is about its work."""
    return Role(
        isolation=body.get("isolation", ""),
        edits=body.get("edits"),
        verify=tuple(body.get("verify", ())),
        verify_retries=body.get("verify_retries", 2),
        review=body.get("review", ""),
        ask=body.get("ask", ""),
        plan=body.get("plan", False),
        merge=body.get("merge", "ask"),
        strategy=body.get("strategy", "merge"),
        protect=tuple(body.get("protect", ())),
        locks=tuple(body.get("locks", ())),
        sandbox=sandbox_from(body.get("sandbox")),
    )


def reviewing(role: Role, default: str, asked: str) -> Role:
    """The role with the review that counts for one task: its own, else the ``default``, and what
    the task's file ``asked`` if that is more."""
    review = role.review or default
    counts = replace(role, review=review).reviews
    if asked and REVIEWS.index(asked) > REVIEWS.index(counts):
        return replace(role, review=asked)
    return replace(role, review=review or asked)


def trees_from(data: Mapping[str, Any]) -> Trees:
    """The trees in a mapping that fits ``trees`` in ``config.schema.json``."""
    base = Trees()
    return Trees(
        base=data.get("base", base.base),
        prefix=data.get("prefix", base.prefix),
        copy=tuple(data.get("copy", ())),
        link=tuple(data.get("link", ())),
        setup=tuple(tuple(command) for command in data.get("setup", ())),
        setup_timeout=duration(data["setup_timeout"]) if "setup_timeout" in data else 600.0,
        caches=tuple(data.get("caches", base.caches)),
        keep=duration(data["keep"]) if "keep" in data else base.keep,
        max_gb=data.get("max_gb"),
    )


def checks_from(data: Mapping[str, Any]) -> dict[str, Check]:
    """The checks in a mapping that fits ``checks`` in ``config.schema.json``, by name."""
    return {
        name: Check(
            name, tuple(body["command"]), duration(body["timeout"]) if "timeout" in body else 600.0
        )
        for name, body in data.items()
    }


def problems(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What a schema cannot say of these settings: ``(path, message, hint)``."""
    checks = data.get("checks") or {}
    default = data.get("review", "")
    if default == "never" and not data.get("agents"):
        yield (
            ("review",),
            "with review: never, nobody is asked before a merge",
            "use it only in roles with  merge: auto  or  merge: never",
        )
    for name, body in (data.get("agents") or {}).items():
        if not isinstance(body, dict):
            continue
        role = role_from(body)
        if (role.review or default) == "never" and role.merge == "ask":
            yield (
                ("agents", name, "review") if role.review else ("review",),
                "with review: never, nobody is asked before a merge",
                "merge: auto merges what is proven; merge: never keeps the branch",
            )
        for check in role.verify:
            if check not in checks:
                known = ", ".join(sorted(checks)) or "there are none"
                yield ("agents", name, "verify"), f"there is no check '{check}'", f"checks: {known}"
    trees = data.get("trees") or {}
    for command in trees.get("setup") or ():
        for folder in _FILLS.get(command[0].rpartition("/")[2], ()):
            if folder in (trees.get("link") or ()):
                yield (
                    ("trees", "link"),
                    f"{command[0]} fills {folder}, which is linked: it would empty your own",
                    f"remove {folder} from link, or the command from setup",
                )


def branch_part(task_id: str) -> str:
    """An id as a part of a branch's name: what git forbids there is written as ``%2E``."""
    text = task_id.replace("..", "%2E%2E")
    if text.endswith("."):
        text = f"{text[:-1]}%2E"
    if text.endswith(".lock"):
        text = f"{text[:-5]}%2Elock"
    return text


def free_name(wanted: str, taken: Sequence[str]) -> str:
    """``wanted``, or with a number, so that no branch is the same without regard to case, above it
    or below it."""
    folded = {name.casefold() for name in taken}

    def blocked(name: str) -> bool:
        low = name.casefold()
        above = {low[: match.start()] for match in re.finditer("/", low)}
        return bool(
            low in folded or above & folded or any(other.startswith(low + "/") for other in folded)
        )

    if not blocked(wanted):
        return wanted
    first, slash, rest = wanted.partition("/")
    for number in range(2, 1000):
        # A branch that is called as the prefix is in the way of all of them: then another prefix is
        # used.
        name = (
            f"{first}-{number}/{rest}"
            if slash and first.casefold() in folded
            else f"{wanted}-{number}"
        )
        if not blocked(name):
            return name
    raise ValueError(f"no free name like {wanted}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where proven work goes: ``review``, ``merge`` or ``done``; ``reason`` for people."""

    step: str
    reason: str = ""


def verdict(role: Role, change: Change | None, files: Sequence[str] = ()) -> Verdict:
    """What follows when a task has ended well and all its checks are green.

    ``files`` are what a task without a tree changed.
    """
    if change is None:
        if role.review == "always":
            return Verdict("review", "review: always")
        if role.review == "changed" and files:
            return Verdict("review", f"it changed {', '.join(files[:5])}")
        return Verdict("done")
    if change.unproven:
        return Verdict("review", f"not proven: {change.unproven}")
    if change.empty:
        return Verdict("review", "review: always") if role.review == "always" else Verdict("done")
    if change.suspicious and role.merge == "auto":
        return Verdict("review", change.suspicious)
    if role.reviews in ("always", "changed"):
        return Verdict("review", summary(change))
    return Verdict("merge" if role.merge == "auto" else "done")


def protected(patterns: Sequence[str], files: Sequence[str]) -> list[str]:
    """Those of the files that a pattern names; ``**`` stands for any number of folders."""
    tests = [re.compile(_pattern(pattern)) for pattern in patterns]
    return [path for path in files if any(test.fullmatch(path) for test in tests)]


def _pattern(text: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text)
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(signs.get(part, re.escape(part)) for part in parts)


def files_of(listed: int) -> str:
    """``2 files``: how many files a change has of which so many are listed; no more than `KEPT`
    are."""
    if listed >= KEPT:
        return f"{KEPT:,} files or more"
    return f"{listed} file{'s' * (listed != 1)}"


def summary(change: Change) -> str:
    """``+12 -3 in 2 files on task/x``."""
    files = max(change.count, len(change.files))
    return (
        f"+{change.insertions} -{change.deletions} in {files} file{'s' * (files != 1)}"
        f" on {change.branch}"
    )


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How a check ended. ``code`` is its exit code, None if it had none; ``lines`` the last that it
    printed."""

    name: str
    passed: bool
    code: int | None = None
    seconds: float = 0.0
    cause: str = ""
    lines: tuple[str, ...] = field(default=())

    def as_entry(self) -> dict[str, Any]:
        """A line of a result's ``checks``."""
        entry = {"check": self.name, "passed": self.passed, "exit_code": self.code}
        entry |= {"duration_s": round(self.seconds, 3)}
        return entry | ({"cause": self.cause} if self.cause else {})

    @property
    def told(self) -> str:
        """``tests: exit code 2``."""
        how = self.cause or (
            f"exit code {self.code}" if self.code is not None else "was ended by a signal"
        )
        return f"{self.name}: {how}"

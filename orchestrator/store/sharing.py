"""What all trees share with the person: branches, tags, the stash, and what git obeys here
(configuration and hooks).

Before an attempt it is written down, after it compared. Commits that are held by nothing any more
are kept under a ref of ours. A change of the configuration or the hooks holds every merge, whoever
made it while an attempt was alive, until a person accepts it or it is as it was: a merge runs the
person's hooks as the person.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from orchestrator.files import journals, jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.files.text import lines_of
from orchestrator.model.isolation import Change
from orchestrator.model.journal import Phase
from orchestrator.records import asdict, dataclass, field
from orchestrator.store import atomic, merging, saving, smallfiles, trees
from orchestrator.store.git import Git, Repository
from orchestrator.store.trees import Tree

MOST = 1 << 20  # bytes of a hook or an attributes file that count
# Keys of the configuration that ordinary use of branches and submodules writes, and that execute
# nothing.
_HARMLESS = {
    "branch": ("remote", "merge", "rebase", "pushremote", "description"),
    "submodule": ("url", "active"),
}


@dataclass(frozen=True, slots=True)
class Shared:
    """Refs by name with their commits, and the commits of the stash, the newest first."""

    refs: Mapping[str, str] = field(default_factory=dict)
    stash: tuple[str, ...] = ()
    alive: tuple[str, ...] = ()  # tasks that may have an attempt alive at that moment


def look(layout: Layout, repo: Repository, tree: Tree, task_id: str) -> Shared:
    """What trees share now, without the tree's own branch."""
    listed = repo.shared(
        "for-each-ref",
        "--format=%(objectname) %(refname)",
        "refs/heads",
        "refs/tags",
        "refs/replace",
    )
    pairs = (line.split(" ", 1) for line in lines_of(listed))
    refs = {name: value for value, name in pairs if name != f"refs/heads/{tree.branch}"}
    stash = repo.shared("reflog", "show", "--format=%H", "refs/stash", "--", codes=(0, 128))
    return Shared(refs, tuple(stash.split()), tuple(alive(layout, but=task_id)))


def save_look(path: str, seen: Shared) -> None:
    """Keep it in a file."""
    atomic.remove(path)
    text = json.dumps(asdict(seen))
    atomic.write_temporary(path, text.encode(), sync=False)


def known_look(path: str) -> Shared | None:
    """What `save_look` kept; None if it is lost."""
    try:
        kept = jsonlines.loads(opening.read_bytes(path))
        return Shared(dict(kept["refs"]), tuple(kept["stash"]), tuple(kept["alive"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def told(
    layout: Layout,
    repo: Repository,
    tree: Tree,
    ref: str,
    before: Shared,
    own: tuple[str, ...],
    task_id: str,
) -> list[str]:
    """What has changed, in words. ``own`` is how refs of the branches of tasks and runs begin:
    those are moved by us. So is a branch into which only merges of ours went.

    What nothing holds any more is kept under ``ref``.
    """
    now = look(layout, repo, tree, task_id)
    changed = sorted(
        name
        for name in {*before.refs, *now.refs}
        if before.refs.get(name) != now.refs.get(name)
        and not name.startswith(own)
        and not _merged_by_us(layout, name, before, now)
    )
    taken = [commit for commit in before.stash if commit not in now.stash]
    left = [commit for commit in now.stash if commit not in before.stash]
    if not changed and not taken and not left:
        return []
    lost = [before.refs[name] for name in changed if name in before.refs]
    kept = keep_lost(repo, ref, [*lost, *taken, *left], task_id)
    others = sorted({*before.alive, *now.alive})
    also = f" (alive as well: {', '.join(others[:5])})" if others else ""
    words = []
    if changed:
        names = ", ".join(name.removeprefix("refs/") for name in changed[:5])
        words.append(f"while it ran, these changed in your repository: {names}{also}")
    if taken:
        words.append(
            f"while it ran, {len(taken)} of your stashes disappeared{also}:  git stash apply"
            f" {taken[0][:12]}"
        )
    if left:
        words.append(f"while it ran, your list of stashes grew by {len(left)}{also}")
    if kept:
        words.append(f"work that nothing else holds is kept: {kept}")
    return words


def _merged_by_us(layout: Layout, name: str, before: Shared, now: Shared) -> bool:
    was, is_now = before.refs.get(name, ""), now.refs.get(name, "")
    target = name.removeprefix("refs/heads/")
    return bool(was and is_now) and merging.is_ours(layout, target, was, is_now)


def carried_off(repo: Repository, tree: Tree, before: Shared, change: Change) -> str:
    """The commit of the target before the attempt, if it was moved to commits of the attempt
    meanwhile; else empty."""
    ref = f"refs/heads/{change.target}"
    was, now = before.refs.get(ref, ""), repo.shared.commit_of(ref)
    if not change.target or not was or not now or was == now:
        return ""

    def holds(commit: str) -> bool:
        words = ("merge-base", "--is-ancestor", change.tip, commit)
        return repo.shared.raw(*words, codes=None).returncode == 0

    if holds(was) or not holds(now):
        return ""
    came = lines_of(repo.shared("rev-list", f"{was}..{change.tip}"))
    return was if saving.committed(trees.admin_of(repo, tree.path)).intersection(came) else ""


def keep_lost(repo: Repository, ref: str, commits: Collection[str], task_id: str) -> str:
    """Hold those of the commits that nothing else holds; the name of the ref, empty if there are
    none."""
    there = [commit for commit in (repo.shared.commit_of(name) for name in commits) if commit]
    if not there:
        return ""
    asked = "".join(f"{commit}\n" for commit in there).encode()
    held = ("--not", "--exclude=refs/stash", "--all")  # a stash goes with the next  git stash pop
    listed = repo.shared("rev-list", "--stdin", *held, stdin=asked)
    outside = set(lines_of(listed))
    lost = [commit for commit in dict.fromkeys(there) if commit in outside]
    if not lost:
        return ""
    parents = [word for commit in lost for word in ("-p", commit)]
    message = f"{task_id}: what disappeared from the repository while it ran\n"
    made = repo.shared.signed()(
        "commit-tree", f"{lost[0]}^{{tree}}", *parents, stdin=message.encode("utf-8", "replace")
    )
    saving.keep(repo.shared, ref, made)
    return ref


def alive(layout: Layout, but: str = "") -> Iterator[str]:
    """Ids of tasks of which an attempt, or a check of one, may be alive."""
    for journal in journals.active(layout):
        if journal.phase is Phase.STARTED and journal.task_id != but:
            yield journal.task_id


# -- what git obeys
# -------------------------------------------------------------------------------------------------


def obeyed(repo: Repository) -> dict[str, str]:
    """What git would execute or obey here: by path, or by key of the configuration, what it
    says."""
    found: dict[str, str] = {}
    for path in (f"{repo.common}/config", f"{repo.git_dir}/config.worktree"):
        for key, value in _settings(repo.common, path):
            section, _, name = key.rpartition(".")
            kind = section.partition(".")[0]
            if name not in _HARMLESS.get(kind, ()):
                name = f"{os.path.basename(path)}: {key}"
                found[name] = f"{found.get(name, '')}\n{value}"
    for path in (f"{repo.common}/info/attributes", *_hooks(repo, found)):
        try:
            content = opening.read_bytes(path, MOST)
            mode = os.stat(path).st_mode & 0o111
        except OSError:
            continue
        found[path.removeprefix(f"{repo.common}/")] = (
            f"{mode:o} {hashlib.sha256(content).hexdigest()}"
        )
    return found


def _settings(common: str, path: str) -> Iterator[tuple[str, str]]:
    if not os.path.exists(path):
        return
    listed = Git(common)("config", "--file", path, "--includes", "--list", "-z", codes=(0, 1, 128))
    for entry in listed.split("\0"):
        key, _, value = entry.partition("\n")
        if key:
            yield key, value


def _hooks(repo: Repository, settings: Mapping[str, str]) -> list[str]:
    folders = [f"{repo.common}/hooks"]
    if elsewhere := settings.get("config: core.hookspath", "").strip():
        folders.append(os.path.join(repo.top, elsewhere))
    paths = []
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        paths += [f"{folder}/{name}" for name in names if not name.endswith(".sample")]
    return paths


def _state_file(layout: Layout) -> str:
    return f"{layout.state}/trees/git-settings.json"


def _known(layout: Layout) -> dict[str, Any]:
    try:
        kept = jsonlines.loads(opening.read_bytes(_state_file(layout)))
        return kept if isinstance(kept.get("before"), dict) else {}
    except (OSError, ValueError, AttributeError):
        return {}


def _write(layout: Layout, before: Mapping[str, str], changed: bool) -> None:
    document = {"before": dict(before), "changed": changed}
    smallfiles.replace(layout, _state_file(layout), document, "git-settings")


def expose(layout: Layout, repo: Repository, task_id: str) -> None:
    """An attempt is about to be alive: what is obeyed now counts as the person's, unless another
    may have changed it already."""
    now = obeyed(repo)  # before it is asked who is alive: whoever is not yet has not changed it
    known = _known(layout)
    if known and (known.get("changed") or next(alive(layout, but=task_id), "")):
        return
    _write(layout, now, False)


def changed(layout: Layout, repo: Repository) -> list[str]:
    """What is obeyed otherwise than before the attempts that are, or were, alive. To be asked at
    the end of each."""
    return _changed(layout, repo, _known(layout))


def _changed(layout: Layout, repo: Repository, known: Mapping[str, Any]) -> list[str]:
    if not known:
        return []
    before, now = known["before"], obeyed(repo)
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if bool(names) != bool(known.get("changed")):
        _write(layout, before, bool(names))
    return names


def holds_merges(layout: Layout, repo: Repository) -> str:
    """Why nothing is merged, in words; empty if it may be.

    A person changes hooks as well: what changed while no attempt was alive is theirs.
    """
    known = _known(layout)
    if not known or not (known.get("changed") or next(alive(layout), "")):
        return ""
    names = _changed(layout, repo, known)
    if not names:
        return ""
    return f"git hooks or settings here changed while tasks ran: {', '.join(names[:5])}"


def accept(layout: Layout) -> bool:
    """A person has looked at what git obeys: it counts.  Whether there was something to accept."""
    found = bool(_known(layout).get("changed"))
    atomic.remove(_state_file(layout))
    return found

"""The one way by which a bundle from another machine gets into a repository.

Not `git fetch`: that of 2.39 checks nothing that comes in a bundle. As with `git receive-pack`,
what comes lies apart until git has checked every object, and what they make of a checkout has been
counted. Of what is refused nothing stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from orchestrator.errors import OrchestratorError
from orchestrator.store import atomic
from orchestrator.store.git import Git

FILES_MOST = 256 << 20  # bytes of the list of a commit's files
NEW_MOST = 16 << 20  # and by how many one that comes back may make it longer: some 150,000 files
CONTENT_MOST = 4 << 30  # bytes of the files that it changes
OBJECT_MOST = 1 << 30  # bytes of one object that git has in memory; larger files it streams
PATH_MOST, NAME_MOST = 4000, 255  # what Linux can make


class Refused(OrchestratorError):
    """What came is not what was announced, or is no work; the message says why."""


def take_in(git: Git, bundle: bytes, ref: str, commit: str, base: str = "") -> None:
    """Have the objects of a bundle that has one commit, as ``ref``. No ref is made.

    With a ``base``, it must be one commit on top of this one, whose changes this machine can hold.
    Raises `Refused`, `GitFailed` or OSError; then nothing of it is there. May be repeated.
    """
    pack = _pack(bundle, f"{commit} {ref}")
    objects = f"{git.git_dir}/objects"
    apart = f"{objects}/tmp_objdir-{commit}"  # where we are killed, git removes it by its name
    atomic.remove_tree(apart)
    os.makedirs(f"{apart}/info", mode=0o700)
    try:
        borrowed = os.fsencode(f"{objects}\n")
        atomic.write_temporary(f"{apart}/info/alternates", borrowed, sync=False)
        limits = (("GIT_ALLOC_LIMIT", str(OBJECT_MOST)), ("GIT_NO_REPLACE_OBJECTS", "1"))
        there = git.at(env=(*git.env, ("GIT_OBJECT_DIRECTORY", apart), *limits))
        there("index-pack", "--stdin", "--fix-thin", "--strict", stdin=pack)
        _check(there, commit, base)
        packs = f"{apart}/pack"
        for name in sorted(os.listdir(packs), key=lambda name: name.endswith(".idx")):
            os.rename(f"{packs}/{name}", f"{objects}/pack/{name}")
    finally:
        atomic.remove_tree(apart)


def _pack(bundle: bytes, wanted: str) -> bytes:
    """The objects in a bundle of one ref alone, as ``wanted`` names it."""
    head, _, pack = bundle.partition(b"\n\n")
    first, *named = head.split(b"\n")
    refs = [line for line in named if line[:1] != b"-"]
    if first != b"# v2 git bundle" or refs != [wanted.encode()]:
        raise Refused("it is no bundle of the commit that was announced")
    return pack


def _check(git: Git, commit: str, base: str) -> None:
    if git.commit_of(commit) != commit:
        raise Refused("it is not the commit that was announced")
    if not base:
        git.listing("ls-tree", "-r", "-z", commit, most=FILES_MOST)
        return
    if git("rev-list", "--parents", "-n", "1", commit).split() != [commit, base]:
        raise Refused("it is not one commit on top of the one that was sent")
    before = git.listing("ls-tree", "-r", "-z", base, most=FILES_MOST)
    after = git.listing("ls-tree", "-r", "-z", commit, most=len(before) + NEW_MOST)
    known = set(before.split(b"\0"))
    changed = [entry for entry in after.split(b"\0") if entry and entry not in known]
    for entry in changed:
        path = entry.partition(b"\t")[2]
        if len(path) > PATH_MOST or max(map(len, path.split(b"/"))) > NAME_MOST:
            raise Refused("a file in it has a path that is too long")
    if _content(git, changed) > CONTENT_MOST:
        raise Refused(f"its changes have more than {CONTENT_MOST >> 30} GiB")


def _content(git: Git, entries: Iterable[bytes]) -> int:
    """The bytes of these entries of a listing in a checkout."""
    heads = [entry.partition(b"\t")[0].split() for entry in entries]  # mode, type, object
    blobs = [oid for _, kind, oid in heads if kind == b"blob"]
    sizes = git("cat-file", "--batch-check=%(objectsize)", stdin=b"".join(b + b"\n" for b in blobs))
    return sum(int(line) for line in sizes.split("\n") if line.isdecimal())

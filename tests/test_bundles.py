"""What comes in a bundle is taken in only if git accepts each object and a checkout of it is one that this machine can hold; else nothing of it stays."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path

import pytest

from orchestrator.store import bundles
from orchestrator.store.bundles import Refused, take_in
from orchestrator.store.git import Git, GitFailed

REF = "refs/orchestrator/work/x"
KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


class Store:
    """A repository with one commit, and packs that were made by hand for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git = Git(str(folder))
        folder.mkdir()
        self.git("init", "-q", "--bare")
        self.entries: list[bytes] = []
        self.seed = self.blob(b"one\n")
        self.base = self.commit(self.tree(("100644", "f", self.seed)))
        take_in(self.git, self.bundle(self.base), REF, self.base)
        self.entries.clear()

    def add(self, kind: str, data: bytes) -> str:
        """An object as it is, whatever git thinks of it."""
        size, first = len(data), KINDS[kind] << 4
        head = [first | size & 15]
        size >>= 4
        while size:
            head[-1] |= 128
            head.append(size & 127)
            size >>= 7
        self.entries.append(bytes(head) + zlib.compress(data))
        return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()

    def blob(self, data: bytes) -> str:
        return self.add("blob", data)

    def tree(self, *entries: tuple[str, str, str]) -> str:
        body = b"".join(
            f"{mode} {name}\0".encode() + bytes.fromhex(found) for mode, name, found in entries
        )
        return self.add("tree", body)

    def commit(self, tree: str, *parents: str) -> str:
        lines = [f"tree {tree}", *(f"parent {one}" for one in parents)]
        who = "n <e@x> 1700000000 +0000"
        return self.add("commit", "\n".join([*lines, f"author {who}", f"committer {who}", "", "x\n"]).encode())  # fmt: skip

    def bundle(self, commit: str, ref: str = REF, more: bytes = b"") -> bytes:
        pack = b"PACK" + struct.pack(">II", 2, len(self.entries)) + b"".join(self.entries)
        head = f"# v2 git bundle\n{commit} {ref}\n".encode() + more
        return head + b"\n" + pack + hashlib.sha1(pack).digest()

    def files(self) -> list[str]:
        found = [os.path.join(at, name) for at, _, names in os.walk(self.folder) for name in names]
        return sorted(found + [at for at, _, _ in os.walk(self.folder)])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def refused(store: Store, commit: str, bundle: bytes) -> None:
    """In both directions: as work on what was sent, and as code; and nothing of it stays."""
    before = store.files()
    for base in (store.base, ""):
        with pytest.raises((Refused, GitFailed)):
            take_in(store.git, bundle, REF, commit, base)
        assert store.files() == before
    assert not store.git.commit_of(commit) or commit == store.base


def test_a_commit_is_taken_in_and_again(store):
    commit = store.commit(store.tree(("100644", "f", store.seed), ("100644", "g", store.blob(b"two\n"))), store.base)  # fmt: skip
    for _ in range(2):
        take_in(store.git, store.bundle(commit), REF, commit, store.base)
    assert store.git("show", f"{commit}:g") == "two"
    assert os.listdir(f"{store.folder}/objects/pack")
    assert not [name for name in os.listdir(f"{store.folder}/objects") if "tmp" in name]


NAMES = [".git", ".GIT", ".Git", "git~1", "GIT~1", ".git\u200c", ".g\u200dit", ".git ", ".git.", ".git::$INDEX_ALLOCATION", ".", "..", "a/b", "/", "", "a\\..\\.git"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["100644", "40000", "120000"])
def test_no_file_has_a_name_that_leads_elsewhere(store, name, mode):
    inner = store.tree(("100755", "config", store.blob(b"evil\n")))
    found = inner if mode == "40000" else store.blob(b"/etc/passwd")
    commit = store.commit(store.tree((mode, name, found)), store.base)
    refused(store, commit, store.bundle(commit))


def _lie(store: Store, lie: str) -> tuple[str, bytes]:
    """A commit that must not come in, and its bundle."""
    plain = ("100644", "f", store.seed)
    if lie == "submodule dash":
        text = b'[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch evil\n'
        tree = store.tree(("100644", ".gitmodules", store.blob(text)))
    elif lie == "submodule path":
        text = b'[submodule "x"]\n\tpath = -x\n\turl = http://x\n'
        tree = store.tree(("100644", ".gitmodules", store.blob(text)))
    elif lie == "submodule name":
        text = b'[submodule "../../x"]\n\tpath = x\n\turl = http://x\n'
        tree = store.tree(("100644", ".gitmodules", store.blob(text)))
    elif lie == "gitmodules is a link":
        tree = store.tree(("120000", ".gitmodules", store.blob(b"/etc/passwd")))
    elif lie == "twice":
        tree = store.tree(plain, ("100644", "f", store.blob(b"two\n")))
    elif lie == "link and folder":
        link = store.blob(b"/tmp")
        inner = store.tree(("100644", "x", store.seed))
        tree = store.tree(("120000", "a", link), ("40000", "a", inner))
    elif lie == "not sorted":
        tree = store.tree(("100644", "g", store.seed), plain)
    elif lie == "mode":
        tree = store.tree(("0100644", "f", store.seed))
    elif lie == "missing blob":
        tree = store.tree(("100644", "f", "1" * 40))
    elif lie == "missing tree":
        tree = "2" * 40
    elif lie == "blob as tree":
        tree = store.blob(b"no tree\n")
    else:
        tree = store.tree(plain)
    commit = store.commit(tree, *({"missing parent": ["3" * 40]}.get(lie, [store.base])))
    bundle = store.bundle(commit)
    if lie == "author":
        commit = store.add("commit", f"tree {tree}\nparent {store.base}\nauthor x\n\nx\n".encode())
        bundle = store.bundle(commit)
    elif lie == "tag":
        text = f"object {commit}\ntype commit\ntag x\ntagger n <e@x> 1700000000 +0000\n\nx\n"
        commit = store.add("tag", text.encode())
        bundle = store.bundle(commit)
    elif lie == "two refs":
        bundle = store.bundle(commit, more=f"{commit} refs/heads/main\n".encode())
    elif lie == "another ref":
        bundle = store.bundle(commit, ref="refs/heads/main")
    elif lie == "sha256":
        bundle = b"# v3 git bundle\n@object-format=sha256\n" + bundle.split(b"\n", 1)[1]
    elif lie == "version":
        bundle = bundle.replace(b"# v2", b"# v9", 1)
    elif lie == "cut off":
        bundle = bundle[:-1]
    elif lie == "sum":
        bundle = bundle[:-20] + b"\0" * 20
    elif lie == "count":
        bundle = bundle.replace(b"PACK\0\0\0\2\0\0", b"PACK\0\0\0\2\x7f\xff", 1)
    elif lie == "no objects":
        store.entries.clear()
        bundle = store.bundle(commit)
    return commit, bundle


LIES = ["submodule dash", "submodule path", "submodule name", "gitmodules is a link", "twice", "link and folder", "not sorted", "mode", "missing blob", "missing tree", "blob as tree", "missing parent", "author", "tag", "two refs", "another ref", "sha256", "version", "cut off", "sum", "count", "no objects"]  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_what_git_or_the_announcement_does_not_allow(store, lie):
    commit, bundle = _lie(store, lie)
    refused(store, commit, bundle)


def test_prerequisites_are_not_believed(store):
    """What a bundle says that it builds upon does not count: what is missing is missing."""
    commit = store.commit(store.tree(("100644", "f", "1" * 40)), store.base)
    refused(store, commit, store.bundle(commit, more=f"-{'1' * 40} x\n".encode()))


def test_a_few_trees_that_name_any_number_of_files(store):
    """Ten times ten times ten ...: git would fill the memory with their names."""
    tree = store.tree(("100644", "f", store.seed))
    for _ in range(12):
        tree = store.tree(*(("40000", f"d{number}", tree) for number in range(10)))
    commit = store.commit(tree, store.base)
    refused(store, commit, store.bundle(commit))


def test_a_file_that_is_named_many_times_counts_each_time(store, monkeypatch):
    monkeypatch.setattr(bundles, "CONTENT_MOST", 10_000)
    large = store.blob(b"\0" * 1000)
    commit = store.commit(store.tree(*(("100644", f"f{number:02}", large) for number in range(11))), store.base)  # fmt: skip
    before = store.files()
    with pytest.raises(Refused, match="GiB"):
        take_in(store.git, store.bundle(commit), REF, commit, store.base)
    assert store.files() == before


@pytest.mark.parametrize("name", ["x" * 256, "/".join(["y" * 200] * 21)])
def test_a_path_that_no_file_can_have(store, name):
    *folders, last = name.split("/")
    tree = store.tree(("100644", last, store.seed))
    for folder in folders:
        tree = store.tree(("40000", folder, tree))
    commit = store.commit(tree, store.base)
    with pytest.raises(Refused, match="path that is too long"):
        take_in(store.git, store.bundle(commit), REF, commit, store.base)


def test_a_delta_that_becomes_larger_than_memory(store):
    """A few bytes that copy 16 MiB again and again."""

    def number(value: int) -> bytes:
        out = []
        while True:
            out.append(value & 127 | (128 if value > 127 else 0))
            value >>= 7
            if not value:
                return bytes(out)

    source = b"\0" * (1 << 24)
    base = store.blob(source)
    copy = bytes([0b11110000, 0xFF, 0xFF, 0xFF])
    times = 100
    delta = number(len(source)) + number(0xFFFFFF * times) + copy * times
    head, size = [7 << 4 | len(delta) & 15], len(delta) >> 4
    while size:
        head[-1] |= 128
        head.append(size & 127)
        size >>= 7
    store.entries.append(bytes(head) + bytes.fromhex(base) + zlib.compress(delta))
    found = hashlib.sha1(f"blob {0xFFFFFF * times}\0".encode())
    for _ in range(times):
        found.update(source[:0xFFFFFF])
    commit = store.commit(store.tree(("100644", "f", found.hexdigest())), store.base)
    refused(store, commit, store.bundle(commit))


def test_the_repository_s_own_settings_loosen_nothing(store):
    for key in ("fetch.fsckObjects", "transfer.fsckObjects", "receive.fsckObjects"):
        store.git("config", key, "false")
    store.git("config", "fsck.hasDotgit", "ignore")
    store.git("config", "receive.fsck.hasDotgit", "ignore")
    store.git("config", "fetch.fsck.hasDotgit", "ignore")
    commit = store.commit(store.tree(("100644", ".git", store.seed)), store.base)
    refused(store, commit, store.bundle(commit))


def test_a_replacement_does_not_change_what_a_commit_is(store):
    """An agent here may say that git is to show another commit in place of what came."""
    tree = store.tree(("100644", "f", store.seed))
    bad = store.commit(tree)
    good = store.commit(tree, store.base)
    bundle = store.bundle(bad)
    take_in(store.git, store.bundle(good), REF, good, store.base)
    store.git("update-ref", f"refs/replace/{bad}", good)
    with pytest.raises(Refused, match="on top of"):
        take_in(store.git, bundle, REF, bad, store.base)

"""What comes back from another machine is taken in only if it is one commit on what was sent, and reaches nothing but the task's tree."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.coordination.elsewhere.spool import Entry
from orchestrator.coordination.elsewhere.workplace import NoPlace, Workplace
from orchestrator.distributors import packing
from orchestrator.distributors.base import Order
from orchestrator.distributors.dispatches import Nonsense, Piece, end_of
from orchestrator.distributors.engines import choice
from orchestrator.distributors.engines.base import Down
from orchestrator.distributors.engines.redis import _whole
from orchestrator.distributors.farm import Farm
from orchestrator.distributors.home import RESULT, Home, NotHome
from orchestrator.distributors.incoming import Incoming
from orchestrator.files.layout import Layout
from orchestrator.model.isolation import Trees
from orchestrator.store import trees

DISPATCH = "d" * 32


def git(folder: Path, *words: str, text: str = "") -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = ("-c", "user.name=n", "-c", "user.email=e@x")
    done = subprocess.run(["git", *who, *words], cwd=folder, env=env, input=text, capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout.strip()


class Both:
    """A watcher's project with a task's tree, and a worker's spool: ``take`` brings a commit of the worker's home."""

    def __init__(self, folder: Path) -> None:
        self.near, self.far, self.spool = folder / "near", folder / "far", folder / "spool"
        for project in (self.near, self.far):
            (project / "work/.state/tmp").mkdir(parents=True)
            git(project, "init", "-q")
        self.spool.mkdir()
        (self.near / "f").write_text("one\n")
        (self.near / "work/kept").write_text("state\n")
        git(self.near, "add", "f", "work/kept")
        git(self.near, "commit", "-qm", "base")
        self.layout = Layout(str(self.near))
        self.home = Home(self.layout)
        repo = trees.repository(self.layout)
        plan = trees.plan(self.layout, Trees(), "a", repo)
        self.tree = trees.make(self.layout, Trees(), repo, plan, str(folder / "setup.log"))
        self.base = self.tree.base
        code = {"commit": self.base, "branch": self.tree.branch}
        self.told = {"task": "a", "attempt": 1, "code": self.home.begin(DISPATCH, {"code": code})}
        self.place = Workplace(Layout(str(self.far)), str(self.spool))
        self.place.prepare()
        self.entry = Entry(str(self.spool / DISPATCH))
        os.mkdir(self.entry.folder)

    def work(self) -> Path:
        """The folder in which an attempt works over there."""
        assert self.place.lacks(self.told["code"])
        bundle = self.home.bundle(DISPATCH, self.place.has())
        self.place.take(self.entry, self.base, bundle)
        assert not self.place.lacks(self.told["code"])
        return Path(self.place.ready(self.entry, self.told))

    def take(self, commit: str, bundle: bytes) -> None:
        self.home.take(DISPATCH, "a", self.base, commit, bundle)

    def store(self, *words: str, text: str = "") -> str:
        """A git command in the worker's store: a worker that lies."""
        return git(self.spool / "code.git", *words, text=text)

    def bundle(self, commit: str) -> bytes:
        self.store("update-ref", f"{RESULT}/{DISPATCH}", commit)
        path = self.spool / "lie.bundle"
        self.store("bundle", "create", "-q", str(path), f"{RESULT}/{DISPATCH}", f"^{self.base}")
        return path.read_bytes()


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


def test_work_comes_home_and_nothing_else(both):
    """What git ignores, what was lent and the state of tasks stay there, whatever the agent did to its own repository."""
    folder = both.work()
    assert not (folder / "work/kept").exists()
    (folder / "f").write_text("two\n")
    (folder / "lent").write_text("not ours\n")
    (folder / "new").mkdir()
    (folder / "new/g").write_text("new\n")
    (folder / "work").mkdir(exist_ok=True)
    (folder / "work/inbox.yaml").write_text("agent: x\n")
    git(folder, "commit", "-qam", "a commit of the agent's own")
    git(folder, "config", "core.fsmonitor", "false; touch /nowhere/never")
    commit, bundle = both.place.work(both.entry, both.told, ["lent"])
    for _ in range(2):  # a watcher that was killed takes it once more
        both.take(commit, bundle)
    tree = Path(both.tree.path)
    assert (tree / "f").read_text() == "two\n" and (tree / "new/g").read_text() == "new\n"
    assert not (tree / "lent").exists() and not (tree / "work/inbox.yaml").exists()
    assert (both.near / "work/kept").read_text() == "state\n" and (
        both.near / "f"
    ).read_text() == "one\n"
    assert git(tree, "status", "--porcelain").splitlines() == ["M  f", "A  new/g"]
    assert git(both.near, "rev-parse", both.tree.branch) == both.base


def test_a_worker_that_changed_nothing_sends_nothing(both):
    both.work()
    assert both.place.work(both.entry, both.told, []) == ("", b"")


def test_a_worker_whose_attempt_did_not_begin_sends_nothing(both):
    """There is no tree: why it did not begin is told, and not that."""
    told = {**both.told, "code": {**both.told["code"], "commit": "0" * 40}}
    assert both.place.work(both.entry, told, []) == ("", b"")


@pytest.mark.parametrize("lie", ["another parent", "two parents", "another commit", "dotgit", "dotdot", "no bundle", "mode", "dash"])  # fmt: skip
def test_what_a_lying_worker_sends_is_refused(both, lie):
    folder = both.work()
    (folder / "f").write_text("two\n")
    commit, bundle = both.place.work(both.entry, both.told, [])
    blob = both.store("hash-object", "-w", "--stdin", text="#!/bin/sh\n")
    name = {"dotgit": ".git", "dotdot": ".."}.get(lie)
    if name:
        inner = both.store("mktree", text=f"100755 blob {blob}\tpost-checkout\n")
        path = both.spool / "raw"
        path.write_bytes(f"40000 {name}\0".encode() + bytes.fromhex(inner))
        tree = both.store("hash-object", "-w", "-t", "tree", "--literally", str(path))
        commit = both.store("commit-tree", tree, "-p", both.base, "-m", "x")
    elif lie == "dash":  # what `git submodule` would take for an option
        text = '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch evil\n'
        bad = both.store("hash-object", "-w", "--stdin", text=text)
        tree = both.store("mktree", text=f"100644 blob {bad}\t.gitmodules\n100644 blob {blob}\tf\n")
        commit = both.store("commit-tree", tree, "-p", both.base, "-m", "x")
    elif lie == "mode":  # two spellings of one thing
        path = both.spool / "raw"
        path.write_bytes(b"0100644 f\0" + bytes.fromhex(blob))
        tree = both.store("hash-object", "-w", "-t", "tree", "--literally", str(path))
        commit = both.store("commit-tree", tree, "-p", both.base, "-m", "x")
    elif lie == "another parent":
        commit = both.store("commit-tree", f"{commit}^{{tree}}", "-p", commit, "-m", "x")
    elif lie == "two parents":
        other = both.store("commit-tree", f"{commit}^{{tree}}", "-m", "root")
        commit = both.store(
            "commit-tree", f"{commit}^{{tree}}", "-p", both.base, "-p", other, "-m", "x"
        )
    sent = b"nonsense" if lie == "no bundle" else both.bundle(commit)
    announced = both.base if lie == "another commit" else commit
    with pytest.raises(NotHome):
        both.take(announced, sent)
    tree_now = Path(both.tree.path)
    assert (tree_now / "f").read_text() == "one\n" and git(tree_now, "status", "--porcelain") == ""
    assert sorted(os.listdir(both.near)) == [".git", "f", "work"]


def test_the_state_of_tasks_is_nobodys_work(both):
    """A lying worker's commit has tasks and settings of its own, and takes ours away."""
    both.work()
    blob = both.store("hash-object", "-w", "--stdin", text="agent: x\n")
    inner = both.store("mktree", text=f"100644 blob {blob}\tevil.yaml\n")
    tree = both.store("mktree", text=f"100644 blob {blob}\tf\n040000 tree {inner}\twork\n")
    commit = both.store("commit-tree", tree, "-p", both.base, "-m", "x")
    both.take(commit, both.bundle(commit))
    tree_now = Path(both.tree.path)
    assert (
        not (tree_now / "work/evil.yaml").exists() and (tree_now / "f").read_text() == "agent: x\n"
    )
    assert git(tree_now, "status", "--porcelain").splitlines() == ["M  f"]


@pytest.mark.parametrize("what", ["trees", "tree"])
def test_a_link_in_place_of_a_tree_gets_nothing(both, tmp_path, what):
    folder = both.work()
    (folder / "f").write_text("two\n")
    commit, bundle = both.place.work(both.entry, both.told, [])
    path = Path(both.tree.path) if what == "tree" else Path(both.tree.path).parent
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(NotHome, match="tree is gone"):
        both.take(commit, bundle)
    moved = tmp_path / "moved"
    assert (moved / "f" if what == "tree" else moved / "a/f").read_text() == "one\n"


def test_files_that_come_back_land_where_they_may(both, tmp_path):
    run_dir, folder = tmp_path / "run", Path(both.tree.path) / "sub"
    for path in (run_dir / "artifacts", folder):
        path.mkdir(parents=True)
    names = [
        "artifacts/x",
        "code/out",
        "code/other",
        "code/work/inbox/x.yaml",
        "stdout.log",
        "words/1",
        "asked/x",
    ]
    blob = json.dumps([[name, 1, False] for name in names]).encode() + b"\nabcdefg"
    declared = ("out", "work/inbox/x.yaml")
    refused = both.home.place(str(run_dir), str(folder), blob, declared)
    assert refused == ["code/other", "code/work/inbox/x.yaml", "stdout.log", "words/1", "asked/x"]
    assert (run_dir / "artifacts/x").read_text() == "a" and (folder / "out").read_text() == "b"
    assert os.listdir(folder) == ["out"] and os.listdir(run_dir) == ["artifacts"]


def test_links_over_here_lead_no_file_elsewhere(both, tmp_path):
    """An agent put them there before its files came home."""
    run_dir, folder, out = tmp_path / "run", Path(both.tree.path) / "sub", tmp_path / "out"
    for path in (run_dir / "artifacts", folder, out):
        path.mkdir(parents=True)
    (run_dir / "artifacts/sub").symlink_to(out)
    (folder / "made").symlink_to(out / "f")
    (out / "f").write_text("kept\n")

    def sent(name: str) -> bytes:
        return json.dumps([[name, 1, False]]).encode() + b"\nx"

    with pytest.raises(OSError, match="artifacts|sub|directory|links"):
        both.home.place(str(run_dir), str(folder), sent("artifacts/sub/x"), ())
    both.home.place(str(run_dir), str(folder), sent("code/made"), ("made",))
    assert os.listdir(out) == ["f"] and (out / "f").read_text() == "kept\n"
    assert (folder / "made").read_text() == "x" and not (folder / "made").is_symlink()


@pytest.mark.parametrize("name", ["artifacts/../x", "/artifacts/x", "artifacts//x", "artifacts/.GIT/x", "code/a\0b", "artifacts/.", "", 1, "x" * 4000])  # fmt: skip
def test_a_name_that_leads_elsewhere_brings_nothing(name):
    with pytest.raises(ValueError, match="name or size"):
        packing.unpack(json.dumps([["a", 0, False], [name, 0, False]]).encode() + b"\n")


@pytest.mark.parametrize("size", [-1, 2, "1", None, 1.0, 10**30])
def test_a_size_that_is_none_brings_nothing(size):
    with pytest.raises(ValueError, match="name or size"):
        packing.unpack(json.dumps([["a", size, False]]).encode() + b"\nx")
    with pytest.raises(ValueError, match="more than"):
        packing.unpack(json.dumps([["a", 0, False]] * (packing.MOST_FILES + 1)).encode() + b"\n")


@pytest.fixture
def incoming(both, tmp_path):
    """What takes in the logs and blobs of one attempt, with a limit of 10 bytes for each log; and what it has."""
    url, run_dir = f"folder://{tmp_path}/shared", tmp_path / "run"
    run_dir.mkdir()
    farm = Farm("far", choice.engine(url, "here"), "0" * 32, 1.0, 4.0, "git", both.home, None)
    order = Order(
        "a",
        1,
        "",
        (),
        {},
        str(both.near),
        str(run_dir),
        None,
        "",
        -1,
        "",
        0,
        0,
        0,
        10,
        "end",
        portable=both.told,
    )
    found = Incoming(farm, order, DISPATCH)
    yield found, run_dir / "stdout.log"
    found.close()


def test_a_log_has_no_hole_and_ends_at_its_limit(incoming):
    one, log = incoming
    one.write(Piece("stdout", 5, data=b"far"))
    assert log.read_bytes() == b""  # asked for again, at the end
    one.write(Piece("stdout", 0, data=b"abc"))
    one.write(Piece("stdout", 3, data=b"x" * 1000))
    one.write(Piece("stdout", 1 << 39, data=b"y"))
    assert log.read_bytes() == b"abc" + b"x" * 7
    one.write(Piece("stdout", 1 << 39, cut=True))
    assert log.stat().st_size == 10
    one.write(Piece("stdout", 2, cut=True))
    assert log.read_bytes() == b"ab"


def test_only_what_has_the_announced_size_and_sum_is_home(incoming, monkeypatch):
    one, _ = incoming
    one.write(Piece("stdout", 0, data=b"abc"))

    def missing(**end) -> list[str]:
        return asyncio.run(asyncio.wait_for(one.missing(end), 20))

    def told(data: bytes, sum_of: bytes) -> dict:
        return {"size": len(data), "sha256": hashlib.sha256(sum_of).hexdigest()}

    assert missing(stdout=told(b"abc", b"abc")) == []
    assert (
        missing(stdout=told(b"abc", b"abd"))
        == missing(stdout=told(b"abcd", b"abcd"))
        == ["stdout.log"]
    )
    blob = json.dumps([["artifacts/x", 1, False]]).encode() + b"\na"
    (Path(one._order.run_dir) / "artifacts").mkdir()
    asyncio.run(one._farm.engine.store(f"{DISPATCH}.made", blob))
    assert (
        missing(made=told(blob, b"other")) == missing(made=told(blob + b"x", blob)) == ["its files"]
    )
    monkeypatch.setattr("orchestrator.distributors.incoming.FILES_MOST", 1)
    assert missing(made=told(blob, blob)) == ["its files"]
    assert os.listdir(f"{one._order.run_dir}/artifacts") == []
    monkeypatch.undo()
    assert missing(made=told(blob, blob)) == []
    assert os.listdir(f"{one._order.run_dir}/artifacts") == ["x"]


def test_a_full_disk_here_is_no_fault_of_what_comes(incoming):
    """It is brought home once there is room; what is wrong with the files themselves is refused."""
    one, _ = incoming
    blob = json.dumps([["artifacts/x", 1, False]]).encode() + b"\na"
    asyncio.run(one._farm.engine.store(f"{DISPATCH}.made", blob))
    told = {"size": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}
    for number, expected in (
        (errno.ENOSPC, OSError),
        (errno.EMFILE, OSError),
        (errno.ELOOP, NotHome),
    ):

        def fails(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        one._farm.home = SimpleNamespace(place=fails)
        with pytest.raises(expected):
            asyncio.run(one.missing({"made": told}))


@pytest.mark.parametrize("end", [{"cause": "won"}, {"cause": None}, {"code": True}, {"code": -1}, {"code": 256}, {"signal": 65}, {"stdout": []}, {"stdout": {"size": -1}}, {"work": {"size": 1, "sha256": "0" * 64, "commit": "HEAD"}}, {"made": {"size": 1, "sha256": "x"}}])  # fmt: skip
def test_an_end_that_no_attempt_has_is_none(end):
    with pytest.raises(Nonsense):
        end_of(end)
    assert len(end_of({"message": "x" * 10_000})["message"]) == 2000


def test_the_broker_may_have_anything_where_a_number_belongs():
    """Then it does not answer: the attempt was followed no longer, without a word."""
    for said in (None, b"x", b"", b"1 2"):
        with pytest.raises(Down):
            _whole(said)
    assert _whole(b"12") == 12


def _with_link(both: Both, target: Path) -> None:
    """The commit of the order has a link in place of the project's folder; files come beside it."""
    (both.near / "sub").symlink_to(target)
    git(both.near, "add", "sub")
    git(both.near, "commit", "-qm", "link")
    both.base = git(both.near, "rev-parse", "HEAD")
    git(both.near, "update-ref", f"refs/orchestrator/offers/{DISPATCH}", both.base)
    both.told["code"] |= {"commit": both.base}
    both.place.take(both.entry, both.base, both.home.bundle(DISPATCH, both.place.has()))


@pytest.mark.parametrize("below", ["sub", "sub/inner", "f", ".git", ".git/hooks", "../x", "a//b"])
def test_an_order_chooses_no_folder_outside_the_code(both, tmp_path, below):
    """A link in its commit led anywhere on the worker's machine, and so did its files."""
    out = tmp_path / "out"
    (out / "inner").mkdir(parents=True)
    _with_link(both, out)
    both.told["code"]["below"] = below
    blob = packing.pack([("given", str(both.near), "f")], 100)
    with pytest.raises((NoPlace, OSError)):
        both.place.ready(both.entry, both.told)
    with pytest.raises((ValueError, OSError)):
        both.place.place(both.entry, both.told, blob)
    assert os.listdir(out) == ["inner"] and os.listdir(out / "inner") == []
    git_dir = Path(both.entry.tree) / ".git"
    assert "given" not in os.listdir(git_dir) and not (git_dir / "hooks/given").exists()


def test_a_folder_of_the_code_that_is_not_there_is_made(both):
    both.work()
    both.told["code"]["below"] = "a/b"
    folder = Path(both.place.ready(both.entry, both.told))
    assert folder == Path(both.entry.tree) / "a/b" and folder.is_dir()
    blob = packing.pack([("x/given", str(both.near), "f")], 100)
    assert both.place.place(both.entry, both.told, blob) == ["x/given"]
    assert (folder / "x/given").read_text() == "one\n"


def test_published_commits_come_from_the_remote_of_the_worker_s_clone(both):
    """Not over the broker; and by no protocol that is a program."""
    code = {**both.told["code"], "published": True}
    git(both.far, "remote", "add", "origin", f"ext::git %s {both.near}")
    git(both.far, "config", "protocol.ext.allow", "always")
    assert both.place.lacks(code)
    git(both.far, "remote", "set-url", "origin", str(both.near))
    assert not both.place.lacks(code)


@pytest.mark.parametrize("nonce", [None, "", "0" * 64])
def test_shared_code_is_believed_only_by_who_sees_its_word(both, nonce):
    """An order could begin in the worker's own project, which is not the watcher's."""
    there = Workplace(both.layout, str(both.spool))
    told = {**both.told, "code": both.home.share(DISPATCH, {})}
    assert there.ready(both.entry, told) == both.layout.root
    wrong = {**told, "code": {**told["code"], "nonce": nonce}}
    for place, order in ((both.place, told), (both.place, wrong), (there, wrong)):
        with pytest.raises(NoPlace, match="not the watcher's folder"):
            place.ready(both.entry, order)


def test_files_beside_shared_code_are_placed_nowhere(both):
    """They would land in the worker's own project: its settings, say."""
    told = {**both.told, "code": {"kind": "shared", "nonce": "0" * 64}}
    blob = packing.pack([("work/orchestrator.yaml", str(both.near), "f")], 100)
    with pytest.raises(NoPlace):
        both.place.place(both.entry, told, blob)
    assert not (both.far / "work/orchestrator.yaml").exists()


def test_no_link_leads_to_what_is_sent(tmp_path):
    """A declared artifact, a context file or a copied one, in a folder that a commit has as a link: of either machine."""
    base, out = tmp_path / "base", tmp_path / "out"
    for folder in (base / "real", out / "keys"):
        folder.mkdir(parents=True)
    (out / "keys/id").write_text("secret\n")
    (base / "real/x").write_text("x\n")
    (base / "link").symlink_to(out)
    (base / "real/file").symlink_to(out / "keys/id")
    for path in ("link", "link/keys", "link/keys/id", "real/file", "/etc/passwd", "../out", "real/../../out"):  # fmt: skip
        assert list(packing.found_below(str(base), path)) == []
        assert packing.pack([("x", str(base), path)], 100) == b""
    assert list(packing.found_below(str(base), "./real/")) == ["real/x"]


def test_an_artifact_is_placed_through_no_link_that_came_with_the_work(both, tmp_path):
    """The project lies below its repository, and the commit that came back has a link in its place."""
    out = tmp_path / "out"
    out.mkdir()
    folder = Path(both.tree.path) / "sub"
    folder.symlink_to(out)
    blob = json.dumps([["code/made", 1, False]]).encode() + b"\nx"
    with pytest.raises(OSError):
        both.home.place(str(tmp_path), str(folder), blob, ("made",))
    folder.unlink()
    with pytest.raises(NotHome):
        both.home.place(str(tmp_path), str(folder), blob, ("made",))
    folder.mkdir()
    both.home.place(str(tmp_path), str(folder), blob, ("made",))
    assert os.listdir(out) == [] and (folder / "made").read_text() == "x"


def test_a_task_whose_name_is_none_of_a_branch_works_elsewhere(both):
    for name in ("a..b", "a.lock", "a."):
        both.told["task"] = name
        folder = both.work() if not os.path.isdir(both.entry.tree) else None
        if folder is None:
            os.rename(both.entry.tree, f"{both.entry.tree}-{name}")
            folder = Path(both.place.ready(both.entry, both.told))
        assert (folder / "f").read_text() == "one\n"


def test_code_that_is_not_the_commit_of_the_order_is_not_taken(both):
    other = git(both.near, "commit-tree", "HEAD^{tree}", "-m", "other")
    git(both.near, "update-ref", f"refs/orchestrator/offers/{DISPATCH}", other)
    bundle = both.home.bundle(DISPATCH, both.place.has())
    with pytest.raises(NoPlace, match="no bundle of the commit that was announced"):
        both.place.take(both.entry, both.base, bundle)

# ruff: noqa: F811 - fixtures come by their names
"""Odd repositories and odd things in them: each was found by hand, and lost something or stopped somebody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_trees import TOOL, Repo, git, persons, repo, watcher  # noqa: F401

from orchestrator.model.isolation import Change, Trees
from orchestrator.store import git as store_git
from orchestrator.store import mergeplans, merging, removal, saving, sharing, targets, trees
from orchestrator.store.trees import Tree


class Bench:
    """A tree, made and saved as a watcher does it, without one."""

    def __init__(self, repo: Repo, config: Trees = Trees()) -> None:
        self.layout = repo.layout
        self.repo = trees.repository(repo.layout)
        planned = trees.plan(self.layout, config, "x", self.repo)
        self.tree: Tree = trees.make(self.layout, config, self.repo, planned, os.devnull)
        self.path = Path(self.tree.path)

    def git(self, *words: str) -> str:
        return git(self.path, *words)

    def save(self) -> Change:
        return saving.save(self.layout, self.repo, self.tree, "x", 1, "tester")

    def remove(self) -> list[str]:
        """What holds the tree; nothing does if it is gone."""
        return removal.remove(self.layout, Trees(), self.repo, self.tree, "x", 1, "tester")

    def merge(self, strategy: str = "merge") -> mergeplans.Planned:
        change = self.save()
        return merging.merge(
            self.layout, self.repo, self.tree, change, strategy, "x", "x", {}, lambda record: None
        )


@pytest.fixture
def plain(tmp_path) -> Repo:
    return a_repository(tmp_path)


def a_repository(place: Path) -> Repo:
    """A repository in which nothing of ours runs but the store."""
    root = place / "p"
    for name in ("src", "work/trees", "work/.state/tmp", "work/.state/trees"):
        (root / name).mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    identify(root)
    (root / "src/a.txt").write_text("one\ntwo\nthree\n")
    (root / ".gitignore").write_text("*.pyc\nwork/\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return Repo(root)


def identify(root: Path) -> None:
    git(root, "config", "user.name", "n")
    git(root, "config", "user.email", "e@example.org")


@pytest.fixture
def bench(plain: Repo) -> Bench:
    return Bench(plain)


def test_what_lies_too_deep_to_be_named_keeps_its_tree(bench: Bench):
    script = "import os\nfor n in range(40): os.mkdir('d' * 120); os.chdir('d' * 120)\nopen('f', 'w').write('kept')"
    subprocess.run([sys.executable, "-c", script], cwd=bench.path, check=True)
    assert "ddd" in " ".join(bench.remove()) and bench.path.exists()
    shutil.rmtree(bench.path)


def test_what_appears_while_a_tree_is_looked_at_keeps_it(bench: Bench, monkeypatch):
    """Somebody writes a file that git ignores in the moment before the tree leaves its name."""
    rename = os.rename

    def late(source: str, target: str) -> None:
        if os.path.basename(target).startswith(trees.GONE):
            (bench.path / "late.pyc").write_text("only here\n")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert bench.remove() == ["files that appeared during the check: late.pyc"]
    assert (bench.path / "late.pyc").read_text() == "only here\n"


@pytest.mark.parametrize("changed", [False, True])
def test_what_was_there_before_the_agent_goes_with_its_tree(bench: Bench, changed):
    """A file that git ignores, and that orchestrator put there: elsewhere it is still as it was."""
    (bench.path / "put.pyc").write_text("there\n")
    trees.inventory(bench.layout, bench.tree, save=True)
    if changed:
        (bench.path / "put.pyc").write_text("changed here\n")
    assert bool(bench.remove()) == bench.path.exists() == changed


def test_what_a_ref_of_ours_held_before_stays(bench: Bench):
    """Two runs of one attempt save otherwise, each what the other has not."""
    shared = bench.repo.shared
    ref, made = "refs/orchestrator/saved/x/1", []
    for word in ("one", "two", "three"):
        tree = f"{bench.tree.base}^{{tree}}"
        made.append(shared.signed()("commit-tree", tree, stdin=word.encode()))
        saving.keep(shared, ref, made[-1])
    after = shared.signed()("commit-tree", tree, "-p", made[-1], stdin=b"after")
    saving.keep(shared, ref, after)
    held = [shared.commit_of(name) for name in (f"{ref}.1", f"{ref}.2", ref, f"{ref}.3")]
    assert held == [made[0], made[1], after, ""]


def without_rights(script: str, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess:
    """A script, run by somebody whom the modes of files keep out: root has to give up the right to pass over them."""
    prefix = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
        if not shutil.which("setpriv"):
            pytest.skip("there is no setpriv here")
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{script}"
    words = [*prefix, sys.executable, "-c", script, *words]
    return subprocess.run(words, capture_output=True, text=True, env=env)


def test_folders_that_are_protected_by_their_mode_go_and_give_way(plain: Repo, tmp_path):
    """Go's module cache has such folders; and an agent can protect so what it was not to leave."""
    bench = Bench(plain)
    run, place, displaced = (
        tmp_path / "run",
        tmp_path / "place",
        plain.root / "work/logs/.displaced",
    )
    results, kept = plain.root / "work/results", place / "sub/.claude"
    for folder in (run, displaced, results, kept, bench.path / "src/deep"):
        folder.mkdir(parents=True)
        (folder / "f").write_text("x")
    (run / "sandbox.json").write_text(
        json.dumps({"place": str(place), "steering": {"sub/.claude": 0}})
    )
    for folder in (results, kept, bench.path / "src/deep", bench.path / "src"):
        folder.chmod(0o500)
    place.chmod(0o100)
    script = """
from orchestrator.coordination.sandboxing import Sandboxes
from orchestrator.files.layout import Layout
from orchestrator.model.isolation import Trees
from orchestrator.store import places, removal, trees
root, path, base, run = sys.argv[1:]
layout, tree = Layout(root), trees.Tree(path, "task/x", base, "main", ready=True)
print(removal.remove(layout, Trees(), trees.repository(layout), tree, "x", 1, "tester"))
places.displace(layout, layout.folder("results"))
print(Sandboxes(layout, None)._after(run))
"""
    words = (str(plain.root), str(bench.path), bench.tree.base, str(run))
    done = without_rights(script, *words, env=plain.env)
    for folder in (place, run / "taken/sub/.claude", *displaced.glob("*-results")):
        folder.chmod(0o700)
    assert done.stdout.startswith("[]\n"), done.stdout + done.stderr
    assert os.listdir(bench.path.parent) == [".gitignore"]
    assert "still there" not in done.stdout and (run / "taken/sub/.claude/f").exists()
    assert (next(displaced.glob("*-results")) / "f").exists()


def test_what_cannot_be_read_keeps_its_tree(plain: Repo):
    """Of a file that cannot be read git saves what it had before, and its name alone would count as saved."""
    bench = Bench(plain)
    (bench.path / "src/a.txt").write_text("kept\n")
    (bench.path / "src/a.txt").chmod(0)
    (bench.path / "closed").mkdir()
    (bench.path / "closed/f").write_text("kept\n")
    (bench.path / "closed").chmod(0)
    script = (
        "import test_tree_odd as t\n"
        "from pathlib import Path; from test_trees import Repo\n"
        "b = t.Bench.__new__(t.Bench); r = Repo(Path(sys.argv[1])); b.layout = r.layout\n"
        "b.repo = t.trees.repository(r.layout); b.tree = t.Tree(sys.argv[2], 'task/x', sys.argv[3], 'main', ready=True)\n"
        "saved = b.save(); print(saved.unproven); print(b.remove())"
    )
    words = (str(plain.root), str(bench.path), bench.tree.base)
    done = without_rights(script, *words, env=plain.env)
    (bench.path / "closed").chmod(0o700)
    assert "files that cannot be read: src/a.txt" in done.stdout, done.stderr
    assert "'" in done.stdout and "closed" in done.stdout and bench.path.exists()


BROKEN = {
    "an encoding": "*.txt working-tree-encoding=UTF-16\n",
    "a filter that fails": "*.txt filter=bad\n",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_git_does_not_take_is_saved_as_it_is(plain: Repo, what, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / ".gitconfig").write_text(
        '[filter "bad"]\nclean = false\nrequired = true\n[user]\nname = n\nemail = e\n'
    )
    bench = Bench(plain)
    (bench.path / ".gitattributes").write_text(BROKEN[what])
    (bench.path / "src/a.txt").write_text("kept\n")
    (bench.path / "new.txt").write_text("kept too\n")
    os.symlink("src", bench.path / "link")
    saved = bench.save()
    assert "git does not take its files as .gitattributes says" in saved.unproven
    assert plain.git("show", f"{saved.tip}:src/a.txt") == "kept"
    assert plain.git("show", f"{saved.tip}:new.txt") == "kept too"
    assert saved.files == (".gitattributes", "link", "new.txt", "src/a.txt")
    assert plain.git("rev-parse", "task/x") == bench.tree.base
    assert bench.remove() == []


def test_what_was_amended_is_kept_without_logs_of_refs(plain: Repo):
    plain.git("config", "core.logAllRefUpdates", "false")
    bench = Bench(plain)
    (bench.path / "f").write_text("kept\n")
    bench.git("add", "f")
    bench.git("commit", "-qm", "one")
    first = bench.git("rev-parse", "HEAD")
    (bench.path / "f").write_text("other\n")
    bench.git("commit", "-q", "--amend", "-am", "two")
    bench.git("reset", "-q", "--soft", "HEAD")  # ORIG_HEAD does not know the first any more
    bench.save()
    refs = plain.git("for-each-ref", "--format=%(refname)", "refs/orchestrator").split()
    assert first in plain.git("rev-list", *refs).split()


def test_a_full_disk_is_waited_for(tmp_path):
    """Neither does a task fail for it, nor is what an agent left lost."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root mounts a small file system")
    try:
        root = a_repository(disk)
        filler = disk / "filler"
        fill(filler)
        with pytest.raises(OSError, match="No space left"):
            Bench(root)
        filler.unlink()
        bench = Bench(root)
        (bench.path / "f").write_text("kept\n")
        fill(filler)
        with pytest.raises(OSError, match="No space left"):
            bench.save()
        assert (bench.path / "f").read_text() == "kept\n"
        assert root.git("rev-parse", "task/x") == bench.tree.base
        filler.unlink()
        assert bench.save().files == ("f",)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path: Path) -> None:
    with path.open("ab", buffering=0) as out:
        try:
            while out.write(b"x" * 512):
                pass
        except OSError:
            return


def test_the_target_of_a_bare_repository_with_worktrees_is_merged(plain: Repo, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(plain.root), "bare.git")
    git(tmp_path / "bare.git", "worktree", "add", "-q", str(tmp_path / "w"), "main")
    identify(tmp_path / "w")
    (tmp_path / "w/work/.state/tmp").mkdir(parents=True)
    bench = Bench(Repo(tmp_path / "w"))
    (bench.path / "n").write_text("1\n")
    bench.merge()
    assert (tmp_path / "w/n").read_text() == "1\n"


def test_a_folder_becomes_a_file_and_what_is_in_the_way_is_named(bench: Bench, plain: Repo):
    shutil.rmtree(bench.path / "src")
    os.symlink("nowhere", bench.path / "src")
    (plain.root / "src/mine.pyc").write_text("mine\n")
    with pytest.raises(mergeplans.CannotMerge, match="in the way: src/mine.pyc"):
        bench.merge()
    assert (plain.root / "src/mine.pyc").read_text() == "mine\n"
    (plain.root / "src/mine.pyc").unlink()
    bench.merge()
    assert os.readlink(plain.root / "src") == "nowhere"
    assert plain.git("status", "--porcelain", "-uno") == ""


def test_a_merge_starts_no_git_for_every_file(bench: Bench, monkeypatch):
    starts = []
    real = store_git.Git.raw
    monkeypatch.setattr(store_git.Git, "raw", lambda *a, **k: starts.append(a) or real(*a, **k))
    for number in range(300):
        (bench.path / f"src/{number}").touch()
    bench.merge()
    assert len(starts) < 100


WHY = {
    "a lock": ("index.lock", "another git works, or one was killed"),
    "a hook": ("hooks/reference-transaction", "that may be a hook of yours"),
}


@pytest.mark.parametrize("what", WHY)
def test_why_git_did_not_move_a_checkout_is_said(bench: Bench, plain: Repo, what):
    name, words = WHY[what]
    bench.save()
    (bench.path / "n").write_text("1\n")
    change = bench.save()
    path = plain.root / ".git" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    old = plain.git("rev-parse", "main")
    planned = mergeplans.Planned("main", old, change.tip, change.tip)
    with pytest.raises(mergeplans.CannotMerge) as told:
        targets.move(bench.repo, planned)
    assert words in f"{told.value.message} {told.value.hint}"
    assert plain.git("rev-parse", "main") == old and not (plain.root / "n").exists()


def test_a_target_that_was_renamed_is_merged_by_hand(bench: Bench, plain: Repo):
    (bench.path / "n").write_text("1\n")
    bench.save()
    plain.git("branch", "-m", "main", "trunk")
    with pytest.raises(mergeplans.CannotMerge, match="the branch 'main' is gone") as told:
        bench.merge()
    assert "git merge task/x" in told.value.hint
    plain.git("merge", "-q", "task/x")
    bench.merge()


def test_who_moves_the_target_itself_does_not_get_past_the_review(repo: Repo):
    repo.settings("merge: auto")
    repo.do("x", "echo 1 > n; git add n; git commit -qm n; git update-ref refs/heads/main HEAD")
    result = repo.result("x")
    assert repo.where("x") == "review" and result["files_changed"] == ["n"]
    assert "main was moved to its work, without your approval" in result["reason"]


def test_what_git_submodule_writes_into_the_configuration_executes_nothing(
    bench: Bench, plain: Repo, tmp_path
):
    other = tmp_path / "lib"
    other.mkdir()
    git(other, "init", "-q")
    identify(other)
    git(other, "commit", "-q", "--allow-empty", "-m", "0")
    before = sharing.obeyed(bench.repo)
    bench.git("-c", "protocol.file.allow=always", "submodule", "-q", "add", str(other), "lib")
    identify(bench.path / "lib")
    (bench.path / "lib/f").write_text("kept\n")
    assert sharing.obeyed(bench.repo) == before
    bench.git("config", "submodule.lib.update", "!false")
    assert sharing.obeyed(bench.repo) != before
    bench.merge()
    assert bench.remove() == []
    held = plain.git("rev-parse", "HEAD:lib")
    assert plain.git("show", f"{held}:f") == "kept"


def test_a_tree_that_another_agent_takes_away_is_told(repo: Repo):
    repo.drop("y.yaml", json.dumps({"prompt": "echo 1 > n; touch ../go; until [ ! -e ../y ]; do sleep 0.02; done\nexit"}))  # fmt: skip
    repo.drop("x.yaml", json.dumps({"prompt": "until [ -e ../go ]; do sleep 0.02; done; git worktree remove -f -f ../y\nexit"}))  # fmt: skip
    repo.run("watch", "--until-empty", code=None)
    assert any("its tree disappeared while it ran" in text for text in repo.result("y")["warnings"])
    assert repo.where("y") == "review" and "its tree is gone" in repo.result("y")["reason"]
    assert persons(repo.root)["HEAD"] == "ref: refs/heads/main\n"


# -- what was seen of git itself -----------------------------------------------------------------------------------


def test_a_commit_of_ours_needs_no_identity(plain: Repo, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[user]\nuseConfigOnly = true\n")
    plain.git("config", "--remove-section", "user")
    bench = Bench(plain)
    (bench.path / "n").write_text("1\n")
    assert plain.git("show", "-s", "--format=%ae", bench.save().tip) == "orchestrator@localhost"


def test_a_squashed_branch_counts_as_merged(bench: Bench, plain: Repo):
    """`git branch -d` would refuse it."""
    (bench.path / "n").write_text("1\n")
    bench.merge("squash")
    assert bench.remove() == []
    assert removal.drop_branch(bench.repo, bench.tree, bench.save())
    assert plain.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_a_branch_that_only_a_remote_has_is_left_alone(plain: Repo):
    plain.git("update-ref", "refs/remotes/origin/task/x", "HEAD")
    assert Bench(plain).tree.branch == "task/x-2"


def test_a_link_of_ours_is_never_merged_over_the_folder_it_leads_to(plain: Repo):
    """What .gitignore says of a folder, it does not say of a link."""
    (plain.root / ".gitignore").write_text("node_modules/\nwork/\n")
    plain.git("commit", "-qam", "ignored")
    (plain.root / "node_modules").mkdir()
    (plain.root / "node_modules/mine").write_text("mine\n")
    bench = Bench(plain, Trees(link=("node_modules",)))
    (bench.path / "n").write_text("1\n")
    assert bench.save().files == ("n",)
    bench.git("add", "-A")
    bench.git("commit", "-qm", "all")
    with pytest.raises(mergeplans.CannotMerge, match="only lent to its tree: node_modules"):
        bench.merge()
    assert (plain.root / "node_modules/mine").read_text() == "mine\n"


def test_what_the_target_brought_is_not_blamed_on_the_branch(bench: Bench, plain: Repo):
    (plain.root / "theirs").write_text("1\n")
    plain.git("add", "theirs")
    plain.git("commit", "-qm", "theirs")
    (bench.path / "mine").write_text("1\n2\n")
    bench.git("merge", "-q", "--no-edit", "main")
    saved = bench.save()
    assert (saved.files, saved.insertions) == (("mine",), 2)
    bench.merge()
    assert bench.save().tip == saved.tip  # and not empty once it is merged: what was stored stays


@pytest.mark.parametrize("edited", [False, True])
def test_a_target_that_is_checked_out_between_our_look_and_our_move(
    bench: Bench, plain: Repo, edited, monkeypatch
):
    (bench.path / "src/a.txt").write_text("theirs\n")
    if edited:
        (plain.root / "src/a.txt").write_text("mine\n")
    old, real, looks = plain.git("rev-parse", "main"), targets.checkouts, []
    monkeypatch.setattr(targets, "checkouts", lambda *a: looks.append(1) or (real(*a) if len(looks) > 1 else []))  # fmt: skip
    if not edited:
        bench.merge()
        assert (plain.root / "src/a.txt").read_text() == "theirs\n"
        return
    with pytest.raises(mergeplans.CannotMerge, match="checked out in the meantime"):
        bench.merge()
    assert (plain.root / "src/a.txt").read_text() == "mine\n"
    assert plain.git("rev-parse", "main") == old


def test_a_merge_does_not_run_the_hooks_that_it_brings(bench: Bench, plain: Repo):
    """A folder of hooks that is tracked (husky): what an agent wrote there is not run as the person."""
    plain.git("config", "core.hooksPath", ".husky")
    for root, mark in ((plain.root, "person"), (bench.path, "agent")):
        (root / ".husky").mkdir()
        (root / ".husky/post-merge").write_text(
            f"#!/bin/sh\necho {mark} >> {plain.root}/work/ran\n"
        )
        (root / ".husky/post-merge").chmod(0o755)
    plain.git("add", ".husky")
    plain.git("commit", "-qm", "hooks")
    bench.git("add", ".husky")
    bench.git("commit", "-qm", "hooks")
    bench.git("merge", "-q", "-X", "ours", "--no-edit", "main")
    (plain.root / "work/ran").unlink()  # by the agent's own merge
    bench.merge()
    assert "agent" in (plain.root / ".husky/post-merge").read_text()
    assert not (plain.root / "work/ran").exists()
    (bench.path / "n").write_text("1\n")
    bench.merge()  # now it is the person's
    assert (plain.root / "work/ran").read_text() == "agent\n"
    (plain.root / "work/ran").unlink()
    generated = plain.root / ".husky/_"  # as husky 9 has it: these run what is tracked beside them
    generated.mkdir()
    (generated / ".gitignore").write_text("*\n")
    (generated / "post-merge").write_text('#!/bin/sh\n. "${0%/*}/../post-merge"\n')
    (generated / "post-merge").chmod(0o755)
    plain.git("config", "core.hooksPath", ".husky/_")
    (bench.path / ".husky/post-merge").write_text(f"#!/bin/sh\ntouch {plain.root}/work/ran\n")
    bench.merge()
    assert not (plain.root / "work/ran").exists()

# ruff: noqa: F811 - fixtures come by their names
"""Merging what is proven: the target holds it, nothing of the person's is lost, and a merge that was killed is finished once."""

from __future__ import annotations

import itertools
import json
import os
import subprocess

import pytest
from conftest import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trees import CHECKS, Repo, git, persons, repo, watcher  # noqa: F401

from orchestrator.files import journals
from orchestrator.files.layout import Layout
from orchestrator.model import isolation
from orchestrator.model.isolation import Change
from orchestrator.store import conflictnotes, mergeplans, merging, saving, targets, trees
from orchestrator.store import git as store_git
from orchestrator.store.trees import Tree


def test_approve_merges_into_the_checkout(repo: Repo):
    repo.do("x", "echo four >> src/a.txt; echo new > b.txt", title="Say four")
    done = repo.run("approve", "x")
    assert repo.where("x") == "done" and "merged task/x into main" in done.stderr
    assert (repo.root / "b.txt").read_text() == "new\n"
    assert repo.git("status", "--porcelain", "--", "src", "b.txt") == ""
    assert repo.git("log", "-1", "--format=%s") == "Say four (task/x)"
    assert len(repo.git("log", "-1", "--format=%P").split()) == 2
    assert journals.of(repo.layout, "x").merged == repo.git("rev-parse", "main")
    assert len(repo.events("task_merged")) == 1


@pytest.mark.parametrize("person", [False, True])
def test_our_own_merges_are_no_surprise_to_who_works_meanwhile(repo: Repo, watcher, person):
    """Whoever approved one task while others worked found a warning in the results of all of these."""
    repo.do("one", "echo 1 > one")
    repo.do("two", "echo 2 > two")
    slow = "while [ ! -e ../../../go ]; do sleep 0.05; done; echo x > x\nexit\n"
    repo.drop("slow.yaml", json.dumps({"prompt": slow}))
    watcher()
    wait_until(lambda: repo.events("attempt_started", "slow"), "it works")
    repo.run("approve", "one")
    if person:
        repo.git("commit", "--allow-empty", "-qm", "mine")
    repo.run("approve", "two")
    (repo.root / "go").touch()
    repo.settled("slow", "review")
    told = "these changed in your repository: heads/main"
    assert (told in str(repo.result("slow").get("warnings"))) == person


@pytest.mark.parametrize("strategy", ["merge", "squash", "rebase", "ff"])
def test_strategies(repo: Repo, strategy):
    repo.settings(f"merge: auto, strategy: {strategy}")
    repo.do(
        "x",
        "echo 1 > one; git add one; git commit -qm one; echo 2 > two; git add two; git commit -qm two",
    )
    assert repo.where("x") == "done"
    assert (repo.root / "two").read_text() == "2\n"
    expected = {"merge": "4", "squash": "2", "rebase": "3", "ff": "3"}
    assert repo.git("rev-list", "--count", "main") == expected[strategy]


def test_ten_tasks_merge_one_after_another(repo: Repo):
    """Ten tasks append to one file under four slots: ten lines, or conflicts that are named and none lost."""
    repo.settings("merge: auto")
    for number in range(10):
        repo.drop(
            f"t{number}.yaml",
            json.dumps({"prompt": f"sleep 0.1; echo line {number} >> src/a.txt\nexit\n"}),
        )
    repo.run("watch", "--until-empty")
    text = (repo.root / "src/a.txt").read_text()
    for number in range(10):
        if repo.where(f"t{number}") == "done":
            assert f"line {number}\n" in text
        else:
            assert "conflict in src/a.txt" in repo.result(f"t{number}")["reason"]
            assert f"line {number}\n" in repo.git("show", f"task/t{number}:src/a.txt") + "\n"
    assert "<<<<" not in text and "line" in text


def test_names_of_files_steer_no_terminal_that_shows_a_note(repo: Repo):
    conflictnotes.write(repo.layout, "b", "b conflicts in x\x1b[8my", ["x\x1b]0;t\x07\ny"])
    lines = (repo.work / "review/b.conflict").read_text().splitlines()
    assert lines[:4] == ["b conflicts in xy", "", "  x y", ""]


def test_a_conflict_is_named_given_back_and_resolved(repo: Repo):
    repo.settings("merge: auto")
    repo.drop("a.yaml", json.dumps({"prompt": "echo from a >> src/a.txt\nexit\n"}))
    script = (
        'if [ "$ORCHESTRATOR_ATTEMPT" = 1 ]; then echo from b >> src/a.txt; sleep 1; '
        "else git merge main || true; sed -i '/^[<=>]/d' src/a.txt; git add -A; git commit -qm both; fi\nexit\n"
    )
    repo.drop("b.yaml", json.dumps({"prompt": script}))
    repo.run("watch", "--until-empty")
    assert repo.where("a") == "done" and repo.where("b") == "review"
    assert "conflict in src/a.txt" in repo.result("b")["reason"]
    before = persons(repo.root)
    repo.run("approve", "b", code=1)
    assert persons(repo.root) == before
    note = repo.work / "review/b.conflict"
    assert "\n  src/a.txt\n" in note.read_text()
    repo.run("reply", "b", "--conflict")
    assert not note.exists()
    repo.run("watch", "--until-empty")
    prompt = (repo.work / "logs/b/2/prompt.md").read_text()
    assert "cannot be merged into main" in prompt and "src/a.txt" in prompt
    assert repo.where("b") == "done"
    assert {"from a", "from b"} <= set((repo.root / "src/a.txt").read_text().splitlines())


COLLIDING = int(os.environ.get("COLLIDING", "5"))  # 20 were tried by hand: half a minute


def test_many_that_collide_land_one_after_another(repo: Repo):
    """Each edits the same line; whoever comes too late rebases in its own session, and nothing of anybody is lost."""
    repo.settings("merge: auto")
    names = [f"n{number:02d}" for number in range(COLLIDING)]
    for name in names:
        script = (
            f'if [ "$ORCHESTRATOR_ATTEMPT" = 1 ]; then echo {name} >> src/a.txt; git commit -qam {name}; '
            f"else git rebase -q main || {{ sed -i '/^[<=>]/d' src/a.txt; git add -A; "
            "GIT_EDITOR=true git rebase --continue; }; fi\nexit\n"
        )
        repo.drop(f"{name}.yaml", json.dumps({"prompt": script}))
    repo.run("watch", "--until-empty", "--slots", "4", code=None)
    rounds = 0
    while left := [name for name in names if repo.where(name) == "review"]:
        rounds += 1
        assert rounds <= COLLIDING
        for name in left:
            repo.run("reply", name, "--conflict")
        repo.run("watch", "--until-empty", "--slots", "4", code=None)
    assert [repo.where(name) for name in names] == ["done"] * COLLIDING
    lines = (repo.root / "src/a.txt").read_text().splitlines()
    assert (
        sorted(line for line in lines if line.startswith("n")) == names and "<<<<<<<" not in lines
    )


IN_THE_WAY = {
    "an edit": ("echo four >> src/a.txt", lambda root: (root / "src/a.txt").write_text("mine\n")),
    "a staged edit": ("echo four >> src/a.txt", lambda root: ((root / "src/a.txt").write_text("mine\n"), git(root, "add", "src/a.txt"))),
    "an untracked file": ("echo theirs > new", lambda root: (root / "new").write_text("mine\n")),
    "an ignored file": ("echo theirs > x.pyc; git add -f x.pyc; git commit -qm pyc", lambda root: (root / "x.pyc").write_text("mine\n")),
    "an ignored folder": ("rm .gitignore; echo theirs > ignored", lambda root: ((root / "ignored").mkdir(), (root / "ignored/secret").write_text("mine\n"))),
    "a file where a folder is to be": ("mkdir new; echo theirs > new/file", lambda root: (root / "new").write_text("mine\n")),
    "a bisect": ("echo 1 > n", lambda root: git(root, "bisect", "start")),
}  # fmt: skip


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_a_checkout_with_something_in_the_way_is_never_touched(repo: Repo, what):
    script, make = IN_THE_WAY[what]
    repo.do("x", script)
    make(repo.root)
    before = persons(repo.root)
    repo.run("approve", "x", code=1)
    assert persons(repo.root) == before
    assert repo.where("x") == "review"


def test_edits_elsewhere_stay(repo: Repo):
    repo.do("x", "echo new > b.txt")
    (repo.root / "src/a.txt").write_text("mine\n")
    repo.run("approve", "x")
    assert (repo.root / "src/a.txt").read_text() == "mine\n" and (repo.root / "b.txt").exists()


def test_a_target_that_nobody_has_checked_out(repo: Repo):
    repo.settings("merge: auto")
    repo.git("branch", "next")
    repo.config((repo.work / "orchestrator.yaml").read_text() + "trees: {base: next}\n")
    before = persons(repo.root)
    repo.do("x", "echo new > b.txt")
    after = persons(repo.root)
    before.pop("refs"), after.pop("refs")
    assert after == before and repo.git("show", "next:b.txt") == "new"


def test_the_state_of_tasks_never_travels(repo: Repo):
    repo.do("x", "echo evil > work/orchestrator.yaml; git update-index --no-skip-worktree work/orchestrator.yaml; git add -f work/orchestrator.yaml; git commit -qm evil; echo 1 > n")  # fmt: skip
    assert repo.result("x")["files_changed"] == ["n"]
    config = (repo.work / "orchestrator.yaml").read_text()
    repo.run("approve", "x")
    assert (repo.work / "orchestrator.yaml").read_text() == config and (repo.root / "n").exists()


def test_checks_run_again_where_the_target_has_moved(repo: Repo):
    repo.settings("verify: [tests], merge: auto", CHECKS.replace("test -e good", "! test -e bad"))
    repo.do("x", f"cd {repo.root}; echo 1 > bad; git add bad; git commit -qm bad; cd -; echo 1 > n")
    assert repo.where("x") == "review"
    assert (
        "merged with the present main, it is not proven: tests: exit code 1"
        in repo.result("x")["reason"]
    )
    assert not (repo.root / "n").exists()


def test_an_agent_cannot_approve(repo: Repo):
    repo.do("x", "echo 1 > n")
    repo.env["ORCHESTRATOR_TAG"] = "tag"
    done = repo.run("approve", "x", code=None)
    from orchestrator.execution.processes import TAG

    if TAG != "ORCHESTRATOR_TAG":
        repo.env[TAG] = "tag"
        done = repo.run("approve", "x", code=None)
    assert done.returncode == 1 and "an agent cannot approve" in done.stderr


def planned(repo: Repo, task_id: str):
    journal = journals.of(repo.layout, task_id)
    tree = trees.tree_from(repo.layout, task_id, journal.tree)
    from orchestrator.model.isolation import change_from

    repository = trees.repository(repo.layout)
    change = change_from(journal.change)
    return repository, mergeplans.plan(repo.layout, repository, tree, change, "merge", "t", task_id)


@pytest.mark.parametrize("written", range(4))
def test_a_merge_that_was_killed_is_finished(repo: Repo, written):
    """Some files have the new content, the index has not, its lock is left."""
    repo.do("x", "echo four >> src/a.txt; echo new > b.txt; mkdir d; echo deep > d/e")
    repository, plan = planned(repo, "x")
    for path in ["b.txt", "d/e", "src/a.txt"][:written]:
        (repo.root / path).parent.mkdir(exist_ok=True)
        (repo.root / path).write_text(repo.git("show", f"{plan.new}:{path}") + "\n")
    (repo.root / ".git/index.lock").write_text("")
    assert targets.finish(repository, plan)
    assert repo.git("rev-parse", "main") == plan.new
    assert repo.git("status", "--porcelain", "--", "src", "b.txt", "d") == ""


def test_a_killed_merge_stops_at_a_file_of_the_persons(repo: Repo):
    repo.do("x", "echo four >> src/a.txt; echo new > b.txt")
    repository, plan = planned(repo, "x")
    (repo.root / "b.txt").write_text("mine\n")
    with pytest.raises(mergeplans.CannotMerge, match="neither as before nor as after it: b.txt"):
        targets.finish(repository, plan)
    assert (repo.root / "b.txt").read_text() == "mine\n"


def test_an_older_git_merges_by_an_index(repo: Repo, monkeypatch):
    repo.do("x", "echo new > b.txt")
    repo.git("commit", "-q", "--allow-empty", "-m", "moved")
    repository, plan = planned(repo, "x")
    real = targets.Git.raw

    def without(self, *words, **more):
        if words[0] == "merge-tree":
            return subprocess.CompletedProcess(words, 129, b"", b"usage")
        return real(self, *words, **more)

    monkeypatch.setattr(targets.Git, "raw", without)
    assert repository.shared.tree_of(planned(repo, "x")[1].new) == repository.shared.tree_of(
        plan.new
    )
    assert os.path.isdir(repo.tree("x"))


def test_what_is_never_merged_is_a_gate_until_a_person_merges_it(repo: Repo):
    repo.settings("merge: never", more="watch: {rescan: 200ms}\n")
    repo.do("x", "echo 1 > n")
    assert repo.where("x") == "done"
    repo.drop("y.yaml", json.dumps({"prompt": "cat n; echo 2 > m\nexit\n", "needs": ["x"]}))
    repo.drop("z.yaml", json.dumps({"prompt": "cat n\nexit\n", "base": {"task": "x"}}))
    repo.run("watch", "--until-empty", code=1)  # it does not wait for ever, and says so
    assert repo.where("y") == "inbox" and repo.log("z") == "1\n"
    why = repo.run("why", "y").stdout
    assert "needs x, which is done and not merged: task/x is not in main" in why
    assert "git merge task/x" in why and "base: {task: x}" in why
    refused = repo.run("approve", "x", code=1).stderr
    assert "task/x is not in main, and nothing merges it automatically" in refused
    repo.git("merge", "-q", "task/x")
    repo.run("watch", "--until-empty")
    assert repo.log("y") == "1\n"
    assert [event["summary"] for event in repo.events("task_merged", "x")] == [
        "task/x is in main: it was merged by hand"
    ]
    repo.git("merge", "-q", "task/y")
    assert "was merged by hand" in repo.run("approve", "y").stderr
    repo.run("trees", "clean", "-y")
    assert repo.git("branch", "--list", "task/*") == "task/z"


class Branches:
    """A repository whose branches begin at one commit; each writes its own text into some files."""

    def __init__(self, root) -> None:
        self.layout = Layout(str(root))
        os.makedirs(f"{self.layout.state}/tmp")
        git(root, "init", "-q", "-b", "person")
        git(root, "commit", "-q", "--allow-empty", "-m", "first", env_more=WHO)
        self.repo = store_git.find(str(root))
        self.base = self.repo.shared.commit_of("HEAD")
        self.numbers = itertools.count()

    def branch(self, target: str, number: int, files: set[str]) -> tuple[Tree, Change]:
        """What a task that has ended left."""
        shared = self.repo.shared.signed()
        name = f"task/{target}-{number}"
        blob = shared("hash-object", "-w", "--stdin", stdin=f"{number}\n".encode())
        lines = "".join(f"100644 blob {blob}\t{path}\n" for path in sorted(files))
        content = shared("mktree", stdin=lines.encode())
        tip = shared("commit-tree", content, "-p", self.base, "-m", name)
        shared("update-ref", f"refs/heads/{name}", tip)
        tree = Tree(self.layout.tree(f"{target}-{number}"), name, self.base, target, ready=True)
        return tree, saving.figures(self.repo, tree, tip)


WHO = {f"GIT_{who}_{part}": "n@example.org" for who in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}  # fmt: skip


@pytest.fixture(scope="module")
def branches(tmp_path_factory) -> Branches:
    return Branches(tmp_path_factory.mktemp("order"))


ORDERS = st.lists(st.sets(st.sampled_from("abcd"), min_size=1, max_size=3), min_size=2, max_size=5)


@settings(max_examples=8)
@given(work=ORDERS, strategy=st.sampled_from(["merge", "squash", "rebase"]))
def test_in_whatever_order_they_are_merged_what_collides_stays_and_the_others_land(
    branches, work, strategy
):
    """Whoever comes first has a file; who comes later and wrote it too is refused, whole, by name, and its branch stays as it was."""
    target = f"t{next(branches.numbers)}"
    shared = branches.repo.shared
    shared("update-ref", f"refs/heads/{target}", branches.base)
    has: dict[str, str] = {}
    for number, files in enumerate(work):
        tree, change = branches.branch(target, number, files)
        records: list[dict] = []
        collides = sorted(files & has.keys())
        before = shared.commit_of(target)

        def merge(tree=tree, change=change, number=number, records=records):
            return merging.merge(branches.layout, branches.repo, tree, change, strategy, "t", f"t{number}", {}, records.append)  # fmt: skip

        if collides:
            with pytest.raises(mergeplans.CannotMerge) as caught:
                merge()
            assert sorted(caught.value.conflicts) == collides
            assert (shared.commit_of(target), records) == (before, [])
        else:
            assert merge().old == before
            assert [record["record"] for record in records] == ["merge", "merged"]
            has |= dict.fromkeys(files, f"{number}")
        assert shared.commit_of(change.branch) == change.tip
    listed = shared("ls-tree", "--name-only", target).split()
    assert {name: shared("cat-file", "-p", f"{target}:{name}") for name in listed} == has


@pytest.mark.parametrize("others", [0, isolation.KEPT])
def test_what_proves_the_work_is_not_changed_unseen(repo: Repo, others):
    """However many other files a branch has: a result keeps the first of them only."""
    repo.settings('merge: auto, protect: ["zz/**"]')
    fill = f"mkdir a; for n in $(seq {others}); do : > a/$n; done" if others else ":"
    repo.do("x", f"{fill}; mkdir zz; echo 1 > zz/proof", code=None)
    assert repo.where("x") == "review"
    said = repo.run("show", "x").stdout
    assert "it changes files that prove it: zz/proof" in said
    if others:
        assert f"{others + 1} files" in repo.run("why", "x").stdout + said
        assert "in 2,000 files or more" in repo.run("status").stdout

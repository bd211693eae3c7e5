# ruff: noqa: F811 - fixtures come by their names
"""What agents, people and copies can do to trees, and what must be left of the work and of the person's things after it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from test_trees import Repo, git, persons, repo, watcher  # noqa: F401

from orchestrator.errors import OrchestratorError
from orchestrator.files import gitfiles
from orchestrator.store import git as store_git

HIDDEN = {
    "assume-unchanged": "git update-index --assume-unchanged src/a.txt; echo kept > src/a.txt",
    "skip-worktree": "git update-index --skip-worktree src/a.txt; echo kept > src/a.txt",
}


@pytest.mark.parametrize("how", HIDDEN)
def test_a_change_that_the_index_hides_is_saved(repo: Repo, how):
    """git passes over such files; what an agent wrote into them would go with its tree."""
    repo.do("x", HIDDEN[how])
    assert repo.git("show", "task/x:src/a.txt") == "kept"


def with_submodule(repo: Repo) -> None:
    other = repo.root.parent / "lib"
    other.mkdir()
    git(other, "init", "-q", "-b", "main")
    git(
        other, "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "0"
    )
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "sub")
    repo.git("commit", "-qm", "sub")


SUBMODULE = "git -c protocol.file.allow=always submodule -q update --init; cd sub; git config user.name n; git config user.email e; "


@pytest.mark.parametrize("how", ["committed", "edited"])
def test_what_was_done_in_a_submodule_survives_its_tree(repo: Repo, how):
    with_submodule(repo)
    more = (
        "git add -A; git commit -qm in; cd ..; git add sub; git commit -qm out"
        if how == "committed"
        else ""
    )
    repo.do("x", f"{SUBMODULE} echo kept > kept; {more}")
    repo.run("reject", "x") if repo.where("x") == "review" else None
    repo.run("trees", "clean", "-y", code=None)
    sub = repo.root / ".git/modules/sub"
    refs = subprocess.run(
        [
            "git",
            "--git-dir",
            str(sub),
            "for-each-ref",
            "--format=%(objectname)",
            "refs/orchestrator",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    found = [
        subprocess.run(
            ["git", "--git-dir", str(sub), "show", f"{ref}:kept"], capture_output=True, text=True
        ).stdout
        for ref in refs
    ]
    assert "kept\n" in found
    assert not repo.tree("x").exists()


def test_a_copy_of_a_project_leaves_the_original_alone(repo: Repo, tmp_path):
    """The tree's .git file in the copy names the original's repository."""
    repo.do("x", "echo 1 > n")
    shutil.copytree(repo.root, tmp_path / "copy", symlinks=True)
    before = repo.git("for-each-ref"), persons(repo.root)
    copy = Repo(tmp_path / "copy")
    copy.run("approve", "--settings")
    copy.run("retry", "x", code=None)
    copy.run("watch", "--until-empty", code=None)
    assert (repo.git("for-each-ref"), persons(repo.root)) == before
    assert "copy" in copy.result("x").get("reason", ""), copy.result("x")


def test_a_moved_project_keeps_its_trees(repo: Repo, tmp_path):
    repo.do("x", "echo 1 >> n; git status --porcelain > /dev/null")
    os.rename(repo.root, tmp_path / "moved")
    moved = Repo(tmp_path / "moved")
    moved.run("approve", "--settings")
    moved.run("retry", "x")
    moved.run("watch", "--until-empty")
    assert moved.where("x") == "review", moved.result("x")
    assert moved.git("show", "task/x:n") == "1\n1"
    assert (
        moved.result("x")["branch"] == "task/x" and "not proven" not in moved.result("x")["reason"]
    )


def test_a_stash_that_an_agent_takes_is_kept(repo: Repo):
    (repo.root / "src/a.txt").write_text("mine\n")
    repo.git("stash")
    (repo.root / "src/a.txt").write_text("mine too\n")
    repo.git("stash")
    kept = repo.git("stash", "list", "--format=%H").split()
    repo.do("x", "git stash clear; echo 1 > n")
    assert any("refs/stash" in text or "stash" in text for text in repo.result("x")["warnings"]), (
        repo.result("x")["warnings"]
    )
    refs = repo.git("for-each-ref", "--format=%(refname)", "refs/orchestrator").split()
    assert set(kept) <= set(repo.git("rev-list", *refs).split())


def test_a_stash_that_an_agent_leaves_is_kept(repo: Repo):
    repo.do("x", "echo kept > src/a.txt; git stash -q")
    repo.git("stash", "clear")
    refs = repo.git("for-each-ref", "--format=%(refname)", "refs/orchestrator").split()
    commits = repo.git("rev-list", *refs).split()
    assert "kept" in {repo.git("show", f"{commit}:src/a.txt", code=None) for commit in commits}
    assert any("stashes grew by 1" in text for text in repo.result("x")["warnings"])


HOOK = "mkdir -p $ORCHESTRATOR_ROOT/.git/hooks; printf '#!/bin/sh\\ntouch %s/hooked' $ORCHESTRATOR_ROOT > $ORCHESTRATOR_ROOT/.git/hooks/post-merge; chmod +x $ORCHESTRATOR_ROOT/.git/hooks/post-merge; echo 1 > n"


def test_a_changed_hook_holds_every_merge_until_a_person_accepts_it(repo: Repo):
    repo.settings("merge: auto")
    repo.do("x", HOOK)
    assert repo.where("x") == "review" and "hooks/post-merge" in repo.result("x")["reason"]
    repo.do("y", "echo 2 > m")  # it began after the change, and never saw what was before
    assert repo.where("y") == "review" and "hooks/post-merge" in repo.result("y")["reason"]
    done = repo.run("approve", "y", code=1)
    assert "hooks/post-merge" in done.stderr and not (repo.root / "hooked").exists()
    repo.run("approve", "--settings")
    repo.run("approve", "y")
    assert repo.where("y") == "done" and (repo.root / "hooked").exists()


def test_two_projects_in_one_repository_keep_apart_what_they_saved(repo: Repo, tmp_path):
    repo.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    other = Repo(tmp_path / "linked")
    other.run("approve", "--settings")
    repo.do("x", "echo 1 > n")
    other.do("x", "echo kept > m; exit 1", code=1)
    repo.run("approve", "x")
    repo.run("trees", "clean", "-y")
    refs = repo.git("for-each-ref", "--format=%(refname)", "refs/orchestrator").split()
    assert any(repo.git("show", f"{ref}:m", code=None) == "kept" for ref in refs), refs


def test_a_linked_folder_is_out_of_reach_of_setup(repo: Repo):
    (repo.root / "node_modules").mkdir()
    (repo.root / "node_modules/mine").write_text("mine\n")
    script = repo.root / "fill.sh"
    script.write_text(
        "rm -rf node_modules/*; mkdir -p node_modules; echo theirs > node_modules/theirs\n"
    )
    repo.git("add", "fill.sh"), repo.git("commit", "-qm", "fill")
    repo.settings(more="trees: {link: [node_modules], setup: [[sh, fill.sh]]}\n")
    repo.do("x", "echo 1 > n", code=None)
    assert (repo.root / "node_modules/mine").read_text() == "mine\n"
    assert not (repo.root / "node_modules/theirs").exists()
    assert repo.where("x") == "failed" and "node_modules" in repo.result("x")["reason"]


def test_everything_ignored_is_cleaned_away_while_a_task_waits(repo: Repo):
    repo.do("x", "echo 1 >> n")
    repo.git(
        "clean", "-q", "-ffdx", "-e", "work/orchestrator.yaml", "-e", ".state", "-e", "work/review"
    )
    repo.run("retry", "x")
    repo.run("watch", "--until-empty")
    assert repo.git("show", "task/x:n") == "1\n1", repo.result("x")


def test_doctor_finds_what_is_left_of_trees_and_mends_it(repo: Repo):
    repo.settings("merge: auto")
    repo.do("x", "echo 1 > n")
    repo.do("y", "echo 2 > m; exit 1", code=1)
    repo.git("branch", "task/nobody")
    shutil.rmtree(repo.tree("x"))  # a merged one
    shutil.rmtree(repo.tree("y"))
    (repo.work / "trees/mine").mkdir()
    (repo.root / ".git/orchestrator-x.999999-").mkdir()
    lock = repo.root / ".git/refs/heads/task/z.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    said = repo.run("doctor", code=1).stdout
    for words in (
        "work/trees/x, which is gone", "work/trees/y, which is gone", "a half-made worktree", "refs/heads/task/z.lock",
        "task/x is merged", "no task here has the branch task/nobody", "work/trees/mine: no journal",
    ):  # fmt: skip
        assert words in said
    repo.run("doctor", "--fix", code=None)
    found = json.loads(repo.run("doctor", "--json", code=None).stdout)["checks"]
    left = [item["summary"] for item in found if item["id"] == "trees"]
    assert left == [
        "work/trees/mine: no journal here knows it",
        "no task here has the branch task/nobody",
    ]
    assert repo.git("branch", "--list", "task/*").split() == ["task/nobody", "task/y"]
    assert repo.git("show", "task/y:m") == "2"
    assert len(repo.git("worktree", "list").splitlines()) == 1


def test_the_branch_of_an_attempt_that_was_begun_anew_is_still_its_own(repo: Repo):
    """Advice to delete it would lose work that a person may still want."""
    repo.do("x", "echo 1 > n; exit 1", code=1)
    repo.run("retry", "--fresh", "x")
    repo.run("watch", "--until-empty", code=1)
    found = repo.git("for-each-ref", "--format=%(refname)", "refs/heads/task")
    assert found.split() == ["refs/heads/task/x", "refs/heads/task/x-2"]
    assert "task/x" not in repo.run("doctor", code=None).stdout
    assert "task/x, where it started over" in " ".join(repo.run("show", "x").stdout.split())


def fate_table() -> list[list[str]]:
    """The lines of the table in the reference: folder, what is done, branch, tree, saved refs."""
    text = (ROOT / "docs/reference/on-disk-format.md").read_text()
    table = text.partition("| the task is in |")[2].partition("\n\n")[0]
    lines = table.splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_what_becomes_of_trees_is_true(repo: Repo):
    rows = {f"r{number}": row for number, row in enumerate(fate_table())}
    assert len(rows) > 12
    for task_id, (place, *_) in rows.items():
        end = "exit 1" if place in ("failed/", "cancelled/") or "once more" in place else "exit"
        repo.drop(f"{task_id}.yaml", json.dumps({"prompt": f"echo 1 > {task_id}\n{end}\n"}))
    repo.run("watch", "--until-empty", code=1)

    def those(test) -> list[str]:
        return [task_id for task_id, row in rows.items() if test(row)]

    repo.run("approve", *those(lambda row: "merged" in row[0]))
    again = those(lambda row: "once more" in row[0] or row[0] == "cancelled/")
    repo.run("retry", *again)
    repo.run("cancel", *those(lambda row: row[0] == "cancelled/"))
    for task_id, (place, *_) in rows.items():
        assert repo.where(task_id) == place.partition("/")[0], task_id
    for words in dict.fromkeys(row[1] for row in rows.values()):
        ids = those(lambda row, words=words: row[1] == words)
        if "by hand" in words:
            for task_id in ids:
                shutil.rmtree(repo.tree(task_id))
        verb = words.rpartition("`")[0].rpartition("`")[2].split()
        if verb:
            repo.run(*verb, *([] if verb[0] == "doctor" else ids), code=None)
    refs = repo.git("for-each-ref", "--format=%(refname)").splitlines()
    for task_id, (place, done, branch, tree, saved) in rows.items():
        has = (
            f"refs/heads/task/{task_id}" in refs,
            repo.tree(task_id).exists(),
            f"refs/orchestrator/saved/{task_id}/1" in refs,
        )
        expected = (branch.startswith("stays"), tree == "stays", saved == "stay")
        assert has == expected, (place, done, has)


def test_work_paths_mean_the_real_work_folder(repo: Repo):
    (repo.work / "notes.txt").write_text("from work\n")
    (repo.work / "prompt.md").write_text(
        "echo 1 > n; echo made > $ORCHESTRATOR_WORK/made.txt; cat src/a.txt > seen\nexit\n"
    )
    repo.drop(
        "x.yaml",
        json.dumps(
            {
                "prompt_file": "work/prompt.md",
                "context": ["work/notes.txt", "src/a.txt"],
                "artifacts": ["work/made.txt", "n"],
            }
        ),
    )
    repo.run("watch", "--until-empty")
    assert repo.where("x") == "review", repo.result("x")
    read = (repo.work / "logs/x/1/prompt.md").read_text().splitlines()
    assert f"# - {repo.work}/notes.txt" in read and "# - src/a.txt" in read
    (repo.work / "made.txt").unlink()


def test_a_partial_clone_works(repo: Repo, tmp_path):
    repo.git("config", "uploadpack.allowFilter", "true")
    git(
        tmp_path,
        "clone",
        "-q",
        "--filter=blob:none",
        "--no-checkout",
        f"file://{repo.root}",
        "clone",
    )
    git(tmp_path / "clone", "checkout", "-q", "main")
    clone = Repo(tmp_path / "clone")
    clone.run("approve", "--settings")
    clone.config((repo.work / "orchestrator.yaml").read_text() + "from_git: run\n")
    clone.run("approve", "--settings")
    clone.do("x", "echo 1 > n; cat src/a.txt")
    assert clone.where("x") == "review", clone.result("x")


def test_other_attempts_alive_are_named(repo: Repo):
    repo.drop(
        "a.yaml",
        json.dumps(
            {
                "prompt": "touch $ORCHESTRATOR_ROOT/work/go; until [ -e $ORCHESTRATOR_ROOT/work/results/b.yaml ]; do sleep 0.05; done; echo 1 > n\nexit\n"
            }
        ),
    )
    repo.drop(
        "b.yaml",
        json.dumps(
            {
                "prompt": "until [ -e $ORCHESTRATOR_ROOT/work/go ]; do sleep 0.05; done; git tag hello; echo 1 > m\nexit\n"
            }
        ),
    )
    repo.run("watch", "--until-empty")
    told = [text for text in repo.result("b")["warnings"] if "tags/hello" in text]
    assert told and "(alive as well: a)" in told[0], repo.result("b")["warnings"]


@pytest.mark.parametrize("whose", ["the person's", "both", "the repository's"])
def test_only_filters_of_the_persons_own_configuration_are_run(repo: Repo, whose):
    """As git lfs does: what lies in a checkout is not what is stored."""
    home = repo.root.parent / "home"
    home.mkdir()
    repo.env["HOME"] = str(home)
    places = {"the person's": ["--global"], "both": ["--global", "--local"]}.get(whose, ["--local"])
    for place in places:
        for key, value in (
            *(("clean", "sed s/plain/stored/"), ("smudge", "sed s/stored/plain/")),
            ("required", "true"),
        ):
            repo.git("config", place, f"filter.big.{key}", value, env_more={"HOME": str(home)})
    (repo.root / ".gitattributes").write_text("*.bin filter=big\n")
    (repo.root / "x.bin").write_text("plain\n")
    repo.git("add", "-A", env_more={"HOME": str(home)})
    repo.git("commit", "-qm", "filtered", env_more={"HOME": str(home)})
    assert repo.git("show", "HEAD:x.bin") == "stored"
    repo.do("x", "cat x.bin; echo plain too > y.bin")
    told = " ".join(repo.result("x").get("warnings", []))
    if whose == "the repository's":
        assert repo.log("x") == "stored\n" and repo.git("show", "task/x:y.bin") == "plain too"
        assert "x.bin: here as stored" in told and "y.bin: stored as they are" in told
        return
    assert repo.log("x") == "plain\n" and repo.git("show", "task/x:y.bin") == "stored too"
    assert told == "" and repo.result("x")["files_changed"] == ["y.bin"]
    repo.run("approve", "x")
    assert (repo.root / "y.bin").read_text() == "plain too\n"


@pytest.mark.parametrize("what", ["a link", "a link above", "a pipe"])
def test_a_tree_that_an_agent_made_something_else_of(repo: Repo, what):
    """Its folder is ours to save, to check and to remove; what a link in its place leads to never is."""
    repo.settings(
        role="verify: [look], retries: 0", more="checks:\n  look: {command: [touch, seen]}\n"
    )
    out = repo.root.parent / "out"
    out.mkdir()
    (out / "secret").write_text("precious\n")
    path = repo.tree("x")
    make = {
        "a link": f"rm -rf {path}; ln -s {out} {path}",
        "a link above": f"mv {path.parent} {path.parent}.old; mkdir {out}/x; ln -s {out} {path.parent}",
        "a pipe": f"rm -rf {path}; mkfifo {path}",
    }[what]
    repo.do("x", f"cd /; {make}", code=None)
    assert sorted(file.name for file in out.rglob("*") if file.name != "x") == ["secret"]
    assert "secret" not in repo.git("ls-tree", "-r", "--name-only", "--full-tree", "task/x")
    assert "secret" not in repo.run("diff", "x", code=None).stdout
    if what == "a link above":
        repo.do("y", "echo y > src/y.txt", code=None)
        assert "work/trees is a link" in repo.result("y")["reason"]
        return
    told = repo.result("x")
    assert told["checks"][0]["cause"] == "its tree is gone"
    assert any("its tree disappeared while it ran" in text for text in told["warnings"])
    repo.run("trees", "clean", "-y", code=None)
    assert [file.name for file in out.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    ("how", "place"),
    [
        *(("mkfifo", place) for place in ("index", "HEAD", "packed-refs", "logs/HEAD")),
        *(("mkfifo", place) for place in ("refs/heads/main", "refs/heads/task/x")),
        *(("truncate -s 60G", place) for place in ("index", "worktrees/x/index", "packed-refs")),
        ("truncate -s 2M", "config"),
    ],
)
def test_a_pipe_that_git_would_wait_for_stops_nobody(repo: Repo, how, place):
    """No git of ours opens it: the task ends, its work stays in its tree, and the reason is told."""
    path = repo.root / ".git" / place
    repo.do(
        "x",
        f"echo x > src/x.txt; rm -f {path}; mkdir -p $(dirname {path}); {how} {path}",
        code=None,
    )
    told = repo.result("x")
    assert f"{place} is not a regular file" in str(told), told
    assert (repo.tree("x") / "src/x.txt").exists()


WAITS = {
    "included": "mkfifo .git/more; git config include.path more",
    "excludes": "mkfifo .git/not; git config core.excludesFile .git/not",
    "object": "h=$(git rev-parse HEAD^{tree}); o=.git/objects/$(echo $h | cut -c1-2)/$(echo $h | cut -c3-); rm -f $o; mkfifo $o",
    "alternate": "mkdir -p o/info; mkfifo o/info/alternates; echo ../../o > .git/objects/info/alternates",
    "ref": "mkfifo .git/p; rm .git/refs/heads/main; ln -s ../../p .git/refs/heads/main",
    "lock": "git config core.filesRefLockTimeout -1; touch .git/refs/heads/new.lock",
    "slow filter": "git config filter.slow.clean 'sleep 0.5; cat'; echo 'a.txt filter=slow' > .gitattributes",
}


@pytest.mark.parametrize("what", WAITS)
def test_a_git_that_waits_for_what_does_not_come_is_given_up(repo: Repo, monkeypatch, what):
    """A pipe somewhere that git reads, or a lock that nobody gives back; but who is at work has time."""
    subprocess.run(["sh", "-euc", WAITS[what]], cwd=repo.root, check=True)
    monkeypatch.setattr(gitfiles, "LOOK", 0.05)

    def work() -> None:
        found = store_git.find(str(repo.root))
        found.shared.listing("ls-tree", "-r", "HEAD", most=1 << 20)
        found.shared("update-ref", "refs/heads/new", "HEAD")
        found.checkout.at(index=str(repo.root.parent / "index"), filters=())("add", "-A")

    if what == "slow filter":
        work()
    else:
        with pytest.raises(OrchestratorError, match="waited for something that did not come"):
            work()


SPOILT = {
    "huge": ("echo small > small; truncate -s 60G huge src/a.txt", "huge"),
    "pipe": ("rm .gitignore; mkfifo .gitignore", ".gitignore is not a regular file"),
    "nested": ("git init -q in; echo 1 > in/one; truncate -s 60G in/huge", "in/huge"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_git_would_be_at_for_ever_stays_in_the_tree_and_is_told(repo: Repo, how):
    """A hole of 60 GB, or a pipe in place of a file that git reads in every folder: nothing waits for that."""
    script, said = SPOILT[how]
    repo.do("x", script, code=None)
    assert repo.where("x") == "review"
    assert said in repo.run("show", "x").stdout
    repo.run("trees", "clean", "-y", code=None, patience=20)
    assert repo.tree("x").exists()
    if how == "huge":
        saved = repo.git("for-each-ref", "--format=%(objectname)", "refs/orchestrator")
        assert repo.git("show", f"{saved.splitlines()[0]}:small") == "small"
        assert repo.git("show", f"{saved.splitlines()[0]}:src/a.txt").startswith("one")


LEAVES = """
import os, sys, threading
from orchestrator.store import git
os.mkfifo(".gitignore")
found = git.Git(os.getcwd() + "/.git", os.getcwd())
raised = []
def work():
    try:
        found.raw("add", "-A", stoppable=True)
    except git.Stopped as error:
        raised.append(error)
thread = threading.Thread(target=work)
thread.start()
while not git._stoppable.running:
    pass
git.leave()
thread.join(20)
work()
sys.exit(len(raised) != 2)
"""


def test_a_watcher_that_leaves_does_not_wait_for_git_to_save(tmp_path):
    git(tmp_path, "init", "-q")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LEAVES], cwd=tmp_path, env=env, timeout=60)
    assert done.returncode == 0

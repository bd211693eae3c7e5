"""A pull is not code execution: what git brings into the inbox waits for a person, by whatever way it comes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Project, wait_until

WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *WHO, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def commit(folder: Path, message: str = "x") -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)


@pytest.fixture
def pulled(project, tmp_path) -> tuple[Project, Path]:
    """The project as a clone of a repository, and another clone from which something can be pushed."""
    project.config("watch: {rescan: 300ms}\nagents:\n  sh: {tool: shell, command: [sh]}\n")
    project.run("watch", "--until-empty")  # these settings are a person's own
    git(project.root, "init", "-q", "-b", "main")
    commit(project.root)
    git(tmp_path, "clone", "-q", "--bare", str(project.root), "origin.git")
    git(project.root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(project.root, "fetch", "-q")
    git(project.root, "branch", "-q", "-u", "origin/main")
    git(tmp_path, "clone", "-q", "origin.git", "other")
    return project, tmp_path / "other"


def push(other: Path, files: dict[str, str], force: bool = False) -> None:
    for name, text in files.items():
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text(text)
    git(other, "add", "-A", *(["-f"] if force else []))
    git(other, "commit", "-qm", "pushed")
    git(other, "push", "-q")


def evil(project: Project) -> str:
    return f"agent: sh\nprompt: touch {project.root}/evil\n"


def held(project: Project, task_id: str) -> str:
    """That it waits for a person, and why."""
    project.run("watch", "--until-empty", code=1)
    assert not (project.root / "evil").exists()
    assert project.where(task_id) == "inbox"
    said = project.run("why", task_id).stdout
    assert "approval" in said, said
    return said


def test_a_pulled_task_waits_and_an_approved_one_runs(pulled):
    project, other = pulled
    push(other, {"work/inbox/a.yaml": evil(project)})
    git(project.root, "pull", "-q")
    assert "it came through git" in held(project, "a")
    project.run("approve", "a")
    project.run("watch", "--until-empty")
    assert (project.root / "evil").exists()


def test_a_pulled_run_waits_too(pulled, watch):
    project, other = pulled
    push(
        other,
        {"work/inbox/r.yaml": f"tasks:\n  one: {{agent: sh, prompt: touch {project.root}/evil}}\n"},
    )
    git(project.root, "pull", "-q")
    assert "it came through git" in held(project, "r")
    watch()
    project.run("approve", "r")
    project.settled("r.one", "done")


def test_run_does_not_start_it_either_not_even_with_force(pulled):
    project, other = pulled
    push(other, {"work/inbox/a.yaml": evil(project)})
    git(project.root, "pull", "-q")
    for words in (["run", "a"], ["run", "a", "--force"]):
        assert "it came through git" in project.run(*words, code=1).stderr
    assert not (project.root / "evil").exists()


def test_a_pull_that_takes_its_time(pulled, watch):
    """Git writes the files first and its index last; the lock on it tells."""
    project, other = pulled
    watcher = watch()
    index = project.root / ".git/index"
    lock = project.root / ".git/index.lock"
    lock.touch()
    project.drop("a.yaml", evil(project))
    wait_until(lambda: "a git command is running" in project.run("why", "a").stdout, "it is told")
    time.sleep(1.0)  # long enough for a watcher that does not care
    assert project.where("a") == "inbox"
    git_env = {**os.environ, "GIT_INDEX_FILE": str(index) + ".new"}
    subprocess.run(["cp", str(index), str(index) + ".new"], check=True)
    subprocess.run(
        ["git", "add", "-f", "work/inbox/a.yaml"], cwd=project.root, env=git_env, check=True
    )
    os.rename(str(index) + ".new", lock)
    os.rename(lock, index)
    wait_until(lambda: "came through git" in watcher.text(), "then it is known")
    assert project.where("a") == "inbox" and not (project.root / "evil").exists()


@pytest.mark.parametrize("how", ["restore", "reset"])
def test_what_git_wrote_and_its_index_does_not_name(pulled, how):
    """Git has had these very bytes at this path (more ways: tests/test_git_history.py)."""
    project, other = pulled
    push(other, {"work/inbox/a.yaml": evil(project)})
    if how == "restore":
        git(project.root, "fetch", "-q")
        git(project.root, "restore", "--source=origin/main", "--", "work/inbox")
    else:
        git(project.root, "pull", "-q")
        git(project.root, "reset", "-q", "HEAD~1")
    assert "it came through git" in held(project, "a")
    assert "it came through git" in project.run("status").stdout


def test_a_lock_that_a_killed_git_left_is_named(pulled, watch):
    project, _ = pulled
    watch()
    lock = project.root / ".git/index.lock"
    lock.touch()
    project.drop("a.yaml", evil(project))
    wait_until(lambda: f"{lock} has been there since" in project.run("why", "a").stdout, "named")
    lock.unlink()
    project.settled("a", "done")


def test_a_task_of_ones_own_runs_and_goes_on_to_count(pulled):
    project, _ = pulled
    project.drop("a.yaml", "hold: true\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)  # seen while nobody else knows it
    commit(project.root)
    path = project.work / "inbox/a.yaml"
    assert "git" not in project.run("why", "a").stdout
    project.run("hold", "a")
    project.run("release", "a")
    os.rename(path, project.work / "held/a.yaml")
    os.rename(project.work / "held/a.yaml", path)
    assert "approval" not in project.run("why", "a").stdout


@pytest.mark.parametrize("how", ["hold", "cancel", "reject", "mv"])
def test_a_pull_does_not_bring_back_what_was_held_or_cancelled(pulled, how):
    project, other = pulled
    project.run("new", f"touch {project.root}/evil", "--agent", "sh", "--id", "a")
    if how == "mv":
        os.rename(project.work / "inbox/a.yaml", project.work / "held/a.yaml")
    else:
        project.run(how, "a")
    commit(project.root)
    git(project.root, "push", "-q")
    git(other, "pull", "-q")
    where = "held" if how in ("hold", "mv") else "cancelled"
    git(other, "mv", f"work/{where}/a.yaml", "work/inbox/a.yaml")
    git(other, "commit", "-qm", "back")
    git(other, "push", "-q")
    git(project.root, "pull", "-q")
    assert "it came through git" in held(project, "a")


@pytest.mark.parametrize("kind", ["no git", "corrupt index", "GIT_DIR", "owner", "no repository"])
def test_what_git_cannot_answer_is_held_with_the_reason(pulled, tmp_path, kind):
    project, other = pulled
    push(other, {"work/inbox/a.yaml": evil(project)})
    git(project.root, "pull", "-q")
    if kind == "no git":
        project.env["PATH"] = os.path.dirname(project.python)
    elif kind == "corrupt index":
        (project.root / ".git/index").write_bytes(b"nonsense")
    elif kind == "GIT_DIR":
        git(tmp_path, "init", "-q", "elsewhere")
        project.env["GIT_DIR"] = str(tmp_path / "elsewhere/.git")
    elif kind == "owner":
        os.chown(project.root / ".git", 1000, 1000)
    else:
        (project.root / ".git/HEAD").unlink()
    assert "git" in held(project, "a")
    project.run("new", "hello", "--agent", "demo", "--id", "own")
    project.run("watch", "--until-empty", code=1)
    assert project.where("own") == "done", "what new made here needs no git at all"


@pytest.mark.parametrize("kind", ["submodule", "own repository", "link"])
def test_an_inbox_that_is_a_repository_of_its_own(project, tmp_path, kind):
    project.config("agents:\n  sh: {tool: shell, command: [sh]}\n")
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    git(tasks, "init", "-q")
    (tasks / "a.yaml").write_text(evil(project))
    commit(tasks)
    inbox = project.work / "inbox"
    subprocess.run(["rm", "-rf", str(inbox)], check=True)
    if kind == "link":
        inbox.symlink_to(tasks)
    elif kind == "own repository":
        git(tmp_path, "clone", "-q", str(tasks), str(inbox))
    else:
        git(project.root, "init", "-q")
        git(project.root, "submodule", "add", "-q", str(tasks), "work/inbox")
        commit(project.root)
    project.run("watch", "--until-empty", code=None)
    assert not (project.root / "evil").exists()


def test_only_the_tip_of_the_trusted_branch_counts(pulled):
    """Approve by merge."""
    project, other = pulled
    with open(project.work / "orchestrator.yaml", "a") as file:
        file.write("from_git: {trusted: origin/main}\n")
    push(other, {"work/inbox/a.yaml": "agent: sh\nprompt: touch a.ran\n"})
    git(project.root, "pull", "-q")
    assert "it is the same in origin/main (" in project.run("why", "a").stdout
    project.run("watch", "--until-empty")
    assert project.where("a") == "done"
    push(other, {"work/inbox/b.yaml": evil(project)})
    git(project.root, "pull", "-q")
    git(other, "rm", "-q", "work/inbox/b.yaml")
    git(other, "commit", "-qm", "not after all")
    git(other, "push", "-q")
    git(project.root, "fetch", "-q")  # its history has it, its tip has not
    assert "work/inbox/b.yaml is not as in origin/main (" in held(project, "b")


def test_what_a_trusted_task_names_must_match_too(pulled):
    project, other = pulled
    with open(project.work / "orchestrator.yaml", "a") as file:
        file.write("from_git: {trusted: origin/main}\n")
    push(
        other,
        {"prompt.sh": "touch fine\n", "work/inbox/a.yaml": "agent: sh\nprompt_file: prompt.sh\n"},
    )
    git(project.root, "pull", "-q")
    (project.root / "prompt.sh").write_text(f"touch {project.root}/evil\n")
    assert "prompt.sh is not as in origin/main" in held(project, "a")
    git(project.root, "checkout", "-q", "prompt.sh")
    project.run("watch", "--until-empty")
    assert (project.root / "fine").exists()


def test_a_tag_does_not_shadow_the_trusted_branch(pulled, tmp_path):
    """A pushed tag of the same name arrives by a plain fetch."""
    project, other = pulled
    with open(project.work / "orchestrator.yaml", "a") as file:
        file.write("from_git: {trusted: origin/main}\n")
    git(other, "checkout", "-q", "-b", "mine")
    (other / "work/inbox/a.yaml").write_text(evil(project))
    commit(other)
    git(other, "push", "-q", "origin", "mine")
    git(other, "tag", "origin/main")
    git(other, "tag", "refs/remotes/origin/main")
    git(
        other, "push", "-q", "origin", "refs/tags/origin/main", "refs/tags/refs/remotes/origin/main"
    )
    git(project.root, "fetch", "-q", "--tags")
    git(project.root, "merge", "-q", "refs/remotes/origin/mine")
    assert "a.yaml is not as in origin/main" in held(project, "a")
    git(project.root, "update-ref", "-d", "refs/remotes/origin/main")
    assert "there is no refs/remotes/origin/main here" in held(project, "a")


def test_state_that_git_brings_is_not_believed(pulled):
    """Journals and half accepted runs of another machine: no commit knows the name of this work directory."""
    project, other = pulled
    claim = {
        "record": "claim",
        "v": 1,
        "id": "j",
        "file": "j.yaml",
        "at": 0,
        "ino": 1,
        "mtime_ns": 1,
    }
    claim |= {"text": evil(project), "sha256": "0", "agent": "sh", "tool": "shell"}
    files = {
        "work/running/j.yaml": evil(project),
        "work/.state/active/j.jsonl": json.dumps(claim) + "\n",
        "work/.state/expanding/r/r.one.yaml": evil(project),
        "work/runs/r.yaml": "tasks: {one: x}\n",
        "work/.state/approved.jsonl": json.dumps({"id": "a", "sha256": "0"}) + "\n",
    }
    push(other, files, force=True)
    git(project.root, "pull", "-q")
    assert "git tracks work/.state/" in project.run("watch", "--once", code=None).stderr
    git(project.root, "rm", "-rq", "--cached", "work/.state")
    project.run("watch", "--until-empty", code=None)
    assert not (project.root / "evil").exists()
    assert project.where("r.one") == "" and project.where("j") != "done"

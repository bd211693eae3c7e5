"""A pull is not code execution: what git brings into the inbox waits for a person, by whatever way it comes."""

from __future__ import annotations

import cProfile
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Project, wait_until
from test_floods import counts

from orchestrator.files import approval, identity, journals, origin, trust
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import Layout
from orchestrator.store import trusting

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


def test_an_answer_counts_only_if_the_index_is_the_same_afterwards(pulled, tmp_path):
    """A pull that ends while git is asked has its index in place before the answer is there."""
    project, _ = pulled
    project.drop("a.yaml", evil(project))
    index, new = project.root / ".git/index", tmp_path / "new-index"
    shutil.copy(index, new)
    env = {**os.environ, "GIT_INDEX_FILE": str(new)}
    subprocess.run(["git", "add", "-f", "work/inbox/a.yaml"], cwd=project.root, env=env, check=True)
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    real = shutil.which("git")
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *ls-files*) {real} "$@" > {tmp_path}/said; code=$?\n'
        f"[ ! -e {new} ] || mv {new} {index}\ncat {tmp_path}/said; exit $code;; esac\n"
        f'exec {real} "$@"\n'
    )
    program.chmod(0o755)
    project.env |= {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    assert "it came through git" in held(project, "a")
    assert not new.exists()


@pytest.mark.parametrize(
    "how",
    ["capitals", "capitals of the folder", "a repository within", "a submodule that is not there"],
)
def test_an_edit_of_what_git_tracks_waits_too(pulled, how):
    """Whatever letters its name has, and also where a nearer repository tracks nothing of it."""
    project, other = pulled
    push(other, {"work/inbox/A.yaml": "agent: sh\nprompt: exit\n"})
    git(project.root, "pull", "-q")
    why = "it came through git"
    if how == "a repository within":
        git(project.work / "inbox", "init", "-q")
    elif how == "capitals of the folder":  # where a file system takes both for one
        oid = git(project.root, "rev-parse", ":work/inbox/A.yaml").strip()
        git(project.root, "rm", "-rq", "--cached", "work/inbox")
        git(project.root, "update-index", "--add", "--cacheinfo", f"100644,{oid},Work/Inbox/A.yaml")
    elif how == "a submodule that is not there":
        git(project.root, "rm", "-rq", "--cached", "work/inbox")
        oid = git(project.root, "rev-parse", "HEAD").strip()
        git(project.root, "update-index", "--add", "--cacheinfo", f"160000,{oid},work/inbox")
        why = "is a submodule without its repository"
    (project.work / "inbox/A.yaml").write_text(evil(project))
    assert why in held(project, "A")


def test_an_answer_is_about_the_bytes_that_were_seen(pulled):
    """What is put in a file's place while git is asked says nothing of that file."""
    project, _ = pulled
    project.drop("a.yaml", evil(project))
    path = project.work / "inbox/a.yaml"
    layout = Layout(str(project.root))
    judge = approval.Approval(layout, trust.Trust("", trust.NOWHERE))

    def mine() -> bool:
        arrived = approval.Arrived("a", "a.yaml", digest, identity.identity_of(str(path)))
        return judge.judge(arrived, "hold", "", time.time()).mine

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert mine()
    path.write_text("agent: sh\nprompt: exit\n")
    with pytest.raises(origin.Busy):
        mine()


def test_an_approval_goes_with_a_project_that_is_moved(pulled, tmp_path):
    project, other = pulled
    push(other, {"work/inbox/a.yaml": "agent: sh\nprompt: touch made\n"})
    git(project.root, "pull", "-q")
    project.run("approve", "a")
    os.rename(project.root, tmp_path / "moved")
    moved = Project(tmp_path / "moved")
    moved.run("watch", "--until-empty")
    assert (moved.root / "made").exists()


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


def test_what_was_imported_here_counts_though_git_tracks_it_by_then(pulled):
    project, _ = pulled
    for name in "ab":
        (project.root / f"{name}.yaml").write_text("agent: sh\nprompt: 'true'\n")
    project.run("import", "a.yaml", "b.yaml")
    git(project.root, "add", "-f", "work/inbox")
    commit(project.root)
    project.run("watch", "--until-empty")
    assert (project.where("a"), project.where("b")) == ("done", "done")


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
    commit = git(project.root, "rev-parse", "--short=10", "origin/main").strip()
    said = project.run("why", "a").stdout
    assert re.search(rf"it is the same in origin/main \({commit}, fetched [0-9.]+m?s ago\)", said)
    git(project.root, "pack-refs", "--all")  # as in a fresh clone
    for trace in ("FETCH_HEAD", "logs/refs/remotes/origin/main"):
        (project.root / ".git" / trace).unlink(missing_ok=True)
    assert f"({commit}, not fetched since the clone)" in project.run("why", "a").stdout
    project.run("watch", "--until-empty")
    assert project.where("a") == "done"
    push(other, {"work/inbox/b.yaml": evil(project)})
    git(project.root, "pull", "-q")
    git(other, "rm", "-q", "work/inbox/b.yaml")
    git(other, "commit", "-qm", "not after all")
    git(other, "push", "-q")
    git(project.root, "fetch", "-q")  # its history has it, its tip has not
    assert "work/inbox/b.yaml is not as in origin/main (" in held(project, "b")


@pytest.mark.parametrize("how", ["a file less", "a file more"])
def test_a_folder_that_a_trusted_task_names_has_exactly_the_files_of_the_branch(pulled, how):
    project, other = pulled
    with open(project.work / "orchestrator.yaml", "a") as file:
        file.write("from_git: {trusted: origin/main}\n")
    task = "agent: sh\nprompt: exit\ncontext: [words]\n"
    push(other, {"words/a.md": "a", "words/b.md": "b", "work/inbox/a.yaml": task})
    git(project.root, "pull", "-q")
    assert "it is the same in origin/main" in project.run("why", "a").stdout
    if how == "a file less":
        (project.root / "words/b.md").unlink()
    else:
        (project.root / "words/c.md").write_text("c")
    assert "words is not as in origin/main" in project.run("why", "a").stdout


@pytest.mark.parametrize("name", ["prompt.sh", ":(top)p *.sh"])
def test_what_a_trusted_task_names_must_match_too(pulled, name):
    """Whatever git would make of such a name."""
    project, other = pulled
    with open(project.work / "orchestrator.yaml", "a") as file:
        file.write("from_git: {trusted: origin/main}\n")
    task = json.dumps({"agent": "sh", "prompt_file": name})
    push(other, {name: "touch fine\n", "work/inbox/a.yaml": task})
    git(project.root, "pull", "-q")
    (project.root / name).write_text(f"touch {project.root}/evil\n")
    assert f"{name} is not as in origin/main" in held(project, "a")
    git(project.root, "checkout", "-q", "--", f":(literal){name}")
    project.run("watch", "--until-empty")
    assert (project.root / "fine").exists()


UNLIKE = ["a folder that is a link", "a link in the branch", "instructions"]


@pytest.mark.parametrize("how", UNLIKE)
def test_a_file_that_the_trusted_branch_has_otherwise_does_not_count(pulled, how):
    """Neither by a link that leads to the same bytes, nor as the text of a link, nor for a role."""
    project, other = pulled
    text = (project.work / "orchestrator.yaml").read_text()
    reads = "  reads: {tool: shell, command: [cat], instructions: words/a.md}\n"
    project.config(f"{text}{reads}from_git: {{trusted: origin/main}}\n")
    (other / "words").mkdir()
    if how == "a link in the branch":
        (other / "words/a.md").symlink_to("exit")
    agent = "agent: reads\nprompt: x\n" if how == "instructions" else "agent: sh\n"
    named = "" if how == "instructions" else "prompt_file: words/a.md\n"
    push(other, {"kept/a.md": "exit", "work/inbox/a.yaml": agent + named})
    if how != "a link in the branch":
        push(other, {"words/a.md": "exit"})
    git(project.root, "pull", "-q")
    same = "it is the same in origin/main"
    assert (same in project.run("why", "a").stdout) == (how != "a link in the branch")
    if how == "a folder that is a link":
        shutil.rmtree(project.root / "words")
        (project.root / "words").symlink_to("kept")
    else:
        (project.root / "words/a.md").unlink()
        (project.root / "words/a.md").write_text("exit" if how == "a link in the branch" else "y")
    assert "words/a.md is not as in origin/main" in project.run("why", "a").stdout


FIX = "agent: sh\nprompt: touch ran\ncontext: [words]\n"
TRUSTING = "from_git: {trusted: origin/main}\n"


def with_a_pulled_template(pulled, more: dict[str, str], branch: str = "main") -> Project:
    project, other = pulled
    if "work/orchestrator.yaml" not in more:
        with open(project.work / "orchestrator.yaml", "a") as file:
            file.write(TRUSTING)
        project.run("watch", "--until-empty")
    if branch != "main":
        git(other, "switch", "-qc", branch)
        git(other, "config", "push.default", "current")
    push(other, {"words/a.md": "a", "work/templates/fix.yaml": FIX, **more})
    git(project.root, "pull", "-q", "--no-edit", "origin", branch)
    return project


def test_a_template_of_the_trusted_branch_counts(pulled):
    """And one that was removed there is no question either."""
    project = with_a_pulled_template(pulled, {})
    project.run("new", "-T", "fix", "--id", "a")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done" and (project.root / "ran").exists()
    git(pulled[1], "rm", "-q", "work/templates/fix.yaml")
    commit(pulled[1])
    git(pulled[1], "push", "-q")
    git(project.root, "pull", "-q")
    project.run("watch", "--until-empty")
    assert not (project.work / "templates/fix.yaml").exists()


def test_all_templates_are_asked_about_in_one_look(pulled):
    paths = [f"work/templates/t{n}.yaml" for n in range(3)]
    project = with_a_pulled_template(pulled, dict.fromkeys(paths, FIX))
    layout = Layout(os.path.realpath(project.root))
    said = {f"{layout.root}/{path}": FIX.encode() for path in paths}
    asked, profile = load_config(layout), cProfile.Profile()
    assert profile.runcall(list, approval.merged_templates(layout, asked, said)) == list(said)
    assert counts(profile)["git.py:prepare"] == 1


BESIDE = {"work/agents/r.md": "---\n---\nx\n"}
SETTING = {"work/orchestrator.yaml": "agents: {sh: {tool: shell, command: [sh]}}\n" + TRUSTING}


@pytest.mark.parametrize(
    ("how", "more", "branch"),
    [
        ("not merged", {}, "feature"),
        ("what it names is not", {}, "main"),
        ("a role", BESIDE, "main"),
        ("the setting came with it", SETTING, "main"),
        ("a value is a part of what it names", {"work/templates/fix.yaml": FIX.replace("words", "'words/{n}'") + "params: {n: {default: a.md}}\n"}, "main"),
    ],
)  # fmt: skip
def test_what_is_not_as_in_the_trusted_branch_waits_as_any_setting(pulled, how, more, branch):
    project = with_a_pulled_template(pulled, more, branch)
    if how == "what it names is not":
        (project.root / "words/a.md").write_text("b")
    said = project.run("watch", "--until-empty", code=1).stderr
    assert ("templates/fix.yaml came through git" in said) is (how != "a role")
    assert "agents/r.md came through git" in said or how != "a role"
    if how != "a role":
        assert "came through git" in project.run("new", "-T", "fix", code=1).stderr


THEN = "then: {agent: sh, prompt: x, context: [words.md, '{task.log}stdout.log']}\n"
FOLLOWING = {
    "what follows": f"agent: sh\nprompt: x\n{THEN}",
    "in a run": "tasks:\n  one:\n    agent: sh\n    prompt: x\n    " + THEN,
    "what follows that": "agent: sh\nprompt: x\nthen:\n  agent: sh\n  prompt: x\n  " + THEN,
    "its schema": "agent: sh\nprompt: x\nthen: {agent: sh, prompt: x, result: {schema: words.md}}\n",
    "by a template": "agent: sh\nprompt: x\nthen: {use: more, with: {file: words}}\n",
    "by its role": "agent: leads\nprompt: x\n",
}


@pytest.mark.parametrize("how", FOLLOWING)
def test_what_follows_a_trusted_task_must_match_too(pulled, how):
    project, other = pulled
    leads = "  leads: {tool: shell, command: [sh], then: {agent: reads, prompt: x}}\n"
    reads = "  reads: {tool: shell, command: [cat], context: [words.md]}\n"
    text = (project.work / "orchestrator.yaml").read_text()
    project.config(f"{text}{leads}{reads}from_git: {{trusted: origin/main}}\n")
    (project.work / "templates").mkdir(exist_ok=True)
    (project.work / "templates/more.yaml").write_text(
        "params: {file: {}}\nagent: sh\nprompt: x\ncontext: ['{file}.md']\nthen: {use: more, with: {file: '{file}'}}\n"
    )
    push(other, {"words.md": "{}\n", "work/inbox/a.yaml": FOLLOWING[how]})
    git(project.root, "pull", "-q")
    assert "it is the same in origin/main" in project.run("why", "a").stdout
    (project.root / "words.md").write_text('{"x": 1}\n')
    assert "words.md is not as in origin/main" in project.run("why", "a").stdout


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
    git(project.root, "update-ref", "refs/remotes/origin/main/x", "refs/remotes/origin/mine")
    assert "there is no refs/remotes/origin/main here" in held(project, "a")
    # A pushed branch below that name, with a line end that git does not take for one.
    below = "refs/remotes/origin/main/y\u2028refs/remotes/origin/main"
    git(project.root, "update-ref", below, "refs/remotes/origin/mine")
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


@pytest.mark.parametrize("text", ["", "\0" * 40, '{"record": "cl'], ids=["empty", "NULs", "torn"])
@pytest.mark.parametrize("how", ["reset", "rm"])
def test_a_journal_that_a_power_cut_emptied_is_no_yes(pulled, how, text):
    """As one of ours looks whose claim was never durable. Git can bring one, and the file beside it."""
    project, other = pulled
    push(
        other,
        {"work/.state/active/a.jsonl": text, "work/running/a.yaml": evil(project)},
        force=True,
    )
    git(project.root, "pull", "-q")
    if how == "reset":
        git(project.root, "reset", "-q", "HEAD~1")
    else:
        git(project.root, "rm", "-rq", "--cached", "work/.state")
    project.run("watch", "--until-empty", code=None)
    assert not (project.root / "evil").exists()
    assert project.where("a") == "review"


ENDED = {"record": "final", "at": 2.0, "status": "failed", "summary": "x"}


@pytest.mark.parametrize("named", [{}, {"instance": ""}, {"instance": "0" * 32}], ids=str)
@pytest.mark.parametrize("verb", ["retry --failed", "reply a go", "show a", "new x --id a"])
def test_a_closed_journal_that_git_brings_is_not_believed(pulled, verb, named):
    """It says that the file beside it has run here, and how to go on in its session."""
    project, other = pulled
    text = evil(project)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    claim = {"record": "claim", "v": 1, "id": "a", "file": "a.yaml", "at": 1.0, "ino": 1}
    claim |= {"text": text, "sha256": sha256, "agent": "sh", "tool": "shell", **named}
    lines = "".join(f"{json.dumps(record)}\n" for record in (claim, ENDED))
    push(
        other,
        {
            "work/.state/closed/a.jsonl": lines,
            "work/failed/a.yaml": text,
            "work/results/a.yaml": "resume: sh evil\n",
        },
        force=True,
    )
    git(project.root, "pull", "-q")
    said = project.run("watch", "--once", code=None).stderr
    assert "git rm -r --cached work/.state" in said
    git(project.root, "rm", "-rq", "--cached", "work/.state")
    commit(project.root, "as it was told")
    assert journals.of(Layout(str(project.root)), "a") is None
    said = project.run(*verb.split(), code=None)
    assert "sh evil" not in said.stdout + said.stderr
    project.run("watch", "--until-empty", code=None)
    assert not (project.root / "evil").exists()
    assert project.where("a") == "failed"


def test_logs_that_git_tracks_are_not_begun_with(pulled):
    """A watcher goes by what lies in the log folder of an attempt that runs."""
    project, other = pulled
    push(other, {"work/logs/a/1/words/9.x.json": "{}"}, force=True)
    git(project.root, "pull", "-q")
    said = project.run("watch", "--once", code=None).stderr
    assert "git tracks work/logs/a/" in said and "git rm -r --cached work/logs" in said


def test_a_pull_drops_nothing_where_an_attempt_drops_tasks(pulled, watch):
    project, other = pulled
    sandboxed = "  fenced: {tool: shell, command: [sh], sandbox: project}\n"
    project.config((project.work / "orchestrator.yaml").read_text() + sandboxed)
    project.run("watch", "--until-empty")
    go = project.root / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.05; done"
    watch()
    project.drop("mine.yaml", f"agent: fenced\nprompt: {wait}\n")
    project.until("mine", "running")
    push(other, {"work/logs/mine/1/drop/a.yaml": evil(project)}, force=True)
    git(project.root, "pull", "-q")
    go.touch()
    project.settled("mine", "done")
    assert not project.where("a") and not (project.root / "evil").exists()


EDITS = "argv: [sh, -eu]\nprompt: stdin\nedits: true\n"


@pytest.fixture
def growing(pulled) -> tuple[Project, Path]:
    """`pulled`, whose agent works in a tree of its own, and a task of somebody else's, pushed."""
    project, other = pulled
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/fake.yaml").write_text(EDITS)
    more = "  builder: {tool: fake}\n  checked: {tool: fake, review: always}\n"
    text = (project.work / "orchestrator.yaml").read_text()
    project.config(f"isolation: worktree\n{text}{more}")
    project.run("watch", "--until-empty")
    commit(project.root)
    git(project.root, "push", "-q")
    git(other, "pull", "-q")
    return project, other


@pytest.mark.parametrize("how", ["merge", "rebase", "restore"])
def test_an_agent_that_merges_drops_no_task_by_that(growing, how):
    project, other = growing
    push(other, {"work/inbox/a.yaml": evil(project), "theirs": "x"})
    who = "git -c user.name=a -c user.email=a@example.org"
    steps = {
        "merge": "git merge -q origin/main",
        "rebase": f"echo k > k; git add k; {who} commit -qm k; {who} rebase -q origin/main",
        "restore": "git restore --source=origin/main -- work/inbox",
    }
    script = f"git fetch -q\n{steps[how]}\ncat work/inbox/a.yaml\nexit\n"
    project.drop("mine.yaml", json.dumps({"agent": "builder", "prompt": script}))
    project.run("watch", "--until-empty", code=None)
    assert "evil" in project.log("mine"), project.log("mine", name="stderr.log")
    assert not project.where("a") and not (project.root / "evil").exists()
    assert "work/inbox/a.yaml came through git" in str(project.result("mine")["warnings"])


def test_what_an_agent_writes_there_itself_is_dropped(growing):
    project, _ = growing
    script = "printf 'agent: sh\\nprompt: exit\\n' > work/inbox/b.yaml\nexit\n"
    project.drop("mine.yaml", json.dumps({"agent": "builder", "prompt": script}))
    project.run("watch", "--until-empty", code=None)
    assert project.where("b") == "done"


def test_a_pull_is_no_yes_to_a_branch(growing):
    """Git removes one file and writes another, which gets the same inode."""
    project, other = growing
    project.drop("mine.yaml", json.dumps({"agent": "checked", "prompt": "echo x > f\nexit\n"}))
    project.run("watch", "--until-empty")
    assert project.where("mine") == "review"
    review, done = project.work / "review/mine.yaml", project.work / "done/mine.yaml"
    inode, text = review.stat().st_ino, review.read_bytes()
    for _ in range(200):
        review.unlink()
        done.write_bytes(text)
        if done.stat().st_ino == inode:
            break
        done.unlink()
        review.write_bytes(text)
    else:
        pytest.skip("this file system does not give an inode's number away again")
    project.run("watch", "--until-empty", code=None)
    assert not (project.root / "f").exists()


@pytest.fixture
def changed(pulled) -> tuple[Project, Path]:
    """`pulled`, with a task that has failed here and whose file a pull has changed since."""
    project, other = pulled
    project.drop("mine.yaml", "agent: sh\nprompt: exit 1\n")
    project.run("watch", "--until-empty", code=1)
    commit(project.root)
    git(project.root, "push", "-q")
    git(other, "pull", "-q")
    push(other, {"work/failed/mine.yaml": evil(project), "work/failed/new.yaml": evil(project)})
    git(project.root, "pull", "-q")
    return project, other


def test_a_reply_is_no_yes_to_a_file_that_git_has_changed(changed):
    project, _ = changed
    said = project.run("reply", "mine", "again", code=1).stderr
    assert "failed/mine.yaml came through git" in said and "orchestrator retry mine" in said
    project.drop("mine.reply", "again\n", "failed")
    assert "came through git" in project.run("watch", "--until-empty", code=None).stdout
    assert project.where("mine") == "failed" and not (project.root / "evil").exists()
    project.run("retry", "mine")  # who names it has said yes
    project.run("watch", "--until-empty", code=None)
    assert (project.root / "evil").exists()


def test_many_at_once_is_no_yes_to_files_that_git_brought(changed):
    project, _ = changed
    done = project.run("retry", "--failed", "-y", code=1)
    assert "failed/new.yaml came through git" in done.stderr and not done.stdout
    project.run("watch", "--until-empty", code=None)
    assert not (project.root / "evil").exists()


@pytest.mark.parametrize("edited", [False, True], ids=["as it ran", "edited"])
def test_what_failed_here_and_was_committed_goes_on(pulled, edited):
    """Git has had the file there, and it is what ran here, or a person's own edit of that."""
    project, _ = pulled
    project.drop("mine.yaml", "agent: sh\nprompt: test -e fine && exit\n")
    project.run("watch", "--until-empty", code=1)
    commit(project.root)
    if edited:
        (project.work / "failed/mine.yaml").write_text("agent: sh\nprompt: exit 0\n")
    (project.root / "fine").touch()
    project.run("reply", "mine", "again")
    project.run("watch", "--until-empty")
    assert project.where("mine") == "done"


EDITED = "sed -i '1s/^/# mine\\n/' work/failed/mine.yaml"
MERGED = {
    "stash pop": f"{EDITED}; git stash -q; git pull -q; git stash pop -q",
    "autostash": f"{EDITED}; git pull -q --rebase --autostash",
    "checkout -m": f"{EDITED}; git fetch -q; git checkout -q -m --detach origin/main",
    "unmade": f"{EDITED}; git fetch -q; git stash -q; git cherry-pick -n origin/main; git stash pop -q; git reset -q",
    "edited later": f"git pull -q; {EDITED}",
    "edited and committed": f"git pull -q; {EDITED}; git commit -qam mine; {EDITED}",
}


@pytest.mark.parametrize("how", MERGED)
def test_an_edit_with_something_of_git_in_it_is_not_ones_own(pulled, how):
    project, other = pulled
    lines = "".join(f"# {number}\n" for number in range(9)) + "agent: sh\n"
    project.drop("mine.yaml", f"{lines}prompt: exit 1\n")
    project.run("watch", "--until-empty", code=1)
    commit(project.root)
    git(project.root, "push", "-q")
    git(other, "pull", "-q")
    push(other, {"work/failed/mine.yaml": f"{lines}prompt: touch {project.root}/evil\n"})
    script = "; ".join(f"git config {key}" for key in ("user.name t", "user.email t@example.org"))
    done = subprocess.run(["sh", "-c", f"{script}; {MERGED[how]}"], cwd=project.root, capture_output=True)  # fmt: skip
    said = (project.work / "failed/mine.yaml").read_text()
    assert "evil" in said and "# mine" in said, done.stderr
    assert "came through git" in project.run("reply", "mine", "again", code=1).stderr
    assert "came through git" in project.run("retry", "--failed", "-y", code=1).stderr
    assert project.where("mine") == "failed"
    project.run("retry", "mine")  # who names it has said yes
    project.run("watch", "--until-empty", code=None)
    assert (project.root / "evil").exists()


OWN = {
    "committed": f"{EDITED}; git commit -qam mine; {EDITED}",
    "stashed around a pull": f"{EDITED}; git stash -q; git pull -q; git stash pop -q",
}


@pytest.mark.parametrize("how", OWN)
def test_an_edit_around_which_git_did_something_else_is_ones_own(pulled, how):
    project, other = pulled
    project.drop("mine.yaml", "agent: sh\nprompt: exit 1\n")
    project.run("watch", "--until-empty", code=1)
    commit(project.root)
    git(project.root, "push", "-q")
    git(other, "pull", "-q")
    push(other, {"README": "theirs\n"})
    script = "; ".join(f"git config {key}" for key in ("user.name t", "user.email t@example.org"))
    subprocess.run(["sh", "-ec", f"{script}; {OWN[how]}"], cwd=project.root, check=True)
    project.run("reply", "mine", "again")
    assert project.where("mine") == "inbox"


def test_an_answer_that_git_brought_is_none(pulled, watch):
    project, other = pulled
    (project.work / ".gitignore").unlink()  # or they are added by force
    project.config("agents: {helper: {tool: demo, ask: person}}\n")
    watcher = watch()
    project.drop("q.yaml", "agent: helper\nprompt: |\n  Do it\n  demo: permit rm x\n")
    asked = project.work / "asks/q.1.md"
    wait_until(asked.exists, "it asks")
    text = asked.read_text()
    push(other, {"work/asks/q.1.answer": "allow\n"}, force=True)
    git(project.root, "pull", "-q")
    wait_until(lambda: "asks/q.1.answer came through git" in watcher.text(), "it is told")
    assert project.where("q") == "running" and "allow" not in project.log("q")
    asked.write_text(text.replace("rm x", "cat README"))
    assert "rm x" in project.run("review", code=None).stdout  # what is asked is what it asked
    project.run("reply", "q", "1")
    project.settled("q", "done")
    assert "allow rm x" in project.log("q")


def test_an_answer_of_which_git_says_nothing_waits(pulled, watch):
    project, _ = pulled
    project.config("agents: {helper: {tool: demo, ask: person}}\n")
    watcher = watch()
    project.drop("q.yaml", "agent: helper\nprompt: |\n  Do it\n  demo: permit rm x\n")
    wait_until((project.work / "asks/q.1.md").exists, "it asks")
    index = project.root / ".git/index"
    known = index.read_bytes()
    index.write_bytes(b"nonsense")
    (project.work / "asks/q.1.answer").write_text("allow\n")
    wait_until(lambda: "asks/q.1.answer waits: git does not say" in watcher.text(), "it is told")
    assert project.where("q") == "running" and "allow" not in project.log("q")
    index.write_bytes(known)
    project.settled("q", "done")
    assert "allow rm x" in project.log("q")


def test_a_repository_that_means_another_folder(project, tmp_path):
    """With ``core.worktree`` its paths begin elsewhere than where its ``.git`` lies."""
    theirs = tmp_path / "theirs"
    (theirs / "inbox").mkdir(parents=True)
    (theirs / "inbox/a.yaml").write_text(evil(project))
    git(theirs, "init", "-q", "-b", "main")
    commit(theirs)
    git(project.root, "init", "-q", "-b", "mine")
    git(project.root, "config", "core.worktree", "../work")
    git(project.root, "fetch", "-q", str(theirs), "main")
    git(project.work, "--git-dir=../.git", "checkout", "-q", "FETCH_HEAD")
    assert "core.worktree" in held(project, "a")


@pytest.mark.parametrize("folder", ["inbox", "running"])
def test_a_pull_that_changes_a_task_while_it_runs(pulled, watch, folder):
    """What runs goes on as it began, further attempts too, and what git wrote never runs."""
    project, other = pulled
    project.config("retry: {delay: 100ms}\n" + (project.work / "orchestrator.yaml").read_text())
    project.run("watch", "--until-empty")
    script = "echo x >> ran; while [ ! -e go ]; do sleep 0.05; done; exit 3"
    project.run("new", script, "--agent", "sh", "--retries", "1", "--id", "a")
    commit(project.root)
    watcher = watch()
    project.until("a", "running")
    commit(project.root)
    git(project.root, "push", "-q")
    git(other, "pull", "-q")
    push(other, {f"work/{folder}/a.yaml": evil(project)})
    git(project.root, "pull", "-q")
    if folder == "inbox":
        wait_until(lambda: "a is running" in watcher.text(), "the file is told of")
    (project.root / "go").touch()
    wait_until(lambda: os.path.exists(project.layout.journal("a", closed=True)), "it has ended")
    assert (project.root / "ran").read_text() == "x\nx\n"
    if folder == "inbox":
        wait_until(lambda: "this is another file" in watcher.text(), "and told of again")
        said = project.run("retry", "a", code=1).stderr
        assert "inbox/a.yaml already exists" in said and "another file has the task's name" in said
    else:
        wait_until(lambda: "never claimed on this machine" in watcher.text(), "a person decides")
    assert not (project.root / "evil").exists()


def test_a_file_that_is_claimed_in_that_moment_is_asked_about_again(pulled):
    """A look that read it just before said that git gave no clear answer."""
    project, _ = pulled
    path = project.drop("a.yaml", "agent: sh\nprompt: exit\n")
    _, sha256, identity = trusting.fact_of("a", str(path))
    arrived = approval.Arrived("a", "a.yaml", sha256, identity)
    judge = approval.Approval(project.layout, trust.of(project.layout))
    path.unlink()
    with pytest.raises(origin.Busy):
        judge.judge(arrived, "hold", "", time.time())

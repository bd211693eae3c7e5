"""Trees of tasks: each works on a branch of its own, what it leaves is saved, and nothing of the person's is touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Project, WatcherProcess, wait_until

from orchestrator.files import journals
from orchestrator.files.text import visible
from orchestrator.model import isolation
from orchestrator.store import git as store_git
from orchestrator.store import trees

CONFIG = """\
isolation: worktree
defaults: {{agent: builder, timeout: 60s}}
agents:
  builder: {{tool: fake{role}}}
{more}"""
TOOL = """\
description: Does what its prompt says, in a shell.
argv: [sh, -eu]
prompt: stdin
edits: true
"""


def git(folder: Path, *words: str, code: int | None = 0, env_more=(), **more) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= dict(env_more)
    done = subprocess.run(
        ["git", *words], cwd=folder, env=env, capture_output=True, text=True, check=False, **more
    )
    assert code is None or done.returncode == code, f"git {words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


class Repo(Project):
    """A project in a git repository, whose agent does what its prompt says."""

    def settings(self, role: str = "", more: str = "") -> None:
        self.config(CONFIG.format(role=f", {role}" if role else "", more=more))

    def git(self, *words: str, **more) -> str:
        return git(self.root, *words, **more)

    def do(self, task_id: str, script: str, code: int = 0, **keys) -> None:
        """Run one task to its end."""
        self.drop(f"{task_id}.yaml", json.dumps({"prompt": f"{script}\nexit\n", **keys}))
        self.run("watch", "--until-empty", code=code)

    def tree(self, task_id: str) -> Path:
        return self.work / "trees" / task_id


@pytest.fixture
def repo(tmp_path) -> Repo:
    root = tmp_path / "p"
    root.mkdir()
    made = Repo(root)
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.name", "A Person")
    git(root, "config", "user.email", "person@example.org")
    (root / "src").mkdir()
    (root / "src/a.txt").write_text("one\ntwo\nthree\n")
    (root / ".gitignore").write_text("*.pyc\nignored/\n")
    made.init()
    (made.work / "tools").mkdir(exist_ok=True)
    (made.work / "tools/fake.yaml").write_text(TOOL)
    made.settings()
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return made


@pytest.fixture
def watcher(repo):
    started = []

    def start(*words: str) -> WatcherProcess:
        started.append(WatcherProcess(repo, *words))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def persons(root: Path) -> dict[str, str]:
    """What the person has: every file outside work/, the index, HEAD, branches without tasks', configuration."""
    found = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if path.is_file() and inside[0] not in ("work", ".git"):
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    found["index"] = hashlib.sha256((root / ".git/index").read_bytes()).hexdigest()
    found["config"] = (root / ".git/config").read_text()
    found["HEAD"] = (root / ".git/HEAD").read_text()
    refs = git(root, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    found["refs"] = "\n".join(
        line for line in refs if "/task" not in line and "orchestrator" not in line
    )
    return found


def test_a_task_works_on_a_branch_of_its_own(repo):
    (repo.root / "src/a.txt").write_text("the person's edit\n")
    before = persons(repo.root)
    repo.do(
        "x", "echo four >> src/a.txt; echo new > b.txt; cat .git; pwd; env | grep -E 'ORCH|GIT_'"
    )
    assert persons(repo.root) == before
    assert repo.where("x") == "review"
    result = repo.result("x")
    assert result["branch"] == "task/x" and result["target"] == "main"
    assert (result["commits"], result["insertions"], result.get("deletions")) == (1, 2, 0)
    assert result["files_changed"] == ["b.txt", "src/a.txt"]
    assert result["tip"] == repo.git("rev-parse", "task/x")
    assert repo.git("log", "-1", "--format=%an %cn", "task/x") == "A Person A Person"
    assert any("1 uncommitted file is not in this tree" in line for line in result["warnings"])
    assert f"ORCHESTRATOR_TREE={repo.tree('x')}" in repo.log("x")
    assert not repo.git("status", "--porcelain", "--", "work/trees")
    assert git(repo.tree("x"), "status", "--porcelain") == ""


def test_ctrl_c_in_the_pane_ends_no_git_of_a_step(repo):
    """A terminal sends it to the whole group of the watcher: a task that was about to start failed."""
    folder = repo.root.parent / "programs"
    folder.mkdir()
    shim = folder / "git"
    real, told = shutil.which("git"), folder / "told"
    shim.write_text(
        "#!/bin/sh\nread -r pid name state parent group rest < /proc/self/stat\n"
        f'echo "$pid $group $GIT_DIR" >> {told}\nexec {real} "$@"\n'
    )
    shim.chmod(0o755)
    repo.env["PATH"] = f"{folder}:{os.environ['PATH']}"
    repo.do("x", "echo four >> src/a.txt")
    ours = [line.split() for line in told.read_text().splitlines() if "/p/.git" in line]
    assert ours and all(pid == group for pid, group, *_ in ours)


def test_what_an_agent_commits_itself_is_counted_and_kept(repo):
    repo.do("x", "echo 1 > one; git add one; git commit -qm one; echo 2 > two")
    result = repo.result("x")
    assert result["commits"] == 2 and result["files_changed"] == ["one", "two"]


def test_no_change_is_done(repo):
    repo.do("x", "true")
    assert repo.where("x") == "done"
    assert repo.result("x")["commits"] == 0


def test_ten_tasks_append_to_one_file(repo):
    for number in range(10):
        repo.drop(
            f"t{number}.yaml", json.dumps({"prompt": f"sleep 0.1; echo line {number} >> src/a.txt"})
        )
    repo.run("watch", "--until-empty")
    for number in range(10):
        result = repo.result(f"t{number}")
        assert (result["files_changed"], result["insertions"]) == (["src/a.txt"], 1)
        assert f"line {number}" in repo.git("show", f"task/t{number}:src/a.txt")
    assert repo.git("rev-list", "--count", "main") == "1"


ENDS = {
    "fails": "echo kept > kept; exit 3",
    "kills itself": "echo kept > kept; kill -9 $$",
    "takes its .git file away": "echo kept > kept; rm .git",
    "writes into its .git file": "echo kept > kept; echo 'gitdir: /nowhere' > .git",
    "is on another branch": "git checkout -q -b mine; echo kept > kept",
    "is on no branch": "git checkout -q --detach; echo kept > kept",
    "has a failing hook": "mkdir -p $ORCHESTRATOR_ROOT/.git/hooks; printf '#!/bin/sh\\nexit 1' > $ORCHESTRATOR_ROOT/.git/hooks/pre-commit; chmod +x $ORCHESTRATOR_ROOT/.git/hooks/pre-commit; echo kept > kept",
    "leaves a lock": "echo kept > kept; : > $(git rev-parse --git-dir)/index.lock",
    "is in a merge": "git checkout -q -b other; echo A > src/a.txt; git commit -qam A; git checkout -q task/x; echo B > src/a.txt; git commit -qam B; git merge other || true; echo kept > kept",
    "is in a rebase": "echo A > src/a.txt; git commit -qam A; git checkout -q -b other HEAD~1; echo B > src/a.txt; git commit -qam B; git checkout -q task/x; git rebase other || true; echo kept > kept",
    "has a repository inside": "mkdir in; cd in; git init -q; echo kept > kept",
    "has a repository with a commit inside": "mkdir in; cd in; git init -q; git config user.email a@b; git config user.name n; echo kept > kept; git add -A; git commit -qm in",
    "prunes": "echo kept > kept; git worktree prune",
    "takes its worktree from the repository": "echo kept > kept; rm -rf $(git rev-parse --git-dir)",
    "breaks its index": "echo kept > kept; echo junk > $(git rev-parse --git-dir)/index",
    "has committed": "echo kept > kept; git add -A; git commit -qm done",
    "has no rights on a file": "echo kept > kept; echo no > locked; chmod 000 locked",
    "has a strange name": "echo kept > kept; echo x > \"$(printf 'a\\nb\\tc \\303\\251')\"",
    "resets what it committed": "echo kept > kept; git add -A; git commit -qm one; git reset -q --hard HEAD~1",
    "amends": "echo kept > kept; git add -A; git commit -qm one; git rm -q kept; git commit -q --amend --allow-empty -m two",
}


@pytest.mark.parametrize("how", ENDS)
def test_what_an_agent_wrote_is_in_a_ref(repo, how):
    (repo.root / "src/a.txt").write_text("the person's edit\n")
    before = persons(repo.root)
    repo.do("x", ENDS[how], code=None)
    after = persons(repo.root)
    if how in (
        "is on another branch",
        "is in a merge",
        "is in a rebase",
    ):  # a branch that the agent made
        before.pop("refs"), after.pop("refs")
    assert after == before
    refs = repo.git("for-each-ref", "--format=%(refname)", "refs/orchestrator").splitlines()
    commits = repo.git("rev-list", *refs).splitlines()
    found = {
        repo.git("show", f"{commit}:{path}", code=None)
        for commit in commits
        for path in ("kept", "in/kept")
    }
    assert "kept" in found, refs
    result = repo.result("x")
    if how.startswith(("is ", "takes its worktree")):
        assert repo.where("x") == "review" and "not proven" in result["reason"]


def test_conflict_markers_never_reach_the_branch(repo):
    repo.do("x", ENDS["is in a merge"])
    assert "<<<<" not in repo.git("show", "task/x:src/a.txt")
    assert "a merge is unfinished" in repo.result("x")["reason"]


def test_a_killed_watcher_makes_the_tree_anew_and_saves(repo, watcher):
    repo.drop("x.yaml", json.dumps({"prompt": "echo kept > kept; sleep 0.4"}))
    first = watcher("--until-empty")
    wait_until((repo.tree("x") / "kept").exists)
    first.process.kill()
    first.process.wait()
    repo.run("watch", "--until-empty")
    assert repo.where("x") == "review"
    assert repo.git("show", "task/x:kept") == "kept"


def test_half_made_trees_are_made_again(repo):
    """`git worktree add` that was killed leaves a lock and a branch; the journal owns both."""
    repo.drop("x.yaml", json.dumps({"prompt": "echo kept > kept"}))
    shim = repo.root.parent / "bin"
    shim.mkdir()
    real = subprocess.run(
        ["which", "git"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (shim / "git").write_text(
        f'#!/bin/sh\ncase "$*" in *"worktree add"*) {real} "$@" & sleep 0.003; kill -9 $!; kill -9 $PPID;; *) exec {real} "$@";; esac\n'
    )
    (shim / "git").chmod(0o755)
    env = dict(repo.env)
    repo.env["PATH"] = f"{shim}:{env['PATH']}"
    repo.run("watch", "--until-empty", code=None)
    repo.env = env
    repo.run("watch", "--until-empty")
    assert repo.git("show", "task/x:kept") == "kept"
    assert len(repo.git("worktree", "list").splitlines()) == 2


REFUSED = {
    "no repository": (
        lambda root: subprocess.run(["rm", "-rf", f"{root}/.git"], check=True),
        "a tree needs a git repository",
    ),
    "no commit": (
        lambda root: (
            subprocess.run(["rm", "-rf", f"{root}/.git"], check=True),
            git(root, "init", "-q"),
        ),
        "needs a commit to start from",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_have_a_tree_is_refused_before_the_agent_starts(repo, what):
    make, words = REFUSED[what]
    make(repo.root)
    repo.do("x", "touch /tmp/never", code=1)
    assert repo.where("x") == "failed"
    assert words in repo.result("x")["reason"]
    assert not repo.log("x")


def test_work_is_not_in_the_tree_and_does_not_travel(repo):
    repo.do(
        "x",
        "ls work; echo hacked > work/orchestrator.yaml; git add -A; git status --porcelain; echo 1 > n",
    )
    assert repo.log("x") == "inbox\n"
    assert repo.result("x")["files_changed"] == ["n"]


@pytest.mark.parametrize(
    "task_id,branch", [("a..b", "task/a%2E%2Eb"), ("a.lock", "task/a%2Elock"), ("é", "task/é")]
)
def test_names_of_branches(repo, task_id, branch):
    repo.do(task_id, "echo 1 > n")
    assert repo.result(task_id)["branch"] == branch


def test_a_branch_in_the_way_is_left_alone(repo):
    repo.git("branch", "task")
    repo.do("x", "echo 1 > n")
    assert repo.result("x")["branch"] == "task-2/x"
    repo.git("branch", "task-2/y")
    repo.do("y", "echo 1 > n")
    assert repo.git("rev-parse", "task-2/y") == repo.git("rev-parse", "main")


def test_pure_names():
    assert isolation.free_name("task/x", ["task/X"]) == "task/x-2"
    assert isolation.free_name("task/x", ["task/x/y", "task/x-2"]) == "task/x-3"
    assert isolation.protected(["tests/**", "Makefile"], ["tests/a/b.py", "Makefile", "src/Makefile"]) == ["tests/a/b.py", "Makefile"]  # fmt: skip


def test_agents_without_a_tree_take_turns(repo):
    repo.config("defaults: {agent: fake, timeout: 60s}\n")
    for number in range(4):
        repo.drop(
            f"t{number}.yaml",
            json.dumps({"prompt": "read n < src/count; sleep 0.1; echo $((n + 1)) > src/count"}),
        )
    (repo.root / "src/count").write_text("0\n")
    repo.run("watch", "--until-empty")
    assert (repo.root / "src/count").read_text() == "4\n"


def test_locks_keep_tasks_apart(repo):
    (repo.root / "count").write_text("0\n")
    for number in range(3):
        repo.drop(
            f"t{number}.yaml",
            json.dumps(
                {
                    "prompt": f"cd {repo.root}; read n < count; sleep 0.1; echo $((n + 1)) > count",
                    "locks": ["db"],
                }
            ),
        )
    repo.run("watch", "--until-empty")
    assert (repo.root / "count").read_text() == "3\n"


def test_journal_folds_checks_apart_from_attempts():
    from orchestrator.model.journal import Phase, fold

    records = [
        {"record": "claim", "id": "x"},
        {"record": "started", "attempt": 1, "tag": "a"},
        {"record": "exit", "attempt": 1, "code": 0},
        {"record": "started", "attempt": 1, "tag": "b", "check": "tests"},
    ]
    journal = fold(records)
    assert (
        journal.checking and journal.phase is Phase.STARTED and journal.attempt.ended["code"] == 0
    )
    journal = fold([*records, {"record": "exit", "attempt": 1, "code": 2}])
    assert not journal.checking and journal.phase is Phase.ENDED
    assert journal.attempt.ended["code"] == 0 and journal.checks[0].ended["code"] == 2
    assert journal.tries == 1


CHECKS = """\
checks:
  tests: {command: [sh, -c, "echo looking; test -e good"], timeout: 10s}
  lint: {command: [sh, -c, "echo fine"]}
"""


def test_green_checks_are_listed(repo):
    repo.settings("verify: [tests, lint]", CHECKS)
    repo.do("x", "echo 1 > good")
    assert repo.where("x") == "review"
    assert [(item["check"], item["passed"]) for item in repo.result("x")["checks"]] == [
        ("tests", True),
        ("lint", True),
    ]


def test_a_red_check_means_another_attempt_that_is_told(repo):
    repo.settings("verify: [tests]", CHECKS)
    repo.do("x", 'if [ "$ORCHESTRATOR_ATTEMPT" = 2 ]; then echo 1 > good; fi; echo n >> n')
    result = repo.result("x")
    assert repo.where("x") == "review" and len(result["attempts"]) == 2
    assert result["attempts"][0]["error_class"] == "verify"
    prompt = (Path(repo.layout.logs("x", 2)) / "prompt.md").read_text()
    assert "tests: exit code 1" in prompt and "looking" in prompt
    assert result["files_changed"] == ["good", "n"]


def test_still_red_is_failed_and_keeps_the_branch(repo):
    repo.settings("verify: [tests], verify_retries: 1", CHECKS)
    repo.do("x", "echo 1 >> n", code=1)
    result = repo.result("x")
    assert repo.where("x") == "failed" and len(result["attempts"]) == 2
    assert result["error_class"] == "verify" and "tests: exit code 1" in result["reason"]
    assert repo.git("show", "task/x:n") == "1\n1"


def test_what_a_red_check_said_can_be_read(repo):
    checks = CHECKS.replace("echo looking;", "echo looking; echo no good >&2;")
    repo.settings("verify: [lint, tests], verify_retries: 0", checks)
    repo.do("x", "echo 1 >> n", code=1)
    shown = repo.run("show", "x").stdout
    assert "lint ✓ · tests ✗   orchestrator logs x --check tests\n" in shown
    assert "          looking\n          no good\n" in shown
    assert repo.run("logs", "x", "--check", "tests").stdout == "looking\n"
    assert repo.run("logs", "x", "--check", "tests", "--stderr").stdout == "no good\n"
    assert repo.json("logs", "x", "--check", "lint")["lines"] == ["fine"]
    for name in ("test", "..", "tests/../lint"):
        refused = repo.run("logs", "x", "--check", name, code=3).stderr
        assert f"attempt 1 of x ran no check '{name}'\nhint:  it ran lint, tests" in refused


def test_no_change_is_no_change_to_look_at(repo):
    repo.settings("verify: [lint]", CHECKS)
    repo.drop("x.yaml", "prompt: 'true'\n")
    (end,) = (
        line
        for line in repo.run("watch", "--until-empty").stdout.splitlines()
        if " done " in line and " x " in line
    )
    assert end.endswith("change=none checks=passed")
    assert "change    none on task/x\n" in repo.run("show", "x").stdout


def test_a_conflict_that_was_met_is_told_wherever_it_waits(repo):
    for name in ("a", "b"):
        repo.do(name, f"echo {name} > src/a.txt")
    repo.run("approve", "a")
    repo.run("approve", "b", code=None)
    said = "task/b and main conflict in src/a.txt"
    (need,) = (need for need in repo.json("status")["needs"] if need["id"] == "b")
    assert need["why"] == f"{said} · +1 -3 in 1 file"
    assert need["command"] == "reply b --conflict"
    why = repo.run("why", "b").stdout
    assert said in why and "orchestrator reply b --conflict" in why
    assert f"conflict  {said}   orchestrator reply b --conflict\n" in repo.run("show", "b").stdout


def test_show_says_how_far_the_target_has_moved(repo):
    """So a person knows before the merge whether it may collide."""
    repo.do("a", "echo a > src/a.txt")
    repo.do("b", "echo b > other")
    assert "target" not in repo.run("show", "a").stdout
    (repo.root / "src/a.txt").write_text("mine\n")
    repo.git("commit", "-qam", "mine")
    a, b = (repo.run("show", name).stdout for name in ("a", "b"))
    assert "\ntarget    main moved 1 commit, also in src/a.txt   orchestrator approve -n a\n" in a
    assert "\ntarget    main moved 1 commit, in other files\n" in b
    assert "conflict in src/a.txt" in repo.run("approve", "-n", "a", code=None).stderr
    repo.run("approve", "b")
    assert "target" not in repo.run("show", "b").stdout


def test_a_declared_file_that_is_missing_is_red(repo):
    repo.settings("verify_retries: 0")
    repo.do("x", "true", code=1, artifacts=["made.txt"])
    assert repo.where("x") == "failed"
    assert "the file made.txt was not made" in repo.result("x")["reason"]


def test_a_check_that_takes_too_long_is_red_and_leaves_nothing(repo):
    repo.settings(
        "verify: [slow], verify_retries: 0",
        'checks: {slow: {command: [sh, -c, "sleep 60"], timeout: 300ms}}\n',
    )
    repo.do("x", "echo 1 > n", code=1)
    assert "slow: took longer than 0.3 s" in repo.result("x")["reason"]


def test_a_check_is_adopted(repo, watcher):
    mark = repo.root.parent / "mark"
    repo.settings(
        "verify: [slow]",
        f'checks: {{slow: {{command: [sh, -c, "echo run >> {mark}; sleep 0.7"]}}}}\n',
    )
    repo.drop("x.yaml", json.dumps({"prompt": "echo 1 > n"}))
    first = watcher("--until-empty")
    wait_until(mark.exists)
    first.process.kill()
    first.process.wait()
    repo.run("watch", "--until-empty")
    assert repo.where("x") == "review" and mark.read_text() == "run\n"
    assert repo.result("x")["checks"][0]["passed"] and len(repo.result("x")["attempts"]) == 1


def test_the_journal_knows_the_change(repo):
    repo.do("x", "echo 1 > n")
    journal = journals.of(repo.layout, "x")
    assert journal.tree["branch"] == "task/x" and journal.change["files"] == ["n"]


def test_a_diff_shows_a_person_all_that_is_there(repo):
    """What hides, reorders or steers was hidden, reordered and steered in the very moment of judging it."""
    added = "a\x1b[8mb\u202ec\x07d\r\n--- e\n+++ f\ng\u200b\n"
    (repo.root / "n").write_text("one\n-- two\n")
    repo.git("add", "n")
    repo.git("commit", "-qm", "n")
    text = "".join(f"\\0{byte:03o}" for byte in added.encode())
    repo.do("x", f"printf '%b' '{text}' > n")
    plain = repo.run("diff", "x").stdout
    assert "a\x1b[8mb\u202ec\x07d" in plain  # a patch
    lines = repo.run("--color", "always", "diff", "x").stdout.split("\n")
    for line in (
        "\x1b[1m--- a/n\x1b[0m", "\x1b[36m@@ -1,2 +1,4 @@\x1b[0m", "\x1b[31m-one\x1b[0m", "\x1b[31m--- two\x1b[0m",
        "\x1b[32m+a^[[8mb<U+202E>c^Gd^M\x1b[0m", "\x1b[32m+--- e\x1b[0m", "\x1b[32m+g<U+200B>\x1b[0m",
    ):  # fmt: skip
        assert line in lines, (line, lines)
    assert visible("\udcff") == "<FF>"  # a byte that is no text


def test_diff_shows_the_change(repo):
    repo.do("x", "echo four >> src/a.txt; echo new > b.txt")
    text = repo.run("diff", "x").stdout
    assert "+four" in text and "+new" in text and "\x1b" not in text
    assert repo.run("diff", "x", "--name-only").stdout == "b.txt\nsrc/a.txt\n"
    assert "2 files changed" in repo.run("diff", "x", "--stat").stdout
    assert repo.json("diff", "x")["files"] == ["b.txt", "src/a.txt"]
    repo.run("approve", "x")
    assert repo.run("diff", "x").stdout == text  # also once it is merged
    repo.do("y", "exit 0")
    assert repo.run("diff", "y").stdout == ""


def test_the_pager_is_the_persons_and_never_the_repositorys(repo, monkeypatch, tmp_path):
    from orchestrator.cli.verbs import diff

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GIT_PAGER", raising=False)
    monkeypatch.setenv("PAGER", "more")
    monkeypatch.chdir(repo.root)
    repo.git("config", "core.pager", "touch ran")
    assert diff._pager() == "more"
    (tmp_path / ".gitconfig").write_text("[core]\npager = delta --dark\n")
    assert diff._pager() == "delta --dark"


def test_show_tells_of_the_change(repo):
    repo.settings("verify: [lint]", CHECKS)
    repo.do("x", "echo new > b.txt")
    text = repo.run("show", "x").stdout
    assert "+1 -0 in 1 file on task/x" in text and "lint ✓" in text and "work/trees/x" in text


def test_trees_lists_finds_and_cleans(repo):
    repo.do("x", "echo new > b.txt")
    assert repo.run("trees", "x").stdout == f"{repo.tree('x')}\n"
    assert "stays: its task waits for review" in repo.run("trees").stdout
    repo.run("trees", "clean", "x", "-y", code=1)
    assert repo.tree("x").is_dir()
    repo.run("approve", "x")
    assert repo.json("trees")["trees"][0]["held"] == ""
    repo.run("trees", "clean", code=1)  # no terminal to ask on
    repo.run("trees", "clean", "-y")
    assert not repo.tree("x").exists()
    assert repo.git("for-each-ref", "refs/orchestrator", "refs/heads/task") == ""
    assert len(repo.git("worktree", "list").splitlines()) == 1


HOLDS = {
    "an ignored file": "mkdir ignored; echo only here > ignored/data",
    "a repository": "mkdir in; cd in; git init -q; echo 1 > f",
}


@pytest.mark.parametrize("what", HOLDS)
def test_a_tree_with_what_is_nowhere_else_stays(repo, what):
    repo.do("x", HOLDS[what], code=None)
    if repo.where("x") == "review":
        repo.run("reject", "x")
    done = repo.run("trees", "clean", "x", "-y", code=1)
    assert "files that are not in git" in done.stderr
    assert repo.tree("x").is_dir()


def test_caches_go_and_unmerged_branches_stay(repo):
    repo.do(
        "x",
        "mkdir -p ignored/node_modules; echo c > ignored/node_modules/f; echo 1 > n; exit 1",
        code=1,
    )
    repo.run("trees", "clean", "x", "-y")
    assert not repo.tree("x").exists() and repo.git("show", "task/x:n") == "1"


def test_edits_after_the_end_are_saved_before_the_tree_goes(repo):
    repo.do("x", "echo 1 > n; exit 1", code=1)
    (repo.tree("x") / "n").write_text("late\n")
    repo.run("trees", "clean", "x", "-y")
    refs = repo.git("for-each-ref", "--format=%(refname)", "refs/orchestrator").splitlines()
    assert any(repo.git("show", f"{ref}:n", code=None) == "late" for ref in refs)


def test_a_ref_that_reads_like_two_takes_no_other_with_it(repo):
    """A name may contain U+2028, which is no end of a line for git."""
    repo.git("branch", "precious")
    repo.do("x", "echo 1 > n")
    odd = "refs/orchestrator/saved/x/9\u2028refs/heads/precious"
    repo.git("update-ref", odd, "HEAD")
    repo.run("approve", "x")
    repo.run("trees", "clean", "-y")
    refs = repo.git("for-each-ref", "--format=%(refname)")
    assert "refs/heads/precious" in refs and "refs/orchestrator" not in refs


def test_commands_in_a_tree_act_on_the_project(repo):
    repo.do("x", "echo 1 > n")
    done = subprocess.run(
        [repo.python, "-m", "orchestrator", "list", "--json"],
        cwd=repo.tree("x"), env=repo.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "x" in done.stdout


def test_a_retry_goes_on_in_the_same_tree(repo):
    repo.do("x", "echo 1 >> n")
    repo.run("retry", "x")
    repo.run("watch", "--until-empty")
    assert repo.git("show", "task/x:n") == "1\n1"
    assert [
        ref.rpartition("/")[2]
        for ref in repo.git("for-each-ref", "--format=%(refname)", "refs/orchestrator").splitlines()
    ] == ["1", "2"]


def test_a_task_dropped_in_the_inbox_of_a_tree_reaches_the_real_one_once(repo):
    repo.do(
        "x", "printf 'prompt: |\\n  echo 2 > m\\n  exit\\n' > work/inbox/child.yaml; echo 1 > n"
    )
    assert repo.where("child") == "review" and repo.result("child")["files_changed"] == ["m"]
    (event,) = repo.events("task_submitted", "child")
    assert event["parent"] == "x"
    assert list((repo.tree("x") / "work/inbox").iterdir()) == []


def test_archive_takes_the_tree_along(repo):
    repo.do("x", "echo 1 > n")
    repo.run("approve", "x")
    repo.run("archive", "x")
    assert not repo.tree("x").exists() and repo.git("branch", "--list", "task/*") == ""


@pytest.mark.parametrize("verb", ["trees clean x -y", "archive x"])
def test_what_a_check_leaves_keeps_a_merged_branch_and_is_named(repo, verb):
    """The list, both verbs that take a tree away, and doctor agree; and each names the way out."""
    script = "mkdir -p out; echo 1 > out/report"
    more = f"checks: {{report: {{command: [sh, -c, '{script}']}}}}\n"
    repo.settings("verify: [report]", more)
    repo.do("x", "echo 1 > n")
    repo.run("approve", "x")
    assert repo.json("trees")["trees"][0]["held"] == ""
    done = repo.run(*verb.split())
    told = "its branch stays: it holds what came after the merge (out/report)"
    assert f"x: {told}; git branch -D task/x, if nobody needs it" in done.stderr
    assert not repo.tree("x").exists() and repo.git("show", "task/x:out/report") == "1"
    assert told in repo.run("doctor", code=None).stdout
    repo.git("branch", "-D", "task/x")
    assert told not in repo.run("doctor", code=None).stdout


def test_trees_that_are_overdue_go(repo):
    repo.settings(more="trees: {keep: 0s}\n")
    repo.do("x", "echo 1 > n")
    repo.run("approve", "x")
    repo.do("y", "echo 1 > m")
    repo.config((repo.work / "orchestrator.yaml").read_text() + "watch: {rescan: 100ms}\n")
    repo.do("z", "sleep 1")
    assert not repo.tree("x").exists() and repo.tree("y").exists()


def test_init_in_a_repository_asks_for_trees(tmp_path):
    (tmp_path / "q").mkdir()
    made = Repo(tmp_path / "q")
    made.git("init", "-q")
    made.git(
        "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "first"
    )
    made.run("init")
    assert "\nisolation: worktree " in (made.work / "orchestrator.yaml").read_text()
    assert "/trees/" in (made.work / ".gitignore").read_text()
    assert made.run("validate", "work/orchestrator.yaml", code=None).returncode == 0


ODD = {
    "a linked worktree": lambda root: None,
    "a detached HEAD": lambda root: git(root, "checkout", "-q", "--detach"),
    "a sparse checkout": lambda root: git(root, "sparse-checkout", "set", "src", "work"),
    "a shallow clone": lambda root: None,
    "a submodule": lambda root: (
        git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(root), "sub"),
        git(root, "commit", "-qm", "sub"),
    ),
    "hooks that fail": lambda root: [
        ((root / f".git/hooks/{name}").write_text("#!/bin/sh\nexit 1\n"), (root / f".git/hooks/{name}").chmod(0o755))
        for name in ("pre-commit", "post-checkout", "reference-transaction", "commit-msg")
    ],
    "a filter that is not there": lambda root: (
        (root / ".gitattributes").write_text("*.bin filter=lfs\n"),
        git(root, "config", "filter.lfs.clean", "no-such-program"),
        git(root, "config", "filter.lfs.smudge", "no-such-program"),
        git(root, "config", "filter.lfs.required", "true"),
        git(root, "add", ".gitattributes"),
        git(root, "commit", "-qm", "attributes"),
    ),
    "names that differ in case": lambda root: ((root / "SRC").mkdir(), (root / "SRC/A.txt").write_text("A\n"), git(root, "add", "-A"), git(root, "commit", "-qm", "case")),
    "a base with uncommitted changes": lambda root: ((root / "src/a.txt").write_text("mine\n"), (root / "work/orchestrator.yaml").write_text((root / "work/orchestrator.yaml").read_text() + "trees: {base: working}\n")),
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_odd_repositories(repo, what, tmp_path):
    if what == "a linked worktree":
        repo.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
        repo = Repo(tmp_path / "linked")
    elif what == "a shallow clone":
        git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repo.root}", "clone")
        git(tmp_path / "clone", "config", "user.email", "e@example.org")
        git(tmp_path / "clone", "config", "user.name", "n")
        repo = Repo(tmp_path / "clone")
        repo.config(CONFIG.format(role="", more="from_git: run\n"))
    ODD[what](repo.root)
    if what in ("a linked worktree", "a shallow clone"):
        repo.run("approve", "--settings")
    repo.do("x", "echo 1 > n; cat src/a.txt")
    assert repo.where("x") == "review", repo.result("x")
    assert repo.result("x")["files_changed"] == ["n"]
    expected = "mine\n" if "uncommitted" in what else "one\ntwo\nthree\n"
    assert repo.log("x") == expected
    if what == "a detached HEAD":
        assert "started on no branch" in repo.run("approve", "x", code=1).stderr
        repo.git("merge", "-q", "task/x")
    if what != "hooks that fail":
        repo.run("approve", "x")
        assert repo.where("x") == "done"
        assert (repo.root / "n").read_text() == "1\n"
        assert (repo.root / "src/a.txt").read_text() == expected


def test_a_bare_repository_is_refused(repo):
    repo.git("config", "core.bare", "true")
    repo.do("x", "true", code=1)
    assert "this repository is bare" in repo.result("x")["reason"]


def test_a_copied_project_is_refused(repo, tmp_path):
    git(repo.root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    subprocess.run(["cp", "-r", str(tmp_path / "linked"), str(tmp_path / "copy")], check=True)
    copy = Repo(tmp_path / "copy")
    assert "settings" in copy.run("watch", "--until-empty", code=1).stderr  # brought, not accepted
    copy.run("approve", "--settings")
    copy.do("x", "echo 1 > n", code=1)
    assert "this checkout is a copy" in copy.result("x")["reason"]


def test_only_one_module_starts_git_to_write():
    root = Path(__file__).resolve().parent.parent / "orchestrator"
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if '["git"' in path.read_text() or "'git'," in path.read_text()
    }
    assert found <= {"store/git.py", "files/git.py", "tools/changes.py"}, found


def test_tools_that_do_not_say_whether_they_edit_are_told_before_they_run(repo):
    (repo.work / "tools/mine.yaml").write_text("argv: [sh, -eu]\nprompt: stdin\n")
    said = repo.run("watch", "--until-empty").stderr
    assert "work/tools/mine.yaml run side by side in the same working tree" in said
    for answer in ("true", "false"):
        (repo.work / "tools/mine.yaml").write_text(
            f"argv: [sh, -eu]\nprompt: stdin\nedits: {answer}\n"
        )
        assert "side by side" not in repo.run("watch", "--until-empty").stderr


def test_a_change_in_the_second_of_the_checkout_is_saved(repo):
    """git believes that a file of the same size and second is unchanged, unless its index is as old as the file."""
    path = repo.root / "racy.txt"
    path.write_text("zero\n")
    repo.git("add", "racy.txt")
    repo.git("commit", "-qm", "racy")
    for _ in range(20):
        wait_until(lambda: time.time() % 1 < 0.2, "the beginning of a second")
        began = int(time.time())
        path.write_text("one\n")
        repo.git("add", "racy.txt")
        path.write_text("two\n")
        if int(path.stat().st_ctime) == began:
            break
    wait_until(lambda: int(time.time()) > began, "the next second")
    found = store_git.find(str(repo.root))
    tree = trees.snapshot(repo.layout, found, found.shared.commit_of("HEAD"))
    assert repo.git("show", f"{tree}:racy.txt") == "two"


def test_trees_that_are_the_first_ones_at_the_same_moment_do_not_fail_each_other(tmp_path):
    """Each writes the file that hides all trees from git, and only one can be the first."""
    makers = 8
    for number in range(100):
        path = f"{tmp_path}/{number}"
        start = threading.Barrier(makers)

        def make(path: str = path, start: threading.Barrier = start) -> None:
            start.wait()
            trees.hide_all(path)

        with ThreadPoolExecutor(makers) as pool:
            for done in [pool.submit(make) for _ in range(makers)]:
                done.result()
        assert Path(path).read_text() == "*\n"
    assert len(os.listdir(tmp_path)) == 100  # nothing is left beside them


@pytest.mark.parametrize("how", ["branch", "file"])
def test_no_reason_has_a_secret_that_an_agent_used_as_a_name(repo: Repo, how):
    """It stood in the result, in events, in the note on a conflict, and hooks were given it."""
    secret = "s3cr3t-value"
    repo.env["SOME_TOKEN"] = secret
    repo.settings("merge: auto", "environment: {pass: [SOME_TOKEN]}\n")
    if how == "branch":
        repo.do("a", 'echo x > x; git checkout -qb "$SOME_TOKEN"')
        wanted = f"its tree is on {'*' * len(secret)}"
    else:
        person = f'cd {repo.root}; echo 3 > "$SOME_TOKEN"; git add "$SOME_TOKEN"'
        repo.do("a", f'echo 2 > "$SOME_TOKEN"; {person}; git commit -qm x -- "$SOME_TOKEN"')
        wanted = f"conflict in {'*' * len(secret)}"
    assert repo.where("a") == "review"
    made = ["results/a.yaml", *(path.relative_to(repo.work) for path in repo.work.glob("events/*"))]
    made += ["review/a.conflict"] if how == "file" else []
    texts = [(repo.work / name).read_text() for name in made]
    texts += [repo.run(*words, code=None).stdout for words in (("show", "a"), ("why", "a"))]
    assert wanted in texts[0] and not [text for text in texts if secret in text]

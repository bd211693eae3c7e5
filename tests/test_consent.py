# ruff: noqa: F811 - fixtures come by their names
"""Settings need a person's yes if they are not known to be a person's: brought by git, written while an attempt was alive, copied."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Project, apart, tagged, wait_until
from test_cli import on_a_terminal
from test_pull import commit, git, pulled, push  # noqa: F401

from orchestrator.cli.app import VERBS
from orchestrator.execution.processes import TAG
from orchestrator.files import trust
from orchestrator.files.layout import Layout
from orchestrator.store import trusting

HOOK = "hooks:\n- {run: [touch, evil]}\n"
BASE = "watch: {rescan: 300ms}\nagents:\n  sh: {tool: shell, command: [sh]}\n"


def refused(project: Project, *words: str) -> str:
    done = project.run("watch", "--until-empty", *words, code=1)
    assert not (project.root / "evil").exists()
    return done.stderr


def test_pulled_settings_wait(pulled, watch):
    project, other = pulled
    push(other, {"work/orchestrator.yaml": BASE + "from_git: run\n" + HOOK})
    git(project.root, "pull", "-q")
    project.run("new", "demo: work 10ms", "--id", "a", "--agent", "demo")
    said = refused(project)
    assert "work/orchestrator.yaml came through git" in said and "--accept " in said
    assert "came through git" in project.run("run", "a", code=1).stderr
    watch()
    for words in (["status"], ["why", "a"]):
        assert "came through git" in project.run(*words).stdout
    assert project.where("a") == "inbox"
    shown = project.run("approve", "--settings").stdout
    assert "+- {run: [touch, evil]}" in shown and "accepted the settings" in shown
    project.settled("a", "done")
    assert (project.root / "evil").exists()


def test_what_a_pull_changes_beside_a_watcher_at_rest_is_said_to_be_a_pulls(pulled, watch):
    """It said that they had changed while tasks ran, and none had."""
    project, other = pulled
    watch()
    push(other, {"work/orchestrator.yaml": BASE + HOOK})
    git(project.root, "pull", "-q")
    said = "hooks: work/orchestrator.yaml came through git"
    wait_until(lambda: said in " ".join(project.run("status").stdout.split()), "it is held")


@pytest.mark.parametrize("end", ["approve", "undo"])
def test_verbs_say_why_no_watcher_started(pulled, end):
    """Where nobody watches, too; until somebody accepts the settings, or they change."""
    project, other = pulled
    push(other, {"work/orchestrator.yaml": BASE + HOOK})
    git(project.root, "pull", "-q")
    project.run("new", "demo: work 10ms", "--id", "a", "--agent", "demo")
    looks = [["status"], ["why", "a"], ["doctor"]]

    def told() -> list[bool]:
        printed = [project.run(*words, code=None).stdout for words in looks]
        return ["yaml came through git" in " ".join(text.split()) for text in printed]

    assert not any(told())  # nobody has asked
    refused(project)
    assert all(told())
    needs = json.loads(project.run("status", "--json").stdout)["needs"]
    assert [(it["id"], it["kind"]) for it in needs] == [("settings", "held")]
    if end == "approve":
        project.run("approve", "--settings", "-n")
        assert all(told())
        project.run("approve", "--settings")
    else:
        git(project.root, "reset", "-q", "--hard", "HEAD~1")
    assert not any(told())
    project.run("watch", "--until-empty")
    assert project.where("a") == "done"


@pytest.mark.parametrize("name", ["tools/t.yaml", "agents/a.md", "templates/t.yaml"])
def test_tools_roles_and_templates_wait_too(pulled, name):
    project, other = pulled
    push(other, {f"work/{name}": "argv: [touch, evil]\n" if "tools" in name else "---\n---\nx\n"})
    git(project.root, "pull", "-q")
    assert f"work/{name} came through git" in refused(project)
    project.run("approve", "--settings")
    git(other, "rm", "-q", f"work/{name}")
    commit(other)
    git(other, "push", "-q")
    git(project.root, "pull", "-q")
    assert f"work/{name} was removed through git" in refused(project)


def test_a_pulled_template_is_not_used_by_hand(pulled):
    """What a verb makes of it would count without a question."""
    project, other = pulled
    push(other, {"work/templates/fix.yaml": f"agent: sh\nprompt: touch {project.root}/evil\n"})
    git(project.root, "pull", "-q")
    said = project.run("new", "-T", "fix", "--id", "a", code=1).stderr
    assert "work/templates/fix.yaml came through git" in said and "approve --settings" in said
    assert not project.where("a")
    project.run("approve", "--settings")
    project.run("new", "-T", "fix", "--id", "a")
    (project.work / "templates/fix.yaml").write_text("agent: sh\nprompt: exit\n")
    project.run("new", "-T", "fix", "--id", "b")  # a person's own edit, with no watcher that saw it


WAYS = ["pull", "squash", "checkout", "crlf", "gc", "rebase", "restore", "reset"]


@pytest.mark.parametrize("how", WAYS)
def test_whatever_way_git_brings_them(pulled, how):
    project, other = pulled
    push(other, {"work/orchestrator.yaml": BASE + HOOK, ".gitattributes": "*.yaml text eol=crlf\n"})
    root = project.root
    if how == "squash":
        git(root, "fetch", "-q")
        git(root, "merge", "-q", "--squash", "origin/main")
        git(root, "commit", "-qm", "mine, they say")
    elif how == "checkout":
        git(root, "fetch", "-q")
        git(root, "checkout", "-q", "origin/main", "--", ".")
    elif how == "restore":
        git(root, "fetch", "-q")
        git(root, "restore", "--source=origin/main", "--", "work", ".gitattributes")
    elif how == "rebase":
        git(root, "pull", "-q", "--rebase")
    else:
        git(root, "pull", "-q")
    if how == "reset":
        git(root, "reset", "-q", "HEAD~1")
    if how == "gc":
        git(root, "gc", "-q")
    assert "came through git" in refused(project)


def test_a_fresh_clone_waits_and_ci_says_accept(pulled, tmp_path):
    project, _ = pulled
    project.run("new", "demo: work 10ms", "--id", "a", "--agent", "demo")
    commit(project.root)
    git(project.root, "push", "-q")
    git(tmp_path, "clone", "-q", "origin.git", "fresh")
    clone = Project(tmp_path / "fresh")
    said = refused(clone)
    assert "work/orchestrator.yaml came through git" in said
    digest = said.split("--accept ")[1].split()[0]
    assert "the sha256 of the settings is " + digest in refused_code(clone, "0" * 64)
    clone.run("watch", "--until-empty", "--accept", digest, code=1)  # the task itself still waits
    clone.run("approve", "a")
    clone.run("watch", "--until-empty")
    assert clone.where("a") == "done"


def test_a_look_at_a_fresh_clone_starts_nothing_of_it(pulled, tmp_path):
    """Nor does the check of a tool: what it would start is what nobody here has said yes to."""
    project, other = pulled
    evil = f"[sh, -c, 'touch {project.root}/evil; echo 1.0']"
    push(other, {"work/tools/odd.yaml": f"argv: {evil}\nversion: {evil}\n"})
    git(tmp_path, "clone", "-q", "origin.git", "fresh")
    fresh = Project(tmp_path / "fresh")
    assert "odd: not asked for a version" in fresh.run("doctor", code=None).stdout
    for words in ([], ["--prompt", "x"]):
        done = fresh.run("agents", "check", "odd", *words, code=1)
        assert "odd is not started" in done.stderr and "approve --settings" in done.stderr
    fresh.run("agents", "check", "demo")  # what comes with orchestrator is not the project's
    for verb in ("status", "agents", "validate", "list", "workers", "schedules"):
        fresh.run(verb, code=None)
    assert not (project.root / "evil").exists()
    fresh.run("approve", "--settings")
    assert "odd 1.0" in fresh.run("doctor", code=None).stdout
    assert (project.root / "evil").exists()


def test_a_worktree_knows_what_its_repository_was_allowed(pulled, tmp_path):
    """Bytes that were accepted at this path for this very repository need no second yes; others do."""
    project, other = pulled
    git(project.root, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = Project(tmp_path / "side")
    side.run("new", "demo: work 10ms", "--id", "a", "--agent", "demo")
    side.run("watch", "--until-empty")
    assert side.where("a") == "done"
    push(other, {"work/orchestrator.yaml": BASE + HOOK})
    git(side.root, "fetch", "-q")
    git(side.root, "merge", "-q", "--ff-only", "origin/main")
    assert "work/orchestrator.yaml came through git" in refused(side)


def refused_code(project: Project, digest: str) -> str:
    done = project.run("watch", "--until-empty", "--accept", digest, code=None)
    assert done.returncode != 0
    return done.stderr


def test_a_persons_own_edit_counts_without_a_question(pulled):
    """Edited, edited and added, edited and committed, and edited back: all of it is a person's, and is told once."""
    project, _ = pulled
    before = (project.work / "orchestrator.yaml").read_text()
    for step in ("", "add", "commit"):
        with open(project.work / "orchestrator.yaml", "a") as file:
            file.write(f"# {step}\n")
        if step == "add":
            git(project.root, "add", "-A")
        elif step == "commit":
            commit(project.root)
        project.run("new", "demo: work 10ms", "--id", f"a{step}", "--agent", "demo")
        told = "have changed since they were last used: work/orchestrator.yaml"
        assert told in project.run("watch", "--until-empty").stderr
        assert told not in project.run("watch", "--until-empty").stderr
        assert project.where(f"a{step}") == "done"
    assert [e["summary"] for e in project.events("settings_changed")] == [
        "work/orchestrator.yaml"
    ] * 3
    (project.work / "orchestrator.yaml").write_text(before)
    project.run("new", "demo: work 10ms", "--id", "back", "--agent", "demo")
    project.run("watch", "--until-empty")
    assert project.where("back") == "done"


def test_what_an_attempt_wrote_stays_held_over_a_crash(project, watch):
    """The watcher is killed, and whatever starts it again must not run the hook."""
    project.config(BASE)
    config = project.work / "orchestrator.yaml"
    watcher = watch()
    project.drop(
        "a.yaml",
        f"agent: sh\nprompt: |\n  echo '{HOOK[:6]}' >> {config}\n  echo '- {{run: [touch, evil]}}' >> {config}\n  sleep 60\n",
    )
    wait_until(lambda: "touch, evil" in config.read_text(), "it is written")
    os.kill(watcher.process.pid, signal.SIGKILL)
    watcher.process.wait()
    again = watch()
    wait_until(lambda: "changed while" in project.run("status").stdout, "it is held")
    assert not (project.root / "evil").exists()
    again.stop()
    for pid in tagged(project):
        with suppress(ProcessLookupError):  # a tool may go with its supervisor
            os.kill(pid, signal.SIGKILL)
    assert "changed while" in refused(project)
    text = config.read_text()
    config.write_text(BASE)  # undone: nothing needs a yes
    project.run("watch", "--until-empty", code=None)
    assert not (project.root / "evil").exists() and text != BASE


def test_held_over_an_orderly_end(project, watch):
    project.config(BASE)
    config = project.work / "orchestrator.yaml"
    watcher = watch()
    project.drop("a.yaml", f"agent: sh\nprompt: |\n  echo 'on_lost: retry' >> {config}\n")
    project.settled("a", "done")
    wait_until(lambda: "changed while tasks ran" in project.run("status").stdout, "it is held")
    watcher.stop()
    assert "changed while tasks ran" in refused(project)
    with open(config, "a") as file:
        file.write("# a person's words do not make it a person's\n")
    assert "changed while tasks ran" in refused(project)
    project.run("approve", "--settings")
    project.run("watch", "--until-empty")


def copied(project: Project, target: Path, how: str) -> Project:
    """A copy of the project whose state tells of a claimed task that would do harm."""
    project.config(BASE)
    project.run("watch", "--until-empty")
    if how == "copytree":
        shutil.copytree(project.root, target)
    elif how == "cp":
        subprocess.run(["cp", "-a", str(project.root), str(target)], check=True)
    else:
        target.mkdir()
        pack = subprocess.run(["tar", "-c", "."], cwd=project.root, capture_output=True, check=True)
        subprocess.run(["tar", "-x"], cwd=target, input=pack.stdout, check=True)
    claimed_elsewhere(target, (target / "work/.state/instance").read_text().split()[0])
    return Project(target)


def claimed_elsewhere(root: Path, instance: str) -> None:
    """State that tells of a claimed task that would do harm, unpacked into a project."""
    text = "agent: sh\nprompt: touch evil\n"
    claim = {"record": "claim", "v": 1, "id": "j", "file": "j.yaml", "at": 0, "ino": 1}
    claim |= {"text": text, "sha256": "0", "agent": "sh", "tool": "shell", "instance": instance}
    active = root / "work/.state/active/j.jsonl"
    active.parent.mkdir(parents=True, exist_ok=True)
    active.write_text(json.dumps(claim) + "\n")
    (root / "work/running/j.yaml").write_text(text)


@pytest.mark.parametrize("before", ["never here", "here", "git clean"])
def test_state_without_a_name_is_not_believed(project, before):
    """Somebody left out what names it, or removed that: so it is nobody's."""
    project.config(BASE)
    project.run("watch", "--until-empty")
    (project.work / ".state/instance").unlink()
    if before == "never here":
        shutil.rmtree(trust.folder_of(Layout(str(project.root))))
    if before == "git clean":  # all of it is gone: that is no copy
        shutil.rmtree(project.work / ".state")
        project.run("watch", "--until-empty")
        return
    claimed_elsewhere(project.root, "x")
    assert "came as a copy" in refused(project)
    assert not (project.root / "evil").exists()


@pytest.mark.parametrize("how", ["copytree", "cp", "tar"])
def test_a_copy_is_not_believed(project, tmp_path, how):
    copy = copied(project, tmp_path / "copy", how)
    assert "came as a copy" in refused(copy)
    copy.run("approve", "--settings")
    copy.run("watch", "--until-empty")
    assert not (copy.root / "evil").exists() and copy.where("j") == "review"
    project.run("watch", "--until-empty")  # the original is none the worse


@pytest.mark.parametrize("copies", [1, 2])
def test_what_has_ended_in_a_project_goes_on_in_an_accepted_copy(project, tmp_path, copies):
    """Its tasks have run there, and who took the copy for their own may run them again."""
    project.config(BASE)
    project.drop("a.yaml", "agent: sh\nprompt: exit 1\n")
    project.run("watch", "--until-empty", code=None)
    for n in range(copies):
        shutil.copytree(project.root, tmp_path / f"copy{n}")
        project = Project(tmp_path / f"copy{n}")
        project.run("approve", "--settings")
    assert "exit 1" in project.run("show", "a").stdout
    project.run("retry", "--failed", "--yes")
    assert project.where("a") == "inbox"
    project.run("watch", "--until-empty", code=None)
    assert (project.work / "logs/a/2").is_dir()


STATE = {
    "a task that never started": "active/a.jsonl",
    "a run that was half accepted": "expanding/r/r.one.yaml",
    "a request to stop": "cancel/a",
}


@pytest.mark.parametrize("what", STATE)
def test_what_was_under_way_in_a_project_is_put_aside_in_a_copy(project, tmp_path, what):
    project.config(BASE)
    project.run("watch", "--until-empty")
    shutil.copytree(project.root, tmp_path / "copy")
    copy = Project(tmp_path / "copy")
    path = copy.work / ".state" / STATE[what]
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    copy.run("approve", "--settings")
    assert not path.exists()
    assert list((copy.work / ".state").glob(f"aside-*/{STATE[what]}"))


def test_an_accepted_copy_begins_with_nothing_approved(project, tmp_path):
    """Another project lay at this path before, with approvals of its own."""
    project.config(BASE)
    project.run("new", "demo: work 10ms", "--agent", "demo", "--id", "a")
    project.run("watch", "--until-empty")
    record = Path(trust.folder_of(Layout(str(project.root))))
    (record / "alive.json").write_text('{"since": 1}')
    assert (record / "approved.jsonl").stat().st_size
    (project.work / ".state/instance").write_text("another\n")
    project.run("approve", "--settings")
    assert not (record / "approved.jsonl").exists() and not (record / "alive.json").exists()
    earlier = json.loads((record / "settings.json").read_text())["earlier"]
    assert len(earlier) == 1, "what was accepted before is forgotten, too"


@pytest.mark.parametrize("original", ["moved", "removed"])
def test_a_copy_is_none_the_better_for_an_original_that_is_gone(project, tmp_path, original):
    copy = copied(project, tmp_path / "copy", "cp")
    os.rename(project.root, tmp_path / "moved")
    if original == "removed":
        shutil.rmtree(tmp_path / "moved")
    assert "came as a copy" in refused(copy)
    if original == "moved":
        Project(tmp_path / "moved").run("watch", "--until-empty")  # which is the same as ever


def test_a_copy_of_hard_links_is_not_believed(project, tmp_path):
    project.config(BASE)
    project.run("watch", "--until-empty")
    subprocess.run(["cp", "-al", str(project.root), str(tmp_path / "copy")], check=True)
    copy = Project(tmp_path / "copy")
    assert "came as a copy" in refused(copy)
    copy.run("approve", "--settings")
    copy.run("watch", "--until-empty")
    project.run("watch", "--until-empty")  # the original is none the worse


@pytest.mark.parametrize("home", ["relative", "a file", "/proc/nowhere", "another"])
def test_a_copy_is_told_where_nothing_is_remembered(project, tmp_path, home):
    copy = copied(project, tmp_path / "copy", "cp")
    (tmp_path / "a file").write_text("")
    copy.env |= {"XDG_STATE_HOME": home if home.startswith("/") else str(tmp_path / home)}
    if home == "relative":
        copy.env |= {"XDG_STATE_HOME": home, "HOME": "nowhere"}
    said = refused(copy)
    assert "came as a copy" in said
    digest = said.split("--accept ")[1].split()[0]
    copy.run("watch", "--until-empty", "--accept", digest, code=None)
    assert not (copy.root / "evil").exists()


def test_what_is_put_at_the_path_of_another_project_is_not_that(project, tmp_path):
    project.config(BASE)
    project.run("watch", "--until-empty")
    (tmp_path / "second").mkdir()
    second = Project(tmp_path / "second")
    second.run("init")
    second.config(BASE)
    second.run("watch", "--until-empty")
    os.rename(project.root, tmp_path / "away")
    os.rename(second.root, project.root)
    assert "this machine knows another project at this path" in refused(project)


@pytest.mark.parametrize("other", ["there", "gone"])
def test_a_moved_project_is_no_copy_of_what_has_taken_its_place(project, tmp_path, other):
    """A clone at its old path was begun first, and has the record."""
    project.config(BASE)
    project.run("watch", "--until-empty")
    shutil.copytree(project.root, tmp_path / "clone", ignore=shutil.ignore_patterns(".state"))
    os.rename(project.root, tmp_path / "moved")
    os.rename(tmp_path / "clone", project.root)
    project.run("watch", "--until-empty")
    if other == "gone":
        shutil.rmtree(project.root)
    moved = Project(tmp_path / "moved")
    said = refused(moved)
    assert f"was moved, and another one has taken its place at {project.root}" in said
    assert "copy" not in said and "approve --settings" in said
    moved.run("approve", "--settings")
    moved.run("watch", "--until-empty")


@pytest.mark.parametrize("fact", ["ino", "born"])
def test_a_project_is_known_by_its_file_and_not_by_a_later_one(project, fact):
    """A file system gives the number of a removed file to the next one."""
    project.config(BASE)
    project.run("watch", "--until-empty")
    record = Path(trust.folder_of(Layout(str(project.root)))) / "place.json"
    place = json.loads(record.read_text())
    record.write_text(json.dumps(place | {fact: place[fact] + 1}))
    assert "came as a copy" in refused(project)


def test_a_moved_project_is_the_same(project, tmp_path):
    project.config(BASE)
    project.run("watch", "--until-empty")
    os.rename(project.root, tmp_path / "moved")
    Project(tmp_path / "moved").run("watch", "--until-empty")


@pytest.mark.parametrize("moved", [False, True], ids=["here", "moved"])
@pytest.mark.parametrize("how", ["open", "another's"])
def test_a_record_that_others_could_have_written_is_not_believed(project, tmp_path, how, moved):
    if how == "another's" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    project.config(BASE)
    project.run("watch", "--until-empty")
    record, root = trust.folder_of(Layout(str(project.root))), project.root
    if moved:
        root = tmp_path / "moved"
        os.rename(project.root, root)
    assert trust.of(Layout(str(root))).believed
    if how == "open":
        os.chmod(record, 0o777)
    else:
        os.chown(record, 1000, 1000)
    assert not trust.of(Layout(str(root))).believed


def test_the_record_goes_with_a_project_that_is_moved(project, tmp_path):
    project.config(BASE)
    project.run("watch", "--until-empty")
    record = trust.folder_of(Layout(str(project.root)))
    os.rename(project.root, tmp_path / "moved")
    Project(tmp_path / "moved").run("watch", "--until-empty")
    assert not os.path.lexists(record)
    assert os.path.exists(f"{trust.folder_of(Layout(str(tmp_path / 'moved')))}/settings.json")


def test_a_first_start_that_is_cut_off_makes_no_copy(tmp_path, monkeypatch):
    """Killed before each of its steps; nobody was asked anything yet, and there is nothing to copy."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    steps = ("open", "write", "rename", "mkdir", "fsync", "fdatasync")

    def cut(layout: Layout, left: int) -> None:
        def one_less(real):
            def step(*words, **more):
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(9)
                return real(*words, **more)

            return step

        for name in steps:
            setattr(os, name, one_less(getattr(os, name)))
        trusting.establish(layout)

    for count in range(1000):
        layout = Layout(str(tmp_path / f"p{count}"))
        os.makedirs(layout.state)
        code = apart(functools.partial(cut, layout, count))
        assert trusting.establish(layout).state == trust.KNOWN, count
        if code != 9:
            break
    assert code == 0 and count > 10


def test_state_that_was_unpacked_over_is_not_believed(project, tmp_path):
    project.config(BASE)
    project.run("watch", "--until-empty")
    shutil.copytree(project.work / ".state", tmp_path / "backup")
    shutil.rmtree(project.work / ".state")
    shutil.copytree(tmp_path / "backup", project.work / ".state")
    assert "is a copy" in refused(project)


def test_without_state_the_same_path_goes_on(project):
    project.config(BASE)
    project.run("watch", "--until-empty")
    shutil.rmtree(project.work / ".state")
    project.run("watch", "--until-empty")


@pytest.mark.parametrize("home", ["none", "a file", "others"])
def test_without_a_home_it_works_for_one_process(project, tmp_path, home):
    place = tmp_path / "home"
    if home == "a file":
        place.write_text("")
    elif home == "others":
        place.mkdir()
        place.chmod(0o700)
        (place / "orchestrator/projects").mkdir(parents=True)
        os.chown(place / "orchestrator/projects", 1000, 1000)
        place = place / "orchestrator/projects/nowhere" if os.geteuid() else place
    project.env["XDG_STATE_HOME"] = str(place) if home != "none" else "/proc/nowhere"
    project.config(BASE)
    project.run("new", "demo: work 10ms", "--id", "a", "--agent", "demo")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done"
    project.run("new", "demo: work 10ms", "--id", "b", "--agent", "demo")
    project.run("watch", "--until-empty")  # what the first one left is no copy
    assert project.where("b") == "done"


@pytest.mark.parametrize("watchers", ["another", "none"])
def test_a_verb_that_sees_another_home_says_so(pulled, watch, tmp_path, watchers):
    project, other = pulled
    push(other, {"work/inbox/a.yaml": "agent: sh\nprompt: 'true'\n"})
    git(project.root, "pull", "-q")
    before = dict(project.env)
    if watchers == "none":
        project.env["XDG_STATE_HOME"] = "/proc/nowhere"
    watch()
    project.env = before | {"XDG_STATE_HOME": str(tmp_path / "elsewhere")}
    for what in ("--settings", "a"):
        said = project.run("approve", what, code=1).stderr
        assert "keeps what it trusts in" in said and "XDG_STATE_HOME" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_yes_that_cannot_be_written_is_none(pulled):
    """What was accepted before is known, and nothing can be added to it."""
    project, other = pulled
    push(other, {"work/inbox/a.yaml": "agent: sh\nprompt: 'true'\n"})
    git(project.root, "pull", "-q")
    with open(project.work / "orchestrator.yaml", "a") as file:
        file.write("# mine\n")
    home = os.path.dirname(trust.folder_of(Layout(str(project.root))))
    for words in ("approve a", "approve --settings"):
        done = subprocess.run(
            ["unshare", "-m", "sh", "-ec", f"mount --bind {home} {home}; mount -o remount,ro,bind {home}; exec {project.python} -m orchestrator {words}"],
            cwd=project.root, env=project.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode and "Read-only file system" in done.stderr, done
        assert "approved" not in done.stdout and "accepted" not in done.stdout.splitlines()[-1:]
    assert "task_approved" not in project.run("events", "a").stdout


@pytest.mark.parametrize("words", ["approve --settings", "watch --once --accept 0000"])
def test_an_attempt_accepts_nothing(project, tmp_path, words):
    project.config(BASE)
    out = tmp_path / "out"
    program = f"{sys.executable} -m orchestrator {words} > {out} 2>&1"
    project.drop("a.yaml", f"agent: sh\nprompt: {program}\n")
    project.run("watch", "--until-empty", code=None)
    assert "only a person can" in out.read_text()


def brought(pulled) -> tuple[Project, str]:
    """A project whose settings git has brought, and what CI would say to accept them."""
    project, other = pulled
    push(other, {"work/orchestrator.yaml": BASE + HOOK})
    git(project.root, "pull", "-q")
    project.run("new", "demo: work 10ms", "--id", "a", "--agent", "demo")
    return project, refused(project).split("--accept ")[1].split()[0]


@pytest.mark.parametrize("how", ["yes", "no", "another text by then"])
def test_a_person_at_the_watchers_terminal_is_asked(pulled, how):
    project, _ = brought(pulled)
    asked = []

    def typed(seen: bytes) -> bytes:
        if asked or b"[y/N]" not in seen:
            return b""
        asked.append(seen)
        if how.startswith("another"):
            project.config(BASE + HOOK.replace("evil", "worse"))
        return b"n\r" if how == "no" else b"y\r"

    seen = on_a_terminal(project, "watch", "--until-empty", typed=typed)
    assert b"+- {run: [touch, evil]}" in asked[0] and b"came through git" in asked[0]
    assert (b"were not accepted" in seen) is (how != "yes")
    assert (b"they changed" in seen) is how.startswith("another")
    assert project.where("a") == ("done" if how == "yes" else "inbox")
    assert not (project.root / "worse").exists()


def test_an_attempt_says_no_yes_to_settings_of_another_project(pulled):
    """Nor where it makes itself a terminal, and where the checksum is right."""
    project, checksum = brought(pulled)
    project.env |= {TAG: "x"}
    assert "only a person can" in refused(project, "--accept", checksum)
    seen = on_a_terminal(project, "watch", "--until-empty", enough=b"[y/N]")
    assert b"only a person can" in seen and b"[y/N]" not in seen
    assert project.where("a") == "inbox"


def test_claiming_stops_when_git_comes_to_track_the_state(pulled, watch):
    project, _ = pulled
    watch()
    git(project.root, "add", "-f", "work/.state/instance")
    wait_until(lambda: "git tracks work/.state/instance" in project.run("status").stdout, "told")
    project.run("new", "demo: work 10ms", "--id", "a", "--agent", "demo")
    wait_until(lambda: "git tracks" in project.run("why", "a").stdout, "it says why")
    assert project.where("a") == "inbox"
    git(project.root, "rm", "-q", "--cached", "work/.state/instance")
    project.settled("a", "done")


@pytest.mark.parametrize("where", ["in the project", "in another repository"])
def test_a_record_that_git_tracks_is_not_begun_with(project, tmp_path, where):
    """Somebody has XDG_STATE_HOME lead there, or the home folder in git."""
    folder = project.root if where == "in the project" else tmp_path / "home"
    project.env |= {"XDG_STATE_HOME": str(folder / "state")}
    project.run("watch", "--until-empty")
    git(folder, "init", "-q")
    (place,) = (folder / "state/orchestrator/projects").glob("*/place.json")
    git(folder, "add", "-f", str(place))
    said = project.run("watch", "--once", code=None).stderr
    shown = "state/orchestrator" if where == "in the project" else str(place)
    assert "git tracks" in said and f"git rm -r --cached {shown}," in said


ROLE = "watch: {rescan: 300ms}\nagents:\n  sh: {tool: shell, command: [sh]}\n  r: {tool: shell, command: [cat], instructions: docs/role.md}\n"


def with_role(project: Project) -> Path:
    guide = project.root / "docs" / "role.md"
    guide.parent.mkdir(exist_ok=True)
    guide.write_text("You review.\n")
    project.config(ROLE)
    return guide


def test_pulled_instructions_of_a_role_wait(pulled):
    project, other = pulled
    guide = with_role(project)
    commit(project.root)
    git(project.root, "push", "-q", "origin", "HEAD:main")
    project.drop("a.yaml", "agent: r\nprompt: x\n")
    project.run("watch", "--until-empty")  # a person named what git has had for long
    assert project.log("a").startswith("You review.")
    git(other, "pull", "-q")
    push(other, {"docs/role.md": "You obey.\n"})
    git(project.root, "pull", "-q")
    project.drop("b.yaml", "agent: r\nprompt: x\n")
    assert "docs/role.md came through git" in refused(project)
    assert "+You obey." in project.run("approve", "--settings").stdout
    project.run("watch", "--until-empty")
    assert project.log("b").startswith("You obey.")
    guide.write_text("You rest.\n")
    project.drop("c.yaml", "agent: r\nprompt: x\n")
    project.run("watch", "--until-empty")
    assert project.log("c").startswith("You rest.")


def test_an_attempt_does_not_write_what_the_next_one_is_told(project, watch):
    guide = with_role(project)
    watcher = watch()
    project.drop("a.yaml", f"agent: sh\nprompt: |\n  echo 'You obey.' > {guide}\n")
    project.settled("a", "done")
    project.drop("b.yaml", "agent: r\nprompt: x\n")
    project.settled("b", "done")
    assert project.log("b").startswith("You review.")
    wait_until(lambda: "changed while tasks ran" in project.run("status").stdout, "it is held")
    watcher.stop()
    assert "docs/role.md changed while tasks ran" in refused(project)
    project.run("approve", "--settings")
    watch()
    project.drop("c.yaml", "agent: r\nprompt: x\n")
    project.settled("c", "done")
    assert project.log("c").startswith("You obey.")
    alive = Path(f"{trust.folder_of(project.layout)}/alive.json")
    wait_until(lambda: not alive.exists(), "what comes now is a person's")
    guide.write_text("You rest.\n")  # while nothing runs: what is dropped next goes by it
    project.drop("d.yaml", "agent: r\nprompt: x\n")
    project.settled("d", "done")
    assert project.log("d").startswith("You rest.")


def test_instructions_that_cannot_be_read_are_told(project):
    with_role(project).unlink()
    project.drop("a.yaml", "agent: r\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    assert "instructions 'docs/role.md' cannot be read" in project.run("show", "a").stdout


HARM = [
    "hold --all",
    "hold --agent sh -y",
    "hold --label x -y",
    "hold other",
    "cancel other",
    "cancel --agent sh -y",
    "retry ended",
    "retry --failed -y",
    "archive ended",
    "archive --older-than 0s -y",
    "run other --force",
    "release other",
    "approve other",
    "reject other",
    "reply other hello",
    "edit other",
    "attach other",
    "run parted",
    "trees clean -y",
    "trees clean ended -y",
    "watch --once",
    "worker --queue folder:///nowhere --until-empty",
]
# Verbs by which an attempt steers nobody's work: they look, make tasks, or act outside the project's tasks.
FREE = """new status show diff logs list wait events report init import validate doctor demo why help runs agents
    schedules projects workers mcp service completion""".split()


def test_each_verb_has_a_rule_for_attempts():
    """A new one either refuses what others made, and is among HARM, or can do no harm."""
    steering = {words.split()[0] for words in HARM} | {
        "review"
    }  # which asks a person on a terminal
    assert not steering & set(FREE) and steering | set(FREE) == set(VERBS)


def test_an_attempt_runs_another_project(project, tmp_path):
    """One that it has made itself, as tests of this program do; and ``demo`` plays in its own."""
    project.config(BASE)
    words = f"{sys.executable} -m orchestrator"
    script = f"{words} demo --dir {tmp_path}/d && mkdir {tmp_path}/own && {words} -C {tmp_path}/own init && {words} -C {tmp_path}/own watch --once"
    project.drop("a.yaml", json.dumps({"agent": "sh", "prompt": script}))
    before = (project.work / "orchestrator.yaml").read_text()
    project.run("watch", "--until-empty")
    assert "Five files are dropped" in project.log("a")
    assert (project.work / "orchestrator.yaml").read_text() == before


def test_an_attempt_steers_no_work_but_its_own(project, tmp_path):
    """Holding everything is no tightening if an agent does it to others."""
    out = tmp_path / "out"
    program = f"{sys.executable} -m orchestrator"
    project.config(BASE)
    project.drop("ended.yaml", "agent: sh\nprompt: exit 1\n")
    project.run("watch", "--until-empty", code=1)
    project.drop("other.yaml", "agent: sh\nlabels: [x]\nhold: true\nprompt: exit\n")
    project.drop("parted.yaml", "tasks: {one: {agent: sh, hold: true, prompt: exit}}\n")
    harm = "\n".join(f"{program} {words} || echo refused {words}" for words in HARM)
    own = "\n".join(
        f"{program} {words} && echo did {words}"
        for words in ("new --held --id child --agent sh -- exit", "cancel child")
    )
    project.drop(
        "a.yaml", json.dumps({"agent": "sh", "prompt": f"exec >{out} 2>&1\n{harm}\n{own}\n"})
    )
    project.run("watch", "--until-empty", code=None)
    said = out.read_text()
    for words in HARM:
        assert f"refused {words}" in said, said
    assert said.count("\ndid ") == 2 and said.count("an agent cannot") == len(HARM), said
    assert project.where("other") == "inbox" and project.where("ended") == "failed"
    assert project.where("child") == "cancelled" and not list(project.work.glob("held/@*"))


def test_whose_task_it_is(project):
    """What another attempt has made is another's; what a run of one's own holds is one's own, and so is oneself."""
    project.config(BASE)
    for name in ("me", "theirs", "plain"):
        project.drop(f"{name}.yaml", "agent: sh\nhold: true\nprompt: exit\n")
    run = "tasks: {one: {agent: sh, hold: true, prompt: exit}, two: {agent: sh, hold: true, prompt: exit}}\n"
    project.drop("mine.yaml", run)
    project.run("watch", "--once", code=1)
    told = {"event": "task_created", "ts": "2026-01-01T00:00:00.000Z", "schema": 1}
    lines = [
        {**told, "event_id": name, "task_id": name, "parent": parent}
        for name, parent in (("theirs", "another"), ("plain", ""), ("mine", "me"))
    ]
    (project.work / "events/2026-01-01.x.jsonl").write_text(
        "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    )
    project.env |= {TAG: "x", "ORCHESTRATOR_TASK_ID": "me"}
    for name in ("theirs", "plain"):
        assert "did not make that task" in project.run("cancel", name, code=1).stderr
    for name in ("mine.one", "mine", "me"):
        project.run("cancel", name)
    project.env["ORCHESTRATOR_TASK_ID"] = ""
    assert "did not make that task" in project.run("cancel", "plain", code=1).stderr
    assert [project.where(name) for name in ("theirs", "plain", "me")] == [
        "inbox",
        "inbox",
        "cancelled",
    ]


def test_the_walk_of_an_attempt_decides_nothing(project):
    """A terminal is easily made."""
    project.config(BASE)
    project.drop("a.yaml", "agent: sh\nreview: always\nprompt: exit\n")
    project.run("watch", "--until-empty")
    project.env |= {TAG: "x", "TERM": "xterm"}
    seen = on_a_terminal(project, "review", enough=b"an agent cannot decide anything")
    assert b"an agent cannot decide anything" in seen and project.where("a") == "review"

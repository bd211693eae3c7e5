"""People and git move files; that is the interface.  Every row of the table, with the watcher up and down."""

from __future__ import annotations

import os
import subprocess

import pytest
from conftest import wait_until

BUSY = "agent: sh\nprompt: |\n  trap 'exit 3' INT\n  echo up; while :; do sleep 0.05; done\n"
SHORT = "agent: sh\nprompt: |\n  echo up; sleep 1; echo end\n"


@pytest.fixture(params=["up", "down"])
def up(request) -> bool:
    """Whether a watcher runs while the person acts."""
    return request.param == "up"


def start(project, task_id: str, text: str) -> None:
    project.drop(f"{task_id}.yaml", text)
    wait_until(lambda: "up" in project.log(task_id), f"{task_id} runs")


def git(project, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(project.root), "-c", "user.name=a", "-c", "user.email=a@b", *words],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_edit_and_delete_in_the_inbox(project, watch, up):
    if up:
        watch()
    path = project.drop("a.yaml", "prompt: first\nhold: true\n")
    gone = project.drop("b.yaml", "prompt: x\nhold: true\n")
    if up:
        wait_until(lambda: project.json("status")["counts"]["waiting"] == 2, "seen")
    path.write_text("prompt: second\n")
    gone.unlink()
    if not up:
        watch()
    project.settled("a", "done")
    assert project.log("a", name="prompt.md") == "second" and project.where("b") == ""


def test_mv_to_held_and_back(project, watch, up):
    if up:
        watch()
    path = project.drop("a.yaml", "prompt: x\nnot_before: 2199-01-01\n")
    held = project.work / "held" / "a.yaml"
    path.rename(held)
    held.write_text("prompt: x\n")
    assert project.json("status")["counts"]["held"] == 1
    held.rename(path)
    if not up:
        watch()
    project.settled("a", "done")


@pytest.mark.parametrize("folder", ["done", "failed", "cancelled"])
def test_mv_from_a_finished_folder_runs_it_again(project, watch, up, folder):
    text = {
        "done": "prompt: x\n",
        "failed": "prompt: |\n  x\n  demo: fail 1\n",
        "cancelled": "prompt: x\nhold: true\n",
    }[folder]
    project.drop("a.yaml", text)
    project.run("watch", "--until-empty", code=None)
    if folder == "cancelled":
        project.run("cancel", "a")
        (project.work / "cancelled" / "a.yaml").write_text("prompt: x\n")
    assert project.where("a") == folder
    if up:
        watch()
    (project.work / folder / "a.yaml").rename(project.work / "inbox" / "a.yaml")
    if not up:
        watch()
    project.settled("a", "done")
    expected = 1 if folder == "cancelled" else 2
    assert len(project.result("a")["attempts"]) == expected  # history kept


def test_show_names_the_log_of_the_attempt_that_runs(project, watch):
    watch()
    start(project, "a", BUSY)
    project.run("cancel", "a")
    assert "work/logs/a/1/" in project.run("show", "a").stdout
    project.run("retry", "a")
    wait_until(lambda: "up" in project.log("a", 2), "the second attempt runs")
    assert "work/logs/a/2/" in project.run("show", "a").stdout


def test_what_a_task_waits_for_is_told_again_only_after_other_lines(project):
    project.drop("a.yaml", "prompt: x\nneeds: [nothing]\n")
    assert project.run("watch", "--until-empty", code=1).stdout.count("needs nothing") == 1
    project.drop("b.yaml", "prompt: x\n")
    said = project.run("watch", "--until-empty", code=1).stdout
    assert said.count("needs nothing") == 2 and "needs nothing" in said.splitlines()[-2]


@pytest.mark.parametrize("watched", [False, True], ids=["not seen yet", "refused by a watcher"])
def test_another_file_with_the_name_of_an_ended_task(project, watched):
    """Every verb says the same way out, none of them does half of its work, and the way leads out."""
    project.drop("a.yaml", "prompt: mine\n")
    project.run("watch", "--until-empty")
    project.drop("a.yaml", "prompt: other\n")
    if watched:
        project.run("watch", "--until-empty", code=7)
        for words in ([], ["work/inbox/a.yaml"]):
            assert "this is another file" in project.run("validate", *words, code=4).stdout
    way = "rename work/inbox/a.yaml, and it runs as another task; or remove it, then:"
    assert way in project.run("why", "a").stdout
    for verb in ("run", "approve"):
        assert way in project.run(verb, "a", code=1).stderr, verb
    for words in (["retry", "a"], ["reply", "a", "more"]):
        assert "another file has the task's name" in project.run(*words, code=1).stderr
    assert not (project.work / "done" / "a.reply").exists()
    (project.work / "done" / "a.reply").write_text("more\n")
    said = project.run("watch", "--until-empty", code=7).stdout
    assert "another file in inbox/ has the task's name" in said
    assert (project.work / "done" / "a.yaml").read_text() == "prompt: mine\n"
    assert (project.work / "inbox" / "a.yaml").read_text() == "prompt: other\n"
    (project.work / "inbox" / "a.yaml").rename(project.work / "inbox" / "b.yaml")
    project.run("watch", "--until-empty")
    assert len(project.result("a")["attempts"]) == 2 and project.where("b") == "done"
    assert project.log("b", name="prompt.md") == "other"


@pytest.mark.parametrize("how", ["mv", "touch", "touch with suffix", "verb"])
def test_cancelling_a_running_task(project, watch, how):
    watch()
    start(project, "a", BUSY)
    running = project.work / "running"
    if how == "mv":
        (running / "a.yaml").rename(project.work / "cancelled" / "a.yaml")
    elif how == "touch":
        (running / "a.cancel").touch()
    elif how == "touch with suffix":
        (running / "a.yaml.cancel").touch()
    else:
        assert "cancelled" in project.run("cancel", "a").stdout
    project.settled("a", "cancelled")
    result = project.result("a")
    assert (
        result["outcome"] == "cancelled"
        and result["exit_code"] == 3
        and "cancelled by" in result["reason"]
    )
    wait_until(
        lambda: [path.name for path in running.iterdir()] == [".gitkeep"],
        "nothing is left in running/",
    )
    assert not list((project.work / ".state" / "cancel").iterdir())


@pytest.mark.parametrize("how", ["touch", "verb", "mv"])
def test_cancelling_while_no_watcher_runs(project, watch, how):
    first = watch()
    start(project, "a", BUSY)
    first.process.kill()
    first.wait()
    if how == "touch":
        (project.work / "running" / "a.cancel").touch()
    elif how == "mv":
        (project.work / "running" / "a.yaml").rename(project.work / "cancelled" / "a.yaml")
    else:
        assert (
            "the next watcher records it" in project.run("cancel", "a").stdout
        )  # it has stopped all the same
    watch()
    project.settled("a", "cancelled")
    assert project.result("a")["exit_code"] == 3


@pytest.mark.parametrize(
    "folder, verb", [("done", "approve"), ("failed", "reject"), ("inbox", "retry")]
)
@pytest.mark.parametrize("by_hand", [True, False])
def test_review(project, watch, up, folder, verb, by_hand):
    (project.work / "running" / "a.yaml").write_text(
        "prompt: x\n"
    )  # another machine's, through git
    project.run("watch", "--until-empty")
    assert project.where("a") == "review" and project.events("task_foreign", "a")
    if up:
        watch()
    if by_hand:
        (project.work / "review" / "a.yaml").rename(project.work / folder / "a.yaml")
    else:
        project.run(verb, "a")
    if folder == "inbox":
        if not up:
            watch()
        project.settled("a", "done")
    else:
        assert project.where("a") == folder


def test_removing_a_running_file_is_no_cancel(project, watch):
    watch()
    start(project, "a", SHORT)
    (project.work / "running" / "a.yaml").unlink()
    project.settled("a", "done")
    assert (project.work / "done" / "a.yaml").read_text() == SHORT  # put back from the frozen copy
    assert project.log("a").endswith("end\n")
    wait_until(lambda: project.events("task_restored", "a"), "the event")


def test_editing_a_running_file_changes_nothing(project, watch):
    watch()
    start(project, "a", SHORT)
    (project.work / "running" / "a.yaml").write_text("prompt: something else\n")
    project.settled("a", "done")
    assert (project.work / "done" / "a.yaml").read_text() == SHORT
    kept = list((project.work / "logs" / "a").glob("edited-*"))
    assert len(kept) == 1 and kept[0].read_text() == "prompt: something else\n"


def test_a_copy_with_a_known_id_is_refused(project, watch, up):
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    if up:
        watch()
    project.drop("a.yaml", "prompt: x\n")  # another inode: a copy, or git
    if not up:
        project.run("watch", "--until-empty", code=None)
    note = project.work / "inbox" / "a.error.md"
    wait_until(note.exists, "the note")
    assert "has run here before" in note.read_text() and "orchestrator retry a" in note.read_text()
    assert len(project.events("task_claimed", "a")) == 1
    (project.work / "done" / "a.yaml").unlink()
    project.run("retry", "a")
    if not up:
        watch()
    project.settled("a", "done")
    assert len(project.events("task_claimed", "a")) == 2


@pytest.mark.parametrize("other", ["A.yaml", "a.md", "a.yml"])
def test_one_id_once(project, watch, other):
    project.drop("a.yaml", "prompt: x\nhold: true\n")
    project.drop(
        other,
        "---\nlabels: []\n---\nhello\n" if other.endswith("md") else "prompt: x\nhold: true\n",
    )
    watch()
    wait_until(lambda: list((project.work / "inbox").glob("*.error.md")), "a note")
    assert "belongs to" in next((project.work / "inbox").glob("*.error.md")).read_text()


def test_tasks_that_come_through_git_wait_for_approval(project, watch, up):
    git(project, "init", "-q")
    project.drop("pulled.yaml", "prompt: x\n")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "x")
    if up:
        watcher = watch()
        wait_until(lambda: "needs approval" in watcher.text(), "the line")
    else:
        project.run("watch", "--until-empty", code=1)
    assert (
        project.where("pulled") == "inbox"
        and "it came through git" in project.run("why", "pulled").stdout
    )
    project.run("approve", "pulled")
    if not up:
        watch()
    project.settled("pulled", "done")


def test_own_tasks_run_although_git_tracks_them(project, watch):
    git(project, "init", "-q")
    project.run("new", "x", "--id", "own")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "x")
    project.run("watch", "--until-empty")
    assert project.where("own") == "done"


def test_from_git_run_opts_out(project):
    git(project, "init", "-q")
    project.config("from_git: run\n")
    project.drop("pulled.yaml", "prompt: x\n")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "x")
    project.run("watch", "--until-empty")
    assert project.where("pulled") == "done"


def test_git_tells_the_whole_story(project):
    git(project, "init", "-q")
    project.run("new", "Say hello", "--id", "a")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "queued")
    project.run("watch", "--until-empty")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "done")
    assert "R100\twork/inbox/a.yaml\twork/done/a.yaml" in git(
        project, "show", "--name-status", "-M", "HEAD"
    )
    assert git(project, "log", "--follow", "--format=%s", "work/done/a.yaml").split() == [
        "done",
        "queued",
    ]
    assert "logs" not in git(project, "ls-files", "work/logs", "work/.state").replace(
        "work/logs/.gitkeep", ""
    )


def test_git_clean_under_a_running_watcher(project, watch):
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "x")
    watcher = watch()
    start(project, "a", SHORT)
    git(project, "clean", "-fdxq")
    wait_until(lambda: "made again" in watcher.text(), "it says so")
    project.until("a", "done")
    project.drop("b.yaml", "prompt: x\n")
    project.settled("b", "done")
    assert len(project.events("attempt_started", "a")) <= 1


def test_git_stash_does_not_run_anything_twice(project, watch):
    git(project, "init", "-q")
    project.run("new", "x", "--id", "a")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "x")
    watcher = watch()
    project.settled("a", "done")
    git(project, "stash", "-u", "-q")  # brings inbox/a.yaml back as another inode
    wait_until(
        lambda: (
            (project.work / "inbox" / "a.error.md").exists() or "has run here" in watcher.text()
        ),
        "refused",
    )
    git(project, "checkout", "-q", "--", "work")
    assert len(project.events("task_claimed", "a")) <= 1
    project.drop("b.yaml", "prompt: x\n")
    project.until("b", "done")
    log = (
        os.listdir(project.work / "logs" / "a") if (project.work / "logs" / "a").exists() else ["1"]
    )
    assert log == ["1"]


def test_conflict_markers_are_an_invalid_file(project):
    project.drop("a.yaml", "<<<<<<< HEAD\nprompt: a\n=======\nprompt: b\n>>>>>>> other\n")
    project.run("watch", "--until-empty", code=None)
    assert "conflict" in (project.work / "inbox" / "a.error.md").read_text()


def test_verbs_refuse_politely(project, watch):
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    assert "is done, not waiting" in project.run("hold", "a", code=1).stderr
    assert "nothing waits for approval" in project.run("approve", "a", code=1).stderr
    assert "there is no task 'zzz'" in project.run("retry", "zzz", code=3).stderr
    watch()
    start(project, "busy", BUSY)
    assert "is running" in project.run("retry", "busy", code=1).stderr
    assert (
        "is in running/" in project.run("archive", "busy", code=1).stderr
        or "is running" in project.run("archive", "busy", code=1).stderr
    )
    project.run("cancel", "busy")


def test_another_file_with_the_same_inode_number_is_another_file(project):
    """File systems give the number of a removed file to the next one (git: a checkout right after a removal)."""
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    old = project.work / "done" / "a.yaml"
    number = old.stat().st_ino
    old.unlink()
    for count in range(2000):
        path = (
            project.work / "inbox" / f".{count}.tmp"
        )  # in the folder it was born in, where ext4 looks first
        path.write_text("prompt: x\n")
        if path.stat().st_ino == number:
            path.rename(project.work / "inbox" / "a.yaml")
            break
    else:
        pytest.skip("this file system does not use the number again soon")
    project.run("watch", "--until-empty", code=None)
    assert project.where("a") == "inbox" and len(project.events("task_claimed", "a")) == 1


def test_birth_is_kept_by_renames_and_edits_and_not_by_copies(tmp_path):
    from orchestrator.store.atomic import born

    path = tmp_path / "a"
    path.write_text("x")
    first = born(str(path))
    if first is None:
        pytest.skip("this file system does not tell when a file was born")
    path.write_text("edited in place")
    path.rename(tmp_path / "b")
    assert born(str(tmp_path / "b")) == first
    (tmp_path / "c").write_text("x")
    assert born(str(tmp_path / "c")) != first and born(str(tmp_path / "nowhere")) is None

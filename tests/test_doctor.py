"""``doctor`` finds what is wrong, mends what needs no decision, and touches nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import wait_until


def found(project) -> dict[str, list[dict]]:
    """What is found, by the name of the check."""
    checks: dict[str, list[dict]] = {}
    for check in json.loads(project.run("doctor", "--json", code=None).stdout)["checks"]:
        checks.setdefault(check["id"], []).append(check)
    return checks


def git(project, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=ana", "-c", "user.email=ana@example.org", *words],
        cwd=project.root,
        check=False,
        capture_output=True,
    )


def test_done_here_and_failed_there(project):
    """Two branches finished one task differently; git keeps both files.  The later event decides."""
    project.config("agents: {sh: {tool: shell, command: [sh]}}\nfrom_git: run\n")
    project.drop(
        "t.yaml", "agent: sh\nprompt: |\n  # so that git sees a rename\n  exit $(cat code)\n"
    )
    (project.root / "code").write_text("0")
    git(project, "init", "-q", "-b", "main")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "one")
    git(project, "checkout", "-qb", "there")
    (project.root / "code").write_text("3")
    project.run("watch", "--until-empty", code=1)
    git(project, "add", "-A")
    git(project, "commit", "-qm", "failed")
    text = (project.work / "failed/t.yaml").read_bytes()
    (project.work / "done/t.yaml").write_bytes(text)
    duplicate = found(project)["duplicate"][0]
    assert duplicate["fixable"] and "keeps failed/t.yaml" in duplicate["fix"]
    assert "would mend: one task in several folders" in project.run("doctor", "--fix", "-n").stdout
    assert (
        "kept failed/t.yaml, removed its copy done/t.yaml" in project.run("doctor", "--fix").stdout
    )
    assert project.where("t") == "failed" and (project.work / "failed/t.yaml").read_bytes() == text


def test_different_files_with_one_id_are_a_person_s_to_decide(project):
    project.drop("t.yaml", "prompt: one\n", "done")
    project.drop("t.yaml", "prompt: two\n", "failed")
    duplicate = found(project)["duplicate"][0]
    assert duplicate["status"] == "problem" and not duplicate["fixable"]
    project.run("doctor", "--fix", code=1)
    assert (project.work / "done/t.yaml").exists() and (project.work / "failed/t.yaml").exists()


def test_a_copy_that_has_changed_meanwhile_is_not_removed(project):
    from orchestrator.store.recovery import drop_copies

    project.drop("t.yaml", "prompt: one\n", "done")
    project.drop("t.yaml", "prompt: two\n", "failed")
    assert drop_copies(project.layout, [("done/t.yaml", ["failed/t.yaml"])]) == []
    assert (project.work / "failed/t.yaml").read_text() == "prompt: two\n"


def test_leftovers_of_the_dead(project):
    state = Path(project.layout.state)
    (state / "cancel/ghost").write_text("{}")
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    (state / f"tmp/{gone.pid}.x").write_text("half")
    (project.work / "inbox/lost.error.md").write_text("1:1 what was wrong")
    checks = found(project)
    assert (
        checks["requests"][0]["fixable"]
        and checks["leftovers"][0]["fixable"]
        and checks["notes"][0]["fixable"]
    )
    done = project.run("doctor", "--fix").stdout
    assert (
        "a request to cancel ghost" in done
        and "removed a leftover" in done
        and "removed the note on lost" in done
    )
    assert not os.listdir(state / "cancel") and not os.listdir(state / "tmp")


def test_words_for_a_task_are_no_strangers(project):
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    (project.work / "done/a.reply").write_text("more\n")
    assert "strangers" not in found(project)
    (project.work / "done/b.reply").write_text("to nobody\n")
    assert "b.reply" in str(found(project)["strangers"])


def test_a_clock_that_went_back(project):
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + 7200))
    (project.work / f"events/{moment[:10]}.feed-watch.jsonl").write_text(
        json.dumps({"ts": moment, "event": "watcher_started", "event_id": "x"}) + "\n"
    )
    clock = found(project)["clock"][0]
    assert clock["status"] == "problem" and "in the future" in clock["summary"]


@pytest.mark.parametrize(
    "script,status,text",
    [
        ("echo '2.1.197 (Claude Code)'", "ok", "claude 2.1.197"),
        (
            "echo '9.9.9 (Claude Code)'",
            "note",
            "claude is 9.9.9; its spec was verified with 2.1.197",
        ),
        (
            "echo 'Error: native binary not installed.' >&2; exit 1",
            "problem",
            "claude does not answer: exit 1",
        ),
    ],
)
def test_versions_of_tools(project, tmp_path, script, status, text):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/claude").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin/claude").chmod(0o755)
    project.env["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    project.config("defaults: {agent: claude}\n")
    assert any(
        check["status"] == status and text in check["summary"] for check in found(project)["tools"]
    ), found(project)["tools"]


def test_a_healthy_project_has_no_problem_and_reading_writes_nothing(project):
    project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
    project.run("watch", "--until-empty")
    before = {path: path.lstat().st_mtime_ns for path in project.work.rglob("*")}
    done = project.run("doctor")
    assert "0 problems" in done.stdout
    assert {path: path.lstat().st_mtime_ns for path in project.work.rglob("*")} == before
    assert "mended" not in project.run("doctor", "--fix").stdout


def test_what_keeps_a_watcher_from_starting_is_found(project):
    """The settings are checked as the watcher checks them."""
    project.config("limits: {runing: 2}\n")
    config = found(project)["config"][0]
    assert (config["status"], config["summary"]) == (
        "problem",
        "work/orchestrator.yaml:1:10: unknown key 'runing'",
    )


def test_settings_that_a_watcher_has_refused(project, watch):
    watch()
    project.config("limits: {runing: 2}\n")
    wait_until(
        lambda: "the previous settings stay in effect" in found(project)["watcher"][0]["summary"],
        "it says so",
    )


def test_schemas_of_another_version(project):
    schema = project.work / "schemas/task.schema.json"
    assert found(project)["schemas"][0]["status"] == "ok"
    schema.write_text("{}")
    assert found(project)["schemas"][0]["status"] == "note"
    schema.unlink()
    assert "task.schema.json is missing" in found(project)["schemas"][0]["summary"]
    project.run("init")
    assert found(project)["schemas"][0]["status"] == "ok"


def test_an_end_that_the_log_has_lost_is_written_again(project):
    """git, or a person, took the event log away; the ledger and the result still know how the task ended."""
    project.drop("a.yaml", "agent: sh\nprompt: exit 3\n")
    project.drop("b.yaml", "agent: sh\nprompt: 'true'\n")
    project.run("watch", "--until-empty", code=1)
    keys = ("event_id", "outcome", "exit_code", "status", "tool", "ts")
    kinds = ("attempt_finished", "task_finished")
    before = [[event[key] for key in keys[:5]] for kind in kinds for event in project.events(kind)]
    for path in (project.work / "events").glob("*.jsonl"):
        path.unlink()
    (note,) = [
        check for check in found(project)["events"] if "without an event" in check["summary"]
    ]
    assert "2 results" in note["summary"] and "a, b" in note["summary"]
    project.run("doctor", "--fix", code=None)
    after = [[event[key] for key in keys[:5]] for kind in kinds for event in project.events(kind)]
    assert sorted(after) == sorted(before) and len(after) == 4
    assert not any("without an event" in check["summary"] for check in found(project)["events"])

"""Tasks that nobody names one by one: ``retry --failed``, ``--run``, ``--agent``, ``--label``; and names of runs where verbs take them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete
from conftest import wait_until
from test_cli import on_a_terminal

from orchestrator.cli.main import cli
from orchestrator.files import eventreader
from orchestrator.model.journal import AttemptFacts, Phase
from orchestrator.queries.elsewhere import waits

RUN = """tasks:
  a: {prompt: x, agent: demo}
  b: {prompt: x, agent: sh, labels: [slow]}
  c: {prompt: x, agent: sh}
"""


@pytest.fixture
def ended(project):
    """A run of which one task is done, one failed and one was cancelled; beside it one that failed, and one that did not."""
    (project.work / "runs/release.yaml").write_text(RUN)
    where = {"a": "done", "b": "failed", "c": "cancelled"}
    for key, folder in where.items():
        labels = "labels: [slow]\n" if key == "b" else ""
        project.drop(f"release.{key}.yaml", f"run: release\nprompt: x\nagent: sh\n{labels}", folder)
    project.drop("other.yaml", "prompt: x\nagent: demo\n", "failed")
    project.drop("fine.yaml", "prompt: x\nagent: demo\n", "done")
    return project


def would(project, *words: str) -> list[str]:
    """The ids that ``retry`` would run again."""
    return sorted(item["id"] for item in project.json("retry", *words, "-n")["changed"])


def test_filters_find_what_did_not_succeed(ended):
    assert would(ended, "--failed") == ["other", "release.b"]
    assert would(ended, "--run", "release") == ["release.b", "release.c"] == would(ended, "release")
    assert would(ended, "--run", "release", "--failed") == ["release.b"]
    assert would(ended, "--agent", "demo") == ["other"]
    assert would(ended, "--label", "slow") == ["release.b"]


def test_a_filter_asks_first(ended):
    refused = ended.run("retry", "--failed", code=2).stderr
    assert "2 tasks to run again: confirm with -y, or list them with -n" in refused
    asked = on_a_terminal(ended, "retry", "--failed", enough=b"[y/N]").decode()
    assert "release.b" in asked and "other" in asked and "run again 2 tasks?" in asked
    assert ended.where("other") == ended.where("release.b") == "failed"
    ended.run("retry", "--failed", "-y")
    assert ended.where("other") == ended.where("release.b") == "inbox"
    assert ended.where("fine") == "done" and ended.where("release.c") == "cancelled"
    assert "there is nothing to run again" in ended.run("retry", "--failed", "-y").stderr


def test_what_a_person_rejected_has_failed_too(ended):
    """What is listed and what is done follow one rule, and the help of --failed tells it."""
    ended.drop("poor.yaml", "prompt: x\nagent: demo\n", "review")
    ended.run("reject", "poor", "other")
    listed = would(ended, "--failed")
    assert listed == ["other", "poor", "release.b"]
    ended.run("retry", "--failed", "-y")
    assert [ended.where(name) for name in listed] == ["inbox"] * 3
    assert "failed, rejected ones too" in ended.run("retry", "--help").stdout


def test_mistakes_are_named(ended):
    assert "there is no run 'nosuch'" in ended.run("retry", "--run", "nosuch", code=3).stderr
    assert "there is no agent 'nosuch'" in ended.run("retry", "--agent", "nosuch", code=3).stderr
    assert "name tasks, or give --run, --agent" in ended.run("retry", code=2).stderr
    assert (
        "name tasks, or give --run, --agent"
        in ended.run("retry", "other", "--failed", code=2).stderr
    )


def test_runs_are_offered_where_verbs_take_them(ended, monkeypatch):
    monkeypatch.chdir(ended.root)
    complete = ShellComplete(cli, {}, "orchestrator", "_ORCHESTRATOR_COMPLETE")

    def offered(*words: str) -> set[str]:
        return {item.value for item in complete.get_completions(list(words), "rel")}

    for words in (
        ("why",),
        ("show",),
        ("run",),
        ("retry",),
        ("cancel",),
        ("logs",),
        ("wait",),
        ("list", "--run"),
    ):
        assert "release" in offered(*words), words
    assert "release" not in offered("schedules")


def test_the_newest_events_by_either_name(project):
    for name in ("a", "b"):
        project.run("new", "x", "--id", name)
    wait_until(lambda: len(eventreader.events(project.layout)[0]) >= 2, "both are in the log")
    newest = project.run("events", "--last", "1").stdout
    assert newest == project.run("events", "-n", "1").stdout and "\tb\t" in newest


HELPER = "agents: {helper: {tool: demo}}\n"


@pytest.mark.parametrize("verb", ["cancel", "retry", "archive", "hold", "release", "approve"])
def test_every_verb_that_acts_takes_every_filter(project, verb):
    """What a filter finds is what the verb can act on, and one that finds nothing is no refusal."""
    project.config(HELPER)
    places = {
        "inbox": "a",
        "held": "b",
        "failed": "c",
        "done": "d",
        "cancelled": "e",
        "review": "f",
    }
    for folder, name in places.items():
        project.drop(f"{name}.yaml", "prompt: x\nagent: helper\nlabels: [slow]\n", folder)
    acts = {
        "cancel": "abf",
        "retry": "ce",
        "archive": "cde",
        "hold": "a",
        "release": "b",
        "approve": "f",
    }[verb]
    scopes = () if verb in ("hold", "release") else (["--agent", "helper"],)
    for words in (["--label", "slow"], ["--agent", "helper", "--label", "slow"], *scopes):
        found = project.json(verb, *words, "-n")["changed"]
        assert sorted(item["id"] for item in found) == list(acts), words
    for words in (
        ["--status", "running"],
        ["--label", "nosuch"],
        ["--label", "slow", "--status", "running"],
    ):
        assert project.json(verb, *words, "-n") == {
            "schema_version": 2,
            "kind": "change",
            "changed": [],
            "refused": [],
        }
    done = project.json("list", "--agent", "helper", "--last", "0")["tasks"]
    assert {row["id"] for row in done} == set("abcdef")
    refused = project.run(verb, "--status", "failed", "-y", code=None)
    assert refused.returncode == 0, refused.stderr


def test_what_one_task_is_refused_stops_no_other(project):
    project.config(HELPER)
    for name in ("a", "b"):
        project.run("new", "x", "--id", name, "-a", "helper")
    project.run("watch", "--until-empty")
    project.run("new", "x", "--id", "later", "-a", "helper")
    for verb in ("show", "why", "logs"):
        done = project.run(verb, "later" if verb == "logs" else "nosuch", "a", code=1)
        assert "error: " in done.stderr and done.stdout.strip(), verb
    found = project.run("logs", "later", "a", "b", "--json", code=1)
    assert '"kind": "several"' in found.stdout
    assert "there is no task" in project.run("show", "nosuch", code=3).stderr


def test_verbs_that_took_one_task_take_several(project):
    project.config(HELPER)
    for name in ("a", "b"):
        project.run("new", "x", "--id", name, "-a", "helper")
    said = project.json("reply", "a", "b", "be short")
    assert [item["id"] for item in said["changed"]] == ["a", "b"]
    assert {path.read_text() for path in project.work.glob("inbox/*.reply")} == {"be short\n"}
    project.run("reply", "a", "b", "-", stdin="from stdin\n")
    assert "'b' is a task" in project.run("reply", "a", "b", code=2).stderr
    assert (
        'put the reply in quotes: "be short"'
        in project.run("reply", "a", "be", "short", code=2).stderr
    )
    project.env |= {"ORCHESTRATOR_FORCE_EDITOR": "1", "EDITOR": "sed -i 's/x/y/'"}
    changed = project.json("edit", "a", "b")["changed"]
    assert [item["id"] for item in changed] == ["a", "b"]
    ran = project.run("run", "a", "b").stdout
    assert project.where("a") == project.where("b") == "done" and ran.count("Done.") == 2
    refused = project.run("run", "a", "b", "--json", code=1)
    assert refused.stdout.count('"why": ') == 2
    assert project.run("attach", "a", "b", code=1).stderr.count("is not running") == 2
    assert project.run("events", "a", "--type", "finished").stdout.count("task_finished") == 1


def test_a_run_is_taken_wherever_its_tasks_are(project):
    project.config(HELPER)
    project.drop(
        "rel.yaml",
        "defaults: {agent: helper}\ntasks:\n  a: 'demo: ask Which? | one | two'\n  b: {prompt: x, review: always}\n"
        "  c: 'demo: exit 3'\n",
    )
    project.run("watch", "--until-empty", code=1)
    listed = [need["id"] for need in project.json("review", "rel")["needs"]]
    assert sorted(listed) == ["rel.a", "rel.b", "rel.c"]
    assert project.json("review", "rel.c")["needs"][0]["kind"] == "failed"
    assert [item["id"] for item in project.json("approve", "rel", "-n")["changed"]] == [
        "rel.b"
    ]  # what asks needs its id
    assert "no task of rel had a tree" in project.run("diff", "rel", code=3).stderr
    assert "rel has no tree" in project.run("trees", "rel", code=3).stderr
    assert project.run("validate", "rel").stdout == ""
    assert project.json("reply", "rel", "2")["changed"][0]["id"] == "rel.a"  # the one that asks
    assert "rel is a run, and no task of it asks" in project.run("reply", "rel", "2", code=1).stderr
    project.run("approve", "rel")
    assert project.where("rel.b") == "done"
    assert "no task of rel is in review" in project.run("approve", "rel", code=1).stderr


def test_an_offer_that_nobody_takes_names_the_worker_that_would(project):
    (project.work / ".state/queues").mkdir(parents=True, exist_ok=True)
    (project.work / ".state/queues/farm.workers.json").write_text('{"workers": {}}')
    offered = AttemptFacts(1, {}, dispatched={"where": "farm", "pool": "claude+gpu+west"})
    _, (gate,) = waits(project.layout, offered, Phase.DISPATCHED, 0.0)
    command = "orchestrator worker --label gpu --label west"
    assert gate.why.endswith(f": {command}, on a machine that has claude")


def test_a_run_that_waits_to_be_accepted_is_found_by_show(project):
    project.drop("rel.yaml", RUN)
    assert "orchestrator show rel   it is in inbox/" in project.run("runs", "rel", code=3).stderr
    assert "run of 3 tasks" in project.run("show", "rel").stdout


def test_nouns_with_a_name_show_that_one(project):
    project.run("projects", "add", ".", "--name", "one")
    try:
        assert [item["name"] for item in project.json("projects", "one")["projects"]] == ["one"]
        assert project.run("projects", "one").stdout.startswith("one\t")
        assert "there is no project 'on'" in project.run("projects", "on", code=3).stderr
    finally:
        project.run("projects", "remove", "one")
    queues = project.work / ".state/queues"
    queues.mkdir(parents=True, exist_ok=True)
    worker = {"silent": 0, "busy": 0, "slots": 2, "labels": [], "tools": ["demo"], "version": "1"}
    known = {name: {**worker, "name": name} for name in ("big", "small")}
    (queues / "farm.workers.json").write_text(json.dumps({"workers": known, "broker": ""}))
    shown = project.run("workers", "big").stdout
    assert shown.startswith("big\t") and "small" not in shown
    assert len(project.json("workers", "farm")["distributors"][0]["workers"]) == 2
    assert "there is no worker 'bog'" in project.run("workers", "bog", code=3).stderr
    for words in (["trees"], ["trees", "clean"]):
        done = project.run(*words)
        assert done.stdout == "" and "no" in done.stderr  # no empty line


LOST = """
import signal, sys, threading, time
from pathlib import Path
from orchestrator.cli.screen import asking

def interrupt():
    # It reaches this thread: the one that asks gets the mark of a signal, and no read of it ends early.
    asks = Path(f"/proc/self/task/{threading.main_thread().native_id}/stat")
    while asks.read_text().rpartition(")")[2].split()[0] != "S" or not asked.is_set():
        time.sleep(0.01)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

asked, echo = threading.Event(), asking.click.echo
asking.click.echo = lambda *words, **how: (echo(*words, **how), asked.set())
threading.Thread(target=interrupt, daemon=True).start()
ask = {"yes": asking.ask_yes, "line": asking.ask_line, "key": asking.ask_key}[sys.argv[1]]
try:
    ask("sure?")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("what", ["yes", "line", "key"])
def test_no_ctrl_c_is_lost_that_comes_just_before_the_read(what, project):
    """A signal in the moment between Python's last look and the read leaves a mark and interrupts nothing."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", LOST, what],
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=child,
        env=project.env,
    )
    os.close(child)
    try:
        assert process.communicate(timeout=30)[0].endswith(b"interrupted\n")
    finally:
        process.kill()
        os.close(parent)


def test_answers_are_read_one_by_one(ended):
    """What is typed after an answer answers the next question; a word that is no answer is asked about again."""
    parent, child = pty.openpty()
    os.write(parent, b"perhaps\ny\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "retry", "--failed"],
        cwd=ended.root,
        stdin=child,
        stdout=child,
        stderr=subprocess.PIPE,
        env={**ended.env, "TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(child)
    said = process.communicate(timeout=60)[1].decode()
    os.close(parent)
    assert process.returncode == 0, said
    assert said.count("run again 2 tasks? [y/N]: ") == 2 and "please answer y or n" in said
    assert ended.where("other") == "inbox"


def test_a_mistyped_name_beside_others_changes_nothing(project):
    """One rule for all verbs that act; `run` began with what it had found."""
    for name, folder in (("w", "inbox"), ("h", "held"), ("f", "failed"), ("r", "review")):
        project.drop(f"{name}.yaml", "prompt: x\n", folder)
    before = sorted(str(path) for path in project.work.glob("*/*.yaml"))
    for words in (
        *(("cancel", "w"), ("hold", "w"), ("release", "h"), ("retry", "f"), ("run", "w")),
        *(("approve", "r"), ("reject", "r"), ("archive", "f"), ("edit", "w"), ("attach", "w")),
        ("wait", "f"),
    ):
        done = project.run(*words, "nosuch", code=3)
        assert "there is no task 'nosuch'" in done.stderr, words
    assert sorted(str(path) for path in project.work.glob("*/*.yaml")) == before

"""Tasks that nobody names one by one: ``retry --failed``, ``--run``, ``--agent``, ``--label``; and names of runs where verbs take them."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete
from conftest import wait_until
from test_cli import on_a_terminal

from orchestrator.cli.main import cli
from orchestrator.files import eventreader

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
    assert "2 tasks to run again: say -y, or -n to see which" in refused
    asked = on_a_terminal(ended, "retry", "--failed", enough=b"[y/N]").decode()
    assert "release.b" in asked and "other" in asked and "run again 2 tasks?" in asked
    assert ended.where("other") == ended.where("release.b") == "failed"
    ended.run("retry", "--failed", "-y")
    assert ended.where("other") == ended.where("release.b") == "inbox"
    assert ended.where("fine") == "done" and ended.where("release.c") == "cancelled"
    assert "there is nothing to run again" in ended.run("retry", "--failed", "-y").stderr


def test_mistakes_are_named(ended):
    assert "there is no run 'nosuch'" in ended.run("retry", "--run", "nosuch", code=3).stderr
    assert "there is no agent 'nosuch'" in ended.run("retry", "--agent", "nosuch", code=3).stderr
    assert "name tasks, or say --run, --agent" in ended.run("retry", code=2).stderr
    assert (
        "name tasks, or say --run, --agent"
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
    assert "release" not in offered("edit")


def test_the_newest_events_by_either_name(project):
    for name in ("a", "b"):
        project.run("new", "x", "--id", name)
    wait_until(lambda: len(eventreader.events(project.layout)[0]) >= 2, "both are in the log")
    newest = project.run("events", "--last", "1").stdout
    assert newest == project.run("events", "-n", "1").stdout and "\tb\t" in newest

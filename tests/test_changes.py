"""Verbs that act say with --json what went from where to where, and what was refused; one refusal stops no other."""

from __future__ import annotations

import json

import pytest
from conftest import wait_until

SLEEP = "agents: {sh: {tool: shell, command: [sh]}}\n"


def change(project, *words: str, code: int = 0) -> dict:
    done = project.run(*words, "--json", code=code)
    document = json.loads(done.stdout)
    assert document["kind"] == "change" and document["schema_version"] == 2
    assert set(document) == {"schema_version", "kind", "changed", "refused"}
    for entry in document["changed"]:
        assert {"id", "from", "to"} <= set(entry)
    for entry in document["refused"]:
        assert set(entry) == {"id", "why"}
    return document


def moves(document: dict) -> list[tuple]:
    return [(entry["id"], entry["from"], entry["to"]) for entry in document["changed"]]


def test_what_acting_verbs_print(project):
    project.config(SLEEP)
    for name in ("a", "b"):
        project.drop(f"{name}.yaml", "agent: sh\nprompt: exit 3\n")
    project.drop("r.yaml", "agent: sh\nreview: always\nprompt: exit 0\n")
    project.drop("n.yaml", "agent: sh\nreview: always\nprompt: exit 0\n")
    project.run("watch", "--until-empty", code=None)
    project.drop("w.yaml", "agent: sh\nprompt: exit 0\n")
    assert moves(change(project, "approve", "r", "-n")) == [("r", "review", "done")]
    assert moves(change(project, "approve", "r")) == [("r", "review", "done")]
    assert moves(change(project, "reject", "n", "too big")) == [("n", "review", "failed")]
    assert moves(change(project, "retry", "a")) == [("a", "failed", "waiting")]
    mixed = change(project, "retry", "w", "b", code=1)
    assert moves(mixed) == [("b", "failed", "waiting")] and mixed["refused"][0]["id"] == "w"
    assert moves(change(project, "hold", "w")) == [("w", "waiting", "held")]
    assert moves(change(project, "release", "w")) == [("w", "held", "waiting")]
    assert moves(change(project, "cancel", "w", "b")) == [
        ("w", "waiting", "cancelled"),
        ("b", "waiting", "cancelled"),
    ]
    assert moves(change(project, "archive", "r", "n")) == [
        ("r", "done", "archive"),
        ("n", "failed", "archive"),
    ]
    project.config(SLEEP + "limits: {running: 2}\n")
    assert moves(change(project, "approve", "--settings")) == [("settings", "held", "accepted")]


@pytest.mark.parametrize("no_wait", [True, False])
def test_cancelling_what_runs(project, watch, no_wait):
    project.config(SLEEP)
    watch()
    project.drop("a.yaml", "agent: sh\nprompt: sleep 60\n")
    wait_until(lambda: project.events("attempt_started", "a"), "it runs")
    words = ("cancel", "a", *(("--no-wait",) if no_wait else ()))
    wanted = "running" if no_wait else "cancelled"
    assert moves(change(project, *words)) == [("a", "running", wanted)]
    project.settled("a", "cancelled")

"""Figures for Prometheus: the format by its own grammar, the numbers against the events."""

from __future__ import annotations

import re

import pytest

from orchestrator.queries.metrics import Family

SAMPLE = re.compile(
    r'(?P<name>[a-z_:][a-z0-9_:]*)(?:\{(?P<labels>(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? '
    r"(?P<value>-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)\Z"
)


def parsed(text: str) -> dict[tuple[str, str], float]:
    """Every sample; whatever is no sample must be a HELP or TYPE line that stands before those of its name."""
    found: dict[tuple[str, str], float] = {}
    kind = ""
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            kind = line.split()[2]
        elif not line.startswith("# HELP "):
            match = SAMPLE.match(line)
            assert match and match["name"] == kind, line
            found[match["name"], match["labels"] or ""] = float(match["value"])
    return found


@pytest.mark.fast
def test_labels_are_escaped():
    family = Family("orchestrator_x", "gauge", 'a "b"\n')
    family.add(1.5, name='x"\\\ny')
    text = "\n".join(family.lines())
    assert list(parsed(text).values()) == [1.5] and r"x\"\\\ny" in text


def test_the_figures_are_those_of_the_events(project, tmp_path):
    project.config(
        "agents:\n  ok: {tool: shell, command: ['true']}\n  bad: {tool: shell, command: ['false']}\n"
    )
    for name, agent in (("a", "ok"), ("b", "ok"), ("c", "bad")):
        project.drop(f"{name}.yaml", f"agent: {agent}\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    project.run("hold", "--agent", "ok")
    path = tmp_path / "o.prom"
    project.run("report", "--metrics", str(path))
    found = parsed(path.read_text())
    ends = project.events("attempt_finished")
    attempts = {key: value for key, value in found.items() if key[0].endswith("attempts_total")}
    assert sum(attempts.values()) == len(ends) == 3
    (good,) = [value for key, value in attempts.items() if 'outcome="succeeded"' in key[1]]
    assert good == 2
    took = sum(value for key, value in found.items() if "attempt_seconds" in key[0])
    assert took == pytest.approx(sum(event["duration_ms"] for event in ends) / 1000, abs=0.01)
    name = project.root.name
    assert found["orchestrator_tasks", f'project="{name}",status="done"'] == 2
    assert found["orchestrator_watcher_up", f'project="{name}"'] == 0
    assert found["orchestrator_held", f'project="{name}",scope="agent",name="ok"'] == 1
    assert parsed(project.run("report", "--metrics", "-").stdout).keys() == found.keys()

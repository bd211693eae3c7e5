"""Levels of permissions: kept, or refused in words before anything starts."""

from __future__ import annotations

import pytest

from orchestrator.model.sandbox import PERMISSIONS, bounds_from
from orchestrator.tools.levels import refusal
from orchestrator.tools.specs import ToolSpec, load_tools


def test_a_level_that_a_tool_does_not_have_is_refused():
    tools = load_tools(None).tools
    assert refusal(tools["claude"], "read") is None
    why, hint = refusal(tools["opencode"], "edit")
    assert why == "the tool 'opencode' cannot keep permissions: edit" and "sandbox" in hint
    assert refusal(tools["pi"], "default") is None and refusal(tools["pi"], "full") is None
    assert refusal(tools["claude"], "read", interactive=True) is not None
    own = ToolSpec("own", ("own",), "", permissions={"read": ("--read",)}, interactive=("own", "{permissions}"))  # fmt: skip
    assert refusal(own, "read", interactive=True) is None


@pytest.mark.parametrize("level", PERMISSIONS)
def test_bounds_keep_every_level(level):
    assert bounds_from({"parent": "a", "permissions": level}).permissions == level
    assert bounds_from({"parent": "a", "permissions": "root"}).permissions == "default"


def test_validate_and_watch_say_it(project):
    project.config("agents: {careful: {tool: demo, permissions: edit}}\n")
    project.drop("a.yaml", "agent: careful\nprompt: x\n")
    done = project.run("validate", code=4)
    assert "the tool 'demo' cannot keep permissions: edit" in done.stdout + done.stderr
    project.run("watch", "--until-empty", code=None)
    assert project.where("a") == "inbox" and not project.events("attempt_started", "a")

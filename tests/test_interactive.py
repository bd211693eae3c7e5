"""Interactive tasks under a real tmux: the terminal is the supervisor's, and people come and go."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys

import pytest
from conftest import tagged, wait_until
from test_terminal import Pane

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="there is no tmux here")
PROGRAM = f"{shlex.quote(sys.executable)} -m orchestrator"
TASK = "agent: demo\nmode: interactive\nprompt: Talk to me\n"


@pytest.fixture
def pane(project):
    made = Pane(project.root.parent, project.env)
    yield made
    made.close()


def test_run_lends_this_terminal(project, pane):
    """Input, the size of the terminal, the exit code, the recorded log."""
    project.drop("t.yaml", TASK)
    pane.line(f"{PROGRAM} run t; echo code=$?")
    pane.until("Say something")
    pane.line("size")
    pane.until("100x30")
    pane.line("exit 3")
    pane.until("code=1")
    result = project.result("t")
    assert (
        project.where("t") == "failed" and result["exit_code"] == 3 and result["reason"] == "exit 3"
    )
    assert "100x30" in project.log("t")
    assert project.events("attempt_finished", "t")[0]["mode"] == "interactive"
    pane.line("stty -a | tr ' ' '\\n' | grep -x icanon")  # the terminal is as it was
    pane.until("\nicanon")


def test_attach_leave_adopt_and_cancel(project, pane, watch):
    """Leaving goes on; a killed watcher goes on and the next adopts it; cancel leaves nothing."""
    watcher = watch()
    project.drop("t.yaml", TASK)
    wait_until(lambda: "Say something" in project.log("t"), "it runs")
    assert (
        "orchestrator attach t" not in project.run("attach", "t", code=1).stdout
    )  # a pipe is no terminal
    socket = f"{project.layout.logs('t', 1)}/attach.sock"
    assert stat.S_IMODE(os.stat(socket).st_mode) == 0o600  # nobody else opens it
    pane.line(f"{PROGRAM} attach t")
    pane.until("Say something")  # what it had printed before
    pane.line("first")
    pane.until("You said: first")
    pane.key("C-\\")
    pane.until("it keeps running. Again")
    watcher.process.kill()
    watcher.process.wait()
    watch()
    assert project.where("t") == "running" and tagged(project)
    pane.line(f"{PROGRAM} attach t")
    pane.line("second")
    pane.until("You said: second")
    project.run("cancel", "t")
    project.settled("t", "cancelled")
    wait_until(lambda: not tagged(project), "nothing is left")
    pane.until("cancelled")
    assert not os.path.exists(socket)


def test_watch_in_tmux_opens_a_window(project, pane, watch):
    pane.line(f"{PROGRAM} watch")
    wait_until(lambda: "slots" in pane.screen(), "it watches")
    project.drop("t.yaml", TASK)
    wait_until(
        lambda: "t" in pane.tmux("list-windows", "-F", "#{window_name}").split(),
        "a window of its own",
    )
    pane.tmux("send-keys", "-t", "test:t", "done", "Enter")
    project.settled("t", "done")


def test_the_time_limit_holds(project, watch):
    watch()
    project.drop("t.yaml", TASK + "timeout: 1s\n")
    project.settled("t", "failed")
    assert project.result("t")["outcome"] == "timed_out" and not tagged(project)


def test_a_tool_without_an_interactive_form_is_an_error_with_a_place(project):
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/plain.yaml").write_text("argv: [cat]\n")
    project.drop("t.yaml", "agent: plain\nmode: interactive\nprompt: x\n")
    assert (
        "t.yaml:2:7: error: the tool 'plain' has no interactive form"
        in project.run("validate", code=4).stdout
    )


def test_a_prompt_is_never_an_option(project):
    """It is one argument, and does not begin with a dash."""
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/arg.yaml").write_text(
        'argv: ["{python}", -c, "import sys; print(sys.argv[1:])", "{prompt}"]\nprompt: argv\n'
    )
    project.drop("t.yaml", "agent: arg\nprompt: '--dangerous-flag now'\n")
    project.run("watch", "--until-empty")
    assert project.log("t").strip() == "[' --dangerous-flag now']"

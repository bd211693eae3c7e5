"""Under a real tmux: keys and closed panes reach the watcher and never an agent; editors save in their own ways."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import alive, tagged, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="there is no tmux here")


class Pane:
    """A shell in a pane of a tmux server of its own."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.socket = str(folder / "tmux.socket")
        self.env = {**env, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self.tmux(
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            "-s",
            "test",
            "-c",
            str(folder / "acme-api"),
            "/bin/sh",
            start=True,
        )
        self.pane = self.tmux("display-message", "-p", "#{pane_id}").strip()

    def tmux(self, *words: str, start: bool = False, check: bool = True) -> str:
        more = ["-f", "/dev/null"] if start else []
        return subprocess.run(
            ["tmux", "-S", self.socket, *more, *words],
            env=self.env,
            capture_output=True,
            text=True,
            check=check,
            timeout=20,
        ).stdout

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-t", self.pane, "-l", text)

    def key(self, *names: str) -> None:
        self.tmux("send-keys", "-t", self.pane, *names)

    def line(self, text: str) -> None:
        self.type(text)
        self.key("Enter")

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", self.pane)

    def until(self, text: str) -> None:
        wait_until(lambda: text in self.screen(), f"'{text}' on the screen:\n{self.screen()}")

    def close(self) -> None:
        self.tmux("kill-server", check=False)


@pytest.fixture
def pane(project):
    made = Pane(project.root.parent, project.env)
    yield made
    made.close()


WATCH = f"{shlex.quote(sys.executable)} -m orchestrator watch"


def held_task(project, task_id: str = "a") -> Path:
    """A task that runs until a file appears, and says so when a signal reaches it."""
    go = project.root / "go"
    project.drop(
        f"{task_id}.yaml",
        "agent: sh\nprompt: |\n  trap 'echo INT' INT; trap 'echo HUP' HUP; trap 'echo QUIT' QUIT; trap 'echo TERM' TERM\n"
        f"  echo begun; while ! test -e {go}; do sleep 0.02; done; exit 3\n",
    )
    wait_until(lambda: "begun" in project.log(task_id), "it runs")
    return go


def untouched(project, task_id: str = "a") -> None:
    assert project.log(task_id) == "begun\n"
    assert project.result(task_id)["exit_code"] == 3
    assert len(project.events("attempt_started", task_id)) == 1


def test_ctrl_c_drains_and_the_agent_never_gets_it(project, pane, watch):
    pane.line(WATCH)
    go = held_task(project)
    pane.key("C-c")
    pane.until("draining")
    project.drop("b.yaml", "prompt: x\n")
    go.touch()
    project.settled("a", "failed")
    pane.until("stopped")
    untouched(project)
    assert project.where("b") == "inbox"


@pytest.mark.parametrize("how", ["C-\\", "C-z", "kill-pane", "kill-server", "hang up"])
def test_whatever_happens_to_the_pane_the_agent_goes_on(project, pane, watch, how):
    pane.line(WATCH)
    go = held_task(project)
    pid = watcher_pid(project)
    if how.startswith("kill"):
        pane.tmux(how)
    elif how == "hang up":
        os.kill(pid, signal.SIGHUP)
    else:
        pane.key(how)
        if how == "C-z":
            wait_until(
                lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T",
                "it is stopped",
            )
            go.touch()  # the attempt ends while nobody looks
            wait_until(lambda: not tagged(project), "it has ended")
            pane.line("fg")
            project.settled("a", "failed")
            untouched(project)
            return
    wait_until(lambda: not alive(pid), "the watcher is gone")
    assert tagged(project) and project.where("a") == "running"
    watch()
    go.touch()
    project.settled("a", "failed")
    untouched(project)


def test_a_stopped_terminal_does_not_stop_the_work(project, pane):
    """Ctrl-S blocks everything that is printed; tasks go on, and their lines come with Ctrl-Q."""
    pane.line(WATCH)
    watcher_pid(project)
    pane.key("C-s")
    for number in range(30):
        project.drop(f"t{number}.yaml", "agent: 'true'\nprompt: x\n")
    for number in range(30):
        project.settled(f"t{number}", "done")
    pane.key("C-q")
    wait_until(
        lambda: "t29" in pane.tmux("capture-pane", "-p", "-S", "-200", "-t", pane.pane),
        "the lines that were held back",
    )


def test_started_in_the_background_with_sigint_ignored(project, pane):
    """A shell without job control starts background commands that way: agents must be interruptible all the same."""
    script = f"trap '' INT QUIT; {WATCH} > {project.root.parent}/out 2>&1 & echo started"
    with subprocess.Popen(
        ["sh", "-c", script],
        cwd=project.root,
        env=project.env,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as shell:
        assert shell.stdout and shell.stdout.readline()
    pid = watcher_pid(project)
    project.drop("a.yaml", "agent: sh\nprompt: echo begun; exec sleep 30\n")
    wait_until(lambda: "begun" in project.log("a"), "it runs")
    project.run("cancel", "a")
    project.settled("a", "cancelled")
    assert project.result("a")["attempts"][0].get("signal") == "SIGINT"
    os.kill(pid, signal.SIGINT)
    wait_until(lambda: not alive(pid), "SIGINT drains it although it was ignored")


def watcher_pid(project) -> int:
    import json

    def check():
        try:
            return json.loads(Path(project.layout.watcher_card).read_text())["pid"]
        except (OSError, ValueError):
            return 0

    return wait_until(check, "the watcher's card")


# -- editors --------------------------------------------------------------------------------------------------------------

GOOD = "agent: 'true'\nprompt: from the editor\n"


def ran_once(project, task_id: str, text: str) -> None:
    project.settled(task_id, "done")
    assert (project.work / "done" / f"{task_id}.yaml").read_text() == text
    assert len(project.events("attempt_started", task_id)) == 1
    assert not project.events("task_invalid", task_id)


@pytest.mark.skipif(not shutil.which("vim"), reason="there is no vim here")
@pytest.mark.parametrize(
    "options",
    ["", "set backupcopy=yes", "set backupcopy=no backup", "set nowritebackup noswapfile"],
)
def test_vim(project, pane, watch, options):
    """Saved half-way and open: not claimed while vim holds it, whatever way vim saves; run as it was left."""
    watcher = watch()
    pane.line(
        f"vim -u NONE -N -i NONE -c '{options}' work/inbox/v.yaml"
        if options
        else "vim -u NONE -N -i NONE work/inbox/v.yaml"
    )
    wait_until(lambda: "v.yaml" in pane.screen(), "vim is up")
    pane.type("iagent: 'true'")
    pane.key("Enter")
    pane.type("prompt: fro")
    if "noswapfile" not in options:  # without its swap file nothing tells that vim is there
        pane.key("Escape")
        pane.line(":w")
        wait_until((project.work / "inbox/v.yaml").exists, "it is saved")
        wait_until(lambda: "editing" in watcher.text(), "it is seen as being edited")
        assert project.where("v") == "inbox"
        pane.type("A")
    pane.type("m the editor")
    pane.key("Escape")
    pane.line(":wq")
    ran_once(project, "v", GOOD)


@pytest.mark.skipif(not shutil.which("nano"), reason="there is no nano here")
def test_nano(project, pane, watch):
    watch()
    pane.line(
        "nano -I -G work/inbox/n.yaml"
    )  # -G: with lock files, as many distributions configure it
    wait_until(lambda: "GNU nano" in pane.screen(), "nano is up")
    pane.type("agent: 'true'")
    pane.key("Enter")
    pane.type("prompt: fro")
    pane.key("C-s")
    wait_until((project.work / "inbox/n.yaml").exists, "it is saved")
    pane.type("m the editor")
    pane.key("C-s")
    pane.key("C-x")
    ran_once(project, "n", GOOD)


def test_emacs_and_vscode_ways_of_saving(project, watch):
    """Emacs: a lock that is a dangling link, a backup by rename, a new file.  VS Code: in place, again and again, in halves."""
    watcher = watch()
    inbox = project.work / "inbox"
    lock = inbox / ".#e.yaml"
    lock.symlink_to("me@host.1234:5678")
    (inbox / "e.yaml").write_text("agent: 'true'\nprompt: fro")
    wait_until(lambda: "editing" in watcher.text(), "it is seen as being edited")
    os.rename(inbox / "e.yaml", inbox / "e.yaml~")
    (inbox / "e.yaml").write_text(GOOD)
    assert project.where("e") == "inbox"
    lock.unlink()
    ran_once(project, "e", GOOD)
    assert (inbox / "e.yaml~").exists()

    project.config(
        (project.work / "orchestrator.yaml").read_text().replace("watch: {", "watch: {quiet: 1s, ")
    )
    watcher.stop()
    watch()
    for end in range(10, len(GOOD) + 1):  # auto-save after every key
        with open(inbox / "c.yaml", "r+b" if end > 10 else "wb") as file:
            file.truncate(0)
            file.write(GOOD[:end].encode())
    ran_once(project, "c", GOOD)


def test_a_file_that_is_moved_in_while_it_is_written(project, watch):
    """The writer holds it open across the rename: what counts is what is there when the last writer has closed it."""
    watch()
    outside = project.root / "slow.yaml"
    with open(outside, "w") as file:
        file.write("agent: 'true'\n")
        file.flush()
        os.rename(outside, project.work / "inbox/slow.yaml")
        marker = project.drop("marker.yaml", "agent: 'true'\nprompt: x\n")
        project.settled("marker", "done")  # by now the watcher has looked at both
        assert project.where("slow") == "inbox" and not marker.exists()
        file.write("prompt: from the editor\n")
    ran_once(project, "slow", GOOD)

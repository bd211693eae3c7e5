"""Anything in any order, against a simple model: after every step each task is where the model says, started as often as
was asked for, and nothing is left behind.

The watcher, its supervisors and the tools are real processes.  A tool waits at a gate (a FIFO) until the machine lets it
end, so every state can be held for as long as it takes to look at it.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path

from conftest import Project, WatcherProcess, end_everything, tagged, wait_until
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

TOOL = "echo $ORCHESTRATOR_TASK_ID >> {0}/starts; read code < {0}/gates/$ORCHESTRATOR_TASK_ID; exit $code"
WAITING, HELD, RUNNING, DONE, FAILED, CANCELLED, ARCHIVE, INVALID, GONE = (
    "waiting",
    "held",
    "running",
    "done",
    "failed",
    "cancelled",
    "archive",
    "invalid",
    "gone",
)
FOLDER = {WAITING: "inbox", INVALID: "inbox"}
FINISHED = (DONE, FAILED, CANCELLED)


class Machine(RuleBasedStateMachine):
    """What a person, git and bad luck may do to a work directory."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="orchestrator-stateful-"))
        root = self.base / "project"
        root.mkdir()
        (self.base / "gates").mkdir()
        (self.base / "starts").touch()
        self.project = Project(root)
        self.project.run("init")
        self.project.config(
            "limits: {running: 30}\nwatch: {rescan: 200ms}\ncancel: {interrupt_grace: 300ms, terminate_grace: 300ms}\n"
            f"agents: {{t: {{tool: shell, command: [sh, -c, '{TOOL.format(self.base)}']}}}}\n"
        )
        self.watcher: WatcherProcess | None = None
        self.state: dict[str, str] = {}
        self.starts: Counter[str] = Counter()
        self.ended: dict[str, str] = {}  # what ended while no watcher ran, and where it will be put
        self.watch()

    # -- the model ----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """With a watcher, whatever waits starts; then everything is where it should be."""
        if self.watcher is not None:
            for task_id in self.of(WAITING):
                self.state[task_id] = RUNNING
                self.starts[task_id] += 1
        for task_id, state in self.state.items():
            wait_until(
                lambda: (
                    self.project.where(task_id) == FOLDER.get(state, "" if state == GONE else state)
                ),
                f"{task_id} {state}; it is in {self.project.where(task_id)}/",
            )
        wait_until(
            lambda: self.counted() == self.starts, f"starts {self.starts}, not {self.counted()}"
        )

    def counted(self) -> Counter[str]:
        return Counter((self.base / "starts").read_text().split())

    def of(self, *states: str) -> list[str]:
        return [task_id for task_id, state in self.state.items() if state in states]

    def finish(self, task_id: str, code: int) -> None:
        gate = self.base / "gates" / task_id
        with open(gate, "w") as file:
            file.write(f"{code}\n")
        self.state[task_id] = FAILED if code else DONE
        if (
            self.watcher is None
        ):  # it ends without a watcher; where it belongs, the next one sees to
            self.state[task_id] = RUNNING
            self.ended[task_id] = FAILED if code else DONE

    # -- steps --------------------------------------------------------------------------------------------------------

    @rule(target=tasks, valid=st.booleans(), how=st.sampled_from(["new", "rename", "in place"]))
    def submit(self, valid, how):
        task_id = f"s{len(self.state)}"
        os.mkfifo(self.base / "gates" / task_id)
        text = "agent: t\nprompt: x\n" if valid else "agent: t\npromt: x\n"
        if how == "new" and valid:
            self.project.run("new", "x", "-a", "t", "--id", task_id)
        elif how == "in place":
            (self.project.work / "inbox" / f"{task_id}.yaml").write_text(text)
        else:
            self.project.drop(f"{task_id}.yaml", text)
        if valid:
            self.state[task_id] = WAITING
        else:
            self.state[task_id] = INVALID
        self.settle()
        return task_id

    def one(self, task_id: str, *states: str) -> bool:
        return self.state.get(task_id) in states and task_id not in self.ended

    @rule(task_id=tasks)
    def edit(self, task_id):
        """An invalid file is corrected; a waiting one is saved anew, as another file of the same name."""
        if self.one(task_id, INVALID, WAITING):
            self.project.drop(f"{task_id}.yaml", "agent: t\nprompt: edited\n")
            if self.state[task_id] == INVALID:
                self.state[task_id] = WAITING
        elif self.one(task_id, RUNNING):
            path = self.project.work / "running" / f"{task_id}.yaml"
            path.write_text("prompt: something else\n")
        self.settle()

    @rule(task_id=tasks, by_hand=st.booleans())
    def hold(self, task_id, by_hand):
        if self.one(task_id, WAITING):
            self.move(task_id, "inbox", "held", by_hand, "hold")
            self.state[task_id] = HELD
        self.settle()

    @rule(task_id=tasks, by_hand=st.booleans())
    def release(self, task_id, by_hand):
        if self.one(task_id, HELD):
            self.move(task_id, "held", "inbox", by_hand, "release")
            self.state[task_id] = WAITING
        self.settle()

    @rule(task_id=tasks, code=st.sampled_from([0, 0, 1, 7]))
    def end(self, task_id, code):
        if self.one(task_id, RUNNING):
            self.finish(task_id, code)
        self.settle()

    @rule(task_id=tasks, how=st.sampled_from(["verb", "touch", "mv"]))
    def cancel(self, task_id, how):
        if self.one(task_id, WAITING, HELD) and how == "verb":
            self.project.run("cancel", task_id)
            self.state[task_id] = CANCELLED
        elif self.one(task_id, RUNNING) and self.watcher is not None:
            if how == "verb":
                self.project.run("cancel", task_id)
            elif how == "touch":
                (self.project.work / "running" / f"{task_id}.cancel").touch()
            else:
                os.rename(
                    self.project.work / "running" / f"{task_id}.yaml",
                    self.project.work / "cancelled" / f"{task_id}.yaml",
                )
            self.state[task_id] = CANCELLED
        self.settled_finished()
        self.settle()

    @rule(task_id=tasks, by_hand=st.booleans())
    def retry(self, task_id, by_hand):
        if self.one(task_id, *FINISHED):
            self.settled_finished()
            ran = self.starts[task_id] > 0
            self.move(task_id, self.state[task_id], "inbox", by_hand and ran, "retry")
            self.state[task_id] = WAITING
        self.settle()

    @rule(task_id=tasks)
    def archive(self, task_id):
        if self.one(task_id, *FINISHED):
            self.settled_finished()
            self.project.run("archive", "-y", task_id)
            self.state[task_id] = ARCHIVE
        self.settle()

    @rule(task_id=consumes(tasks))
    def delete(self, task_id):
        """Withdrawn while it waits; while it runs (git does that) it goes on, and its file comes back with the result."""
        if self.one(task_id, WAITING, INVALID, HELD):
            os.unlink(
                self.project.work / FOLDER.get(self.state[task_id], "held") / f"{task_id}.yaml"
            )
            self.state[task_id] = GONE
        elif self.one(task_id, RUNNING) and self.watcher is not None:
            os.unlink(self.project.work / "running" / f"{task_id}.yaml")
            self.finish(task_id, 0)
        self.settle()

    @rule(task_id=tasks)
    def copy_of_what_ran(self, task_id):
        """git brings an old copy back: it is refused, whatever has become of the task."""
        if (
            self.one(task_id, *FINISHED, RUNNING)
            and self.starts[task_id]
            and self.watcher is not None
        ):
            self.settled_finished()
            path = self.project.drop(f"{task_id}.yaml", "agent: t\nprompt: an old copy\n")
            wait_until(
                (self.project.work / "inbox" / f"{task_id}.error.md").exists, "it is refused"
            )
            path.unlink()
            wait_until(
                lambda: not (self.project.work / "inbox" / f"{task_id}.error.md").exists(),
                "the note goes with it",
            )
        self.settle()

    @precondition(lambda self: self.watcher is not None)
    @rule(number=st.sampled_from([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP]))
    def kill_watcher(self, number):
        self.watcher.send(number)
        self.watcher.wait()
        self.watcher.file.close()
        self.watcher = None

    @precondition(lambda self: self.watcher is None)
    @rule()
    def restart(self):
        self.watch()
        for task_id, state in self.ended.items():
            self.state[task_id] = state
        self.ended = {}
        self.settle()

    # -- always -------------------------------------------------------------------------------------------------------

    @invariant()
    def one_folder_each_and_no_more_tools_than_running(self):
        assert len(tagged(self.project)) <= len(self.of(RUNNING))
        for task_id in self.of(RUNNING):
            assert self.project.where(task_id) in ("running", ""), task_id

    def watch(self) -> None:
        self.watcher = WatcherProcess(self.project).ready()

    def settled_finished(self) -> None:
        """The journals of what has finished are closed: verbs and moves by hand find it settled."""
        if self.watcher is not None:
            for task_id in self.of(*FINISHED):
                if self.starts[task_id]:
                    self.project.settled(task_id, self.state[task_id])

    def move(self, task_id: str, source: str, target: str, by_hand: bool, verb: str) -> None:
        if by_hand:
            os.rename(
                self.project.work / source / f"{task_id}.yaml",
                self.project.work / target / f"{task_id}.yaml",
            )
        else:
            self.project.run(verb, task_id)

    def teardown(self) -> None:
        try:
            if self.watcher is None:
                self.restart()
            for task_id in self.of(RUNNING):
                self.finish(task_id, 0)
            self.settle()
            wait_until(
                lambda: not os.listdir(self.project.layout.active), "every journal is closed"
            )
            for task_id, number in self.starts.items():
                assert len(self.project.events("attempt_finished", task_id)) == number, task_id
            assert not tagged(self.project)
        finally:
            if self.watcher is not None:
                self.watcher.stop()
            end_everything(self.project)
            shutil.rmtree(self.base, ignore_errors=True)


def test_anything_in_any_order():
    examples = int(os.environ.get("ORCHESTRATOR_EXAMPLES", "8"))
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )  # no shrinking: a failing example costs the patience of every wait in it

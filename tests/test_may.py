"""What a task may set: it can only tighten what the configuration allows."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import pytest
from conftest import Project

from orchestrator.execution import sandbox
from orchestrator.files import requests, schemas
from orchestrator.files.documents import Document
from orchestrator.model.budget import Budget, Budgets, Running, Spent, closed, overrun
from orchestrator.model.config import config_from
from orchestrator.model.task import Task
from orchestrator.model.units import cost_of, duration
from orchestrator.testing import Tube
from orchestrator.tools import judging, output
from orchestrator.tools.invocation import CannotStart, program, working_folder
from orchestrator.tools.routing import RouteProblem, routes
from orchestrator.tools.specs import Toolbox, load_tools

TOOLS = load_tools(None).tools
ROLE = {"agents": {"r": {"tool": "claude", "permissions": "full", "env": {"MINE": "x"}}}}
ALLOWING = ROLE | {"environment": {"tasks": ["CI", "APP_*"], "pass": ["GIVEN_*"]}}


def refusal(data: dict, name: str) -> str:
    try:
        routes(Task("t", "p", agents=("r",), env={name: "x"}), config_from(data), TOOLS)
    except RouteProblem as error:
        return f"{error.message} - {error.hint}"
    return ""


@pytest.mark.parametrize(
    "name",
    "ANTHROPIC_BASE_URL MAKEFLAGS Npm_Config_script_shell CI GOFLAGS BASHOPTS RUSTC_WRAPPER PATH Path "
    "ORCHESTRATOR_TASK_ID ORCHESTRATOR_VARX TASK_X_TASKFILE_REMOTE A".split(),
)
def test_nothing_but_a_prefix_of_ours_without_a_word_in_the_configuration(name):
    assert f"a task may not set {name}" in refusal(ROLE, name)


def test_the_configuration_allows_by_name_and_the_refusal_says_how():
    assert "environment: {tasks: [MAKEFLAGS]}" in refusal(ROLE, "MAKEFLAGS")
    assert refusal(ROLE, "ORCHESTRATOR_VAR_X") == ""
    assert refusal(ALLOWING, "CI") == refusal(ALLOWING, "APP_MODE") == ""
    assert refusal(ALLOWING, "app_mode") and refusal(ALLOWING, "CIX")


def test_never_what_the_tool_is_given_already():
    everything = ALLOWING | {
        "environment": {"tasks": ["P*", "M*", "G*", "A*", "O*"], "pass": ["GIVEN_*"]}
    }
    for name in ("PATH", "MINE", "GIVEN_X", "given_x", "ANTHROPIC_API_KEY"):
        assert "already has it" in refusal(everything, name), name
    for name in ("ORCHESTRATOR_ROOT", "orchestrator_var_a"):
        assert "begin it with ORCHESTRATOR_VAR_" in refusal(everything, name), name


def test_a_tool_of_the_tasks_choice_does_not_get_what_the_role_was_trusted_with():
    given = {"command": ["mine"], "secrets": {"GH_TOKEN": {"command": ["pass"]}}}
    config = config_from({"agents": {"r": ROLE["agents"]["r"] | given}})
    (own,) = routes(Task("t", "p", agents=("r",)), config, TOOLS)
    (other,) = routes(Task("t", "p", agents=("r",), tool="codex"), config, TOOLS)
    assert own.agent.permissions == "full" and other.agent.permissions == "default"
    assert own.agent.env and own.agent.command and own.agent.secrets
    assert not (other.agent.env or other.agent.command or other.agent.secrets)


def test_a_time_limit_has_a_ceiling():
    (route,) = routes(Task("t", "p", agents=("r",), timeout=1e9), config_from(ROLE), TOOLS)
    assert route.timeout == 86400
    limited = config_from(ROLE | {"limits": {"timeout": "1h"}})
    assert routes(Task("t", "p", agents=("r",), timeout=1e9), limited, TOOLS)[0].timeout == 3600


def test_a_file_lifts_no_hard_limit():
    budgets = Budgets(run=Budget(hard=1.0), task=Budget(hard=1.0), cancel=True)
    spent = Spent("d", runs={"r": 2.0})
    assert ("run", "r") in closed(budgets, spent, {"r": 1000.0}, 0.0)
    running = Running("t", "a", "", 2.0, 0.0, 1000.0)
    assert "t" in overrun(budgets, Spent("d"), {}, [running])
    assert "t" in overrun(budgets, Spent("d"), {}, [replace(running, most=0.5)])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1000, True, "1", None, 10**400])
def test_a_cost_is_a_finite_number_or_none(value):
    assert cost_of(value) is None


@pytest.mark.parametrize(
    "tool, event",
    [
        ("opencode", '{"type": "step_finish", "part": {"cost": %s, "tokens": {"input": 9, "output": 1}}}'),
        (
            "claude",
            '{"type": "result", "modelUsage": {"a": {"costUSD": %s, "inputTokens": 9}, "b": {"costUSD": 5.0}}}',
        ),
        ("opencode", '{"type": "step_finish", "part": {"cost": 1.0, "tokens": {"input": %s, "output": 1}}}'),
    ],
)  # fmt: skip
def test_a_figure_below_0_hides_no_others(tmp_path, tool, event):
    """Of 5 dollars and -4.99 a cent was left, and no budget was ever spent."""
    parse = TOOLS[tool].parse
    kind = "cost_usd" if "part" not in event or '"cost": %s' in event else "usage"

    def found(value: str) -> object:
        (tmp_path / "stdout.log").write_text(f"{event % '5.0'}\n{event % value}\n")
        said = output.read(parse, str(tmp_path))
        return said.cost_usd if kind == "cost_usd" else said.usage.get("input")

    assert found("6.0") and found("-4.99") is None


def test_costs_in_event_files_do_not_switch_a_budget_off(project: Project):
    project.config("budgets: {day: {hard_usd: 1}}\n")
    project.run("new", "demo: work 10ms", "--agent", "demo", "--id", "a")
    project.run("watch", "--until-empty")
    event = project.events("attempt_finished")[0]
    path = next((project.work / "events").glob("*watch.jsonl"))
    lines = [
        json.dumps({**event, "event_id": f"x{n}", "task_id": f"x{n}", "cost_usd": cost})
        for n, cost in enumerate((5.0, -1000.0))
    ]
    lines += [
        json.dumps({**event, "event_id": "nan", "task_id": "nan"}).replace(
            '"cost_usd": null', '"cost_usd": NaN'
        )
    ]
    with open(path, "a") as file:
        file.write("\n".join(lines) + "\n")
    project.run("new", "demo: work 10ms", "--agent", "demo", "--id", "b")
    assert "budget" in project.run("why", "b").stdout


def test_a_relative_command_is_the_projects(project: Project):
    """A task chooses its working folder, and by that no program."""
    project.config("agents:\n  check: {tool: shell, command: [./check.sh]}\n")
    for folder, word in ((project.root, "right"), (project.root / "sub", "wrong")):
        folder.mkdir(exist_ok=True)
        (folder / "check.sh").write_text(f"#!/bin/sh\ntouch {project.root}/{word}\n")
        (folder / "check.sh").chmod(0o755)
    project.drop("a.yaml", "agent: check\ncwd: sub\nprompt: x\n")
    project.run("watch", "--until-empty")
    assert (project.root / "right").exists() and not (project.root / "wrong").exists()


def test_what_is_masked_comes_from_what_is_passed_on(project: Project):
    """A task cannot have words of the log masked by calling them a secret."""
    project.config("environment: {tasks: ['A_*']}\nagents:\n  sh: {tool: shell, command: [sh]}\n")
    project.drop("a.yaml", "agent: sh\nenv: {A_KEY: total_cost_usd}\nprompt: echo total_cost_usd\n")
    project.run("watch", "--until-empty")
    assert project.log("a") == "total_cost_usd\n"


def test_no_part_of_path_leads_into_the_folder_that_a_task_chose(tmp_path, monkeypatch):
    for name in ("p", "p/sub"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text("#!/bin/sh\n")
        (tmp_path / name / "tool").chmod(0o755)
    root = str(tmp_path / "p")
    monkeypatch.chdir(root + "/sub")
    for path in (":/bin", ".:/bin", "/bin:", "/bin:./"):
        found = program("tool", {"PATH": path}, root)
        assert found is not None and os.path.realpath(found) == f"{root}/tool"
        monkeypatch.setenv("PATH", path)
        (tmp_path / "p/sub/bwrap").write_text("")
        (tmp_path / "p/sub/bwrap").chmod(0o755)
        words = sandbox.words(sandbox.Walls((), "/"))
        assert words is None or os.path.isabs(words[0])


THEN = [
    ("agent: r, env: {MAKEFLAGS: x}", "a task may not set MAKEFLAGS"),
    ("agent: r, env: {LD_PRELOAD: x}", "it decides which code runs"),
    ("agent: r, cwd: ../x", "leads out of the project"),
    ("agent: r, artifacts: [/etc/passwd]", "is an absolute path"),
    ("agent: r, timeout: 0s", "is not a duration above zero"),
    ("agent: r, timeout: 99999d", "is longer than ten years"),
    ("agent: r, verify: [nothing]", "there is no check 'nothing'"),
    ("use: nothing", "there is no template 'nothing'"),
    ("agent: r, then: {agent: r, cwd: /}", "is an absolute path"),
    ("agent: shell, prompt: 'rm {task.id}'", "the program 'rm' is not allowed"),
    ("agent: shell, prompt: 'make {task.id}'", ""),
    ("on: failed, agent: r, cwd: sub, env: {ORCHESTRATOR_VAR_X: y}", ""),
]


@pytest.mark.parametrize(
    "form",
    ["{{prompt: x, {}}}", "tasks: {{a: {{prompt: x, {}}}}}", "defaults: {{{}}}\ntasks: {{a: y}}"],
)
@pytest.mark.parametrize("entry, wrong", THEN)
def test_what_is_to_follow_is_judged_with_the_file(entry, wrong, form):
    """What a follow-up may not set is told while its cause can still be mended."""
    config = config_from(ROLE | {"tools": {"shell": {"allow": ["make"]}}})
    raw = form.format(f"agent: r, then: {{{entry}}}").encode()
    toolbox = Toolbox(TOOLS)
    found = judging.judged("work/inbox/t.yaml", "t", raw, config, toolbox, ("r",)).errors
    assert [wrong in problem.message for problem in found] == [True] * bool(wrong), found


# What no file may ask for, as one entry of a mapping, and what is said then.
NEVER = {
    "env: {path: x}": "a task may not set path",
    "env: {Ld_Preload: x}": "a task may not set Ld_Preload",
    "env: {GIT_SSH_COMMAND: x}": "a task may not set GIT_SSH_COMMAND",
    "env: {ANTHROPIC_BASE_URL: x}": "a task may not set ANTHROPIC_BASE_URL",
    "env: {ORCHESTRATOR_ROOT: x}": "it decides which code runs",
    "env: {orchestrator_var_x: x}": "the watcher's own",
    "env: {'ORCHESTRATOR_VAR_A=B': x}": "ORCHESTRATOR_VAR_A=B",
    "env: {ORCHESTRATOR_VAR_OK: x, mine: x}": "its tool already has it",
    "timeout: .inf": "is not a duration",
    "timeout: 0s": "is not a duration above zero",
    "timeout: -1s": "is not a duration$",
    "silence: 0ms": "is not a duration above zero",
    "retries: 21": "must be at most 20",
    "retries: -1": "must be at least 0",
    "max_cost_usd: .nan": "max_cost_usd",
    "max_cost_usd: -1": "max_cost_usd",
    "max_cost_usd: 1e400": "a number that is too large",
    "permissions: full": "unknown key 'permissions'",
    "command: [/bin/sh]": "unknown key 'command'",
    "secrets: {A: {command: [x]}}": "unknown key 'secrets'",
    "sandbox: off": "sandbox|'off'",
    "cwd: /": "is an absolute path",
    "cwd: lib/../../x": "leads out of the project",
    "artifacts: [../x]": "leads out of the project",
    "tool: /bin/sh": "tool",
    "verify: [nothing]": "there is no check 'nothing'",
}  # fmt: skip
FILES = {
    "a.yaml": "{{prompt: x, agent: r, {}}}\n",
    "a.yml": "prompt: x\nagent: r\n{}\n",
    "a.md": "---\nagent: r\n{}\n---\nDo it\n",
    "run.yaml": "tasks: {{a: {{prompt: x, agent: r, {}}}}}\n",
    "shared.yaml": "defaults: {{agent: r, {}}}\ntasks: {{a: x, b: y}}\n",
    "many.yaml": "tasks: {{a: {{prompt: '{{v}}', matrix: {{v: [1, 2]}}, agent: r, {}}}}}\n",
    "then.yaml": "{{prompt: x, agent: r, then: {{agent: r, {}}}}}\n",
    "then.md": "---\nagent: r\nthen: [{{agent: r, {}}}]\n---\nDo it\n",
    "later.yaml": "tasks: {{a: {{prompt: x, agent: r, then: {{agent: r, {}}}}}}}\n",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("asked", NEVER)
def test_no_form_of_a_file_asks_for_more(asked, name):
    raw = FILES[name].format(asked).encode()
    toolbox = Toolbox(TOOLS)
    found = judging.judged(f"work/inbox/{name}", "t", raw, config_from(ROLE), toolbox, ("r",))
    said = " ".join(problem.message for problem in found.errors)
    key = asked.partition(":")[0]
    assert re.search(f"{NEVER[asked]}|unknown key '{key}'", said), said


ALL_AT_ONCE = {
    "agent: nobody\nprompt_file: none.md\n": ["unknown agent", "there is no file"],
    "agent: nobody\ncwd: ..\nprompt: x\nneeds: [t]\n": [
        "unknown agent",
        "leads out",
        "need itself",
    ],
    "env: {PATH: x}\nprompt: x\nthen: [{agent: nobody, prompt: '{task.x}'}]\n": [
        "a task may not set PATH: it decides",
        "unknown agent",
        "nothing fills",
    ],
    "tasks:\n  a: {agent: nobody, prompt: x}\n  b: {cwd: .., prompt: x}\n": [
        "unknown",
        "leads out",
    ],
    "timeout: 0x\nretries: 99\nprompt: x\nlabel: a\n": ["duration", "at most 20", "unknown key"],
}


@pytest.mark.parametrize("text", ALL_AT_ONCE)
def test_what_breaks_rules_is_told_with_what_the_settings_show(tmp_path, text):
    """A person mended one, and was then told of the next."""
    toolbox, root = Toolbox(TOOLS), str(tmp_path)
    found = judging.judged(
        "work/inbox/t.yaml", "t", text.encode(), config_from(ROLE), toolbox, ("r",), root
    )
    said = sorted(problem.message for problem in found.errors)
    assert len(said) == len(ALL_AT_ONCE[text]), said
    assert all(any(words in it for it in said) for words in ALL_AT_ONCE[text]), said


CHECK = "checks.c.timeout"


@pytest.mark.parametrize(
    "path",
    ["limits.timeout", "defaults.timeout", "agents.r.timeout", CHECK, "watch.rescan",
     "defaults.silence", "agents.r.silence", "trees.setup_timeout"],
)  # fmt: skip
@pytest.mark.parametrize("text", ["0s", "0h", "0.0s", "0ms"])
def test_a_time_limit_of_zero_is_no_way_to_say_that_there_is_none(path, text):
    """It would switch off what bounds every attempt, or mean nothing at all."""
    data: object = text
    for name in reversed(path.split(".")):
        data = {name: data} | ({"command": ["true"]} if (path, name) == (CHECK, "timeout") else {})
    (problem,) = schemas.check("config", Document("", data))
    assert problem.message == f"'{text}' is not a duration above zero"
    assert problem.hint == "write 90s, 15m or 2h"


@pytest.mark.parametrize(
    "cwd", [".git", ".git/hooks", "sub/.GIT", "work", "./work/inbox", "work/.state", "Work/asks"]
)
def test_no_task_works_where_git_or_other_tasks_are_steered(cwd):
    (problem,) = requests.load("a.yaml", "a", f"prompt: x\ncwd: {cwd}\n".encode()).errors
    assert problem.message in (f"'{cwd}' is a folder of git's", f"'{cwd}' has the state of tasks")


@pytest.mark.parametrize("target", [".git", "work/asks"])
def test_nor_does_a_link_lead_there(tmp_path, target):
    (tmp_path / target).mkdir(parents=True)
    (tmp_path / "src").symlink_to(tmp_path / target)
    (tmp_path / "lib").mkdir()
    assert working_folder(str(tmp_path), "lib") == str(tmp_path / "lib")
    with pytest.raises(CannotStart, match="'src'"):
        working_folder(str(tmp_path), "src")


@pytest.mark.parametrize("text", ["١٢s", "１２s", "1２h"])
def test_a_digit_is_one_of_ten(text):
    """What an editor's schema and a person read as no number is none here either."""
    (problem,) = requests.load(
        "a.yaml", "a", f"prompt: x\ntimeout: {text}\n".encode(), schemas.check
    ).errors
    assert "is not a duration" in problem.message
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


def test_a_line_end_is_no_part_of_a_name():
    """``$`` in a pattern is the end for an editor's schema, and for us as well."""
    for kind in schemas.KINDS:
        for pattern in patterns_of(schemas.schema(kind)):
            assert "$" not in re.sub(r"\\.|\[[^]]*\]", "", pattern)
    for asked in ("model: {}", "run: {}", "base: {}", "timeout: {}", "needs: [{}]"):
        text = f"prompt: x\n{asked}\n"
        for value, right in (('"5s"', True), ('"5s\\n"', False)):
            found = requests.load("a.yaml", "a", text.format(value).encode(), schemas.check)
            assert right is not bool(found.errors), text


def patterns_of(rule: object) -> list[str]:
    """All patterns of a schema."""
    if isinstance(rule, dict):
        own = [rule["pattern"]] if isinstance(rule.get("pattern"), str) else []
        return own + [found for inner in rule.values() for found in patterns_of(inner)]
    return (
        [found for inner in rule for found in patterns_of(inner)] if isinstance(rule, list) else []
    )


BOUNDS = {
    "hold": ("true", "maybe"),
    "not_before": ("2099-01-01", "soon"),
    "max_cost_usd": ("0.5", "-1"),
    "max_tokens": ("5", "'5'"),
    "sandbox": ("strict", "off"),
    "retries": ("0", ""),
    "silence": ("5m", ""),
    "timeout": ("5m", ""),
    "isolation": ("worktree", ""),
    "review": ("always", ""),
    "plan": ("true", ""),
    "verify": ("[c]", ""),
    "locks": ("[a]", ""),
}


@pytest.mark.parametrize("key", BOUNDS)
def test_no_bound_of_a_task_becomes_a_word_to_its_agent(key):
    """Where a file is read as another program's, all that is not understood is the prompt."""

    def understood(value: str) -> requests.Request:
        raw = f"title: x\ndescription: Do it\ncreated: 2026-01-01\n{key}: {value}\n".encode()
        return requests.load("a.yaml", "a", raw, schemas.check)

    right, wrong = BOUNDS[key]
    found = understood(right)
    assert found.legacy is not None and found.task is not None and not found.problems
    field = {"max_cost_usd": "max_cost"}.get(key, key)
    assert getattr(found.task, field) != getattr(Task("a", "x"), field)
    assert right not in found.task.prompt
    if wrong:
        (problem,) = understood(wrong).errors
        assert (problem.line, problem.column) == (4, len(key) + 3)
    else:
        other = understood("Bob says so")
        kept = key == "timeout"  # others keep books with it
        assert other.task is not None and ("Bob says so" in other.task.prompt) is not kept


def test_an_import_keeps_what_a_task_may_do(project: Project):
    path = project.root / "a.yaml"
    path.write_text("prompt: x\nretires: 3\nhold: true\nsandbox: strict\n")
    project.run("import", str(path))
    made = (project.work / "held/a.yaml").read_text()
    assert "\nhold: true\n" in made and "\nsandbox: strict\n" in made
    path = path.rename(project.root / "b.yaml")
    path.write_text("prompt: x\nretires: 3\nsandbox: off\n")
    assert "b.yaml:3:10: error: 'off'" in project.run("import", str(path), code=4).stdout


def test_no_import_makes_a_task_of_what_the_inbox_refuses(project: Project):
    """With no key but ours it is no other program's file, and ran in another folder, or for ever."""
    project.config("agents:\n  r: {tool: shell, command: [env], env: {MINE: x}}\n")
    asked = [entry for entry in NEVER if not NEVER[entry].startswith("unknown key")]
    for number, entry in enumerate(asked):
        (project.root / f"n{number}.yaml").write_text(f"prompt: x\nagent: r\n{entry}\n")
    files = [f"n{number}.yaml" for number, _ in enumerate(asked)]
    said = project.run("import", *files, code=4).stdout
    for number, entry in enumerate(asked):
        (found,) = re.findall(rf"(?m)^n{number}\.yaml:3.*error: (.*)", said)
        assert re.search(NEVER[entry], found), found
    assert not list((project.work / "inbox").glob("n*"))
    (project.root / "other.yaml").write_text("title: x\ndescription: y\nstatus: open\ncwd: /srv\n")
    said = project.run("import", "other.yaml").stdout
    assert "cwd: /srv does not fit: it is kept as x-cwd" in said


WRONG_LATER = {
    "env: {MAKEFLAGS: x}": "a task may not set MAKEFLAGS",
    "tool: /bin/sh": "the tool '/bin/sh' is unknown",
    "agent: nobody": "unknown agent 'nobody'",
    "verify: [nothing]": "there is no check 'nothing'",
    "then: {agent: nobody}": "unknown agent 'nobody'",
}


def test_a_schedule_is_judged_by_what_it_makes(project: Project):
    """All was said to be well, and then an invalid file lay in the inbox, again and again."""
    project.config("agents:\n  r: {tool: shell, command: [env], env: {MINE: x}}\n")
    folder = project.work / "schedules"
    folder.mkdir(exist_ok=True)
    for number, entry in enumerate(WRONG_LATER):
        agent = "" if entry.startswith("agent") else "agent: r, "
        text = f"every: 1h\ntask: {{prompt: x, {agent}{entry}}}\n"
        (folder / f"s{number}.yaml").write_text(text)
    (folder / "good.yaml").write_text("every: 1h\ntask: {prompt: x, agent: r}\n")
    said = project.run("validate", "--format", "concise", code=4).stdout.splitlines()
    assert len(said) == len(WRONG_LATER)
    for line, (number, wrong) in zip(said, enumerate(WRONG_LATER.values()), strict=True):
        assert line.startswith(f"work/schedules/s{number}.yaml:2:") and wrong in line, line


BY_OPTION = {
    "--env=MAKEFLAGS=x": "a task may not set MAKEFLAGS",
    "--env=Npm_Config_script_shell=x": "a task may not set Npm_Config_script_shell",
    "--timeout=0s": "is not a duration above zero",
    "--retries=21": "must be at most 20",
    "--cwd=../x": "leads out of the project",
    "--cwd=work/asks": "has the state of tasks",
    "--context=/etc/passwd": "is an absolute path",
    "--artifact=../x": "leads out of the project",
    "--tool=/bin/sh": "is unknown",
    "--agent=shell": "runs no commands from task files",
    "--model=-x": "is not the name of a model",
    "--run=a/b": "is not an id",
}


def test_no_option_of_new_asks_for_more(project: Project):
    for option, why in BY_OPTION.items():
        assert why in project.run("new", "x", option, code=4).stderr, option
    assert not list((project.work / "inbox").glob("*.yaml"))


def test_no_reply_and_no_retry_asks_for_more(project: Project):
    """A reply is words, whatever it looks like; a file that is to run again is judged again."""
    project.config("agents:\n  r: {tool: shell, command: [env]}\n")
    project.drop("a.yaml", "agent: r\nprompt: x\n")
    project.run("watch", "--until-empty")
    project.drop("a.reply", "env: {MAKEFLAGS: x}\n", "done")
    project.run("watch", "--until-empty")
    assert "MAKEFLAGS" not in project.log("a", 2) and "ORCHESTRATOR_TASK_ID=a" in project.log(
        "a", 2
    )
    project.run("retry", "a")
    project.drop("a.yaml", "agent: r\nprompt: x\nenv: {MAKEFLAGS: x}\n")
    project.run("watch", "--until-empty", code=None)
    assert project.where("a") == "inbox" and project.log("a", 3) == ""
    assert "a task may not set MAKEFLAGS" in (project.work / "inbox/a.error.md").read_text()


def by_inbox(tube: Tube, body: str) -> None:
    tube.drop("a", f"{{{body}}}\n")


def by_run(tube: Tube, body: str) -> None:
    tube.drop("r", f"tasks: {{a: {{{body}}}}}\n")


def by_defaults(tube: Tube, body: str) -> None:
    tube.drop("r", f"defaults: {{{body.replace('prompt: x, ', '')}}}\ntasks: {{a: x}}\n")


def by_matrix(tube: Tube, body: str) -> None:
    where = body.partition("cwd: ")[2] or "."
    body = body.replace(f"cwd: {where}", "cwd: '{v}'")
    tube.drop("r", f"tasks: {{a: {{{body}, matrix: {{v: ['{where}']}}}}}}\n")


def by_template(tube: Tube, body: str) -> None:
    write(tube.layout.templates, "t", f"{{{body}}}\n")
    tube.drop("a", "use: t\n")


def by_value(tube: Tube, body: str) -> None:
    where = body.partition("cwd: ")[2] or "."
    body = body.replace(f"cwd: {where}", "cwd: '{v}'")
    write(tube.layout.templates, "t", f"{{params: {{v: {{default: lib}}}}, {body}}}\n")
    tube.drop("a", f"use: t\nwith: {{v: '{where}'}}\n")


def by_schedule(tube: Tube, body: str) -> None:
    write(tube.layout.schedules, "s", f"every: 1h\ntask: {{{body}}}\n")


def by_follow_up(tube: Tube, body: str) -> None:
    tube.drop("a", f"{{prompt: x, agent: ok, then: {{{body}}}}}\n")


def by_role(tube: Tube, body: str) -> None:
    tube.configure(f"  chained: {{tool: shell, command: [/bin/true], then: {{{body}}}}}\n")
    tube.drop("a", "{prompt: x, agent: chained}\n")


def by_contest(tube: Tube, body: str) -> None:
    tube.drop("a", f"{{{body.replace('agent: ok', 'compete: [ok, two]')}}}\n")


def write(folder: str, name: str, text: str) -> None:
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{name}.yaml", "w") as file:
        file.write(text)


DOORS = [
    by_inbox, by_run, by_defaults, by_matrix, by_template, by_value, by_schedule, by_follow_up,
    by_role, by_contest,
]  # fmt: skip
ASKED = [
    "env: {MAKEFLAGS: x}",
    "env: {Npm_Config_script_shell: x}",
    "timeout: 9000h",
    "cwd: ../x",
    "cwd: .git",
    "cwd: work/asks",
]


@pytest.mark.deep
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("door", DOORS)
def test_every_door_leads_past_the_same_rule(tmp_path, door, asked):
    """Whatever brings a task about, it becomes a task of the inbox, and is routed as one."""
    tube = Tube(tmp_path)
    door(tube, f"prompt: x, agent: ok, {asked}")
    tube.at(4000, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    causes = {"a"} if door in (by_follow_up, by_role) else set()
    orders = [order for order in tube.fake.dispatched if order.task_id not in causes]
    for order in orders:
        assert not {"MAKEFLAGS", "Npm_Config_script_shell"} & set(order.env)
        assert order.timeout <= 86400 and order.cwd.startswith(str(tmp_path))
        assert not order.cwd.startswith((f"{tmp_path}/.git", f"{tmp_path}/work"))
    begun = asked.startswith("timeout") and door is not by_contest  # that needs a repository
    assert bool(orders) == begun, tube.news[-4:]


@pytest.mark.deep
@pytest.mark.parametrize("door", [door for door in DOORS if door is not by_contest])
def test_no_door_gives_another_tool_what_a_role_was_trusted_with(tmp_path, door):
    tube = Tube(tmp_path)
    configure = tube.configure
    trusted = "  trusted: {tool: shell, command: [/bin/true], env: {ROLES: own}}\n"
    tube.configure = lambda more: configure(trusted + more)
    tube.configure("")
    write(f"{tube.layout.work}/tools", "other", "argv: [/bin/true]\nprompt: stdin\n")
    door(tube, "prompt: x, agent: trusted, tool: other")
    tube.at(4000, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    causes = {"a"} if door in (by_follow_up, by_role) else set()
    orders = [order for order in tube.fake.dispatched if order.task_id not in causes]
    assert orders, tube.news[-4:]
    for order in orders:
        assert "ROLES" not in order.env

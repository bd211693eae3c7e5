"""What show, logs, list and report say of a task, beside the cases of other files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Project, wait_until

from orchestrator.cli.screen import panefiles
from orchestrator.files import journals
from orchestrator.files.text import clean, last_states

FALLS = "import sys\nprint('401 unauthorized', file=sys.stderr)\nsys.exit(1)\n"


def tool(project, name: str, program: str, more: str = "") -> None:
    """A tool that runs a Python program."""
    script = project.root.parent / f"{name}.py"
    script.write_text(program)
    (project.work / "tools").mkdir(exist_ok=True)
    path = project.work / f"tools/{name}.yaml"
    path.write_text(f"argv: [python3, {script}]\nedits: false\n{more}")


def test_show_names_the_tool_that_acted(project):
    tool(project, "first", FALLS, "failures: [{class: auth, pattern: 401 unauthorized}]\n")
    tool(project, "second", "print('hi')\n")
    project.config("agents:\n  builder: {tool: [first, second]}\n")
    project.drop("a.yaml", "agent: builder\nprompt: x\n")
    project.run("watch", "--until-empty")
    shown = project.run("show", "a").stdout
    assert "agent     builder (second)" in shown and "in 2 attempts" in shown


def test_an_unknown_cost_is_not_zero():
    from orchestrator.cli.screen.task_page import _cost

    assert _cost({"cost_usd": 0.0, "cost_source": "unknown"}) == "unknown"
    assert _cost({"cost_usd": 0.4, "cost_source": "unknown"}) == "$0.40 in part unknown"
    assert _cost({"cost_usd": 0.0, "cost_source": "reported"}) == "$0.00 reported"


def test_what_all_attempts_changed(project):
    (project.root / "old").write_text("x\n")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "begin")):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(project.root))
        subprocess.run(["git", *who, *words], check=True, capture_output=True)
    tool(
        project,
        "edits",
        "import os, sys\nfirst = not os.path.exists('one')\n"
        "open('one' if first else 'two', 'w').write('x')\nsys.exit(first)\n",
        "parse: {text: '[0].text'}\n",
    )
    project.drop("a.yaml", "agent: edits\nprompt: x\nretries: 1\n")
    project.run("watch", "--until-empty")
    assert project.result("a")["files_changed"] == ["one", "two"]


def test_said_is_cut(project):
    tool(
        project,
        "talks",
        "import json\nprint(json.dumps({'done': 1, 'text': 'word ' * 2000}))\n",
        "parse: {done: '[?done]', text: '[0].text'}\n",
    )
    project.drop("a.yaml", "agent: talks\nprompt: x\n")
    project.run("watch", "--until-empty")
    said = next(
        line for line in project.run("show", "a").stdout.splitlines() if line.startswith("said")
    )
    assert len(said) < 450
    assert "word " * 1900 in project.run("show", "a", "--full").stdout


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("10%\r50%\rdone\nnext\r\n", "done\nnext\n"),
        ("Welcome\x1b[9Gto\x1b[12GClaude\n", "Welcome to Claude\n"),
        ("above\r\x1b[1B\x1b[2Cbelow\n", "above\nbelow\n"),
        ("a\x1b[31mb\x1b[0m\n", "ab\n"),
    ],
)
def test_progress_and_screens_become_lines(log, shown):
    assert clean(last_states(log)) == shown


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("\x1b[31ma\x1b[0m", "\x1b[31ma\x1b[0m"),
        ("\x1b[38;5;8ma\x1b[48;2;8;8;8mb\x1b[0m", "\x1b[38;5;8ma\x1b[48;2;8;8;8mb\x1b[0m"),
        ("a\x1b[8mb\x1b[0;08mc\x1b[38;5;1;8md\x1b[28m", "abcd\x1b[28m"),
    ],
)
def test_a_log_keeps_its_colours_and_hides_nothing(log, shown):
    assert clean(log, colour=True) == shown


def test_progress_in_logs(project):
    tool(project, "bar", "print('10%\\r50%\\rall of it')\n")
    project.drop("a.yaml", "agent: bar\nprompt: x\n")
    project.run("watch", "--until-empty")
    assert project.run("logs", "a").stdout == "all of it\n"
    assert '"all of it"' in project.run("logs", "a", "--json").stdout


def test_list_by_label(project):
    project.drop("a.yaml", "prompt: x\nlabels: [docs, urgent]\n")
    project.drop("b.yaml", "prompt: x\nlabels: [docs]\n")
    project.drop("c.yaml", "prompt: x\n")
    project.run("run", "b")

    def listed(*words: str) -> list[str]:
        return [line.split("\t")[0] for line in project.run("list", *words).stdout.splitlines()]

    assert listed("--label", "docs") == ["a", "b"]
    assert listed("-l", "docs", "-l", "urgent") == ["a"]
    assert listed("-l", "none") == []
    assert "there is no agent 'nosuch'" in project.run("list", "--agent", "nosuch", code=3).stderr


def test_init_makes_the_folder_for_tools(project):
    project.run("init")
    assert (project.work / "tools").is_dir()


@pytest.mark.parametrize("tool_name", ["claude", "qwen", "gemini", "pi", "copilot"])
def test_the_model_that_acted_is_read_from_the_stream(tool_name, tmp_path):
    from orchestrator.tools.output import read
    from orchestrator.tools.specs import load_tools

    recorded = next(Path(__file__).parent.glob(f"recorded/{tool_name}-write.jsonl"))
    (tmp_path / "stdout.log").write_bytes(recorded.read_bytes())
    parse = load_tools(None).tools[tool_name].parse
    assert parse is not None and read(parse, str(tmp_path)).model == "fake-1"


def test_the_model_is_in_result_and_report(project):
    program = "import json\nprint(json.dumps({'model': 'm-7', 'done': 1, 'n': 5}))\n"
    tool(project, "says", program, "parse: {model: '[0].model', done: '[?done]'}\n")
    project.drop("a.yaml", "agent: says\nprompt: x\n")
    project.run("watch", "--until-empty")
    assert project.result("a")["model"] == "m-7"
    assert project.run("report", "--by", "model").stdout.splitlines()[-1].startswith("m-7\t")


def test_a_retried_task_counts_once_in_reports(project):
    tool(
        project,
        "second-time",
        "import os, sys\nn = os.path.exists('n')\nopen('n', 'w')\nsys.exit(not n)\n",
    )
    project.drop("a.yaml", "agent: second-time\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    project.run("retry", "a")
    project.run("watch", "--until-empty")
    assert "1 done · 0 failed or cancelled · 100%" in project.run("report").stdout


def test_small_costs_are_not_nothing():
    from orchestrator.cli.screen.console import cost_each

    assert [cost_each(0.06, 12), cost_each(3, 2), cost_each(None, 1), cost_each(1, 10**6)] == [
        "$0.005",
        "$1.50",
        "",
        "<$0.0001",
    ]


def test_a_spent_budget_says_what_to_raise_and_where(project):
    """The row of what needs you is no key to be guessed: a verb, and the line of the file."""
    project.config(
        "agents:\n  spare: {tool: demo}\nbudgets:\n  day:\n    hard_usd: 0\n"
        "  agents:\n    spare: {hard_usd: 5, max_attempts_per_hour: 0}\n"
    )
    lines = (project.work / "orchestrator.yaml").read_text().splitlines()
    place = "work/orchestrator.yaml:{}".format
    day = place(1 + next(n for n, line in enumerate(lines) if "hard_usd: 0" in line))
    agent = place(1 + next(n for n, line in enumerate(lines) if "spare: {hard_usd" in line))
    project.drop("a.yaml", "agent: spare\nprompt: x\n")
    commands = [need["command"] for need in project.json("status")["needs"]]
    assert commands == [
        f"raise budgets.day.hard_usd in {day}",
        f"raise budgets.agents.spare.max_attempts_per_hour in {agent}",
    ]


def test_the_budget_of_a_run_names_what_limits_it():
    from orchestrator.model.budget import Budget, Budgets, Spent, closed

    spent = Spent("2026-01-01", runs={"a": 2.0, "b": 2.0})
    budgets = Budgets(run=Budget(hard=1.5))
    gates = closed(budgets, spent, {"a": 1.0, "b": None}, 0.0)
    assert [gate.hint for gate in gates.values()] == [
        "raise max_cost_usd in work/runs/a.yaml",
        "raise budgets.run.hard_usd in work/orchestrator.yaml",
    ]


def test_lines_of_one_moment_are_shown_as_they_were_written(project):
    """An attempt ends before its task, also where both end in the same millisecond."""
    names = ("attempt_started", "attempt_finished", "task_finished")
    lines = [
        json.dumps({"ts": "2026-01-01T00:00:00.000Z", "event_id": name, "event": name})
        for name in names
    ]
    (project.work / "events").mkdir(exist_ok=True)
    (project.work / "events/2026-01-01.a.jsonl").write_text("\n".join(lines) + "\n")
    for words in ([], ["--last", "2"], ["--since", "2026-01-01"]):
        shown = project.run("events", *words).stdout
        found = [name for line in shown.splitlines() for name in names if name in line]
        assert found == [name for name in names if name in shown] and len(found) >= 2


def test_a_schedule_says_where_the_keys_of_its_task_belong(project):
    (project.work / "schedules").mkdir(exist_ok=True)
    path = project.work / "schedules/night.yaml"
    path.write_text("every: 1d\nprompt: Tidy up\nagent: demo\ncolour: 3\n")
    said = project.run("validate", "night", code=4).stdout
    assert "write it below task: (task: {prompt: ...})" in said
    assert "write it below task: (task: {agent: ...})" in said
    assert said.count("your own keys start with x-") == said.count("known here: cron, every, ") == 1


def test_a_run_says_where_the_keys_of_all_its_tasks_belong(project):
    project.drop("r.yaml", "agent: demo\ntimeout: 5m\nneeds: [b]\ntasks: {a: Tidy up}\n")
    said = project.run("validate", "r", code=4).stdout
    assert "write it below defaults: (defaults: {agent: ...})" in said
    assert "write it below defaults: (defaults: {timeout: ...})" in said
    assert said.count("write it below") == 2


def test_what_was_held_by_hand_has_the_sign_of_what_is_held():
    from orchestrator.cli.screen.newslines import said
    from orchestrator.coordination.news import Moved

    lines = [said(Moved("a", word, "x"), None, None) for word in ("held", "released")]
    assert [(line.status, line.word) for line in lines] == [("held", "held"), ("note", "released")]


def test_no_hint_installs_what_another_project_is_called():
    """On a package index, `orchestrator` is not this program."""
    from orchestrator.errors import EXTRAS, adding

    root = Path(__file__).resolve().parent.parent
    for place in ("orchestrator", "docs", "README.md"):
        paths = [root / place] if place.endswith(".md") else (root / place).rglob("*.*")
        for path in paths:
            if path.suffix in (".py", ".md", ".1"):
                assert not re.search(r"install '?orchestrator\[", path.read_text()), path
    assert all(sys.executable in adding(name) for name in EXTRAS)


def test_doctor_looks_at_tasks_and_roles(project):
    project.config("agents:\n  builder: {tool: cluade}\nbudgets: {per_day_usd: 0.01}\n")
    project.drop("bad.yaml", "promt: x\n")
    project.drop("one.yaml", "prompt: x\nneeds: [two]\n")
    project.drop("two.yaml", "prompt: x\nneeds: [one]\n")
    told = project.run("doctor", code=1).stdout
    assert "1 file in inbox/ cannot run as written: bad.yaml 1:1 unknown key 'promt'" in told
    assert "these tasks wait for each other: one needs two needs one" in told
    assert "agent builder: there is no tool 'cluade'" in told


def test_a_lock_that_a_killed_git_left(project):
    subprocess.run(["git", "init", "-q", str(project.root)], check=True)
    lock = project.root / ".git/index.lock"
    lock.touch()
    assert "index.lock" not in project.run("doctor").stdout
    os.utime(lock, (1, 1))
    told = project.run("doctor", code=1).stdout
    assert ".git/index.lock is" in told and "if no git is running: rm" in told


def test_a_wrong_option_is_told_of_the_option(project):
    done = project.run("new", "x", "-t", "10 minutes", code=4)
    assert done.stderr.startswith("error: -t: '10 minutes' is not a duration\nhint:  write 10m")
    assert "task:2" not in done.stderr
    done = project.run("new", "x", "-a", "nosuch", code=4)
    assert "error: -a: unknown agent 'nosuch'" in done.stderr and "aider" not in done.stderr


def test_new_says_that_the_program_is_missing(project):
    said = project.run("new", "x", "-a", "claude").stderr
    assert "'claude' is not installed here" in said
    assert "installed" not in project.run("new", "x", "-a", "demo").stderr


def test_ids_stay_different_when_they_are_cut():
    from orchestrator.cli.screen.lines import name_room
    from orchestrator.files.text import fit_middle

    one, two = "2026-11-26T0637-review-retry-logic", "2026-11-26T0637-review-redirect"
    assert fit_middle(one, 20) == "2026-11-26…try-logic" and fit_middle(two, 20) != fit_middle(
        one, 20
    )
    assert fit_middle("short", 8) == "short   "
    assert name_room(one, "demo", 59) == len(one)  # the rest of the row is empty
    assert name_room(one, "x" * 80, 59) == 19


def test_moments_are_local_on_a_terminal_and_exact_in_a_pipe():
    from orchestrator.cli.screen.console import Console

    console, text = Console(), "not before 2099-01-01T00:00:00.000Z"
    console.tty = False
    assert console.local(text) == text
    console.tty = True
    assert console.local(text).startswith("not before 20") and "Z" not in console.local(text)


def test_in_a_pipe_the_column_of_time_is_a_moment(project, watch):
    """It was a duration for what runs and a moment for what has ended."""
    project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
    watch()
    project.settled("a", "done")
    project.drop("b.yaml", "agent: sh\nprompt: sleep 60\n")
    wait_until(lambda: project.where("b") == "running")
    wait_until(lambda: project.events("attempt_started", "b"))
    for verb in ("list", "status"):
        rows = [line.split("\t") for line in project.run(verb).stdout.splitlines()]
        found = {row[0]: row for row in rows if row[0] in ("a", "b") and len(row) > 3}
        assert "b" in found
        for row in found.values():
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", row[3]), row
    project.run("cancel", "b")


def test_what_costs_a_little_is_not_nothing():
    from orchestrator.cli.screen.console import cost

    assert [cost(usd) for usd in (None, 0.0, 0.0049, 0.005, 1.0)] == [
        "",
        "$0.00",
        "<$0.01",
        "$0.01",
        "$1.00",
    ]


def test_every_invalid_file_is_counted(project):
    """Without a watcher, too, which would have complained: what an unknown key makes invalid does not "wait"."""
    for number in range(31):
        project.drop(f"bad-{number}.yaml", "promt: hello\n")
    project.drop("good.yaml", "agent: 'true'\nprompt: x\n")
    for _ in range(2):
        counts = project.json("status")["counts"]
        assert (counts["invalid"], counts["waiting"]) == (31, 1)
        project.run("hold", "good")
        project.run("watch", "--until-empty", code=None)
        project.run("release", "good")


def test_a_verb_with_a_dash_is_an_unknown_one(project):
    done = project.run("no-such-verb", code=2)
    assert "no such command 'no-such-verb'" in done.stderr and "internal" not in done.stderr


def test_a_running_task_is_not_retried_on_paper_either(project, watch):
    """``-n`` says what the verb would say."""
    project.drop("t.yaml", "agent: sh\nprompt: sleep 60\n")
    watch()
    wait_until(lambda: project.where("t") == "running")
    told = [project.run("retry", "t", *more, code=1).stderr for more in ([], ["-n"])]
    assert told[0] == told[1] and "running" in told[0]
    project.run("cancel", "t")


def test_why_marks_with_a_check_only_what_is_so(project):
    """What to type next, the options of a question and how checks ended are no checks of ours."""
    project.drop("a.yaml", "prompt: x\n", "done")
    answer = project.json("why", "a")
    assert answer["notes"] == ["run it again: orchestrator retry a"] and not answer["passed"]
    assert "\n  run it again: orchestrator retry a\n" in project.run("why", "a").stdout


def test_validate_says_which_program_is_not_installed(project):
    project.drop("a.yaml", "prompt: x\nagent: claude\n")
    project.drop("b.yaml", "prompt: x\nagent: [claude, demo]\n")
    project.drop("r.yaml", "tasks:\n  one: {prompt: x, agent: codex}\n  two: x\n")
    said = project.run("validate", "--format", "concise").stdout.splitlines()
    assert [line.partition(" (")[0] for line in said] == [
        "work/inbox/a.yaml:2:8: warning: 'claude' is not installed here",
        "work/inbox/r.yaml:2:27: warning: 'codex' is not installed here",
    ]


def test_more_time_than_there_is_is_told_before_anything_runs(project):
    project.config("limits: {timeout: 1h}\n")
    project.drop("a.yaml", "prompt: x\ntimeout: 2h\n")
    project.drop("b.yaml", "prompt: x\ntimeout: 1h\n")
    project.drop("r.yaml", "defaults: {timeout: 1d}\ntasks: {one: {prompt: x}}\n")
    said = project.run("validate", "--format", "concise").stdout
    words = "warning: an attempt ends after 1h"
    assert [line.partition(" (")[0] for line in said.splitlines() if "warning" in line] == [
        f"work/inbox/a.yaml:2:10: {words}",
        f"work/inbox/r.yaml:1:21: {words}",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_what_to_do(project):
    project.drop("a b.yaml", "prompt: x\n")
    (project.work / "inbox/a b.yaml").chmod(0)
    said = project.run("validate", code=4).stdout
    assert "it cannot be read: permission denied" in said
    assert "chmod u+r 'work/inbox/a b.yaml'" in said


def test_settings_that_stop_every_watcher_need_you_without_one(project):
    """`status` said that a watcher should be started, and nothing of why none would."""
    project.drop("a.yaml", "agent: demo\nprompt: x\n")
    project.config("limits: {runing: 3}\n")
    (need,) = project.json("review")["needs"]
    assert (need["id"], need["kind"]) == ("settings", "invalid") and "'runing'" in need["why"]
    assert need["command"] == "validate work/orchestrator.yaml"
    assert "settings" in project.run("status").stdout
    assert project.run("status", "-s").stdout.strip() == "0▶ 1· 1? !"
    assert "unknown key 'runing'" in project.run(*need["command"].split(), code=4).stdout
    project.config("limits: {running: 3}\n")
    assert not project.json("review")["needs"]


def written(project: Project, made: dict[str, str]) -> None:
    """Files of ours, by their paths below work/."""
    for path, text in made.items():
        (project.work / path).parent.mkdir(parents=True, exist_ok=True)
        (project.work / path).write_text(text)


def test_validate_knows_every_file_of_ours_by_its_name(project):
    made = {
        "schedules/nightly.yaml": "every: 1s\ntask: {prompt: x}\n",
        "schedules/held/weekly.yaml": "every: 1s\ntask: {prompt: x}\n",
        "templates/review.yaml": "promt: x\n",
        "agents/builder.md": "---\ntol: demo\n---\nBuild.\n",
        "tools/mine.yaml": "argv: 3\n",
    }
    written(project, made)
    project.drop("nightly-20260101T0000Z.yaml", "promt: x\n")
    for path in made:
        name = path.rpartition("/")[2].partition(".")[0]
        done = project.run("validate", name, "--format", "concise", code=None)
        assert done.stdout.startswith(f"work/{path}:"), name
    project.drop("nightly.yaml", "prompt: x\n")  # a task of that very name is what is meant
    assert project.run("validate", "nightly").stdout == ""
    assert "'n' fits 2 tasks" in project.run("validate", "n", code=3).stderr
    assert "has this name either" in project.run("validate", "zzz", code=3).stderr


def test_validate_counts_every_file_that_it_judged(project):
    """It counted those of the inbox alone, and of named ones not orchestrator.yaml."""
    made = {
        "schedules/nightly.yaml": "every: 1h\ntask: {prompt: x}\n",
        "schedules/held/weekly.yaml": "every: 1s\ntask: {prompt: x}\n",
        "templates/review.yaml": "prompt: x\n",
        "agents/builder.md": "---\ntool: demo\n---\nBuild.\n",
        "tools/mine.yaml": "argv: [date]\n",
        "held/later.yaml": "prompt: x\n",
        "orchestrator.yaml": "defaults: {agent: demo}\nbudgets: {day: {soft_usd: 2, hard_usd: 1}}\nlimits: {runing: 3}\n",
    }
    written(project, made)
    project.drop("bad.yaml", "promt: x\n")
    assert "4 problems in 3 of 8 files." in project.run("validate", code=4).stdout
    named = project.run("validate", "mine", "later", code=4).stdout
    assert "1 problem in 1 of 3 files." in named


def test_what_an_id_is_called_where_a_task_has_no_file(project):
    """It said that the file's name is the id, of what is in no file of its own."""
    project.drop("a.yaml", "prompt: x\nthen:\n  - {id: b, prompt: y}\n")
    project.drop("c.yaml", "id: c\nprompt: x\n")
    project.drop("r.yaml", "tasks:\n  one: {id: x, prompt: y}\n")
    told = project.run("validate", code=4).stdout
    assert "its title, agent or template names it (TASK.TITLE): remove this line" in told
    assert "the file's name is the id: remove this line" in told
    assert "the key above is the id: remove this line" in told


def test_the_next_step_names_a_watcher_where_none_takes_what_waits(project):
    project.drop("bad.yaml", "promt: x\n")
    assert "orchestrator watch" not in project.run().stdout  # it would start nothing
    project.drop("a.yaml", "agent: demo\nprompt: x\n")
    steps = project.run().stdout.partition("next: ")[2]
    assert "orchestrator review" in steps and "orchestrator watch" in steps


def test_a_cancel_that_waits_for_nothing_says_what_it_did(project, watch):
    project.config("agents: {sh: {tool: shell, command: [sh]}}\n")
    project.drop("t.yaml", "agent: sh\nprompt: sleep 60\n")
    watch()
    wait_until(lambda: project.where("t") == "running")
    assert project.run("cancel", "t", "--no-wait").stdout == "asked to stop\tt\n"


def test_the_line_of_an_end_says_what_all_attempts_have_cost(project):
    """The cost of the last of six attempts was the only figure."""
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/dear.yaml").write_text(
        "argv: [sh, -c, 'echo ''{\"cost\": 0.25}''; exit 1']\nparse: {usage: {cost: \"[0].cost\"}}\n"
    )
    project.drop("t.yaml", "agent: dear\nretries: 1\nprompt: x\n")
    project.config("retry: {delay: 10ms}\n")
    told = project.run("watch", "--until-empty", code=1).stdout
    assert "cost_usd=0.2500 total_usd=0.5000" in told


def test_a_rejected_task_says_so_and_stays_rejected_in_the_archive(project):
    """`why` named the size of its change as the reason, and in the archive it counted as done for who needed it."""
    project.drop("a.yaml", "agent: demo\nreview: always\nprompt: x\n")
    project.run("watch", "--until-empty", code=None)
    project.run("reject", "a", "not like this")
    assert (
        "it has ended: failed (rejected by a person: not like this)"
        in project.run("why", "a").stdout
    )
    assert "rejected by a person: not like this" in project.run("show", "a").stdout
    project.drop("f.yaml", "agent: demo\nprompt: |\n  demo: exit 3\n")
    project.run("watch", "--until-empty", code=None)
    project.run("reject", "f", "never mind")  # a failure that is taken note of
    for verb in ("why", "show"):
        told = project.run(verb, "f").stdout
        assert "rejected by a person" not in told and "exit 3" in told
    project.drop("b.yaml", "agent: demo\nneeds: [a]\nprompt: x\n")
    before = project.run("why", "b").stdout
    project.run("archive", "a")
    assert project.run("why", "b").stdout == before and "which is failed" in before
    assert project.json("list", "--last", "0")["tasks"][-1]["status"] == "failed"
    project.run("watch", "--until-empty", code=None)
    assert project.where("b") == "inbox"


def test_a_reason_of_one_word_is_given_as_one(project):
    project.drop("a.yaml", "agent: demo\nprompt: x\nhold: true\n")
    assert "--reason WORD" in project.run("reject", "a", "later", code=None).stderr
    both = project.run("reject", "a", "not now", "--reason", "later", code=2)
    assert "one reason" in both.stderr and project.where("a") == "inbox"
    project.run("reject", "a", "--reason", "later")
    assert project.where("a") == "cancelled"
    assert (
        "a is cancelled, not review, waiting or held"
        in project.run("reject", "a", code=None).stderr
    )


def test_nobody_knows_how_long_a_lost_attempt_worked(project, watch):
    """Its line said 0ms."""
    project.config("agents: {sh: {tool: shell, command: [sh]}}\n")
    project.drop("t.yaml", "agent: sh\nprompt: sleep 60\n")
    watcher = watch()
    wait_until(lambda: project.events("attempt_started", "t"), "it runs")
    attempt = journals.of(project.layout, "t").attempt
    os.kill(attempt.started["supervisor"], signal.SIGKILL)
    wait_until(lambda: "the attempt was lost" in watcher.text(), "it is told")
    line = next(line for line in watcher.text().splitlines() if "the attempt was lost" in line)
    assert "duration" not in line and "0ms" not in line


def test_the_demo_takes_each_time_and_says_what_it_does_not_understand(project):
    text = "x\n  demo: work 20ms\n  demo: work 1m\n  demo: work 2 hours\n  demo: dance\n"
    project.drop("a.yaml", f"agent: demo\ntimeout: 1s\nprompt: |\n  {text}")
    project.drop("b.yaml", f"agent: demo\nprompt: |\n  {text.replace('1m', '0m1ms')}")
    project.run("watch", "--until-empty", code=1)
    assert project.where("a") == "failed" and project.where("b") == "done"
    said = [line for line in project.log("b").splitlines() if "understand" in line]
    assert said == [f"I do not understand this: demo: {what}" for what in ("work 2 hours", "dance")]


def test_a_task_with_several_files_is_told_of(project):
    """`list` showed one of them, `status` another, and nobody a word."""
    project.run("new", "x", "--id", "t")
    project.run("watch", "--until-empty")
    shutil.copy(project.work / "done/t.yaml", project.work / "failed/t.yaml")
    for words in (
        ("show", "t"),
        ("why", "t"),
        ("list", "t"),
        ("list", "t", "--json"),
        ("show", "t", "--json"),
    ):
        told = project.run(*words).stderr
        assert "note: t has several files: done/t.yaml, failed/t.yaml" in told, words
    (project.work / "failed/t.yaml").unlink()
    assert not project.run("list", "t").stderr


def test_wrong_settings_are_checked_by_one_verb(project, watch):
    """With a watcher it was `doctor`, without one `validate`."""
    project.drop("t.yaml", "agent: none\nprompt: x\n")

    def command() -> str:
        needs = project.json("review")["needs"]
        return next((need["command"] for need in needs if need["id"] == "settings"), "")

    good = "agents: {sh: {tool: shell, command: [sh]}}\n"
    project.config(good)
    watcher = watch()
    project.config(good + "agnets: {}\n")
    wait_until(lambda: "unknown key 'agnets'" in watcher.text(), "the fault")
    wait_until(command, "what needs a person")
    assert command() == "validate work/orchestrator.yaml"
    watcher.send(signal.SIGTERM)
    watcher.wait()
    assert command() == "validate work/orchestrator.yaml"


def test_the_pane_says_where_what_has_ended_is(project):
    """A task that was approved stood there as one to review, as its attempt had left it."""
    project.drop("a.yaml", "agent: sh\nprompt: exit 1\n")
    project.run("watch", "--until-empty", code=1)
    (row,) = panefiles.look(project.layout, time.time()).ended
    assert (row.sign, row.word) == ("failed", "failed")
    os.rename(project.work / "failed/a.yaml", project.work / "done/a.yaml")
    (row,) = panefiles.look(project.layout, time.time()).ended
    assert (row.sign, row.word) == ("done", "done")


def test_wrong_settings_are_told_once_and_with_what_was_meant(project):
    project.config('checks: {t: {run: ["true"]}}\n')
    told = project.run("validate", "work/orchestrator.yaml", code=4).stdout
    assert "unknown key 'run'" in told and "did you mean 'command'?" in told
    rows = [
        line for line in project.run("doctor", code=None).stdout.splitlines() if "'command'" in line
    ]
    assert len(rows) == 1 and "config" in rows[0]

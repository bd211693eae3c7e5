"""The pane: a footer of whatever size, and what a real tmux shows of it while the terminal changes under it."""

from __future__ import annotations

import io
import os
import pty
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, wait_until
from test_terminal import Pane
from transcripts import normal

from orchestrator.cli.screen.console import Console
from orchestrator.cli.screen.footer import Doing, Row, View, badge, footer, targets
from orchestrator.cli.screen.hand import Act, Hand, Key, press
from orchestrator.cli.screen.lines import told
from orchestrator.cli.screen.newslines import with_work
from orchestrator.cli.screen.printer import Printer
from orchestrator.files.text import clean, width
from orchestrator.model.isolation import Change, CheckResult
from orchestrator.queries.needs import Need

GOLDEN = ROOT / "tests/golden/screens"
PROGRAM = f"{shlex.quote(sys.executable)} -m orchestrator"
in_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="there is no tmux here")


class Screen(io.TextIOWrapper):
    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding)

    def isatty(self) -> bool:
        return True


BUSY = View(
    [
        Doing(
            "write-changelog",
            "gemini",
            154,
            600,
            0.2,
            48_100,
            "Running pytest -q tests/test_retry.py",
            "pro",
            "release-0.2 2/4",
        ),
        Doing(
            "add-schema-tests",
            "claude",
            36,
            900,
            0.76,
            1_900_000,
            'Search "backoff"',
            "opus",
            "",
            2,
        ),
        Doing(
            "日本語-docs-translate",
            "opencode",
            55,
            900,
            0.64,
            900,
            "Edit docs/ja.md (+12 -3) 日本語日本語日本語日本語日本語日本語日本語",
            "opus",
        ),
        Doing("later", "claude", line="attempt 2 in 30s", sign="retrying"),
    ],
    4,
    (("waiting", 2), ("review", 1), ("done", 39), ("failed", 1), ("invalid", 1)),
    ("codex held until 14:00:00",),
    5.81,
    20.0,
    1_900_000,
    4324,
)
NEEDS = (
    Need(
        "migrate-db",
        "asks",
        "Drop column users.nick? 1 yes 2 no 3 rename",
        "reply migrate-db",
        2e9 - 40,
        question="Drop column users.nick?\n1. yes\n2. no\n3. rename",
        verbs=("reply", "reject", "show"),
    ),
    Need(
        "fix-login",
        "review",
        "+12 -3 in 2 files · tests ✓ · $0.85",
        "diff fix-login",
        2e9 - 120,
        "Keep the query on redirect",
        "Redirects now keep the query string. The legacy /old route is as it was.",
        branch="task/fix-login",
        verbs=("diff", "show", "approve", "reject", "reply", "retry"),
    ),
    Need(
        "review-retry",
        "failed",
        "tests ✗ test_backoff",
        "show review-retry",
        2e9 - 240,
        verbs=("show", "reply", "retry", "reject"),
    ),
)
TYPING = Hand("needs", "migrate-db", "type", "reply migrate-db", "2", Act(("reply", "migrate-db")))


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 250])
@pytest.mark.parametrize("rows", [3, 8, 12, 24, 60])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_fits_any_terminal(columns, rows, encoding):
    """Never wider than the terminal, never more than half of it, never a sign that the terminal does not have."""
    console = Console("never", stream=Screen(encoding))
    for count in (0, 1, 4, 50):
        view = View(
            (*BUSY.doing, *BUSY.doing * 20)[:count],
            50,
            BUSY.counts,
            BUSY.notes,
            5.81,
            None,
            10,
            100.0,
        )
        for needs, hand in ((NEEDS, None), (NEEDS * 9, Hand()), ((), Hand()), (NEEDS, TYPING)):
            drawn = footer(replace(view, needs=needs, now=2e9), console, columns, rows, hand)
            assert 1 <= len(drawn) <= max(1, rows // 2)
            assert all(width(row) < max(columns, 12) for row in drawn)
            if encoding == "ascii":
                assert all(re.sub("[日本語·✓✗]", "", row).isascii() for row in drawn)


def test_colours_take_no_room():
    plain = footer(BUSY, Console("never", stream=Screen()), 120, 30)
    coloured = footer(BUSY, Console("always", stream=Screen()), 120, 30)
    assert tuple(map(clean, coloured)) == plain and coloured != plain


def test_what_it_says_of_trouble():
    console = Console("never", stream=Screen())
    fault = footer(View((), 4, BUSY.counts, fault="No space left on device"), console, 80, 24)
    assert "FAULT No space left on device: nothing new starts until this is over" in fault[0]
    draining = footer(View(BUSY.doing, 4, BUSY.counts, draining=True), console, 80, 24)
    assert "DRAINING 3 running, no new tasks; Ctrl-C interrupts them" in draining[0]
    assert "FAULT" in footer(View((), 4, BUSY.counts, fault="x"), console, 80, 6)[0]
    held = footer(View((), 0, BUSY.counts), console, 80, 24)
    assert "HELD 0 running, nothing new starts" in held[0]
    assert badge(BUSY, console) == "orch 4▶ 2· 1✗"  # the signs of `status --short`
    assert badge(replace(BUSY, needs=NEEDS, fault="full"), console) == "orch 4▶ 2· 1✗ 3? !"
    assert badge(View(), console) == "orch 0▶ 0·"


def test_golden_footers():
    """The same moment at several sizes, as it is meant to look."""
    drawn = "\n".join(
        f"{columns}x{rows} {encoding}\n"
        + "\n".join(footer(BUSY, Console("never", stream=Screen(encoding)), columns, rows))
        for columns, rows, encoding in (
            (60, 8, "utf-8"),
            (60, 12, "utf-8"),
            (80, 24, "utf-8"),
            (80, 24, "ascii"),
            (120, 30, "utf-8"),
            (200, 50, "utf-8"),
        )
    )
    compare(GOLDEN / "footers.txt", drawn)


def test_golden_screens_under_a_hand():
    """What needs you, what runs, and what the keys do, at the two sizes of the design; then a question, a reply, the keys."""
    console = Console("never", stream=Screen())
    waiting = (Row("bump-deps", "waiting", "waiting", "after add-schema-tests"),)
    view = replace(BUSY, needs=NEEDS, waiting=waiting, doing=BUSY.doing[:2], now=2e9)
    there = targets(view)
    asked, _ = press(Hand("running", "add-schema-tests"), Key("c", "c"), there, 0.0)
    merging, _ = press(Hand("needs", "fix-login"), Key("a", "a"), there, 0.0)
    replying, _ = press(Hand("needs", "migrate-db"), Key("r", "r"), there, 0.0)
    keys, _ = press(Hand("needs", "fix-login"), Key("?", "?"), there, 0.0)
    in_waiting = Hand("waiting", "bump-deps")
    drawn = []
    for columns, rows, name, hand in (
        (80, 24, "at first", Hand()),
        (120, 30, "a selection", Hand("needs", "fix-login")),
        (80, 24, "no keys", None),
        (80, 24, "cancel", asked),
        (120, 30, "merge", merging),
        (80, 24, "reply", replying),
        (80, 24, "keys", keys),
        (80, 24, "what waits", in_waiting),
        (80, 9, "few rows", Hand()),
        (80, 9, "few rows, a question", asked),
        (50, 24, "few columns", Hand()),
    ):
        drawn += [f"{columns}x{rows} {name}", *footer(view, console, columns, rows, hand)]
    compare(GOLDEN / "hands.txt", "\n".join(drawn))


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 160])
def test_no_table_is_wider_than_the_terminal(columns, monkeypatch):
    """A long id pushed the other columns over the edge, where the terminal broke them inside a word."""
    monkeypatch.setenv("COLUMNS", str(columns))
    chance = random.Random(columns)
    ids = ["2026-11-27T0948-explain-the-readme", "日本語" * 9, "oops", "a" * 120]
    for _ in range(30):
        console = Console("never", stream=Screen())
        rows = [
            [f"✗ {name}", "invalid", "why it is so " * chance.randrange(5), "2m", f"show {name}"]
            for name in chance.sample(ids, 3)
        ]
        console.table(rows, "  ")
        console.table(rows, "  ", commands=True)
        lines = printed(console).splitlines()
        commands = {f"show {name}" for name in ids}
        assert all(width(line) <= columns or line.strip() in commands for line in lines)
        assert all(any(line.endswith(row[4]) for line in lines[3:]) for row in rows)
        assert all(row[0][2:4] in line[2:6] for row, line in zip(rows, lines, strict=False))


def printed(console: Console) -> str:
    console.stream.flush()
    return console.stream.buffer.getvalue().decode()


def test_a_task_that_asks_has_lent_its_slot():
    """Three attempts in two slots are no contradiction: one of them waits for a person."""
    doing = [Doing("a", "x"), Doing("b", "x"), Doing("c", "x", line="asks you: Which?", lent=True)]
    for rows in (24, 3):
        lines = footer(View(doing, 2), Console("never", stream=Screen()), 80, rows)
        assert "running 2 of 2" in clean("\n".join(lines))


def test_what_a_person_must_act_on_is_told_whole():
    hint = "3:1 unknown key 'promt' - did you mean 'prompt'?"
    assert told(hint, 39, 59, "…") == ["3:1 unknown key 'promt' - did you mean", "'prompt'?"]
    assert told(hint, 22, 39, "…") == ["3:1 unknown key", "'promt' - did you mean 'prompt'?"]
    assert told(hint, 60, 60, "…") == [hint]
    long = told("word " * 100, 20, 39, "…")
    assert len(long) == 4 and long[-1].endswith("…")
    assert len(long[0]) <= 20 and all(len(line) <= 39 for line in long)
    assert told("w" * 50, 20, 39, "…") == ["w" * 19 + "…"]


def test_a_line_of_an_end_says_nothing_twice():
    """Neither the figures of a change nor a check that its reason names."""
    change = Change(branch="task/x", insertions=12, deletions=1, files=("a.py",), commits=1)
    green, red = CheckResult("tests", True), CheckResult("lint", False)
    text, facts = with_work("3s  +12 -1 in 1 file on task/x", {}, change, [green])
    assert text == "3s  +12 -1 in 1 file on task/x · tests ✓"
    assert facts == {"change": "+12 -1", "checks": "passed"}
    text, facts = with_work("3s  not proven: lint: exit code 1", {}, change, [green, red])
    assert text == "3s  not proven: lint: exit code 1 · +12 -1 · tests ✓"
    assert facts == {"change": "+12 -1", "checks": "failed: lint"}
    assert with_work("3s", {}, change, [red])[0] == "3s · +12 -1 · lint ✗"


def compare(path: Path, text: str, form=str) -> None:
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert [form(line) for line in path.read_text().splitlines()] == [
        form(line) for line in text.splitlines()
    ]


# -- in a real tmux ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pane(project):
    made = Pane(project.root.parent, project.env)
    yield made
    made.close()


def start(pane: Pane, columns: int, rows: int, words: str = "", env: str = "") -> None:
    pane.tmux("resize-window", "-t", pane.pane, "-x", str(columns), "-y", str(rows))
    pane.line(f"clear; exec env -u COLUMNS {env} {PROGRAM} watch {words}")
    wait_until(lambda: "slot" in pane.screen(), "it watches")


def history(pane: Pane) -> list[str]:
    """Everything that was ever shown, wrapped lines joined."""
    return [
        line.rstrip()
        for line in pane.tmux("capture-pane", "-p", "-J", "-S", "-5000", "-t", pane.pane).split(
            "\n"
        )
    ]


def hold(project, name: str, first: str = "begun") -> Path:
    """A task that prints something and runs until a file appears."""
    go = project.root / f"go-{name}"
    project.drop(
        f"{name}.yaml",
        f"agent: sh\nprompt: |\n  echo {first}; while ! test -e {go}; do sleep 0.02; done\n",
    )
    wait_until(lambda: project.log(name), f"{name} runs")
    return go


@in_tmux
def test_the_row_of_a_task_names_the_check_that_runs(project, pane):
    """The pane said `starting`, and `status` what the agent had printed last."""
    go = project.root / "go"
    wait = f"while ! test -e {go}; do sleep 0.02; done"
    project.config(
        f"agents: {{sh: {{tool: shell, command: [sh], verify: [tests]}}}}\n"
        f"checks: {{tests: {{command: [sh, -c, '{wait}']}}}}\n"
    )
    project.drop("fix.yaml", "agent: sh\nprompt: echo fixed\n")
    start(pane, 80, 24)
    pane.until("check tests")
    (row,) = project.json("status")["running"]
    assert row["detail"] == "check tests"
    go.touch()
    project.settled("fix", "done")


SIZES = [(60, 8), (60, 20), (80, 24), (120, 30), (200, 50)]


@in_tmux
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_golden_screens(project, pane, size):
    """One moment of a real watcher, as tmux shows it."""
    project.config("agents: {sh: {tool: shell, command: [sh]}}\nlimits: {running: 3}\n")
    start(pane, *size)
    project.drop("oops.yaml", "promt: Say hello\n")
    pane.until("invalid")
    project.drop("bump-actions.yaml", "agent: sh\nprompt: exit 3\n")
    project.settled("bump-actions", "failed")
    go = [
        hold(project, name, first)
        for name, first in (
            ("review-retry", "Reading src/retry.py"),
            ("日本語-docs", "Edit docs/ja.md"),
            ("add-schema-tests", "pytest -q"),
        )
    ]
    project.drop("waits.yaml", "agent: sh\nprompt: 'true'\n")
    wait_until(lambda: "waiting 1" in pane.screen(), "the footer tells of it")
    wait_until(lambda: size[1] < 20 or "pytest -q" in pane.screen(), "the last task's line")
    wait_until(lambda: "needs you 2" in pane.screen(), "both that need a person")
    compare(GOLDEN / f"watch-{size[0]}x{size[1]}.txt", pane.screen().rstrip("\n"), seconds)
    for path in go:
        path.touch()


def seconds(line: str) -> str:
    """A line without its times; how much of the end of a failed one is seen depends on how long its time is."""
    line = re.sub(r"( exit 3).*", r"\1", line)
    return re.sub(r"─+$", "─", normal(re.sub(r"\b\d+s(/\d+m)?\b", r"<s>\1", line)))


@in_tmux
def test_no_ghosts_and_no_lost_lines_however_it_is_resized(project, pane):
    """Tasks come and go while the terminal takes on sizes at random: every line is in the history once, the footer never is."""
    start(pane, 100, 30, "--no-keys", env="TERM=xterm-256color")
    chance = random.Random(20)
    go = [hold(project, f"long-{number}", "Reading") for number in range(2)]
    for number in range(24):
        project.drop(f"t{number:02}.yaml", "agent: 'true'\nprompt: x\n")
        # At first faster than tmux tells of it, then from one extreme to the other.
        rows = chance.randrange(20, 60) if number < 12 else (8, 60)[number % 2]
        pane.tmux(
            "resize-window", "-t", pane.pane, "-x", str(chance.randrange(60, 250)), "-y", str(rows)
        )
        if number >= 12:
            wait_until(lambda rows=rows: fits(pane, rows), "the footer is drawn for this size")
        if number % 5 == 0:
            pane.key("Enter", "x")  # typed keys are not shown and move nothing
        project.settled(f"t{number:02}", "done")
    pane.tmux("resize-window", "-t", pane.pane, "-x", "120", "-y", "40")
    wait_until(lambda: "done 24" in pane.screen(), "the footer has settled")
    lines = history(pane)
    for number in range(24):
        assert sum(f"done      t{number:02} " in line for line in lines) == 1, (
            number,
            "\n".join(lines),
        )
    assert sum("── running" in line for line in lines) == 1, "\n".join(lines)
    assert (
        sum("waiting 0" in line for line in lines) == 1
        and sum("▶ long-0" in line for line in lines) == 1
    )
    assert not any(line in ("x", "^M") for line in lines)
    for path in go:
        path.touch()


def fits(pane: Pane, rows: int) -> bool:
    """Whether the footer has the form it has on a terminal with so many rows."""
    shown = pane.screen()
    return (
        "waiting 0" in shown
        and ("── running 2 of 4" in shown) == (rows >= 10)
        and shown.rstrip().count("\n") < rows
    )


@in_tmux
def test_copy_mode_and_its_search_work(project, pane):
    """Nothing but lines: what has scrolled away is found again, while the footer goes on."""
    start(pane, 80, 12)
    for number in range(30):
        project.drop(f"find-me-{number:02}.yaml", "agent: 'true'\nprompt: x\n")
    wait_until(lambda: "done 30" in pane.screen(), "all are done")
    pane.tmux("copy-mode", "-t", pane.pane)
    pane.tmux("send-keys", "-t", pane.pane, "-X", "search-backward", "find-me-03")
    assert "find-me-03" in pane.tmux(
        "display-message", "-p", "-t", pane.pane, "#{copy_cursor_line}"
    )
    pane.tmux("send-keys", "-t", pane.pane, "-X", "cancel")


@in_tmux
def test_the_terminal_is_given_back_as_it_was(project, pane):
    """Title, echo and screen after the end; while it runs the title is a badge, which can be turned off."""
    title = pane.tmux("display-message", "-p", "-t", pane.pane, "#{pane_title}").strip()
    pane.line(f"{PROGRAM} watch; stty -a | grep -o '.echo '")
    wait_until(
        lambda: (
            "orch 0▶ 0·" in pane.tmux("display-message", "-p", "-t", pane.pane, "#{pane_title}")
        ),
        "the title",
    )
    pane.key("C-c")
    pane.until("stopped: 0 done")
    pane.until("\n echo")
    assert "up <1m" not in pane.screen()
    assert "orch" not in pane.tmux(
        "display-message", "-p", "-t", pane.pane, "#{pane_title}"
    ) or title.startswith("orch")


@in_tmux
def test_keys_decide_in_a_real_terminal(project, pane):
    """Select, ask, cancel, look at it in the same terminal, reply; then the shell has its terminal back as it was."""
    project.config("agents: {sh: {tool: shell, command: [sh]}}\n")
    pane.line(
        f"clear; env -u COLUMNS -u TMUX {PROGRAM} watch; stty -a | grep -o '.icanon'; stty -a | grep -o '.echo '"
    )
    wait_until(lambda: "slot" in pane.screen(), "it watches")
    hold(project, "long", "Reading")
    project.drop("bad.yaml", "agent: sh\nprompt: exit 3\n")
    wait_until(lambda: "needs you 1" in pane.screen(), "the failure needs a person")
    assert "> ✗ bad" in pane.screen() and "t retry" in pane.screen()
    pane.key("j")
    wait_until(lambda: "> ▶ long" in pane.screen(), "the next row is selected")
    pane.type("cy")  # typed ahead of the question: no answer
    wait_until(lambda: "cancel long, running" in pane.screen(), "it asks")
    assert project.where("long") == "running"
    pane.key("n")
    wait_until(lambda: "y/N" not in pane.screen(), "no")
    pane.key("c")
    wait_until(lambda: "cancel long, running" in pane.screen(), "it asks again")
    pane.key("y")
    project.settled("long", "cancelled")
    wait_until(lambda: "you       cancelled long" in pane.screen(), "the act leaves a line")
    pane.key("Escape", "k")
    wait_until(lambda: "> ✗ bad" in pane.screen(), "the first row is selected again")
    pane.key("Enter")
    pane.until("[any key goes back]")
    assert "reason    exit 3" in pane.screen()
    pane.key("C-c")  # its, not the watcher's
    wait_until(lambda: "> ✗ bad" in pane.screen().split("goes back]")[-1], "the pane is back")
    assert "DRAINING" not in pane.screen()
    pane.key("r")
    wait_until(lambda: "reply bad: _" in pane.screen(), "a line to type in")
    pane.type("once more")
    pane.key("Enter")
    wait_until(lambda: len(project.events("attempt_started", "bad")) == 2, "a further attempt")
    pane.key("q")
    pane.until("stopped: ")
    pane.until("\n icanon")
    pane.until("\n echo")
    assert "long" not in pane.screen().split("stopped: ")[-1]


SLOW_DISK = """
import sys, time
def slow(event, args):
    if event in ("open", "os.listdir", "os.scandir") and "/.state/quota" in str(args[0]):
        time.sleep(5)
sys.addaudithook(slow)
from orchestrator.cli.main import main
main(sys.argv[1:])
"""


@in_tmux
def test_no_key_waits_for_a_disk(project, pane):
    """What the footer shows was read in the thread that draws it: a slow disk held back the echo of keys."""
    for name in "ab":
        project.drop(f"{name}.yaml", "promt: x\n")
    script = project.root.parent / "slow.py"
    script.write_text(SLOW_DISK)
    pane.line(f"clear; env -u COLUMNS -u TMUX {project.python} {script} watch")
    wait_until(lambda: "needs you 2" in pane.screen(), "it watches")
    took = []

    def selected() -> str:
        return "".join(re.findall(r"^> ! (\w+)", pane.screen(), re.MULTILINE))

    wait_until(selected, "a row is selected")
    for key in "jkjk":
        before, began = selected(), time.monotonic()
        pane.key(key)
        wait_until(lambda before=before: selected() not in ("", before), "the selection moves")
        took.append(time.monotonic() - began)
    assert max(took) < 4, took  # it was 5 and more


@in_tmux
def test_what_opens_below_begins_at_its_beginning(project, pane):
    """In a split of tmux: copy mode at the top if it is longer than the split; q leaves that, any key the split."""
    project.config("agents: {sh: {tool: shell, command: [sh]}}\n")
    start(pane, 60, 14)
    wait_until(lambda: "slot" in pane.screen(), "it watches")
    project.drop("bad.yaml", "agent: sh\nprompt: exit 3\n")
    wait_until(lambda: "> ✗ bad" in pane.screen(), "the failure needs a person")
    pane.key("Enter")

    def below() -> list[str]:
        form = "#{pane_id} #{pane_in_mode} #{scroll_position} #{history_size}"
        found = [line.split() for line in pane.tmux("list-panes", "-F", form).splitlines()]
        return next((item for item in found if item[0] != pane.pane), [])

    wait_until(lambda: below()[1:2] == ["1"] and below()[2] == below()[3] != "0", "the beginning")
    split = below()[0]
    pane.tmux("send-keys", "-t", split, "q")
    wait_until(lambda: below()[1] == "0", "out of copy mode")
    assert "[q, then any key, goes back]" in pane.tmux("capture-pane", "-p", "-t", split)
    pane.tmux("send-keys", "-t", split, "x")
    wait_until(lambda: not below(), "the split is closed")
    wait_until(lambda: "> ✗ bad" in pane.screen(), "the pane is as large as before, and drawn anew")


@in_tmux
def test_keys_can_be_switched_off(project, pane):
    start(pane, 80, 24, "--no-keys")
    project.drop("bad.yaml", "agent: 'false'\nprompt: x\n")
    wait_until(lambda: "needs you 1" in pane.screen(), "what needs you is told all the same")
    assert "q drain" not in pane.screen() and "> ✗" not in pane.screen()
    pane.key("q")
    project.drop("b.yaml", "agent: 'true'\nprompt: x\n")
    project.settled("b", "done")


@in_tmux
def test_stopped_and_continued(project, pane):
    pane.line(f"{PROGRAM} watch --no-title")
    wait_until(lambda: "up <1m" in pane.screen(), "the footer")
    pane.key("C-z")
    pane.until("Stopped")
    pane.line("echo in between")
    pane.until("\nin between")
    pane.line("fg")
    wait_until(
        lambda: "up <1m" in pane.screen().split("in between")[-1], "the footer is drawn below"
    )
    project.drop("after.yaml", "agent: 'true'\nprompt: x\n")
    wait_until(lambda: "after" in pane.screen().split("in between")[-1], "and goes on")


# -- on a pseudo-terminal: what is written --------------------------------------------------------------------------------------


class Written:
    """``orchestrator watch`` on a pseudo-terminal, and every byte that it writes."""

    def __init__(self, project, *words: str, **env: str) -> None:
        parent, child = pty.openpty()
        self.parent, self.data = parent, b""
        os.set_blocking(parent, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "watch", *words],
            cwd=project.root,
            stdin=child,
            stdout=child,
            stderr=child,
            env={**project.env, "TERM": "xterm", "LC_ALL": "C.UTF-8", **env},
            start_new_session=True,
        )
        os.close(child)

    def read(self) -> bytes:
        try:
            self.data += os.read(self.parent, 1 << 20)
        except OSError:
            pass
        return self.data

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self.parent)


def test_nothing_is_written_when_nothing_changes(project):
    with Written(project) as written:
        wait_until(lambda: b"up <1m" in written.read(), "the footer")
        project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
        wait_until(lambda: b"done 1" in written.read(), "the footer tells of the end")
        size = len(written.data)
        time.sleep(1.6)  # three looks: no event says that nothing happens
        assert len(written.read()) == size


def test_a_clock_repaints_one_row(project):
    with Written(project) as written:
        go = hold(project, "a")
        wait_until(lambda: b"running 1 of 4" in written.read(), "it runs")
        size = len(written.data)
        wait_until(lambda: len(written.read()) > size, "the clock")
        assert written.data[size:].count(b"\n") == 0 and b"running" not in written.data[size:]
        go.touch()


def test_a_footer_that_cannot_be_made_stops_no_line(tmp_path):
    """Whatever goes wrong while it is composed, the lines are printed."""

    def broken(columns: int, rows: int):
        raise FileNotFoundError("gone meanwhile")

    with open(tmp_path / "out", "w") as stream:
        printer = Printer(stream, broken)
        printer.line("one")
        printer.close()
    assert "one" in (tmp_path / "out").read_text()


def test_bell_and_title_can_be_turned_off(project):
    project.drop("a.yaml", "agent: sh\nprompt: exit 3\n")
    with Written(project, "--until-empty") as written:
        wait_until(lambda: b"stopped" in written.read(), "its end")
    assert written.data.count(b"\x07") == 1 and b"\x1b]2;orch" in written.data
    project.drop("b.yaml", "agent: sh\nprompt: exit 3\n")
    with Written(project, "--until-empty", "--no-bell", "--no-title") as written:
        wait_until(lambda: b"stopped" in written.read(), "its end")
    assert b"\x07" not in written.data and b"\x1b]" not in written.data
    project.config(
        "pane: {bell: false, title: false}\nagents: {sh: {tool: shell, command: [sh]}}\n"
    )
    project.drop("c.yaml", "agent: sh\nprompt: exit 3\n")
    with Written(project, "--until-empty") as written:
        wait_until(lambda: b"stopped" in written.read(), "its end")
    assert b"\x07" not in written.data and b"\x1b]" not in written.data


def test_plain_is_the_form_of_pipes(project):
    project.drop("a.yaml", "agent: sh\nprompt: exit 3\n")
    done = subprocess.run(
        ["script", "-qec", f"{PROGRAM} --plain watch --until-empty", "/dev/null"],
        cwd=project.root,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "\x1b" not in done.stdout and "\a" not in done.stdout
    assert re.search(
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ failed +a +agent=sh attempt=1", done.stdout, re.M
    )


def test_a_dumb_terminal_gets_lines_alone(project):
    project.drop("a.yaml", "agent: sh\nprompt: exit 3\n")
    with Written(project, "--until-empty", "--no-bell", TERM="dumb") as written:
        wait_until(lambda: b"stopped" in written.read(), "its end")
    assert (
        b"\x1b" not in written.data and b"failed" in written.data and b"waiting" not in written.data
    )


def test_without_unicode_and_without_colour(project):
    project.drop("a.yaml", "agent: sh\nprompt: exit 3\n")
    with Written(
        project, "--until-empty", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", NO_COLOR="1"
    ) as written:
        wait_until(lambda: b"stopped" in written.read(), "its end")
    assert written.data.replace(b"\xc2\xb7", b"").isascii()
    assert not re.search(rb"\x1b\[[0-9;]*m", written.data) and b" x failed " in written.data


def test_why_comes_before_title_and_branch():
    """On a wide screen a long id, title and branch left eight cells for why a row needs you."""
    why = "the check test_backoff failed: OverflowError"
    need = Need(
        "fix-the-login-redirect-of-old", "failed", why, "show", title="t" * 40, branch="b" * 40
    )
    view = View(needs=[need], now=2e9, waiting=[Row("w", "waiting", "waiting", "a free slot")])
    for columns in (110, 120, 200):
        console = Console("never", stream=Screen())
        assert why[: columns // 3 - 2] in "\n".join(footer(view, console, columns, 30, Hand()))
        footer(
            view, console, columns, 30, Hand("waiting", "w")
        )  # the block of what waits has no title

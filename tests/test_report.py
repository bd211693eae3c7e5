"""The report as one HTML file, looked at by a real headless Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, wait_until

from orchestrator.cli.screen import report_page
from orchestrator.cli.screen.live_page import LivePage
from orchestrator.queries.live import critical
from orchestrator.store import quotas

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
HOSTILE = "</script><script>document.title='taken'</script><b>&amp;"
TASKS = 10_000


def chromium(folder: Path, *words: str) -> str:
    """What Chromium prints.  It fetches nothing: the only address it is given is a file, and names lead nowhere."""
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=1200,1600",
            "--virtual-time-budget=20000",
            *words,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The page about many tasks of several agents over two weeks."""
    root = tmp_path_factory.mktemp("report") / "acme-api"
    root.mkdir()
    project = Project(root)
    project.run("init")
    now = time.time()
    with open(project.work / "events/2026-01-01.feed-watch.jsonl", "w") as file:
        for number in range(TASKS):
            moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now - number * 120))
            agent = ("claude", "codex", "gemini", "<i>night")[number % 4]
            good = number % 10 != 3
            common = {
                "ts": moment,
                "task_id": f"task-{number:05}",
                "run_id": None,
                "attempt": 1,
                "agent": agent,
                "tool": agent,
                "model": "fake-1",
                "outcome": "succeeded" if good else "failed",
                "duration_ms": 1000 + number,
                "usage": {"input": 1000, "output": 50},
                "cost_usd": 0.01,
                "cost_source": "reported",
                "summary": "succeeded" if good else HOSTILE,
                "status": "done" if good else "failed",
            }
            file.writelines(
                json.dumps({**common, "event": kind, "event_id": f"{number}/{kind}"}) + "\n"
                for kind in ("attempt_finished", "task_finished")
            )
    path = root / "report.html"
    assert project.run("report", "--since", "30d", "--html", str(path)).stdout.strip() == str(path)
    return path


def rows(dom: str) -> list[list[str]]:
    body = dom.split('id="tasks"')[1].split("<tbody>")[1].split("</tbody>", maxsplit=1)[0]
    lines = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in body.split("<tr>")[1:]]
    return [[re.sub(r"</?button[^>]*>", "", cell) for cell in line] for line in lines]


def test_it_is_one_file_that_fetches_nothing(report):
    text = report.read_text()
    assert (
        "http:" not in text
        and "https:" not in text
        and "src=" not in text
        and "<link" not in text
        and "@import" not in text
    )
    assert len(text) < 250 * TASKS


def test_it_shows_totals_charts_and_tasks(report):
    dom = chromium(report.parent, "--dump-dom", report.as_uri())
    assert "<title>acme-api</title>" in dom  # what a task says is text and nothing else
    assert "<h1>acme-api</h1>" in dom and "The last 30d" in dom
    assert "<dd>10000</dd>" in dom and "<dd>90%</dd>" in dom and "<dd>$100.00</dd>" in dom
    assert dom.count("<rect") > 50 and "By agent" in dom and "&lt;i&gt;night" in dom
    assert f"{TASKS} tasks" in dom and len(rows(dom)) == 200  # the rest comes with a button
    assert [row[1] for row in rows(dom)[:2]] == ["task-00000", "task-00001"]
    assert "&lt;/script&gt;" in rows(dom)[3][-1]


def test_it_is_filtered_and_sorted_by_its_address(report):
    dom = chromium(
        report.parent, "--dump-dom", report.as_uri() + "#q=failed+codex&sort=duration_s&order=up"
    )
    assert "500 of 10000 tasks" in dom
    found = rows(dom)
    assert found[0][1] == "task-00013" and all(
        row[6] == "failed" and row[3] == "codex" for row in found
    )
    assert 'aria-sort="ascending"' in dom or "ascending" in dom


def test_it_is_drawn_light_and_dark(report):
    """Pixels: the background is the one of the scheme, and something stands on it."""
    backgrounds = {}
    for scheme, flag in (("light", "1"), ("dark", "0")):
        picture = report.parent / f"{scheme}.png"
        chromium(
            report.parent,
            f"--screenshot={picture}",
            f"--blink-settings=preferredColorScheme={flag}",
            report.as_uri(),
        )
        assert picture.stat().st_size > 20_000
        style = chromium(
            report.parent,
            "--dump-dom",
            f"--blink-settings=preferredColorScheme={flag}",
            probe(report).as_uri(),
        )
        backgrounds[scheme] = told(style)
    assert backgrounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}


def unlocked(page: str) -> str:
    """The page without its rule for scripts."""
    text, count = re.subn('<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert count == 1
    return text


def test_a_text_that_became_html_runs_nothing(tmp_path):
    """Texts are set as text; should one ever get past that, the browser still runs only our script."""
    into = (
        "<img src=x onerror='document.title=`taken`'><script>document.title='taken'</script></body>"
    )
    path = tmp_path / "page.html"
    for base in ("", "board"):
        harmed = report_page.page("acme-api", [], base).replace("</body>", into)
        path.write_text(harmed)
        assert "<title>acme-api</title>" in chromium(tmp_path, "--dump-dom", path.as_uri())
    path.write_text(unlocked(harmed))
    assert "<title>taken</title>" in chromium(tmp_path, "--dump-dom", path.as_uri())


def probe(report: Path, asked: str = "getComputedStyle(document.body).backgroundColor") -> Path:
    """The page with a line that tells what it is asked: which background it got."""
    path = report.with_name("probe.html")
    path.write_text(
        unlocked(report.read_text()).replace(
            "</body>",
            f"<output></output><script>document.querySelector('output').textContent={asked}</script></body>",
        )
    )
    return path


def told(dom: str) -> str:
    return re.search(r"<output>(.*?)</output>", dom)[1]


@pytest.mark.parametrize("width", [400, 820, 1280])
def test_nothing_is_wider_than_the_window(report, width):
    """Of three widths, the narrowest one a telephone's: only tables and graphs scroll, inside themselves."""
    frame = report.with_name(
        f"frame-{width}.html"
    )  # a window of Chromium is never narrower than 500
    frame.write_text(
        f"<iframe width={width} height=900 src={probe(report).name}></iframe><output></output><script>onload = () => {{"
        "const inside = document.querySelector('iframe').contentDocument.documentElement;"
        "document.querySelector('output').textContent = inside.scrollWidth + ' ' + inside.clientWidth}</script>"
    )
    dom = chromium(report.parent, "--dump-dom", "--allow-file-access-from-files", frame.as_uri())
    wide, room = map(int, told(dom).split())
    assert room > width - 30 and wide <= room


@pytest.mark.parametrize("width", [390, 800, 1400])
def test_words_in_a_drawing_keep_their_size(report, width):
    """It is drawn for the room that it has: scaled to a narrow page, its words could not be read."""
    frame = report.with_name(f"drawn-{width}.html")
    frame.write_text(
        f"<iframe width={width} height=900 src={probe(report).name}></iframe><output></output><script>onload = () => {{"
        "const found = [...document.querySelector('iframe').contentDocument.querySelectorAll('svg.drawn')];"
        "document.querySelector('output').textContent = found.length + ' ' + Math.min(...found.map(one => "
        "one.getBoundingClientRect().width / one.viewBox.baseVal.width)).toFixed(2)}</script>"
    )
    dom = chromium(report.parent, "--dump-dom", "--allow-file-access-from-files", frame.as_uri())
    count, scale = told(dom).split()
    assert int(count) >= 2 and 0.95 <= float(scale) <= 1.05


def test_how_much_of_a_plan_was_used_is_a_curve(project, tmp_path):
    now = time.time()
    for ago in range(400, 0, -1):
        share = (400 - ago) / 400
        quotas.remember(
            project.layout, "claude", [{"window": "5 h", "used": share}], now - ago * 300
        )
    path = tmp_path / "r.html"
    project.run("report", "--html", str(path))
    dom = chromium(tmp_path, "--dump-dom", path.as_uri())
    assert "Plans, used" in dom and 'aria-label="claude 5 h: 100 %"' in dom


def test_a_question_at_the_end_of_a_turn_lies_in_the_lane_of_questions(project, tmp_path):
    asks = "printf 'Which?\\n\\n1. a\\n2. b\\n' > $ORCHESTRATOR_ARTIFACTS/question.md"
    project.drop("q.yaml", f"agent: sh\nprompt: {json.dumps(asks)}\n")
    project.drop("w.yaml", "agent: sh\nprompt: exit 0\nreview: always\n")
    project.run("watch", "--until-empty")
    path = tmp_path / "r.html"
    project.run("report", "--html", str(path))
    dom = chromium(tmp_path, "--dump-dom", f"{path.as_uri()}#task=constructor")
    assert "? asks <b>1</b>" in dom and "? review <b>1</b>" in dom
    assert not re.search(r'<dialog[^>]* open=""', dom)  # a name of the language is no task's


def test_an_empty_report(project, tmp_path):
    path = tmp_path / "empty.html"
    project.run("report", "--html", str(path))
    assert "nothing in this period" in path.read_text() and os.path.getsize(path) < 50_000
    assert project.run("report", "--html", "-").stdout.startswith("<!doctype html>")


@pytest.mark.parametrize("cost", ["5e-324", "1e-320", "1e-12", "1e11", "0.1"])
def test_costs_of_any_size_are_drawn(project, tmp_path, cost):
    """Event files are other people's."""
    project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
    project.run("watch", "--until-empty")
    (path,) = (project.work / "events").glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ends = [line for line in lines if line["event"] in ("attempt_finished", "task_finished")]
    texts = [json.dumps({**line, "cost_usd": "COST"}).replace('"COST"', cost) for line in ends]
    path.write_text("\n".join(texts) + "\n")
    page = tmp_path / "page.html"
    project.run("report", "--html", str(page))
    assert "cost in US dollars" in page.read_text() and "nan" not in page.read_text()


# -- the page that stays current ------------------------------------------------------------------------------------------------


def document(path: Path) -> dict[str, Any]:
    """What one of the scripts beside the page tells."""
    text = path.read_text()
    assert text.startswith("orchestrator(") and text.endswith(")\n") and "<" not in text
    return json.loads(text[len("orchestrator(") : -2])


@pytest.fixture
def followed(project, tmp_path) -> Iterator[tuple[Path, subprocess.Popen]]:
    """A page that is kept current, and who keeps it."""
    path = tmp_path / "a page.html"
    words = [project.python, "-m", "orchestrator", "report", "--html", str(path), "--follow"]
    keeper = subprocess.Popen(
        words, cwd=project.root, env=project.env, stdout=subprocess.DEVNULL, process_group=0
    )
    try:
        wait_until(lambda: path.with_name("a page.data.js").exists())
        yield path, keeper
    finally:
        keeper.kill()
        keeper.wait()


def test_a_page_stays_current_and_says_when_nobody_keeps_it(project, followed, tmp_path):
    path, keeper = followed
    data, tasks = (path.with_name(f"a page.{name}.js") for name in ("data", "tasks"))
    assert document(data)["status"]["counts"]["done"] == 0
    project.drop("a.yaml", "agent: 'true'\nprompt: " + json.dumps(f"say {HOSTILE}") + "\n")
    project.run("watch", "--until-empty")
    wait_until(lambda: document(data)["status"]["counts"]["done"] == 1)
    wait_until(lambda: "a" in document(tasks)["tasks"])
    assert document(tasks)["tasks"]["a"]["prompt"] == f"say {HOSTILE}"
    dom = chromium(tmp_path, "--dump-dom", f"{path.as_uri()}#task=a")
    assert re.search(r'<dialog[^>]* open=""', dom) and "&lt;/script&gt;" in dom
    assert "<title>acme-api</title>" in dom
    keeper.send_signal(signal.SIGINT)
    assert keeper.wait(30) == 0
    assert document(data)["stopped"] is True
    assert ">stopped " in chromium(tmp_path, "--dump-dom", path.as_uri())
    last = data.read_text().replace('"stopped":true', '"stopped":false')
    for at, words in ((time.time() + 3600, "live, 0 s ago"), (1, "no word since ")):
        data.write_text(last.replace(f'"at":{document(data)["at"]}', f'"at":{at}'))
        assert f">{words}" in chromium(tmp_path, "--dump-dom", path.as_uri())


def test_what_has_not_changed_is_not_written_again(project, followed):
    path, _ = followed
    data, tasks, past = (path.with_name(f"a page.{name}.js") for name in ("data", "tasks", "past"))
    before = tasks.stat().st_ino, past.stat().st_ino
    first = data.stat().st_ino
    wait_until(lambda: data.exists() and data.stat().st_ino != first)
    assert (tasks.stat().st_ino, past.stat().st_ino) == before


def test_one_task_does_not_have_all_written_again(project, tmp_path):
    """The list of 10,000 tasks was written, and read by the browser, again with each that ended."""

    def feed(first: int, after: int) -> None:
        with open(project.work / f"events/2026-01-01.feed-{first}.jsonl", "w") as file:
            for number in range(first, after):
                stamp = time.strftime(
                    "%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - after + number)
                )
                facts = {
                    "ts": stamp,
                    "task_id": f"t{number}",
                    "attempt": 1,
                    "outcome": "succeeded",
                    "status": "done",
                }
                line = {**facts, "event": "task_finished", "event_id": f"{number}/end"}
                file.write(json.dumps(line) + "\n")

    feed(0, 2000)
    page = LivePage(project.layout, str(tmp_path / "r.html"), 86400.0)
    page.begin()
    now = time.time()
    page.look(now)
    listed, past = (tmp_path / f"r.{name}.js" for name in ("rows", "past"))
    assert len(document(listed)["rows"]) == 2000 and not document(past)["rows"]
    before = listed.stat().st_ino
    feed(2000, 2003)
    page.look(now + 20)
    assert [row["task"] for row in document(past)["rows"]] == ["t2002", "t2001", "t2000"]
    assert listed.stat().st_ino == before and past.stat().st_size < 20_000
    dom = chromium(tmp_path, "--dump-dom", (tmp_path / "r.html").as_uri())
    assert "2003 tasks" in dom and rows(dom)[0][1] == "t2002"
    feed(2003, 2600)
    page.look(now + 40)
    assert len(document(listed)["rows"]) == 2600 and not document(past)["rows"]


def test_a_page_to_be_kept_needs_a_file(project):
    for words in (["--follow"], ["--follow", "--html", "-"], ["--follow", "--all"]):
        assert "error:" in project.run("report", *words, code=2).stderr


def test_a_run_is_drawn_with_its_longest_way():
    needs = {"publish": ("a", "b"), "a": ("build",), "b": ("build",)}
    took = {"build": 5.0, "a": 1.0, "b": 3.0, "publish": 2.0, "docs": 9.5}
    assert critical(needs, took) == ["build", "b", "publish"]
    assert critical({"a": ("b",), "b": ("a",)}, {"a": 1.0, "b": 1.0})  # a circle ends
    assert critical({}, {"a": 0.0}) == [] and critical({}, {}) == []

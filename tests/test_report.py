"""The report as one HTML file, looked at by a real headless Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Project

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
    return [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in body.split("<tr>")[1:]]


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
    assert (
        "<title>acme-api: the last 30d</title>" in dom
    )  # what a task says is text and nothing else
    assert "<h1>acme-api: the last 30d</h1>" in dom
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
        backgrounds[scheme] = re.search(r"<output>(.*?)</output>", style)[1]
    assert backgrounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}


def probe(report: Path) -> Path:
    """The page with a line that tells which background it got."""
    path = report.with_name("probe.html")
    path.write_text(
        report.read_text().replace(
            "</body>",
            "<output></output><script>document.querySelector('output').textContent="
            "getComputedStyle(document.body).backgroundColor</script></body>",
        )
    )
    return path


def test_an_empty_report(project, tmp_path):
    path = tmp_path / "empty.html"
    project.run("report", "--html", str(path))
    assert "nothing in this period" in path.read_text() and os.path.getsize(path) < 20_000
    assert project.run("report", "--html", "-").stdout.startswith("<!doctype html>")

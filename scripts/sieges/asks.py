"""Watchers and supervisors are killed while questions are open, and a person answers all the while, also while nobody watches.

Each question is asked once, and its own answer reaches the agent that asked it: nothing is lost, nothing is asked or answered twice,
and nothing is left open.  Questions of an agent that was killed are gone with it; its next attempt asks its own.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

from orchestrator.files import asks, eventreader, journals, scan
from orchestrator.files.layout import Layout
from orchestrator.tools.queries import events_of

CONFIG = """limits: {running: 3, asking: 50}
on_lost: retry
retry: {delay: 20ms}
cancel: {interrupt_grace: 200ms, terminate_grace: 200ms}
watch: {rescan: 200ms}
agents:
  helper: {tool: demo, ask: person, retries: 5}
  talker: {tool: fake, ask: person, retries: 5}
"""
FAKE = Path(__file__).resolve().parents[2] / "tests/fake_acp.py"  # speaks the Agent Client Protocol
PATIENCE = 60.0
DECIDED = re.compile(r"^(allow|deny) (\S+?)(?:: A person said: (.*))?$", re.M)


class Place:
    """A project whose agents ask, and a person."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.root = Path(tempfile.mkdtemp(prefix="orchestrator-asks-"))
        self.layout = Layout(str(self.root))
        self.commands: dict[str, list[str]] = {}
        self.answers: dict[str, str] = {}  # by the key of the question
        # By the verb, to the question that was open then: an attempt that was killed meanwhile has given way to the next.
        self.spoken: dict[str, set[str]] = defaultdict(set)
        self.counts: Counter[str] = Counter()
        self.watcher: subprocess.Popen[bytes] | None = None
        self.run("init", "-q")
        (self.root / "work/orchestrator.yaml").write_text(CONFIG)
        (self.root / "sessions").mkdir()
        argv = [sys.executable, str(FAKE), str(self.root / "sessions")]
        (self.root / "work/tools").mkdir(exist_ok=True)
        spec = {"adapter": "acp", "argv": argv, "edits": False}
        (self.root / "work/tools/fake.yaml").write_text(json.dumps(spec))

    def run(self, *words: str) -> int:
        command = [sys.executable, "-m", "orchestrator", *words]
        quiet = subprocess.DEVNULL
        done = subprocess.run(command, cwd=self.root, stdin=quiet, stdout=quiet, stderr=quiet, check=False)  # fmt: skip
        return done.returncode

    def watch(self) -> None:
        if self.watcher is not None and self.watcher.poll() is None:
            return
        self.watcher = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "watch", "--quiet"],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=(self.root / "watch.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def drop(self) -> None:
        """A task that asks one to three times, one after the other or all at once."""
        task_id = f"t{len(self.commands):04d}"
        self.commands[task_id] = [f"{task_id}-{n}" for n in range(self.random.randint(1, 3))]
        agent = self.random.choice(("helper", "talker"))
        lines = "".join(f"  demo: permit {command}\n" for command in self.commands[task_id])
        at_once = self.random.choice((" | ", "\n  fake: run "))
        lines += f"  fake: run {at_once.join(self.commands[task_id])}\n"
        hidden = self.root / f"work/inbox/.{task_id}"
        hidden.write_text(f"agent: {agent}\nprompt: |\n  Do it\n{lines}")
        hidden.rename(self.root / f"work/inbox/{task_id}.yaml")

    def answer(self, all_of_them: bool = False) -> None:
        """Answer what is open, some of it by the verb and some of it by a file; each with words of its own."""
        for ask in asks.unanswered(self.layout):
            if ask.key in self.answers or (not all_of_them and self.random.random() < 0.4):
                continue
            words = self.random.choice(("1", f"not-{ask.name}"))
            if self.random.random() < 0.2 and ask.number == _oldest(self.layout, ask.task_id):
                words = f"by-verb-{self.counts['answers']}"
                answered = self.run("reply", ask.task_id, words) == 0
                self.spoken[ask.task_id].add(words)
            else:
                answered = _leave(ask, words)
            if answered:
                self.answers[ask.key] = words
                self.counts["answers"] += 1

    def kill(self) -> None:
        """The watcher or, less often, a supervisor of a task that runs."""
        if self.random.random() < 0.75:
            assert self.watcher is not None
            self.watcher.send_signal(signal.SIGKILL)
            self.watcher.wait()
            self.counts["killed asks"] += 1
            return
        alive = list(_supervisors(self.layout))
        if alive:
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(alive), signal.SIGKILL)
                self.counts["killed asks"] += 1

    def close(self) -> None:
        """End the watcher, and what it runs: the second SIGINT interrupts agents that still ask."""
        while self.watcher is not None and self.watcher.poll() is None:
            self.watcher.send_signal(signal.SIGINT)
            time.sleep(0.5)


def _leave(ask: asks.Ask, words: str) -> bool:
    """An answer by hand: a file that appears whole."""
    hidden = f"{os.path.dirname(ask.answer_path)}/.{ask.name}"
    try:
        Path(hidden).write_text(words + "\n")
        os.link(hidden, ask.answer_path)
    except FileExistsError:
        return False
    finally:
        os.unlink(hidden)
    return True


def _oldest(layout: Layout, task_id: str) -> int:
    return min(ask.number for ask in asks.unanswered(layout, task_id))


def _supervisors(layout: Layout) -> list[int]:
    """Pids of supervisors whose attempt has not ended."""
    found = []
    for task_id, _ in scan.sorted_names(layout.folder("running")):
        journal = journals.of(layout, task_id)
        attempt = journal.attempt if journal is not None else None
        if attempt is not None and attempt.ended is None and attempt.started.get("supervisor"):
            found.append(int(attempt.started["supervisor"]))
    return found


def siege(kills: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many kills while questions are open; then everything is answered and compared."""
    place = Place(seed)
    while place.counts["killed asks"] < kills:
        place.drop()
        place.watch()
        time.sleep(place.random.random() * place.random.choice((0.1, 0.5, 1.0)))
        place.answer()
        place.kill()
        if place.random.random() < 0.7:  # nobody watches
            place.answer()
    place.watch()
    left, end = _left(place.layout), time.monotonic() + PATIENCE
    while left and time.monotonic() < end:
        place.answer(all_of_them=True)
        time.sleep(0.05)
        before, left = left, _left(place.layout)
        if left < before:  # it goes on: a busy machine breaks no promise
            end = time.monotonic() + PATIENCE
    broken = judge(place)
    place.close()
    if not broken:
        shutil.rmtree(place.root, ignore_errors=True)
    return place.counts, broken


def _left(layout: Layout) -> int:
    return sum(len(scan.sorted_names(layout.folder(name))) for name in ("inbox", "running"))


def judge(place: Place) -> list[str]:
    """Every promise that is broken."""
    layout, events = place.layout, eventreader.events(place.layout)[0]
    broken = [f"{ask.name} is still open" for ask in asks.listed(layout)]
    broken += [f"{n} tasks have not ended" for n in [_left(layout)] if n]
    for kind in ("question_asked", "question_answered"):
        told = Counter(event["event_id"] for event in events if event["event"] == kind)
        broken += [f"{key}: {kind} {n} times" for key, n in told.items() if n > 1]
    heard = Counter(words for task_id in place.commands for words in _heard(layout, task_id))
    broken += [f"{words} was heard {n} times" for words, n in heard.items() if n > 1]
    for task_id, commands in place.commands.items():
        broken += _judged(place, task_id, commands)
    place.counts["tasks"] = len(place.commands)
    place.counts["starts"] = sum(event["event"] == "attempt_started" for event in events)
    place.counts["events"] = len(events)
    return broken


def _heard(layout: Layout, task_id: str) -> list[str]:
    """The words that each attempt of a task was told, but for a plain yes."""
    logs = Path(layout.logs(task_id)).glob("*/stdout.log")
    return [words for log in logs for _, words in _decided(log).values() if words]


def _decided(log: Path) -> dict[str, tuple[str, str]]:
    """What became of each command in one attempt: allow or deny, and in what words."""
    text = log.read_text() if log.exists() else ""
    found = {match[2]: (match[1], match[3] or "") for match in DECIDED.finditer(text)}
    for line in text.splitlines():
        for event in events_of(line.encode()):
            if event.get("type") == "answered":
                words = event.get("text", "").removeprefix("A person said: ")
                found[event["what"]] = ("allow" if event["allowed"] else "deny", words)
    return found


def _judged(place: Place, task_id: str, commands: list[str]) -> list[str]:
    """What is wrong with the questions of one task: each attempt asks each once, and hears the answer to that one."""
    journal = journals.of(place.layout, task_id)
    if journal is None:
        return [f"{task_id} has no journal"]
    broken = []
    for attempt in journal.attempts:
        run_dir = place.layout.logs(task_id, attempt.number)
        keys = defaultdict(list)
        for name in os.listdir(f"{run_dir}/asked"):
            if not name.startswith("."):
                command = Path(f"{run_dir}/asked/{name}").read_text().partition('"command": "')[2]
                keys[command.partition('"')[0]].append(name.removesuffix(".json"))
        decided = _decided(Path(f"{run_dir}/stdout.log"))
        where = f"{task_id} attempt {attempt.number}"
        broken += [f"{where}: {name} was asked {len(n)} times" for name, n in keys.items() if len(n) > 1]  # fmt: skip
        for command, (verdict, words) in decided.items():
            said = place.answers.get(keys[command][0]) if keys[command] else None
            heard = "1" if verdict == "allow" else words
            if said != heard and heard not in place.spoken[task_id]:
                broken.append(f"{where}: {command} heard {heard!r}, and was told {said!r}")
        whole = (attempt.ended or {}).get("record") == "exit" and attempt.ended.get("code") == 0
        if whole and set(decided) != set(commands):
            broken.append(f"{where}: heard of {sorted(decided)}, asked {commands}")
    return broken

"""`scripts/faults --kind trees`: agents that write, commit, rebase and break their trees, while everything is killed.

Some tasks wait for a person, some are merged into a branch that nobody has checked out, some are of runs with a branch of their own.  Kills
come at random moments, and before, during and after any call of git (a stand-in for git in PATH is told to).  Every line an agent writes
it logs outside, too.  Afterwards each of them is in a ref of ours, in a branch or in a tree that is there; nothing is left that nothing
names, once `doctor --fix` has run; and the person's checkout is byte-identical throughout.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from sieges.forked import Forked

from orchestrator.coordination import strays
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import Layout

AGENT = r"""
line() { text="$ORCHESTRATOR_TASK_ID.$ORCHESTRATOR_ATTEMPT.$1 $$"; echo "$text" >> "lines-$1" && echo "$text" >> "$WROTE"; }
commit() { git add -A && git commit -qm "$1"; }
trap '' INT TERM
git update-index --no-assume-unchanged lines-* 2>/dev/null
for n in 1 2 3 4 5 6; do
  line "$n"
  case $((RANDOM % 11)) in
    0) commit "c$n";;
    1) commit "c$n" && git reset -q --hard HEAD~1;;
    2) commit "c$n" && git commit -q --amend -m "a$n";;
    3) git checkout -q -b "side-$ORCHESTRATOR_TASK_ID-$n"; commit s;;
    4) rm -f .git;;
    5) place=$(git rev-parse --git-dir) && : > "$place/index.lock";;
    6) git checkout -q --detach; commit d;;
    7) mkdir -p in; (cd in && git init -q; echo x > y);;
    8) git rebase -q trunk || true;;
    9) git update-index --assume-unchanged "lines-$n" && line "$n"; exit 0;;  # more git of its own would overwrite it
    10) git stash push -q;;
  esac
  sleep 0.0$((RANDOM % 9))
done 2>/dev/null
exit $((RANDOM % 3 == 0))
"""
CONFIG = """\
limits: {{running: 3}}
isolation: worktree
retry: {{delay: 20ms}}
on_lost: retry
cancel: {{interrupt_grace: 100ms, terminate_grace: 100ms}}
watch: {{rescan: 200ms}}
defaults: {{agent: wild}}
trees: {{base: trunk}}
agents:
  wild: {{tool: wild, retries: 1, review: always, env: {{WROTE: '{wrote}'}}}}
  merger: {{tool: wild, retries: 1, merge: auto, env: {{WROTE: '{wrote}'}}}}
"""
# A git that is told, by a file, to kill whoever has called it, or itself: at this call, in the middle, or after it.
SHIM = """#!/bin/sh
if [ -e '{told}' ] && how=$(cat '{told}') && rm '{told}' 2>/dev/null; then
  echo "$ORCHESTRATOR_TASK_ID.$ORCHESTRATOR_ATTEMPT $*" >> '{told}.done'
  case ${{how:-$(($$ % 4))}} in
    full) (trap '' XFSZ; ulimit -f 0; exec {git} "$@"); exit $?;;
    git) exit 137;;
    0) kill -9 $PPID; exit 137;;
    1) {git} "$@"; kill -9 $PPID; exit 137;;
    2) {git} "$@" & sleep 0.00$(($$ % 10)); kill -9 $! $PPID; exit 137;;
    3) {git} "$@" & sleep 0.00$(($$ % 10)); kill -9 $!; exit 137;;
  esac
fi
exec {git} "$@"
"""


def git(root: Path, *words: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", *words], cwd=root, env=env, capture_output=True, text=True, check=False
    ).stdout


class Field:
    """A project whose agents work in trees."""

    def __init__(self, seed: int, place: Path | None = None) -> None:
        """``place`` is where the project is to lie, if not beside what is written outside of it."""
        self.random = random.Random(seed)
        self.base = Path(tempfile.mkdtemp(prefix="orchestrator-faults-"))
        self.root, self.wrote = (place or self.base) / "p", self.base / "wrote"
        (self.base / "state").mkdir()
        self.root.mkdir()
        self.wrote.touch()
        git(self.root, "init", "-q", "-b", "main")
        git(self.root, "config", "user.name", "n")
        git(self.root, "config", "user.email", "n@example.org")
        (self.root / "src").mkdir()
        for number in range(20):
            (self.root / f"src/{number}").write_text(f"{number}\n" * 20)
        (self.root / ".gitignore").write_text("work/\n")
        self.run("init")
        (self.root / "work/tools").mkdir(exist_ok=True)
        (self.root / "agent.sh").write_text(AGENT)
        tool = f"argv: [bash, '{self.root}/agent.sh']\nedits: true\n"
        (self.root / "work/tools/wild.yaml").write_text(tool)
        (self.root / "work/orchestrator.yaml").write_text(CONFIG.format(wrote=self.wrote))
        git(self.root, "add", "-A")
        git(self.root, "commit", "-qm", "first")
        git(self.root, "branch", "trunk")
        self.told = self.base / "told"
        (self.base / "bin").mkdir()
        (self.base / "bin/git").write_text(SHIM.format(told=self.told, git=shutil.which("git")))
        (self.base / "bin/git").chmod(0o755)
        (self.root / "src/1").write_text("the person's edit\n")
        self.layout = Layout(str(self.root))
        self.persons = self.checkout()
        self.counts: Counter[str] = Counter()
        self.watcher: Forked | None = None

    def run(self, *words: str) -> int | None:
        return Forked(self.root, words, self.environment(), self.base / "log").wait()

    def environment(self, git: str = "") -> dict[str, str]:
        """What the program sees; ``git`` is a folder with another git."""
        env = {**os.environ, "XDG_STATE_HOME": str(self.base / "state")}
        return {**env, "PATH": f"{git}:{env['PATH']}"} if git else env

    def watch(self, *words: str) -> None:
        if self.watcher is None or self.watcher.poll() is not None:
            env = self.environment(f"{self.base}/bin")
            self.watcher = Forked(self.root, ("watch", "--quiet", *words), env, self.base / "log")

    def drop(self) -> None:
        task_id = f"t{self.counts['tasks']:04d}"
        self.counts["tasks"] += 1
        hidden = self.root / f"work/inbox/.{task_id}.tmp"
        kind = self.counts["tasks"] % 3
        task = {"prompt": "go", "agent": "wild" if kind == 1 else "merger"}
        run = {"tasks": {"a": task, "b": {**task, "needs": {"a": "ended"}}, "c": task}}
        hidden.write_text(json.dumps(run if kind == 2 else task))
        hidden.rename(self.root / f"work/inbox/{task_id}.yaml")

    def checkout(self) -> str:
        """Everything the person has, as one hash."""
        digest = hashlib.sha256()
        for folder, inner, names in os.walk(self.root):
            if folder == str(self.root):  # what lives there comes and goes while we look
                inner[:] = [name for name in inner if name not in ("work", ".git")]
            inner.sort()
            for name in sorted(names):
                path = Path(folder, name)
                digest.update(str(path).encode() + path.read_bytes())
        for name in ("index", "HEAD", "config", "refs/heads/main"):
            digest.update((self.root / ".git" / name).read_bytes())
        return digest.hexdigest()

    def processes(self, kind: str) -> list[int]:
        """Pids of what there is of a kind below this project: git, supervisors, tools."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                env = Path(f"/proc/{name}/environ").read_bytes()
                if kind == "supervisor":
                    ours = any(b"supervisor.main" in word for word in words) and self._has_journal(
                        name
                    )
                elif kind == "git":
                    ours = os.path.basename(words[0]) == b"git" and os.fsencode(self.root) in env
                else:
                    ours = f"ORCHESTRATOR_WORK={self.root}/work".encode() in env.split(b"\0")
            except OSError:
                continue
            if ours:
                found.append(int(name))
        return found

    def _has_journal(self, name: str) -> bool:
        folder = f"/proc/{name}/fd"
        return any(
            os.readlink(f"{folder}/{fd}").startswith(f"{self.root}/work/.state")
            for fd in os.listdir(folder)
        )

    def kill(self) -> None:
        kind = self.random.choice(("watcher", "supervisor", "tool", "git", "call", "call", "all"))
        if kind == "call":
            return self._kill_at_a_call()
        victims: list[int] = []
        if kind in ("watcher", "all") and self.watcher is not None and self.watcher.poll() is None:
            victims.append(self.watcher.pid)
        for part in ("supervisor", "tool", "git"):
            if kind in (part, "all"):
                victims += self.processes(part)[: None if kind == "all" else 1]
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
                self.counts["killed trees"] += 1
                self.counts[kind] += 1
            except ProcessLookupError:
                continue
        if self.watcher is not None and kind in ("watcher", "all"):
            self.watcher.wait()

    def _kill_at_a_call(self) -> None:
        """The next call of git that anybody makes here ends badly."""
        done = Path(f"{self.told}.done")
        before = done.stat().st_size if done.exists() else 0
        self.told.touch()
        until = time.monotonic() + 2
        while time.monotonic() < until and self.told.exists():
            time.sleep(0.005)
        self.told.unlink(missing_ok=True)
        if done.exists() and done.stat().st_size > before:
            self.counts["killed trees"] += 1
            self.counts["call"] += 1

    def broken(self) -> list[str]:
        """Promises that do not hold now."""
        found = []
        if self.checkout() != self.persons:
            found.append("the person's checkout was touched")
        kept = self.kept()
        for line in self.wrote.read_text().splitlines():
            if line not in kept:
                found.append(f"lost: {line}")
        for stray in strays.find(self.layout, load_config(self.layout)):
            found.append(f"left over: {stray.words}")
        running = (self.root / "work/running").glob("*.yaml")
        found += [f"{path.name} is in running/" for path in running]
        for name in ("MERGE_HEAD", "index.lock"):
            if (self.root / ".git" / name).exists():
                found.append(f"the person's checkout has {name}")
        if "<<<<<<<" in git(self.root, "grep", "<<<<<<<", "trunk"):
            found.append("conflict markers were merged")
        return found

    def kept(self) -> set[str]:
        """Every line in a commit that a ref holds, or in a tree."""
        places = ("refs/heads", "refs/orchestrator")
        refs = git(self.root, "for-each-ref", "--format=%(refname)", *places).split()
        blobs = set()
        for entry in git(self.root, "rev-list", "--objects", *refs).splitlines():
            blob, _, path = entry.partition(" ")
            if "lines-" in path:
                blobs.add(blob)
        asked = "".join(f"{blob}\n" for blob in blobs)
        done = subprocess.run(["git", "cat-file", "--batch"], cwd=self.root, input=asked, capture_output=True, text=True, check=False)  # fmt: skip
        lines = set(done.stdout.splitlines())
        for path in (self.root / "work/trees").glob("*/lines-*"):
            lines |= set(path.read_text().splitlines())
        return lines


ROUND = 60  # kills in one project


def siege(kills: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many kills, in rounds of a project each; what was counted, and what was broken."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    while counts["killed trees"] < kills:
        field = Field(seed + counts["rounds"])
        broken += one(field, min(ROUND, kills - counts["killed trees"]))
        counts += field.counts
        counts["rounds"] += 1
    return counts, broken


def one(field: Field, kills: int) -> list[str]:
    """So many kills, then a quiet watcher to the end; what was broken."""
    broken: list[str] = []
    while field.counts["killed trees"] < kills:
        field.watch()
        if field.counts["tasks"] < field.counts["killed trees"] / 2 + 6:
            field.drop()
        time.sleep(field.random.random() * 0.1)
        field.kill()
        if not broken and field.checkout() != field.persons:
            broken.append("the person's checkout was touched while it went on")
    if field.watcher is not None and field.watcher.poll() is None:
        field.watcher.send_signal(signal.SIGTERM)
        field.watcher.wait()
    field.watcher = None
    if field.run("watch", "--until-empty", "--quiet") is None:
        broken.append("the last watcher did not end")
    field.run("doctor", "--fix")
    broken += field.broken()
    field.counts["starts"] = len(field.wrote.read_text().splitlines())
    if not broken:
        shutil.rmtree(field.base, ignore_errors=True)
    else:
        broken.append(f"left for you to look at: {field.base}")
    return broken

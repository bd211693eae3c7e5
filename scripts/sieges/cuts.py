"""Every step of ours on the way of a tree, cut off in turn: killed, refused by a full disk, or with its git killed or out of room.

What counts as a step is a call that changes something in the repository, in a tree or in what the state keeps of trees, and every start
of git.  The program runs in a forked process, where the k-th step is cut; then the same is said once more without a fault, and every
promise is checked.  Of all steps of all scenes as many are cut as are asked for, drawn by the seed; with enough of them, each.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import faults_trees
from sieges.forked import Forked

from orchestrator.coordination import strays
from orchestrator.files.configuration import load_config
from orchestrator.records import dataclass

WAYS = ("kill", "full", "git killed", "git full")
AGENT = r"""
for n in 1 2 3; do
  text="$ORCHESTRATOR_TASK_ID.$ORCHESTRATOR_ATTEMPT.$n $$"
  echo "$text" >> "$WROTE" && echo "$text" >> "lines-$ORCHESTRATOR_TASK_ID-$n"
  [ $n = 2 ] && git add -A && git commit -qm "c$n"
done
exit 0
"""
CONFIG = """\
limits: {{running: 2}}
isolation: worktree
retry: {{delay: 20ms}}
on_lost: retry
watch: {{rescan: 200ms}}
defaults: {{agent: asks}}
trees: {{base: trunk}}
agents:
  asks: {{tool: wild, retries: 1, review: always, env: {{WROTE: '{wrote}'}}}}
  merger: {{tool: wild, retries: 1, merge: auto, env: {{WROTE: '{wrote}'}}}}
  main: {{tool: wild, retries: 1, review: always, env: {{WROTE: '{wrote}'}}}}
"""
CHANGES = frozenset(
    "os.rename os.remove os.rmdir os.mkdir os.link os.symlink os.truncate os.chmod shutil.rmtree".split()
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True, slots=True)
class Scene:
    """``before`` is done without a fault, ``words`` is what is cut; ``{}`` is the task's id."""

    agent: str
    before: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]


WATCH = ("watch", "--until-empty", "--quiet")
SCENES = {
    "a task that is merged": Scene("merger", (), WATCH),
    "a task for review": Scene("asks", (), WATCH),
    "approve": Scene("asks", (WATCH,), ("approve", "{}")),
    "trees clean": Scene("merger", (WATCH,), ("trees", "clean", "-y")),
    "archive": Scene("merger", (WATCH,), ("archive", "{}")),
    "retry --fresh": Scene("asks", (WATCH, ("reject", "{}")), ("retry", "--fresh", "{}")),
}


class Cut:
    """Counts steps in the process that it is called in, and cuts the k-th."""

    def __init__(self, root: Path, k: int, way: str, told: Path) -> None:
        self.places = tuple(f"{root}/{name}" for name in (".git", "work/trees", "work/.state"))
        self.k, self.way, self.told, self.count = k, way, told, 0
        self.shared = mmap.mmap(-1, 8)  # the count, for the process that this one is forked from

    def install(self) -> None:
        sys.addaudithook(self.event)

    def event(self, name: str, args: tuple[object, ...]) -> None:
        is_git = name == "subprocess.Popen" and os.path.basename(str(args[0])) == "git"
        if not is_git and not self.changes(name, args):
            return
        if self.way.startswith("git") and not is_git:
            return
        self.count += 1
        self.shared[:8] = self.count.to_bytes(8, "little")
        if self.count != self.k:
            return
        Path(f"{self.told}.cut").write_text(f"{name} {args[:2]}")
        if self.way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.way == "full":
            raise OSError(errno.ENOSPC, "no space left (a siege)")
        self.told.write_text("git" if self.way == "git killed" else "full")

    def changes(self, name: str, args: tuple[object, ...]) -> bool:
        if name == "open":
            flags = args[2] if len(args) > 2 and isinstance(args[2], int) else 0
            return bool(flags & WRITES) and self.ours(args[0])
        return name in CHANGES and any(self.ours(arg) for arg in args[:2])

    def ours(self, path: object) -> bool:
        """Events and journals are the same for tasks without trees: other sieges cut those."""
        text = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
        if not text.startswith(self.places):
            return False
        return "/.state/" not in text or "/trees" in text or "/tmp/" in text


class Ground:
    """A project in which scenes are played, one task each."""

    def __init__(self, seed: int) -> None:
        self.field = faults_trees.Field(seed)
        field = self.field
        (field.root / "agent.sh").write_text(AGENT)
        (field.root / "work/orchestrator.yaml").write_text(CONFIG.format(wrote=field.wrote))
        faults_trees.git(field.root, "commit", "-qam", "a calm agent", "--", "agent.sh")
        faults_trees.git(field.root, "branch", "-f", "trunk")
        field.persons = field.checkout()
        self.number = 0
        self.broken: list[str] = []

    def leave(self) -> list[str]:
        """What was broken here; if nothing was, the project goes."""
        if self.broken:
            return [*self.broken, f"left for you to look at: {self.field.base}"]
        shutil.rmtree(self.field.base, ignore_errors=True)
        return []

    def play(self, scene: Scene, way: str, k: int = 0) -> tuple[int, list[str]]:
        """How many steps there were (up to the k-th, which is cut), and what was broken; k 0 cuts none."""
        field, task_id = self.field, f"t{self.number:05}"
        self.number += 1
        hidden = field.root / f"work/inbox/.{task_id}.tmp"
        hidden.write_text(f"prompt: go\nagent: {scene.agent}\n")
        hidden.rename(field.root / f"work/inbox/{task_id}.yaml")
        say = [tuple(word.format(task_id) for word in words) for words in (*scene.before, scene.words)]  # fmt: skip
        for words in say[:-1]:
            field.run(*words)
        cut = Cut(field.root, k, way, field.told)
        env = field.environment(f"{field.base}/bin")
        ended = Forked(field.root, say[-1], env, field.base / "log", cut.install).wait()
        steps = int.from_bytes(cut.shared[:8], "little")
        mark = Path(f"{field.told}.cut")
        if not mark.exists():
            return steps, []
        what = mark.read_text()[:200]
        mark.unlink()
        field.told.unlink(missing_ok=True)
        broken = ["it hangs"] if ended is None else []
        if field.run(*say[-1]) is None:
            broken.append("said again, it hangs")
        if say[-1][0] != "watch" and field.run(*WATCH) is None:
            broken.append("a watcher afterwards hangs")
        broken += self.check(task_id)
        return steps, [f"{' '.join(say[-1])}: {way} at step {k}, {what}: {text}" for text in broken]

    def check(self, task_id: str) -> Iterator[str]:
        """Promises that do not hold."""
        field = self.field
        field.run("doctor", "--fix")
        if field.checkout() != field.persons:
            yield "the person's checkout was touched"
        kept = field.kept()
        yield from (f"lost: {line}" for line in field.wrote.read_text().splitlines() if line not in kept)  # fmt: skip
        for stray in strays.find(field.layout, load_config(field.layout)):
            yield f"left over: {stray.words}"
        places = [path.parent.name for path in (field.root / "work").glob(f"*/{task_id}.yaml") if path.parent.name != "results"]  # fmt: skip
        if len(places) != 1 or places[0] in ("running", "inbox"):
            yield f"{task_id} is in {places}"
        if (field.root / ".git/index.lock").exists():
            yield "the person's index is locked"
        field.wrote.write_text("")


def siege(cuts: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many cuts; what was counted, and what was broken."""
    drawn = random.Random(seed)
    every = [(title, way, k) for title in SCENES for way in WAYS for k in range(1, steps_of(title, way, seed) + 1)]  # fmt: skip
    chosen = sorted(drawn.sample(every, min(cuts, len(every))))
    counts: Counter[str] = Counter()
    counts["starts"] = len(every)
    broken: list[str] = []
    ground, before = Ground(seed), ("", "")
    for title, way, k in chosen:
        if (title, way) != before:
            broken += ground.leave()
            ground, before = Ground(seed), (title, way)
        found = ground.play(SCENES[title], way, k)[1]
        ground.broken += [f"{title}: {text}" for text in found]
        counts["killed cuts"] += 1
        counts["tasks"] += 1
    return counts, broken + ground.leave()


def steps_of(title: str, way: str, seed: int) -> int:
    """How many steps there are to cut."""
    ground = Ground(seed)
    steps = ground.play(SCENES[title], way)[0]
    ground.leave()
    return steps

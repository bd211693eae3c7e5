"""Every step of ours on the way of a tree, cut off in turn: killed, refused by a full disk, or with its git killed or out of room.

What counts as a step is a call that changes something in the repository, in a tree or in what the state keeps of trees, and every start
of git.  The program runs in a forked process, where one step is cut; then the same is said once more without a fault, and every
promise is checked.  Steps on the same lines of ours are one kind: each kind is cut once, then the same kinds in other scenes and further
times, as many as are asked for.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FrameType

import faults_trees
from sieges.forked import Forked

from orchestrator.coordination import strays
from orchestrator.files.configuration import load_config
from orchestrator.records import dataclass

AT_ONCE = 4  # projects in which is cut: each waits more than it works
TOGETHER = 12  # cuts in one project
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
    """Knows the steps in the process that it is called in, and cuts the one that is wanted.

    A step is named by its call and by the lines of ours that lead to it: the same line on the same way is the same step,
    whenever it comes.  ``wanted`` is such a name and which time it comes; None: none is cut, and all are written down.
    """

    def __init__(self, root: Path, wanted: tuple[str, int] | None, way: str, told: Path) -> None:
        self.places = tuple(f"{root}/{name}" for name in (".git", "work/trees", "work/.state"))
        self.wanted, self.way, self.told = wanted, way, told
        self.times: Counter[str] = Counter()

    def install(self) -> None:
        sys.addaudithook(self.event)

    def event(self, name: str, args: tuple[object, ...]) -> None:
        is_git = name == "subprocess.Popen" and os.path.basename(str(args[0])) == "git"
        if not is_git and not self.changes(name, args):
            return
        if self.way.startswith("git") and not is_git:
            return
        step = f"{name} {lines_to(sys._getframe())}"
        self.times[step] += 1
        if self.wanted is None:
            with open(f"{self.told}.steps", "a") as out:
                out.write(f"{step}\n")
            return
        if (step, self.times[step]) != self.wanted:
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


def lines_to(frame: FrameType | None) -> str:
    """The lines of ours that lead to a frame, the last one first."""
    found = []
    while frame is not None:
        path = frame.f_code.co_filename
        if "/orchestrator/" in path:
            found.append(f"{path.rpartition('/orchestrator/')[2]}:{frame.f_lineno}")
        frame = frame.f_back
    return " ".join(found)


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

    def play(self, scene: Scene, way: str, wanted: tuple[str, int] | None) -> tuple[bool, list[str]]:  # fmt: skip
        """Whether the step came, and was cut, and what was broken then; without one none is."""
        field, task_id = self.field, f"t{self.number:05}"
        self.number += 1
        hidden = field.root / f"work/inbox/.{task_id}.tmp"
        hidden.write_text(f"prompt: go\nagent: {scene.agent}\n")
        hidden.rename(field.root / f"work/inbox/{task_id}.yaml")
        say = [tuple(word.format(task_id) for word in words) for words in (*scene.before, scene.words)]  # fmt: skip
        for words in say[:-1]:
            field.run(*words)
        cut = Cut(field.root, wanted, way, field.told)
        env = field.environment(f"{field.base}/bin")
        ended = Forked(field.root, say[-1], env, field.base / "log", cut.install).wait()
        mark = Path(f"{field.told}.cut")
        if not mark.exists():
            return False, []
        what = mark.read_text()[:200]
        mark.unlink()
        field.told.unlink(missing_ok=True)
        broken = ["it hangs"] if ended is None else []
        if field.run(*say[-1]) is None:
            broken.append("said again, it hangs")
        if say[-1][0] != "watch" and field.run(*WATCH) is None:
            broken.append("a watcher afterwards hangs")
        broken += self.check(task_id)
        return True, [f"{' '.join(say[-1])}: {way} at {wanted}, {what}: {text}" for text in broken]

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


@dataclass(frozen=True, slots=True)
class Point:
    """Where to cut: a step, and which time it comes in this scene."""

    title: str
    way: str
    step: str
    time: int


def siege(cuts: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many cuts; what was counted, and what was broken.

    First every step that is different is cut once, wherever it comes first; then the same ones elsewhere, and each further time.
    """
    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("fork")) as pool:
        scenes = [(title, way) for title in SCENES for way in WAYS]
        every = [point for points in pool.map(points_of, scenes, [seed] * len(scenes)) for point in points]  # fmt: skip
        different = {(point.way, point.step): point for point in reversed(every)}
        first = set(different.values())
        order = random.Random(seed)
        chosen = sorted(every, key=lambda point: (point not in first, order.random()))[:cuts]
        parts = [part for scene in scenes for part in _parts(chosen, scene)]
        done = []
        for result in pool.map(cut_all, parts, [seed] * len(parts)):
            done.append(result)
            for text in result[1]:
                print(f"            {text}", flush=True)
    counts: Counter[str] = Counter(starts=len(every), different=len(first))
    counts["killed cuts"] = counts["tasks"] = sum(cut for cut, _ in done)
    print(f"            {len(every)} steps, {len(first)} of them different; {len(chosen)} chosen")
    return counts, [text for _, broken in done for text in broken]


def _parts(chosen: list[Point], scene: tuple[str, str]) -> Iterator[list[Point]]:
    """The cuts of a scene, as many at a time as share a project."""
    found = [point for point in chosen if (point.title, point.way) == scene]
    for begin in range(0, len(found), TOGETHER):
        yield found[begin : begin + TOGETHER]


def points_of(scene: tuple[str, str], seed: int) -> list[Point]:
    """Every step of a scene."""
    title, way = scene
    ground = Ground(seed)
    ground.play(SCENES[title], way, None)
    times: Counter[str] = Counter()
    found = []
    for step in Path(f"{ground.field.told}.steps").read_text().splitlines():
        times[step] += 1
        found.append(Point(title, way, step, times[step]))
    ground.leave()
    return found


def cut_all(points: list[Point], seed: int) -> tuple[int, list[str]]:
    """Cut at each of these points of one scene; how many there were, and what was broken."""
    ground, cuts = Ground(seed), 0
    for point in points:
        was_cut, broken = ground.play(SCENES[point.title], point.way, (point.step, point.time))
        ground.broken += [f"{point.title}: {text}" for text in broken]
        cuts += was_cut
    return cuts, ground.leave()

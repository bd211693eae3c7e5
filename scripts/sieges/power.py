"""Power cuts: a work directory on an image of ext4, xfs or btrfs, and the image copied at a random moment.

The image lies on a file system that can share blocks (xfs), so a copy of it takes one instant: what the file system had
sent to its disk by then is in it, and nothing else.  Then everything is killed, the copy takes the image's place, and
the next watcher has to make the best of it; some cuts come while it does.  The judge's records lie outside the image.

The control run does the same with programs whose fsync does nothing: it has to fail, or nothing was tried.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FICLONE = 0x40049409
KINDS = {  # size in MiB, how it is made, how it is mounted
    "ext4": (96, ("mkfs.ext4", "-q", "-F"), "noatime"),
    "xfs": (320, ("mkfs.xfs", "-q", "-f"), "nouuid,noatime"),
    "btrfs": (160, ("mkfs.btrfs", "-q", "-f", "-m", "single"), "noatime"),
}
CONFIG = """limits: {{running: 4}}
watch: {{rescan: 300ms}}
agents: {{t: {{tool: shell, command: [bash, -c, 'echo $ORCHESTRATOR_TASK_ID >> {starts}; sleep 0.0$((RANDOM % 9))']}}}}
"""
# With "lame" nothing reaches the disk before the kernel thinks of it: the control.
LAME = "import os; os.fsync = os.fdatasync = lambda fd: None\n"
WATCH = """
from orchestrator.execution import program
program.BOOT = lame + program.BOOT
from orchestrator.cli.main import main
sys.argv = ["orchestrator", "watch", "--quiet", *sys.argv[4:]]
sys.exit(main())
"""
SUBMIT = """
import time
from orchestrator.files.layout import Layout
from orchestrator.store.eventlog import EventLog
from orchestrator.store.transitions import Store
layout = Layout(sys.argv[2])
store = Store(layout, EventLog(layout, "cli"))
number = int(sys.argv[3])
while True:
    task_id = f"t{number:05d}"
    store.submit(task_id, "agent: t\\nprompt: x\\n")
    print(task_id, flush=True)
    number += 1
    time.sleep(0.04)
"""
CODE = "import sys\nlame = sys.argv[1]\nexec(lame)\nsys.path.insert(0, %r)\n" % str(ROOT)


def missing() -> str:
    """Why this cannot be tried here; empty if it can."""
    if os.geteuid() != 0:
        return "only root mounts images"
    for program in ("losetup", "mount", "mkfs.xfs"):
        if not shutil.which(program):
            return f"there is no {program} here"
    try:
        with Disk("xfs"):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"images cannot be mounted here: {error}"


def usable() -> list[str]:
    """The kinds of file system that this machine can make."""
    return [kind for kind, (_, make, _) in KINDS.items() if shutil.which(make[0])]


def call(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Disk:
    """An image of a file system, mounted at ``root``; a context that takes all of it away again."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.base = Path(tempfile.mkdtemp(prefix="orchestrator-power-"))
        self.host, self.root = self.base / "host", self.base / "disk"
        self.number = 0

    @property
    def image(self) -> Path:
        return self.host / f"{self.number}.img"

    def __enter__(self) -> Disk:
        self.host.mkdir()
        self.root.mkdir()
        try:
            self._make(self.base / "host.img", 2048, KINDS["xfs"][1])
            call("mount", "-o", "loop,noatime", str(self.base / "host.img"), str(self.host))
            size, make, _ = KINDS[self.kind]
            self._make(self.image, size, make)
            self.mount()
        except BaseException:
            self.__exit__()
            raise
        return self

    @staticmethod
    def _make(path: Path, size: int, command: tuple[str, ...]) -> None:
        with path.open("wb") as file:
            file.truncate(size << 20)
        call(*command, str(path))

    def mount(self) -> None:
        call("mount", "-o", f"loop,{KINDS[self.kind][2]}", str(self.image), str(self.root))

    def photograph(self) -> Path:
        """Copy the image as it is in this instant."""
        copy = self.host / f"{self.number + 1}.img"
        with self.image.open("rb") as source, copy.open("wb") as target:
            fcntl.ioctl(target, FICLONE, source.fileno())
        return copy

    def cut(self) -> None:
        """Go on with the copy.  Nothing may have a file of the old one open any more."""
        end = time.monotonic() + 20
        while subprocess.run(["umount", str(self.root)], capture_output=True).returncode:
            if time.monotonic() > end:
                raise OSError(f"{self.root} is busy")
            time.sleep(0.05)
        self.image.unlink()
        self.number += 1
        self.mount()

    def __exit__(self, *_: object) -> None:
        for place in (self.root, self.host):
            if os.path.ismount(place):
                subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
        shutil.rmtree(self.base, ignore_errors=True)


class House:
    """A project on such a disk, and what the judge knows of it."""

    def __init__(self, disk: Disk, seed: int, control: bool) -> None:
        self.disk, self.random, self.control = disk, random.Random(seed), control
        self.project = disk.root / "p"
        self.starts = disk.base / "starts"
        self.acks = disk.base / "acks"
        self.starts.touch()
        self.acks.touch()
        self.acked: list[str] = []
        self.ran: list[str] = []
        self.done: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.children: list[subprocess.Popen[bytes]] = []
        self.env = {**os.environ, "XDG_STATE_HOME": str(disk.root / "state")}
        self.next = 0

    def init(self) -> None:
        self.project.mkdir()
        subprocess.run(
            [sys.executable, "-c", CODE + "from orchestrator.cli.main import main\nsys.argv[1:] = ['init']\nmain()", ""],
            cwd=self.project, env=self.env, check=False, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        (self.project / "work/orchestrator.yaml").write_text(CONFIG.format(starts=self.starts))
        os.sync()

    def child(self, code: str, *words: str, out: Path | None = None) -> subprocess.Popen[bytes]:
        with (
            (out or self.disk.base / "log").open("ab") as output,
            (self.disk.base / "log").open("ab") as log,
        ):
            process = subprocess.Popen(
                [sys.executable, "-c", CODE + code, LAME if self.control else "", *words],
                cwd=self.project,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )
        self.children.append(process)
        return process

    def watch(self, *words: str) -> subprocess.Popen[bytes]:
        return self.child(WATCH, str(self.project), "0", *words)

    def submit(self) -> None:
        self.next += 1000
        self.child(SUBMIT, str(self.project), str(self.next), out=self.acks)

    def settle(self, process: subprocess.Popen[bytes], patience: float = 60.0) -> None:
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            self.broken.append("the watcher did not come to an end")

    def finished(self) -> set[str]:
        return {name.removesuffix(".yaml") for name in os.listdir(self.project / "work/done")}

    def cut(self) -> None:
        """The power fails now: what was said and begun before is what counts."""
        done = self.finished()
        acked = self.acks.read_text().split("\n")[:-1]
        ran = self.starts.read_text().split("\n")[:-1]
        copy = self.disk.photograph()
        self.kill()
        assert copy.exists()
        self.disk.cut()
        # Only now: a tool that was spawned while we killed has the disk open until it has said that it starts.
        for file, lines in ((self.acks, acked), (self.starts, ran)):
            file.write_text("".join(f"{line}\n" for line in lines))
        self.acked, self.ran = acked, ran
        self.done |= done
        self.counts["killed power"] += 1
        self.look()

    def kill(self) -> None:
        """End all that is ours, whatever has a file on the disk open."""
        for process in self.children:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.children.clear()
        for pid in users(self.disk.root):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def look(self) -> None:
        """What has to be true at once, before anybody mends anything."""
        work = self.project / "work"
        if not work.is_dir():
            self.broken.append("work/ is gone")
            return
        places = self.places()
        for task_id in self.acked:
            if task_id not in places:
                self.broken.append(f"{task_id} was acknowledged, and is lost")
        known = self.vouched()
        lost = [task_id for task_id in self.acked if task_id not in known]
        self.broken += [f"the voucher of {task_id} is lost" for task_id in lost]
        writer = work / ".state/writer"
        if self.acked and (not writer.exists() or not writer.read_text().strip("\0\n ")):
            self.broken.append("the clone's name is lost")

    def vouched(self) -> set[str]:
        found = set()
        paths = (self.disk.root / "state").rglob("approv*.jsonl")  # fmt: skip
        for path in paths:
            for line in path.read_bytes().split(b"\n"):
                try:
                    found.add(str(json.loads(line)["id"]))
                except (ValueError, KeyError, TypeError):
                    continue
        return found

    def places(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for folder in ("inbox", "held", "running", "review", "done", "failed", "cancelled"):
            if (self.project / "work" / folder).is_dir():
                for name in os.listdir(self.project / "work" / folder):
                    if name.endswith(".yaml") and not name.startswith("."):
                        found.setdefault(name.removesuffix(".yaml"), []).append(folder)
        return found

    def recorded(self, task_id: str) -> bool:
        """Whether its start is recorded: that is on disk before the tool is executed, and the power may fail between."""
        paths = self.project.glob(f"work/.state/*/{task_id}.jsonl")
        return any(b'"record": "started"' in path.read_bytes() for path in paths)

    def judge(self) -> None:
        """Let everything come to its end, and compare."""
        self.settle(self.watch("--until-empty"))
        self.kill()
        places, starts = self.places(), Counter(self.starts.read_text().split())
        for task_id in self.acked:
            where = places.get(task_id, [])
            if len(where) != 1:
                self.broken.append(f"{task_id} was acknowledged, and is in {where or 'no folder'}")
            elif where[0] in ("inbox", "running"):
                self.broken.append(f"{task_id} did not come to an end: it is in {where[0]}")
            elif where[0] == "review" and not starts[task_id] and not self.recorded(task_id):
                self.broken.append(f"{task_id} never started, and is in review/")
            if task_id in self.done and where != ["done"]:
                self.broken.append(f"{task_id} was done, and is in {where}")
        for task_id, number in starts.items():
            if number > 1:
                self.broken.append(f"{task_id} ran {number} times")
        self.counts["tasks"], self.counts["starts"] = len(self.acked), sum(starts.values())


def users(root: Path) -> list[int]:
    """Pids of processes that have something below this mount open, or stand in it."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            links = [f"/proc/{name}/cwd", *(f"/proc/{name}/fd/{fd}" for fd in os.listdir(f"/proc/{name}/fd"))]  # fmt: skip
            if any(os.readlink(link).startswith(f"{root}/") for link in links):
                found.append(int(name))
        except OSError:
            continue
    return found


def siege(kind: str, cuts: int, seed: int, control: bool = False) -> tuple[Counter[str], list[str]]:
    """So many power cuts on one kind of file system."""
    with Disk(kind) as disk:
        house = House(disk, seed, control)
        house.init()
        try:
            while house.counts["killed power"] < cuts:
                house.watch()
                house.submit()
                time.sleep(0.8 + house.random.random() * 1.5)
                house.cut()
                while house.random.random() < 0.4 and house.counts["killed power"] < cuts:
                    house.watch()  # the next cut comes while this one is being mended
                    time.sleep(0.3 + house.random.random() * 0.8)
                    house.cut()
                    house.counts["cuts of recovery"] += 1
                if house.counts["killed power"] % 4 == 0 or house.counts["killed power"] >= cuts:
                    house.judge()
                if control and house.broken:
                    break
        finally:
            house.kill()
        return house.counts, house.broken


def sieges(cuts: int, seed: int) -> tuple[Counter[str], list[str]]:
    """As `siege`, on every file system that this machine can make, after a control that has to fail."""
    control = siege("ext4", cuts, seed, control=True)[1]
    broken = [] if control else ["without any fsync nothing broke: the siege is blind"]
    counts: Counter[str] = Counter()
    for kind in usable():
        found, wrong = siege(kind, cuts, seed)
        counts.update(found)
        broken += [f"{kind}: {text}" for text in dict.fromkeys(wrong)]
    return counts, broken

"""The sandbox, really built: what an attempt in it can see, change and reach, and what becomes of what it drops.

Everything but the pure decisions needs bubblewrap; where it is missing, or the kernel refuses it, those tests are skipped.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Project, WatcherProcess, wait_until

from orchestrator.coordination.sandboxing import refusals
from orchestrator.coordination.settings import Fixed
from orchestrator.coordination.tasktrees import TaskTrees
from orchestrator.coordination.walls import literal
from orchestrator.execution import sandbox, secretstore, syscalls
from orchestrator.files import schemas
from orchestrator.files.configuration import load_config
from orchestrator.model.config import Agent
from orchestrator.model.isolation import Role
from orchestrator.model.sandbox import (
    PROJECT,
    Bounds,
    Sandbox,
    at_least,
    bounds_from,
    sandbox_from,
    tighter_bounds,
    within,
)
from orchestrator.testing import End, Tube
from orchestrator.tools.routing import Route, bounded
from orchestrator.tools.specs import ToolSpec


def none_here() -> str:
    """Why bubblewrap builds nothing here; asked of the program itself, for walls of ours that cannot be built are a failure."""
    words = ["bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "true"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""


WHY = none_here()
needs_bwrap = pytest.mark.skipif(bool(WHY), reason=f"no sandbox here: {WHY}")

TOOL = """\
description: Does what its prompt says, in a shell.
argv: [sh, -u]
prompt: stdin
edits: true
state: ["{STATE}/sessions/"]
settings: [.mytool]
"""
CONFIG = """\
defaults: {{agent: builder, timeout: 60s, retries: 0}}
environment: {{pass: [STATE]}}
agents:
  builder: {{tool: mine, sandbox: {sandbox}{more}}}
  free: {{tool: mine, permissions: full}}
  watchful: {{tool: mine, secrets: {{GH_TOKEN: {{command: [sh, -c, "echo $SECRET_PLACE"]}}}}}}
{rest}"""


def git(folder: Path, *words: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


class Fenced(Project):
    """A repository whose agent, a shell, is in a sandbox."""

    def settings(self, sandbox: str = "project", more: str = "", rest: str = "") -> None:
        self.config(CONFIG.format(sandbox=sandbox, more=more, rest=rest))

    def do(self, script: str, task_id: str = "a", code: int | None = 0, **keys) -> str:
        """Run one task to its end; what it printed."""
        self.drop(f"{task_id}.yaml", json.dumps({"prompt": f"{script}\nexit\n", **keys}))
        self.run("watch", "--until-empty", code=code)
        log = self.work / "logs" / task_id / "1" / "stdout.log"
        errors = log.with_name("stderr.log")
        return log.read_text() + errors.read_text() if log.exists() else ""

    def result(self, task_id: str = "a") -> str:
        return (self.work / "results" / f"{task_id}.yaml").read_text()


@pytest.fixture
def fenced(tmp_path) -> Fenced:
    root = tmp_path / "p"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "code.txt").write_text("one\n")
    (root / ".claude").mkdir()
    (root / ".claude" / "settings.json").write_text("{}\n")
    project = Fenced(root)
    project.init()
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools" / "mine.yaml").write_text(TOOL)
    project.settings()
    state = tmp_path / "state"
    project.env |= {"STATE": str(state), "SECRET_PLACE": "hunter2-hunter2"}
    git(root, "add", "-A")
    git(root, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "first")
    return project


# -- the walls ------------------------------------------------------------------------------------------------------


@needs_bwrap
def test_the_working_folder_can_be_changed_and_nothing_else(fenced, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    said = fenced.do(
        f"""
        echo two > code.txt && echo CHANGED
        for path in work/orchestrator.yaml work/tools/x.yaml work/done/x.yaml work/x .git/config .git/hooks/pre-commit \
            .git/x .claude/settings.json .claude/x {outside}/x /usr/x /etc/x "$HOME/x"; do
            (echo evil >> "$path") 2>/dev/null && echo "WROTE $path"
        done
        for path in .git .claude work; do mv $path moved 2>/dev/null && echo "MOVED $path"; done
        rm -rf work/orchestrator.yaml .git/HEAD 2>/dev/null
        echo here > "$ORCHESTRATOR_ARTIFACTS/note.txt" && echo here > /tmp/mine && echo here > "$TMPDIR/mine"
        echo here > "$STATE/sessions/one"
        """
    )
    assert said.split() == ["CHANGED"]
    assert (fenced.root / "code.txt").read_text() == "two\n"
    assert (fenced.work / "orchestrator.yaml").exists() and (fenced.root / ".git" / "HEAD").exists()
    assert not (outside / "x").exists() and not os.path.exists("/tmp/mine")
    assert (tmp_path / "state" / "sessions" / "one").read_text() == "here\n"
    assert "note.txt" in fenced.result()


@needs_bwrap
def test_what_is_hidden_cannot_be_read(fenced):
    trust = subprocess.run(
        [fenced.python, "-c", "from orchestrator.files.statehome import state_home as x; print(x())"],
        env=fenced.env, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    said = fenced.do(
        f"""
        cat work/logs/a/1/command.json work/events/*.jsonl
        ls -A work/logs/a/1 work/inbox /tmp
        echo "state: $(ls -A work/.state)" "trust: $(ls -A {trust})" "run: $(ls -A /run)"
        """
    )
    assert '"record"' not in said and '"env"' not in said and "task_claimed" not in said
    assert "a.yaml" not in said
    assert os.listdir(fenced.work / ".state") and os.listdir(trust)  # there was something to see
    assert "state:  trust:  run:" in said
    shown = said.split("run:")[1].splitlines()[0].split()
    assert set(shown) <= {"systemd", "resolvconf", "NetworkManager", "current-system"}  # names only


@needs_bwrap
@pytest.mark.parametrize("level", ["project", "strict"])
def test_nothing_can_be_written_where_nothing_is_shown(fenced, level):
    """It would be forgotten with the attempt, but a verb in it would believe it."""
    fenced.settings(level, rest="# none\n")
    trusted = Path(fenced.env["XDG_STATE_HOME"]) / "orchestrator"
    places = ["work", "work/.state", "work/logs", "work/logs/a/1", "work/events", trusted]
    said = fenced.do(
        f"""
        for place in {" ".join(map(str, places))}; do
            ls $place > /dev/null 2>&1 && echo there
            (echo x > $place/x) 2>/dev/null && echo "WROTE $place"
        done
        true
        """
    )
    assert trusted.is_dir() and said.split() == ["there"] * len(places)


@needs_bwrap
def test_no_privilege_is_left(fenced):
    names = ("mnt", "pid", "ipc", "uts", "cgroup")
    said = fenced.do(
        f"cat /proc/self/status; readlink {' '.join(f'/proc/self/ns/{name}' for name in names)}"
    )
    facts = dict(line.split(":", 1) for line in said.splitlines() if "\t" in line)
    assert {facts[name].strip("\t0") for name in ("CapEff", "CapPrm", "CapInh")} == {""}
    assert facts["NoNewPrivs"].strip() == "1"
    for name in names:
        assert f"{name}:[" in said and os.readlink(f"/proc/self/ns/{name}") not in said


@needs_bwrap
def test_nobody_outside_can_be_seen_or_signalled(fenced):
    """Only one process of ours is at stake: where the wall is broken, ``kill -9 -1`` would end all."""
    with subprocess.Popen(["sleep", "600"]) as outside:
        said = fenced.do(
            f"""
            kill -0 {outside.pid} 2>/dev/null && echo SEEN
            kill -9 {outside.pid} 2>/dev/null
            echo processes $(ls -d /proc/[0-9]* | wc -l)
            """
        )
        assert outside.poll() is None
        outside.kill()
    assert "SEEN" not in said
    assert int(said.split("processes")[1].split()[0]) < 8


KEYS = """
import ctypes, errno, fcntl, pathlib, sys
call = ctypes.CDLL(None, use_errno=True).syscall
for line in pathlib.Path("/proc/keys").read_text().splitlines():
    number = int(line.split()[0], 16)
    for words in ((8, number, -3), (11, number, ctypes.create_string_buffer(99), 99)):
        if call(250, *words) >= 0:
            print("REACHED", line)
for number, words in ((248, (b"user", b"x", b"x", 1, -3)), (250, (1, None)), (249, (b"user", b"x", None, 0))):
    if call(number, *words) >= 0 or ctypes.get_errno() != errno.ENOSYS:
        print("CALLED", number)
for kind in (fcntl.F_WRLCK, fcntl.F_RDLCK):
    with open(sys.argv[1]) as file:
        try:
            print("LEASED", fcntl.fcntl(file, fcntl.F_SETLEASE, kind))
        except PermissionError:
            pass
print("TRIED")
"""
HOST = """
import ctypes, socket
if ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120)) >= 0:
    print("RING")  # what is asked by it, a socket too, no filter sees
try:
    socket.socket(40, socket.SOCK_STREAM)
    print("MADE")
except OSError as error:
    print("refused", error.errno)
socket.socket(socket.AF_INET, socket.SOCK_STREAM)
"""


def answer(filter_: bytes, kind: int, number: int, first: int = 0, second: int = 0) -> int:
    """What the kernel does with a call by this filter: 0 lets it through, else it is an error's number."""
    words = list(struct.iter_unpack("=HBBI", filter_))
    # Of s390x the lower half of an argument comes second.
    low = 20 if kind == 0x80000016 else 16
    data, value, at = {0: number, 4: kind, low: first, low + 8: second}, 0, 0
    while True:
        code, yes, no, k = words[at]
        at += 1
        if code == 0x20:
            value = data[k]
        elif code == 0x54:
            value &= k
        elif code == 0x15:
            at += yes if value == k else no
        else:
            return 0 if k == 0x7FFF0000 else k & 0xFFFF


@pytest.mark.parametrize("machine", syscalls.MACHINES, ids=lambda machine: hex(machine.name))
def test_what_the_filter_of_system_calls_refuses(machine):
    """On every kind of machine; also in the other way that x86-64 counts its calls (x32)."""
    for network in (True, False):
        filter_ = syscalls.program(network)
        for number in (*machine.keys, *(key | 0x40000000 for key in machine.keys)):
            assert answer(filter_, machine.name, number) == errno.ENOSYS
        gone = 0 if network else errno.EAFNOSUPPORT
        assert answer(filter_, machine.name, machine.socket, socket.AF_VSOCK) == gone
        assert answer(filter_, machine.name, machine.socket, socket.AF_INET) == 0
        for number in (425, machine.socketcall):
            if number is not None:
                assert answer(filter_, machine.name, number) == (0 if network else errno.ENOSYS)
        for number in machine.fcntl:
            assert answer(filter_, machine.name, number, 3, fcntl.F_SETLEASE) == errno.EACCES
            for command in (fcntl.F_SETFL, fcntl.F_SETLK, fcntl.F_GETLEASE, machine.socket, 425):
                assert answer(filter_, machine.name, number, socket.AF_VSOCK, command) == 0
        assert answer(filter_, machine.name, 0) == 0
    assert answer(syscalls.program(True), 0x1234, 0) == errno.ENOSYS


@needs_bwrap
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("level", ["project", "strict"])
def test_neither_keys_nor_leases_are_to_be_had(fenced, level):
    """They are in no namespace: whoever has the same user can link them by their numbers. Nor is a
    lease, which is to be had of any file that can be read, and keeps others from opening it."""
    (fenced.root / "keys.py").write_text(KEYS)
    fenced.settings(level, more=", timeout: 50s")
    script = "python3 keys.py work/orchestrator.yaml; ls /proc/self/fd | wc -l"
    assert fenced.do(script).split() == ["TRIED", "4"]


@needs_bwrap
def test_without_a_network_the_host_of_a_virtual_machine_is_not_reached(fenced):
    (fenced.root / "host.py").write_text(HOST)
    fenced.settings(
        rest="  alone: {tool: shell, command: [python3, host.py], sandbox: {level: strict, network: none}}\n"
    )
    assert fenced.do("go", agent="alone").split() == ["refused", "97"]


@needs_bwrap
def test_the_walls_hold_against_a_root_of_its_own(fenced):
    """Neither mounts nor namespaces of its own nor the files of the kernel lead out, not even for root."""
    said = fenced.do(
        """
        unshare -Urm sh -c '
            for path in work work/.state work/logs work/inbox .git .claude; do
                umount $path && echo "UNCOVERED $path"
                mount -o remount,bind,rw $path && echo "OPENED $path"
            done
            (echo evil > work/x; echo evil > .git/x; echo evil > .claude/x) && echo WROTE
            mount -t proc proc /proc && kill -0 1 && echo "SAW $(ls -d /proc/[0-9]* | wc -l)"
        ' 2>/dev/null
        ln work/orchestrator.yaml linked 2>/dev/null && echo LINKED
        (cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern) 2>/dev/null && echo KERNEL
        (echo h > /proc/sysrq-trigger) 2>/dev/null && echo KERNEL
        unshare -U true 2>/dev/null && echo NAMESPACE
        cat work/.state/watcher.json /proc/1/root/../work/.state/instance 2>/dev/null
        true
        """
    )
    assert not [
        word for word in ("UNCOVERED", "WROTE", "LINKED", "KERNEL", "NAMESPACE") if word in said
    ], said
    assert not any((fenced.root / path).exists() for path in ("work/x", ".git/x", ".claude/x"))
    assert "{" not in said


@needs_bwrap
@pytest.mark.parametrize("write", ["~/.", "~/.local/state", "{root}", "{root}/.."])
def test_nothing_above_a_wall_may_be_written(fenced, write):
    Path(fenced.env["HOME"], ".local/state").mkdir(parents=True, exist_ok=True)
    fenced.env.pop("XDG_STATE_HOME", None)
    fenced.settings(f"{{level: project, write: [{write.format(root=fenced.root)}]}}")
    fenced.do("echo STARTED > started", code=1)
    assert not (fenced.root / "started").exists()
    assert "sandbox: project is not possible here" in fenced.result()


@needs_bwrap
def test_what_is_trusted_lies_in_no_working_folder(fenced):
    fenced.env["XDG_STATE_HOME"] = str(fenced.root / "state")
    fenced.do("echo STARTED > started", code=1)
    assert not (fenced.root / "started").exists()
    assert "contains what this machine trusts" in " ".join(fenced.result().split())


@needs_bwrap
def test_what_leads_out_by_its_name_is_not_given(fenced, tmp_path):
    """Only to a role that may write there anyway."""
    agent = tmp_path / "agent"
    agent.mkdir()
    fenced.env["SSH_AUTH_SOCK"] = f"{agent}/socket"
    assert fenced.do("echo at:${SSH_AUTH_SOCK-}") == "at:\n"
    fenced.settings(f"{{level: project, write: [{agent}]}}")
    assert fenced.do("echo at:${SSH_AUTH_SOCK-}", "b") == f"at:{agent}/socket\n"


@needs_bwrap
def test_a_link_that_one_role_leaves_leads_no_other_one_out(fenced, tmp_path):
    """One may write in a folder, another in what lies in it."""
    cache, victim = tmp_path / "cache", tmp_path / "victim"
    (cache / "inner").mkdir(parents=True)
    victim.mkdir()
    (victim / "mine").write_text("mine\n")
    fenced.settings(
        f"{{level: project, write: [{cache}]}}",
        rest=f"  second: {{tool: mine, sandbox: {{level: project, write: [{cache}/inner]}}}}\n",
    )
    fenced.do("echo OK > code.txt; echo OK > $STATE/sessions/x", agent="second")
    fenced.do(f"rmdir {cache}/inner; ln -s {victim} {cache}/inner", task_id="b")
    fenced.do(f"echo evil > {victim}/mine", task_id="c", agent="second", code=1)
    assert (victim / "mine").read_text() == "mine\n"
    assert "is a link where an attempt can write" in fenced.result("c")


@needs_bwrap
def test_a_link_in_place_of_sessions_leads_no_other_tool_out(fenced, tmp_path):
    """One role may write where another one's tool keeps its sessions."""
    home, victim = tmp_path / "home", tmp_path / "victim"
    (home / "sessions").mkdir(parents=True)
    victim.mkdir()
    fenced.env["STATE"] = str(home)
    fenced.settings(
        rest=f"  packer: {{tool: shell, command: [sh], sandbox: {{level: project, write: [{home}]}}}}\n"
    )
    script = f"mv {home}/sessions {home}/before; ln -s {victim} {home}/sessions"
    fenced.do(script, "p", agent="packer")
    assert (home / "sessions").is_symlink()
    fenced.do(f"echo evil > {victim}/x", "b", code=None)
    assert list(victim.iterdir()) == []
    assert "sessions is a link where" in " ".join(fenced.result("b").split())


@needs_bwrap
@pytest.mark.skipif(not sandbox.can_pin(), reason="this bubblewrap takes nothing open")
def test_a_folder_where_others_may_write_is_given_open(fenced):
    """By its name it could be a link by the time that the walls are built; nothing of it stays open inside."""
    out = fenced.root / "out"
    out.mkdir()
    fenced.settings(sandbox=f"{{level: project, write: [{out}]}}")
    said = fenced.do(f"echo fine > {out}/x; readlink /proc/self/fd/* | grep -v pipe: || true")
    assert (out / "x").read_text() == "fine\n"
    assert str(out) not in said
    argv = json.loads((fenced.work / "logs/a/1/sandbox.json").read_text())["argv"]
    assert argv[argv.index("--bind-fd") + 2] == str(out)


@needs_bwrap
def test_a_folder_that_cannot_be_given_open_is_not_given(fenced, tmp_path):
    """By an older bubblewrap: a link that comes in the last moment would be followed."""
    folder, out = tmp_path / "bin", fenced.root / "out"
    folder.mkdir()
    out.mkdir()
    (folder / "bwrap").write_text(
        f'#!/bin/sh\n[ "$1" = --help ] && exit 0\nexec {shutil.which("bwrap")} "$@"\n'
    )
    (folder / "bwrap").chmod(0o755)
    fenced.env["PATH"] = f"{folder}:{fenced.env['PATH']}"
    fenced.do("true")
    fenced.settings(sandbox=f"{{level: project, write: [{out}]}}")
    fenced.do("true", "b", code=1)
    assert "that needs bubblewrap 0.10" in " ".join(fenced.result("b").split())


@needs_bwrap
def test_a_drop_folder_that_is_a_link_is_not_followed(fenced, tmp_path):
    """The watcher takes files away from there: a link would let an attempt take anybody's."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "mine.md").write_text("mine\n")
    fenced.config(
        CONFIG.format(
            sandbox="project", more=", isolation: worktree, review: never, merge: never", rest=""
        )
    )
    fenced.do(f"rm -rf work; mkdir work; ln -s {victim} work/inbox")
    assert (victim / "mine.md").exists() and not list(fenced.work.glob("*/mine.md"))
    assert "work/inbox could not be checked" in fenced.result()


CONNECT = """
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print("REACHED")
except OSError as error:
    print("refused")
"""


@needs_bwrap
@pytest.mark.parametrize("level", ["project", "strict"])
@pytest.mark.parametrize("where", ["", "dev/", "work/trees/"])
def test_a_socket_of_somebody_else_cannot_be_reached(fenced, level, where):
    """Not even in the working folder, where everything else can be changed, nor through a link."""
    (fenced.root / "connect.py").write_text(CONNECT)
    (fenced.root / where).mkdir(exist_ok=True)
    (fenced.root / "away").symlink_to(fenced.root / where)
    fenced.settings(level, rest="# none\n")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{fenced.root}/away/service.sock")
        listening.listen()
        said = fenced.do(f"python3 connect.py {fenced.root}/{where}service.sock")
    assert said.split() == ["refused"]


@needs_bwrap
def test_strict_shows_only_what_is_named(fenced, tmp_path):
    secret, shown = tmp_path / "secret", tmp_path / "shown"
    for folder in (secret, shown):
        folder.mkdir()
        (folder / "x").write_text("content\n")
    fenced.settings(f"{{level: strict, read: [{shown}], write: [{tmp_path}/cache]}}")
    (tmp_path / "cache").mkdir()
    said = fenced.do(
        f"""
        cat {shown}/x && cat code.txt && git log --oneline | wc -l
        for path in {secret}/x /etc/shadow work/results work/.state/instance "{os.path.expanduser("~")}"/.ssh; do
            ls "$path" >/dev/null 2>&1 && echo "SEEN $path"
        done
        (echo evil > {shown}/y) 2>/dev/null && echo WROTE
        echo kept > {tmp_path}/cache/y
        """
    )
    assert said.split() == ["content", "one", "1"]
    assert (tmp_path / "cache" / "y").read_text() == "kept\n"


@needs_bwrap
def test_a_plain_command_can_be_without_a_network(fenced):
    fenced.settings(
        rest="  alone: {tool: shell, command: [cat, /proc/net/dev], sandbox: {level: project, network: none}}\n"
    )
    said = fenced.do("go", agent="alone")
    assert [line.split(":")[0].strip() for line in said.splitlines() if ":" in line] == ["lo"]


@needs_bwrap
def test_an_agent_is_never_without_a_network(fenced):
    fenced.settings("{level: project, network: none}")
    fenced.do("true", code=1)
    assert "network: none is for plain commands" in fenced.result()


@needs_bwrap
def test_a_task_can_only_tighten(fenced, tmp_path):
    said = fenced.do(
        "ls work/results 2>&1; echo $ORCHESTRATOR_DROP", sandbox="strict", agent="free"
    )
    assert "No such file" in said and said.rstrip().endswith("work/inbox")
    fenced.drop("b.yaml", "prompt: x\nsandbox: off\n")
    assert "sandbox" in fenced.run("validate", code=None).stdout


@needs_bwrap
def test_the_git_folder_can_lie_anywhere_in_the_working_folder(fenced):
    """What decides is where git says that it is, not what it is called."""
    git(fenced.root, "init", "-q", "--separate-git-dir", str(fenced.root / "store.git"))
    said = fenced.do(
        """
        for path in store.git/config store.git/hooks/pre-commit store.git/x .git; do
            (echo evil >> $path) 2>/dev/null && echo "WROTE $path"
        done
        mv store.git moved 2>/dev/null && echo MOVED
        git status --short code.txt
        """
    )
    assert said == ""


@needs_bwrap
def test_a_tree_is_a_working_folder_and_its_git_is_not(fenced):
    fenced.config(
        CONFIG.format(
            sandbox="project", more=", isolation: worktree, review: never, merge: never", rest=""
        )
    )
    said = fenced.do(
        """
        echo two > code.txt && echo CHANGED
        root=$ORCHESTRATOR_ROOT
        for path in $root/code.txt $root/.git/config .git $root/work/orchestrator.yaml; do
            (echo evil >> "$path") 2>/dev/null && echo "WROTE $path"
        done
        git status --short
        """
    )
    assert said.split() == ["CHANGED", "M", "code.txt"]
    assert git(fenced.root, "show", "task/a:code.txt") == "two"
    assert (fenced.root / "code.txt").read_text() == "one\n"


def commit(root: Path, *paths: str) -> None:
    git(root, "add", *paths)
    git(root, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "more")


@pytest.mark.parametrize("level", ["off", pytest.param("project", marks=needs_bwrap)])
def test_a_tree_is_set_up_behind_the_same_walls(fenced, tmp_path, level):
    """What it begins with may be another agent's work: ``npm ci`` runs what is written there. Where there are no walls,
    it is given no more than an agent."""
    (fenced.root / "setup.sh").write_text("true\n")
    commit(fenced.root, "setup.sh")
    fenced.config(
        CONFIG.format(
            sandbox=level,
            more=", isolation: worktree, review: never, merge: never",
            rest="trees: {setup: [[sh, setup.sh]]}\n",
        )
    )
    fenced.env["A_TOKEN"] = "in-the-watchers-environment"
    escape = f"(echo x > {tmp_path}/escaped) 2>/dev/null; echo made-$A_TOKEN > made"
    fenced.do(f"echo '{escape}' > setup.sh")
    fenced.do("cat made", "child", base="task/a")
    assert fenced.log("child") == "made-\n"
    assert (tmp_path / "escaped").exists() == (level == "off")


@needs_bwrap
def test_checks_before_a_merge_run_behind_the_same_walls(fenced, tmp_path):
    """They run again where the target has moved, and they run what the agent wrote."""
    (fenced.root / "check.sh").write_text("true\n")
    commit(fenced.root, "check.sh")
    fenced.config(
        CONFIG.format(
            sandbox="project",
            more=", isolation: worktree, review: always, verify: [own], verify_retries: 0",
            rest="checks: {own: {command: [sh, check.sh]}}\n",
        )
    )
    script = (
        f"pwd; (echo x > {tmp_path}/escaped) 2>/dev/null; cat {fenced.work}/.state/instance;"
        " test -e other"
    )
    fenced.do(f"echo '{script}' > check.sh; touch other")
    assert fenced.where("a") == "review"
    (fenced.root / "moved").write_text("x\n")
    commit(fenced.root, "moved")
    fenced.run("approve", "a")
    log = (fenced.work / "logs" / "a" / "merge-checks.log").read_text()
    assert "/.state/tmp/" in log and "instance: No such file" in log
    assert (
        not (tmp_path / "escaped").exists() and (fenced.root / "check.sh").read_text() != "true\n"
    )


LOOK = """
import os
for name in os.listdir("/proc/self/fd"):
    if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
        print("open", os.readlink(f"/proc/self/fd/{name}"))
print(*(name for name in ("TMUX", "DOCKER_HOST", "A_TOKEN") if name in os.environ))
try:
    os.open("/dev/tty", os.O_RDWR)
    print("terminal")
except OSError:
    print("looked")
"""


@pytest.mark.parametrize("level", ["off", pytest.param("project", marks=needs_bwrap)])
def test_an_attempt_inherits_neither_terminal_nor_files_nor_variables(fenced, level):
    """Nor do its checks and the setup of its tree: with TMUX it could type into a person's panes."""
    (fenced.root / "look.py").write_text(LOOK)
    commit(fenced.root, "look.py")
    fenced.env |= {"TMUX": "/x,1,0", "DOCKER_HOST": "x", "A_TOKEN": "x"}
    fenced.settings(
        level,
        more=", isolation: worktree, review: never, merge: never, verify: [look], verify_retries: 0",
        rest="checks: {look: {command: [sh, -c, python3 look.py; exit 1]}}\ntrees: {setup: [[python3, look.py]]}\n",
    )
    said = fenced.do("python3 look.py", code=1)
    logs = fenced.work / "logs" / "a"
    checked = next(path for path in logs.rglob("stdout.log") if path.parent != logs / "1")
    told = [said, checked.read_text(), (logs / "setup.log").read_text().partition("\n")[2]]
    assert [text.split() for text in told] == [["looked"]] * 3


def test_who_kills_its_supervisor_ends_no_setup_of_another(fenced, tmp_path):
    """It would be taken for what that attempt has left, and its end for a good one."""
    fenced.config(
        f"""
defaults: {{agent: free, timeout: 60s, retries: 0}}
trees: {{setup: [[sh, -c, "touch {tmp_path}/began; while ! test -e {tmp_path}/go; do sleep 0.1; done; touch made"]]}}
agents:
  tree: {{tool: mine, isolation: worktree, review: never, merge: never}}
  free: {{tool: mine}}
"""
    )
    watcher = WatcherProcess(fenced).ready()
    try:
        fenced.drop("b.yaml", "agent: tree\nprompt: |\n  ls\n  exit\n")
        wait_until((tmp_path / "began").exists, "the setup has begun")
        fenced.drop("a.yaml", json.dumps({"prompt": "kill -9 $PPID; sleep 30\n"}))
        fenced.until("a", "review")  # what it left has been ended by then
        (tmp_path / "go").touch()
        fenced.until("b", "done")
    finally:
        watcher.stop()
    assert "made" in fenced.log("b").split()


def test_who_kills_its_supervisor_ends_no_check_before_a_merge(fenced, tmp_path):
    """A check that was ended from outside is no green one: what it would have refused was merged."""
    check = f"test -e moved || exit 0; touch {tmp_path}/began; while ! test -e {tmp_path}/go; do sleep 0.1; done; exit 1"
    fenced.config(
        f"""
defaults: {{agent: free, timeout: 60s, retries: 0}}
checks: {{slow: {{command: [sh, -c, "{check}"]}}}}
agents:
  tree: {{tool: mine, isolation: worktree, review: never, merge: auto, verify: [slow], verify_retries: 0}}
  free: {{tool: mine}}
"""
    )
    watcher = WatcherProcess(fenced).ready()
    try:
        wait = f"touch {tmp_path}/runs; while ! test -e {tmp_path}/moved; do sleep 0.1; done"
        fenced.drop("b.yaml", json.dumps({"agent": "tree", "prompt": f"{wait}; touch new\nexit\n"}))
        wait_until((tmp_path / "runs").exists, "the work has begun")
        (fenced.root / "moved").touch()
        commit(fenced.root, "moved")
        (tmp_path / "moved").touch()
        wait_until((tmp_path / "began").exists, "the check of what both have made has begun")
        fenced.drop("a.yaml", json.dumps({"prompt": "kill -9 $PPID; sleep 30\n"}))
        fenced.until("a", "review")  # what it left has been ended by then
        (tmp_path / "go").touch()
        fenced.until("b", "review")
    finally:
        watcher.stop()
    assert not (fenced.root / "new").exists()


@needs_bwrap
@pytest.mark.parametrize("key", ["copy", "link"])
def test_nothing_is_placed_through_a_link_in_a_branch(fenced, tmp_path, key):
    """What we put into a tree lands in it, whatever an agent made of the folders above."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (fenced.root / "conf").mkdir()
    (fenced.root / "conf" / "plain").write_text("x\n")
    commit(fenced.root, "conf")
    (fenced.root / "conf" / ".env").write_text("KEY=1\n")
    fenced.config(
        CONFIG.format(
            sandbox="project", more=", isolation: worktree, review: never, merge: never", rest=""
        )
    )
    fenced.do(f"rm -rf conf; ln -s {theirs} conf")
    with (fenced.work / "orchestrator.yaml").open("a") as file:
        file.write(f"trees: {{{key}: [conf/.env]}}\n")
    fenced.do("true", "child", base="task/a", code=1)
    assert not list(theirs.iterdir())
    assert "a link leads conf out of the tree" in " ".join(fenced.result("child").split())


# -- what it ends like ----------------------------------------------------------------------------------------------


@needs_bwrap
def test_exit_codes_and_warnings_are_told(fenced):
    fenced.do("echo evil > work/x; exit 7", code=1)
    assert "exit_code: 7" in fenced.result()
    assert "the sandbox refused" in fenced.result() and "Read-only file system" in fenced.result()


@needs_bwrap
def test_what_steers_programs_and_appears_is_taken_away(fenced):
    fenced.do(
        "mkdir .mytool .vscode && echo evil > .mytool/hook && ln -s /etc/passwd opencode.json"
    )
    assert not any(
        os.path.lexists(fenced.root / name) for name in (".mytool", ".vscode", "opencode.json")
    )
    assert (fenced.work / "logs" / "a" / "1" / "taken" / ".mytool" / "hook").exists()
    assert "steers programs here: moved to" in fenced.result()


@needs_bwrap
def test_what_a_check_leaves_is_taken_away_too(fenced):
    """It runs what the agent wrote."""
    fenced.settings(
        more=", verify: [own], verify_retries: 0",
        rest="checks: {own: {command: [sh, check.sh]}}\n",
    )
    fenced.do("echo 'mkdir .vscode; touch .vscode/x' > check.sh")
    assert not (fenced.root / ".vscode").exists()
    assert "the check own: it made .vscode, which steers" in " ".join(fenced.result().split())


@needs_bwrap
def test_what_steers_programs_where_the_attempt_begins_stays_too(fenced):
    inner = fenced.root / "packages" / "a"
    (inner / ".claude").mkdir(parents=True)
    (inner / ".claude" / "settings.json").write_text("{}\n")
    said = fenced.do(
        """
        (echo evil > .claude/settings.json) 2>/dev/null && echo WROTE
        mkdir .mytool ../.vscode
        cd ../..; mv packages aside; mkdir -p packages/a/.claude; echo evil > packages/a/.claude/settings.json
        """,
        cwd="packages/a",
    )
    assert said == ""
    assert not any((fenced.root / "packages" / name).exists() for name in (".vscode", "a/.claude"))
    assert fenced.result().count("steers programs here: moved to") == 2
    assert (fenced.root / "aside" / "a" / ".claude" / "settings.json").read_text() == "{}\n"


@needs_bwrap
@pytest.mark.parametrize(
    ("name", "target"),
    [
        (".claude", "settings"),  # beside it, where the agent may write
        (".git", "repository"),
        (".envrc", "nowhere"),
        ("packages/.mytool", "settings"),
        ("packages/a/.mcp.json", "nowhere"),
    ],
)
def test_a_guard_that_is_a_link_is_refused(fenced, name, target):
    """The link could be replaced, whatever it leads to: in the working folder, where the attempt begins, and between."""
    (fenced.root / "packages" / "a").mkdir(parents=True)
    guard, real = fenced.root / name, fenced.root / target
    if guard.exists():
        guard.rename(real)
    elif target != "nowhere":
        real.mkdir()
    guard.symlink_to(real)
    fenced.do("echo STARTED > started", code=1, cwd="packages/a")
    assert not (fenced.root / "packages/a/started").exists()
    assert f"sandbox: {name} is a link, which could be replaced" in " ".join(
        fenced.result().split()
    )


@needs_bwrap
@pytest.mark.skipif(not sandbox.can_pin(), reason="this bubblewrap takes nothing open")
@pytest.mark.parametrize("level", ["project", "strict"])
def test_a_link_that_appears_in_place_of_a_guard_shows_nothing(fenced, tmp_path, level):
    """An attempt beside it can rename what lies in a subfolder, after the look and before the mount."""
    guard = fenced.root / "sub" / ".claude"
    guard.mkdir(parents=True)
    (tmp_path / "hidden").write_text("HIDDEN\n")
    folder, real = tmp_path / "bin", shutil.which("bwrap")
    folder.mkdir()
    up = os.path.relpath("/", guard.parent)
    (folder / "bwrap").write_text(
        f"""#!/bin/sh
case " $* " in *" test -x "*|*" --help "*) exec {real} "$@";; esac
mv {guard} {guard}.old && ln -s {up} {guard} && exec {real} "$@"
"""
    )
    (folder / "bwrap").chmod(0o755)
    fenced.env["PATH"] = f"{folder}:{fenced.env['PATH']}"
    fenced.settings(level, rest="# none\n")
    said = fenced.do(f"cat {tmp_path}/hidden {fenced.work}/.state/instance", code=None, cwd="sub")
    assert guard.with_name(".claude.old").exists()  # it was put there
    assert "HIDDEN" not in said
    assert (fenced.work / ".state/instance").read_text() not in said


@needs_bwrap
def test_what_a_link_leads_to_is_not_taken_away(fenced, tmp_path):
    """An agent that puts a link where it began does not have somebody's settings moved."""
    (fenced.root / "packages" / "a").mkdir(parents=True)
    theirs = tmp_path / "home" / "a" / ".claude"
    theirs.mkdir(parents=True)
    fenced.do(
        f"cd ../..; mv packages aside; ln -s {tmp_path}/home packages; mkdir -p aside/.claude",
        cwd="packages/a",
    )
    assert theirs.exists() and not (fenced.root / "packages").exists()
    assert "it made packages, which steers programs here: moved to" in fenced.result()


@needs_bwrap
@pytest.mark.parametrize("kind", ["drafts", "others"])
def test_a_drop_folder_full_of_anything_is_looked_at_in_time(fenced, kind):
    """Pipes, links, folders and drafts among the tasks keep nothing up."""
    script = {
        "drafts": "cd $ORCHESTRATOR_DROP; for n in $(seq 1000); do : > .d$n; done; echo 'prompt: exit' > t1.yaml",
        "others": "cd $ORCHESTRATOR_DROP; mkfifo a.yaml; mkdir b.yaml; ln -s /etc/passwd c.yaml; ln -s t1.yaml d.yaml;"
        " truncate -s 60G e.yaml; echo 'prompt: exit' > t1.yaml",
    }[kind]
    fenced.settings("{level: project}", rest="watch: {rescan: 1s}\n")
    fenced.do(script, code=None)
    assert fenced.where("t1")
    assert not (fenced.work / "inbox" / "a.yaml").exists()


@needs_bwrap
def test_a_cancelled_attempt_may_finish_what_it_does(fenced):
    script = "trap 'echo GRACE; exit 3' INT\necho READY\nwhile :; do sleep 0.05; done\n"
    fenced.drop("a.yaml", json.dumps({"prompt": script}))
    watcher = WatcherProcess(fenced).ready()
    try:
        log = fenced.work / "logs" / "a" / "1" / "stdout.log"
        wait_until(lambda: log.exists() and "READY" in log.read_text(), "the attempt")
        fenced.run("cancel", "a")
        wait_until(lambda: (fenced.work / "cancelled" / "a.yaml").exists(), "the cancel")
        assert "GRACE" in log.read_text()
    finally:
        watcher.stop()


@needs_bwrap
def test_nothing_outlives_the_attempt(fenced, tmp_path):
    mark = f"sleep-{os.getpid()}"
    script = tmp_path / "p" / mark
    script.write_text("#!/bin/sh\nexec sleep 300\n")
    script.chmod(0o755)
    fenced.do(f"env -i setsid ./{mark} >/dev/null 2>&1 &\nsleep 0.2\n")
    found = subprocess.run(
        ["pgrep", "-f", f"{mark}|sleep 300$"], capture_output=True, text=True, check=False
    ).stdout
    lines = [
        Path(f"/proc/{pid}/cwd").resolve() for pid in found.split() if Path(f"/proc/{pid}").exists()
    ]
    assert fenced.root not in lines


def dead(parent: int) -> list[str]:
    """Children that have ended, and that nobody has collected."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found.append(path.read_text())
    return [text for text in found if text.rpartition(")")[2].split()[:2] == ["Z", str(parent)]]


@needs_bwrap
def test_nothing_of_a_sandbox_is_left_in_the_watchers_care(fenced):
    """Each would hold the number of a process for as long as the watcher lives."""
    setup = "trees: {setup: [[sh, -c, sleep 600 & exit 0]]}"
    fenced.settings(
        more=", isolation: worktree, review: never, merge: never",
        rest=f"  bare: {{tool: mine, isolation: worktree}}\n  plain: {{tool: mine, sandbox: strict}}\n{setup}\nwatch: {{rescan: 100ms}}\n",
    )
    watcher = WatcherProcess(fenced).ready()
    try:
        for agent in ("builder", "plain", "bare"):
            fenced.drop(f"{agent}.yaml", json.dumps({"prompt": "exit\n", "agent": agent}))
            fenced.until(agent, "done")
        wait_until(lambda: not dead(watcher.process.pid), "nothing is left of them")
    finally:
        watcher.stop()


@needs_bwrap
def test_the_prompt_kept_in_the_log_cannot_be_changed(fenced):
    fenced.do("exec 9<>/proc/$$/fd/0 && echo EVIL >&9; chmod 777 /proc/$$/fd/0; true")
    assert "EVIL\n" not in (fenced.work / "logs" / "a" / "1" / "prompt.md").read_text().replace(
        "echo EVIL", ""
    )
    assert (fenced.work / "logs" / "a" / "1" / "prompt.md").stat().st_mode & 0o777 == 0o600


def test_impossible_means_not_started(fenced, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bwrap").write_text(
        "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n"
    )
    (folder / "bwrap").chmod(0o755)
    fenced.env["PATH"] = f"{folder}:{fenced.env['PATH']}"
    fenced.do("echo STARTED > started", code=1)
    assert not (fenced.root / "started").exists()
    assert "setting up uid map: Permission denied" in fenced.result()
    assert "sandbox: project is not possible here" in fenced.result()


@needs_bwrap
def test_what_cannot_be_built_once_is_built_again(fenced, tmp_path):
    """A socket that was listed a moment ago may be gone by now."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bwrap").write_text(
        f'#!/bin/sh\n[ "$1" = --help ] || mkdir {tmp_path}/failed 2>/dev/null || exec {shutil.which("bwrap")} "$@"\nexit 1\n'
    )
    (folder / "bwrap").chmod(0o755)
    fenced.env["PATH"] = f"{folder}:{fenced.env['PATH']}"
    assert fenced.do("echo STARTED 2>/dev/null").strip() == "STARTED"
    assert (tmp_path / "failed").is_dir()


@needs_bwrap
def test_a_program_whose_path_looks_like_a_variable_is_told(fenced, tmp_path):
    """What builds walls would take it for one."""
    (tmp_path / "a=b").mkdir()
    (tmp_path / "a=b" / "sh").symlink_to("/bin/sh")
    program = json.dumps([f"{tmp_path}/a=b/sh"])
    fenced.settings(rest=f"  odd: {{tool: shell, command: {program}, sandbox: project}}\n")
    fenced.do("true", agent="odd", code=1)
    assert "there is a = in the path of" in " ".join(fenced.result().split())


@needs_bwrap
def test_no_variable_of_a_task_steers_what_builds_the_walls(fenced):
    """The loader of programs obeys it, also the one of bubblewrap, which still has every right."""
    fenced.config(CONFIG.format(sandbox="project", more="", rest="").replace("pass: [STATE]", "tasks: [GLIBC_TUNABLES], pass: [STATE]"))  # fmt: skip
    said = fenced.do("echo STARTED", code=1, env={"GLIBC_TUNABLES": "glibc.malloc.check=3"})
    assert said == "" and "sets GLIBC_TUNABLES" in " ".join(fenced.result().split())


@needs_bwrap
def test_doctor_proves_the_walls(fenced):
    said = fenced.run("doctor", code=None).stdout
    tried = "a write outside, a hidden file, a process outside and the kernel's keys"
    assert f"project: {tried} are out of reach" in said


@needs_bwrap
@pytest.mark.skipif(syscalls.here() is None, reason="the numbers of its calls are not known")
def test_doctor_finds_that_system_calls_are_not_refused(fenced, tmp_path):
    """A bubblewrap that loads no filter leaves the kernel's keys in reach, and nothing else shows it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = shutil.which("bwrap")
    text = f"""#!{sys.executable}
import os, sys
words = sys.argv[1:]
place = words.index("--seccomp")
os.execv({real!r}, [{real!r}, *words[:place], *words[place + 2:]])
"""
    (folder / "bwrap").write_text(text)
    (folder / "bwrap").chmod(0o755)
    fenced.env["PATH"] = f"{folder}:{fenced.env['PATH']}"
    fenced.settings(
        rest="  alone: {tool: shell, command: ['true'], sandbox: {level: strict, network: none}}\n"
    )
    said = fenced.run("doctor", code=1).stdout
    assert "project: it reached keys that the kernel keeps" in said
    assert "strict, network: none: it reached keys that the kernel keeps" in said


def test_doctor_says_why_there_can_be_no_walls(fenced, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bwrap").write_text(
        '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'
    )
    (folder / "bwrap").chmod(0o755)
    fenced.env["PATH"] = f"{folder}:{fenced.env['PATH']}"
    said = fenced.run("doctor", code=1).stdout
    assert "project: it wrote outside it read what is hidden" in said


# -- what it drops ----------------------------------------------------------------------------------------------


@needs_bwrap
def test_what_is_dropped_is_bound_like_its_parent(fenced):
    grandchild = {"agent": "free", "prompt": "echo evil > work/y\nexit\n"}
    script = f"echo evil > work/x\ncat > work/inbox/grandchild.yaml <<'END'\n{json.dumps(grandchild)}\nEND\nexit\n"
    child = {"agent": "free", "prompt": script}
    fenced.do(f"cat > work/inbox/child.yaml <<'END'\n{json.dumps(child)}\nEND\n", code=1)
    assert not (fenced.work / "x").exists() and not (fenced.work / "y").exists()
    for name in ("child", "grandchild"):
        assert "the sandbox refused" in fenced.result(name)
    events = "".join(path.read_text() for path in (fenced.work / "events").glob("*.jsonl"))
    assert '"parent":"a"' in events and '"parent":"child"' in events


@needs_bwrap
@pytest.mark.parametrize("level", ["project", "strict"])
def test_what_is_dropped_names_nothing_that_is_hidden(fenced, level):
    """We read it for its prompt, and from us nothing is hidden."""
    fenced.settings(level, rest="# none\n")
    (fenced.work / "results" / "theirs.yaml").write_text("echo HIDDEN\n")
    (fenced.work / "logs" / "theirs").mkdir()
    for path in ("logs/theirs/note", ".state/note"):
        (fenced.work / path).write_text("echo HIDDEN\n")
    names = ["work/logs/theirs/note", "work/.state/note", "./work//.state/note", "lent"]
    names += ["work/results/theirs.yaml"] if level == "strict" else []
    children = [{"prompt_file": name} for name in (*names, "words")]
    children += [{"prompt": "exit\n", "context": [name]} for name in ("code.txt", *names)]
    children += [{"prompt": "exit\n", "result": {"schema": name}} for name in names]
    script = "ln -s work/.state/note lent; echo echo fine > words\n"
    for number, child in enumerate(children):
        script += f"echo '{json.dumps(child)}' > work/inbox/c{number}.yaml\n"
    fenced.do(script, code=None)
    ends = [fenced.where(f"c{number}") for number in range(len(children))]
    count = len(names)
    assert ends == [*["failed"] * count, "done", "done", *["failed"] * count * 2]
    told = "".join(fenced.result(f"c{number}") for number in range(len(children)))
    logs = "".join(path.read_text() for path in fenced.work.glob("logs/c*/*/*.[lm]*"))
    assert "HIDDEN" not in told + logs
    assert told.count("is hidden from a") + told.count("leads into work/") == count * 3 * 2


@needs_bwrap
def test_a_schema_that_its_tree_has_not_is_not_read_for_it(fenced):
    """It is the project's, where there may be files that a strict sandbox does not show."""
    more = ", isolation: worktree, review: never, merge: never"
    fenced.settings("strict", more, rest="# none\n")
    for name in ("key", "changed"):
        (fenced.root / name).write_text("{}\n")
    commit(fenced.root, "changed")
    script = ""
    for name in ("key", "changed"):
        (fenced.root / name).write_text('{"description": "HIDDEN"}\n')
        child = {"prompt": "cat >&2\n", "result": {"schema": name}}
        script += f"echo '{json.dumps(child)}' > work/inbox/{name}.yaml\n"
    fenced.do(script, code=1)
    told = fenced.result("key") + fenced.result("changed")
    assert "cannot be read" in told and "is not the same in the tree" in " ".join(told.split())
    assert "HIDDEN" not in told and not list(fenced.work.glob("logs/[kc]*/1/prompt.md"))


@needs_bwrap
def test_a_link_in_place_of_a_prompt_shows_nothing_of_ours(fenced):
    """The next attempt would be told what is hidden from it."""
    (fenced.root / "words").write_text("rm words; ln -s work/.state/instance words\nexit\n")
    fenced.drop("a.yaml", "prompt_file: words\n")
    fenced.run("watch", "--until-empty")
    fenced.drop("b.yaml", "prompt_file: words\n")
    fenced.run("watch", "--until-empty", code=1)
    assert "'words' leads into work/" in fenced.result("b").replace("''", "'")


@needs_bwrap
def test_what_is_dropped_from_a_tree_works_in_a_tree(fenced):
    """Else an agent whose work waits for a look would change the checkout by another role."""
    fenced.config(
        CONFIG.format(sandbox="project", more=", isolation: worktree, review: always", rest="")
    )
    child = {"agent": "free", "prompt": "echo evil > code.txt\nexit\n"}
    fenced.do(
        f"mkdir -p work/inbox; cat > work/inbox/child.yaml <<'END'\n{json.dumps(child)}\nEND\n",
        code=None,
    )
    assert fenced.where("child") == "review"
    assert (fenced.root / "code.txt").read_text() == "one\n"
    assert git(fenced.root, "show", "task/child:code.txt") == "evil"


@needs_bwrap
def test_a_dropped_run_is_bound_too(fenced):
    run = {"tasks": {"one": {"agent": "free", "prompt": "echo evil > work/x\nexit\n"}}}
    fenced.do(f"cat > work/inbox/both.yaml <<'END'\n{json.dumps(run)}\nEND\n", code=1)
    assert not (fenced.work / "x").exists()
    assert "the sandbox refused" in fenced.result("both.one")


@needs_bwrap
def test_what_follows_from_a_dropped_task_is_bound_too(fenced):
    child = {
        "agent": "free",
        "prompt": "exit 0\n",
        "then": {"agent": "free", "prompt": "echo evil > work/x\nexit\n"},
    }
    fenced.do(f"cat > work/inbox/child.yaml <<'END'\n{json.dumps(child)}\nEND\n", code=1)
    assert not (fenced.work / "x").exists()
    refused = [
        path.name
        for path in (fenced.work / "results").glob("*")
        if "the sandbox refused" in path.read_text()
    ]
    assert len(refused) == 1 and refused[0].startswith("child.")


@needs_bwrap
def test_a_child_gets_no_secret_that_its_parent_had_not(fenced):
    fenced.do(
        r"""printf 'agent: watchful\nprompt: "echo GOT-${GH_TOKEN:-nothing}"\n' > work/inbox/child.yaml"""
    )
    assert "GOT-nothing" in (fenced.work / "logs" / "child" / "1" / "stdout.log").read_text()


@needs_bwrap
def test_new_in_a_sandbox_drops_the_task(fenced):
    said = fenced.do(f"{sys.executable} -m orchestrator new 'echo from-the-child' --id child")
    assert "child" in said
    assert "from-the-child" in (fenced.work / "logs" / "child" / "1" / "stdout.log").read_text()


# -- checks -----------------------------------------------------------------------------------------------------


@needs_bwrap
def test_checks_run_behind_the_same_walls(fenced):
    fenced.settings(
        more=", verify: [tests], verify_retries: 0",
        rest='checks:\n  tests: {command: [sh, -c, "echo evil > work/x; echo evil > work/inbox/y.yaml; ls -A work/inbox > seen; test ! -e work/x"]}\n',
    )
    fenced.do("true")
    assert not (fenced.work / "x").exists() and not (fenced.work / "inbox" / "y.yaml").exists()
    assert os.listdir(fenced.work / "inbox") and (fenced.root / "seen").read_text() == ""


# -- secrets of a role ------------------------------------------------------------------------------------------


def test_a_secret_is_fetched_masked_and_given_to_its_role_only(fenced):
    said = fenced.do('echo "GOT-$GH_TOKEN"', agent="watchful")
    assert "GOT-***************" in said
    fenced.drop(
        "b.yaml", json.dumps({"prompt": 'echo "GOT-${GH_TOKEN:-nothing}"\n', "agent": "free"})
    )
    fenced.run("watch", "--until-empty")
    assert "GOT-nothing" in (fenced.work / "logs" / "b" / "1" / "stdout.log").read_text()
    kept = [
        path
        for path in fenced.work.rglob("*")
        if path.is_file() and b"hunter2" in path.read_bytes()
    ]
    assert not kept


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ('["false"]', "ended with 1"),
        ("[no-such-program]", "could not be started"),
        ("[sh, -c, 'echo not this >&2; exit 3']", "not this"),
        ("[sh, -c, 'echo s3cr3t-value; echo got s3cr3t-value >&2; exit 3']", "got ************"),
        ("[sh, -c, 'echo with $MY_TOKEN >&2; exit 3']", "with ************"),
        # What of it is shown is cut off when all of it has been looked through.
        (
            "[sh, -c, 'head -c 4086 /dev/zero; echo; printf \"%4086s $MY_TOKEN\\nnot this\" x >&2; exit 3']",
            "3: not this",
        ),
        ("[sh, -c, 'printf \"%65530s$MY_TOKEN\" x >&2; exit 3']", "ended with"),
        (
            '[sh, -c, \'s=abcd; printf "s3cr3t-val\\n$s"; printf "no: s3cr3t-val\\n$s" >&2; exit 3\']',
            "3: no: ***************",
        ),
        ('["true"]', "printed nothing"),
        ("[echo, '          ']", "printed nothing"),
    ],
)
def test_without_its_secret_an_attempt_does_not_start(fenced, command, why):
    fenced.env["MY_TOKEN"] = "s3cr3t-value"
    fenced.settings(rest=f"  needy: {{tool: mine, secrets: {{A_TOKEN: {{command: {command}}}}}}}\n")
    fenced.do("echo STARTED > started", code=1, agent="needy")
    assert not (fenced.root / "started").exists()
    assert "the secret A_TOKEN" in fenced.result() and why in fenced.result()
    assert "s3cr3t" not in fenced.result() and "abcd" not in fenced.result()


def test_a_secret_is_fetched_without_the_terminal_of_the_watcher(fenced):
    """Else a program could ask a person who thinks that somebody else asks, or wait for ever."""
    fenced.env |= {"GPG_TTY": "/dev/pts/0"}
    tries = 'echo "no terminal"; [ -t 0 ] && echo INPUT; (: < /dev/tty) 2>/dev/null && echo OPENED; echo "$GPG_TTY"'
    fenced.settings(
        rest=f"  needy: {{tool: mine, secrets: {{PLAIN: {{command: [sh, -c, {json.dumps(tries)}]}}}}}}\n"
    )
    fenced.drop("a.yaml", json.dumps({"prompt": "echo $PLAIN | tr a-z b-za\n", "agent": "needy"}))
    main, terminal = os.openpty()
    try:
        done = subprocess.run(
            ["setsid", "-c", "sh", "-c", ': < /dev/tty && exec "$0" -m orchestrator watch --until-empty', fenced.python],
            cwd=fenced.root, env=fenced.env, stdin=terminal, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(main)
        os.close(terminal)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (fenced.work / "logs" / "a" / "1" / "stdout.log").read_text()
    assert log.strip() == "op ufsnjobm"  # by another letter each: it is masked as it is


def test_a_secret_is_in_no_name_and_no_check(fenced):
    """An agent calls an artifact by it, and leaves it in a file that a check prints."""
    fenced.env["SECRET_PLACE"] = 'hunter2-"hunter2'
    fenced.settings(
        rest="  named: {tool: mine, secrets: {GH_TOKEN: {command: [sh, -c, 'echo $SECRET_PLACE']}}, verify: [tests], verify_retries: 0}\n"
        "checks: {tests: {command: [sh, -c, 'cat left.json; exit 1']}}\n"
    )
    fenced.do(
        """
        echo x > "$ORCHESTRATOR_ARTIFACTS/$GH_TOKEN"
        printf '%s' "$GH_TOKEN" | sed 's/"/\\\\"/' > left.json
        """,
        agent="named",
        code=1,
    )
    texts = [path.read_text() for path in fenced.work.glob("events/*.jsonl")] + [fenced.result()]
    assert not [text for text in texts if "hunter2" in text]
    (log,) = fenced.work.glob("logs/a/1/checks/tests/stdout.log")
    assert log.read_text() == "*" * 17
    assert f"artifacts/{'*' * 16}" in fenced.result()


@pytest.mark.parametrize("code", (0, 1))
def test_a_secret_is_in_no_log_of_a_setup(fenced, code):
    fenced.env["MY_TOKEN"] = "s3cr3t-value"
    fenced.settings(
        rest=f"  treed: {{tool: mine, isolation: worktree}}\ntrees: {{setup: [[sh, -c, 'echo it is $MY_TOKEN; exit {code}']]}}\n"
    )
    path = fenced.work / "orchestrator.yaml"
    path.write_text(path.read_text().replace("[STATE]", "[STATE, MY_TOKEN]"))
    fenced.do("true", agent="treed", code=code)
    said = (fenced.work / "logs" / "a" / "setup.log").read_text()
    assert "it is ************\n" in said and "s3cr3t" not in said


def test_a_secret_too_short_to_be_masked_is_told(fenced):
    fenced.env["SECRET_PLACE"] = "1234"
    fenced.do("true", agent="watchful")
    assert "the secret GH_TOKEN has fewer than 8 characters: it is not masked" in fenced.result()


def test_a_secret_that_does_not_come_is_given_up(tmp_path):
    with pytest.raises(secretstore.NoSecret, match="took longer than 0.2 s"):
        secretstore.fetch({"A_TOKEN": ["sh", "-c", "sleep 60 & wait"]}, str(tmp_path), seconds=0.2)


def test_nobody_waits_for_a_secret_that_is_not_wanted_any_more(fenced):
    """A cancel and a watcher that leaves end what would fetch it."""
    fenced.settings(rest="  slow: {tool: mine, secrets: {A_TOKEN: {command: [sleep, '300']}}}\n")
    slow = json.dumps({"prompt": "true\n", "agent": "slow"})
    fenced.drop("a.yaml", slow)
    watcher = WatcherProcess(fenced).ready()
    try:
        fenced.until("a", "running")
        fenced.run("cancel", "a")
        fenced.until("a", "cancelled", patience=20)
        fenced.drop("b.yaml", slow)
        fenced.until("b", "running")
        watcher.send(signal.SIGTERM)
        assert watcher.wait(20) is not None
    finally:
        watcher.stop()
    assert fenced.where("b") == "running"


def test_a_secret_that_was_cut_off_and_written_again_is_masked(fenced):
    fenced.do(
        """
        head -c 5000 /dev/zero; sleep 1.2
        python3 -c 'import os; os.ftruncate(1, 0); os.write(1, os.environ["GH_TOKEN"].encode() + b"z" * 9000)'
        sleep 1.2
        """,
        agent="watchful",
    )
    log = (fenced.work / "logs" / "a" / "1" / "stdout.log").read_text()
    assert log.startswith("*" * 15 + "z")


def test_a_secret_is_on_no_disk_and_of_a_size(tmp_path):
    command = {"A_TOKEN": ["readlink", "/proc/self/fd/1"]}
    assert secretstore.fetch(command, str(tmp_path))["A_TOKEN"].startswith("/memfd:")
    with pytest.raises(secretstore.NoSecret, match="printed more than 64 KiB"):
        secretstore.fetch({"A_TOKEN": ["yes"]}, str(tmp_path))


# -- decisions --------------------------------------------------------------------------------------------------


def test_a_refusal_is_told_without_the_json_around_it(tmp_path):
    line = {"tool_use_result": {"stdout": "line 1: work/x: Read-only file system", "stderr": ""}}
    (tmp_path / "stdout.log").write_text(json.dumps(line) + "\n")
    assert refusals(str(tmp_path)) == ["the sandbox refused: line 1: work/x: Read-only file system"]


def test_levels_only_rise():
    assert at_least(Sandbox("strict"), "project").level == "strict"
    assert at_least(Sandbox("off"), "strict").level == "strict"
    assert at_least(Sandbox("project"), "").level == "project"
    assert at_least(Sandbox("project"), "nonsense").level == "project"


@pytest.mark.parametrize(
    "child",
    [
        Sandbox(),
        Sandbox("project", write=("/home", "/cache2", "/cache/x2")),
        Sandbox("strict", ("/",), ("/",)),
    ],
)
@pytest.mark.parametrize(
    "parent",
    [Sandbox("project", write=("/cache",)), Sandbox("strict", ("/opt",), ("/cache/x",), False)],
)
def test_a_child_is_never_looser(child, parent):
    inner = within(child, parent)
    levels = ("off", "project", "strict")
    assert levels.index(inner.level) >= max(levels.index(child.level), levels.index(parent.level))
    assert all(
        any(path == other or path.startswith(other + "/") for other in parent.write)
        for path in inner.write
    )
    assert inner.network <= parent.network
    assert within(inner, parent) == inner


def test_a_record_that_is_damaged_bounds_most():
    assert bounds_from({}).sandbox == Sandbox("strict", network=False)
    assert bounds_from({"level": "none of these", "permissions": ["full"]}).permissions == "default"
    assert bounds_from({}).review == "always"
    whole = Bounds("a", Sandbox("project", write=("/c",)), "full", ("A", "B"), True, "changed")
    assert bounds_from(whole.as_record()) == whole
    both = tighter_bounds(Bounds("b", Sandbox("strict"), "default", ("B",)), whole)
    assert (both.secrets, both.tree, both.review) == (("B",), True, "changed")
    less = replace(whole, permissions="default", secrets=("B",))
    for both in (tighter_bounds(whole, less), tighter_bounds(less, whole)):
        assert (both.permissions, both.secrets) == ("default", ("B",))


def test_no_more_permissions_and_no_less_review_than_the_parent_had():
    role = Role(review="never", merge="auto")
    agent = Agent(
        "free", ("mine",), permissions="full", role=role, secrets={"A": ("x",), "B": ("x",)}
    )
    route = Route(agent, ToolSpec("mine", (), ""), None, 60.0, 0, "it was asked for")
    inner = bounded(route, Bounds("a", Sandbox("project"), "edit", ("B",), True, "always"))
    assert inner.agent.permissions == "edit" and inner.agent.role.reviews == "always"
    assert set(inner.agent.secrets) == {"B"} and inner.isolated and inner.sandbox.level == "project"
    strict = replace(route, agent=replace(agent, permissions="read", role=Role(review="always")))
    inner = bounded(strict, Bounds("a", Sandbox("project"), "full", (), False, "never"))
    assert inner.agent.permissions == "read" and inner.agent.role.reviews == "always"


def test_a_sandbox_is_a_word_or_a_mapping():
    assert sandbox_from("strict") == Sandbox("strict") and sandbox_from(None) == Sandbox()
    assert sandbox_from({"level": "project", "network": "none"}) == Sandbox(
        "project", network=False
    )


def test_everything_that_was_dropped_is_taken_at_the_end(tmp_path):
    """At one look while it runs a few hundred; those that cannot be taken are told of and keep nothing up."""
    tube = Tube(tmp_path)
    settings = Fixed(load_config(tube.layout, schemas.check))
    drop = Path(tube.layout.logs("p", 1)) / "drop"
    drop.mkdir(parents=True)
    for number in range(230):
        (drop / f"t{number}.yaml").write_text("prompt: x\nagent: ok\n")
    for number in range(10):
        (drop / f"pipe{number}.yaml").mkdir()
    box = Sandbox(PROJECT)
    agent = SimpleNamespace(name="ok", permissions="default", secrets={}, role=Role())
    route = SimpleNamespace(sandbox=box, agent=agent)
    task = SimpleNamespace(run=None)
    life = SimpleNamespace(id="p", attempt=1, tree=None, route=route, task=task)
    tasktrees = TaskTrees(tube.layout, settings, tube.store)
    tasktrees.collect(life, quiet=0.0)
    taken = len(list(Path(tube.layout.folder("inbox")).glob("t*.yaml")))
    assert 0 < taken <= 200
    told = tasktrees.collect(life)
    assert len(list(Path(tube.layout.folder("inbox")).glob("t*.yaml"))) == 230
    assert len(told) == 10 and all("was not queued" in text for text in told)


@needs_bwrap
def test_what_is_dropped_while_an_attempt_runs_is_brought_beside_the_loop(tmp_path, monkeypatch):
    """200 files at each look, and the disk waited for several times for each, held up all others."""
    tube, beside, real = Tube(tmp_path), [], asyncio.to_thread
    tube.configure("  boxed: {tool: shell, command: [/bin/true], sandbox: project}\n")
    tube.plan("p", End(100.0))
    tube.drop("p", "agent: boxed\nprompt: x\n")

    def aside(step, *given):
        beside.append(step.__name__)
        return real(step, *given)

    drop = Path(tube.layout.logs("p", 1)) / "drop/x.yaml"
    tube.at(20, lambda: drop.write_text("prompt: x\nagent: ok\n"))
    tube.at(40, lambda: os.utime(drop, (1, 1)))
    tube.at(41, lambda: monkeypatch.setattr(asyncio, "to_thread", aside))
    tube.at(90, monkeypatch.undo)
    tube.run()
    begun = {task: at for at, task, _ in tube.started}
    assert 40 < begun["x"] < 90 and "collect" in beside


def test_no_link_is_followed_where_an_attempt_may_write(tmp_path):
    real, shared = tmp_path / "real", tmp_path / "shared"
    (shared / "a").mkdir(parents=True)
    real.mkdir()
    (shared / "link").symlink_to(real)
    (tmp_path / "own").symlink_to(shared)
    at = [str(shared)]
    assert literal(f"{tmp_path}/own/a", at) == f"{shared}/a"
    assert literal(f"{tmp_path}/own/link/x", at) == f"{shared}/link/x"
    assert literal(f"{shared}/link", []) == str(real)


@needs_bwrap
def test_instructions_of_a_role_stay_as_they_are(fenced):
    (fenced.root / "guide.md").write_text("Be careful.\n")
    fenced.settings(more=", instructions: guide.md")
    said = fenced.do("(echo evil >> guide.md) 2>/dev/null || echo REFUSED; mv guide.md x || true")
    assert "REFUSED" in said and (fenced.root / "guide.md").read_text() == "Be careful.\n"


@needs_bwrap
def test_a_secret_of_a_role_is_masked_whatever_its_name_is(fenced):
    fenced.settings(more=", secrets: {PLAIN: {command: [sh, -c, 'echo $SECRET_PLACE']}}")
    said = fenced.do("echo got $PLAIN")
    assert "hunter2" not in said and "got ***************" in said

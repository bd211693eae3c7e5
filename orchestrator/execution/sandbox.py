"""Turns what a process may see and change into the words before its command, for bubblewrap
(``bwrap``).

The kernel keeps the walls: a mount namespace with nothing in it but what is listed here, process
and IPC namespaces of its own, no capabilities, no new privileges. A mount that is listed later lies
over an earlier one.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache

from orchestrator.errors import OrchestratorError
from orchestrator.execution import syscalls
from orchestrator.files import git
from orchestrator.files.text import one_line
from orchestrator.model.sandbox import covered
from orchestrator.records import dataclass

PROGRAM = "bwrap"
SECONDS = 20.0  # for a trial
READ, WRITE, EMPTY, SEALED = "read", "write", "empty", "sealed"
SCRATCH = ("/tmp", "/var/tmp")
# Services of the machine listen in /run: whoever reaches docker's socket, or the user's systemd, is
# out of any sandbox.
HIDDEN = (*SCRATCH, "/run", "/var/run")
# Of /proc, what root may write although it has no capability: a core_pattern is a command that the
# kernel runs.
KERNEL = tuple(
    f"/proc/{name}" for name in "sys sysrq-trigger irq bus fs acpi scsi driver mtrr".split()
)
FROM_RUN = ("/run/current-system", "/run/opengl-driver", "/run/booted-system")
SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
)
ETC = (
    *"alternatives ca-certificates ca-certificates.conf crypto-policies fonts gai.conf group"
    " host.conf hosts".split(),
    *"java-17-openjdk java-21-openjdk ld.so.cache ld.so.conf ld.so.conf.d locale.alias localtime"
    " magic mime.types".split(),
    *"nsswitch.conf os-release passwd pki profile protocols python3 resolv.conf services ssl"
    " terminfo timezone".split(),
)


@dataclass(frozen=True, slots=True)
class Mount:
    """``kind``: ``read`` or ``write`` (``source``, seen at ``path``), ``empty`` (a folder with
    nothing in it, which is forgotten at the end) or ``sealed`` (what is laid over ``path`` so far
    can no longer be changed).

    ``pin``: another attempt could put a link in its place while the walls are built, so it is
    opened before.
    """

    kind: str
    path: str
    source: str = ""
    pin: bool = False


@dataclass(frozen=True, slots=True)
class Walls:
    """What a process sees. ``whole``: all of the machine, read-only, below the mounts; else the
    system's programs only."""

    mounts: tuple[Mount, ...]
    cwd: str
    whole: bool = True
    network: bool = True


class NoWalls(OrchestratorError):
    """A program that builds walls is missing."""


def words(
    walls: Walls, descriptor: int = syscalls.DESCRIPTOR, pins: Sequence[int] | None = None
) -> list[str]:
    """The command up to where the program's own begins. Raises `NoWalls` without bubblewrap.

    It needs the filter of system calls (`syscalls.program`) at ``descriptor``, and what is `pinned`
    at ``pins`` (None: by its name). ``env`` gives the program its signals back: bubblewrap itself
    lives as long as it does, and ignores them.
    """
    bwrap, env = _which(PROGRAM), _which("env")
    if bwrap is None or env is None:
        raise NoWalls(f"there is no program '{PROGRAM if bwrap is None else 'env'}'")
    fixed = iter(pins or ())
    argv = [
        bwrap,
        "--unshare-user",
        "--disable-userns",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
    ]
    argv += ["--unshare-cgroup-try", "--cap-drop", "ALL", "--seccomp", str(descriptor)]
    argv += [] if walls.network else ["--unshare-net"]
    argv += _whole() if walls.whole else _system()
    for path in KERNEL if os.geteuid() == 0 else ():
        argv += ["--ro-bind", path, path] if os.path.exists(path) else []
    for mount in walls.mounts:
        if pins is not None and mount.pin:
            argv += [f"--{'ro-' * (mount.kind == READ)}bind-fd", str(next(fixed)), mount.path]
        else:
            argv += _laid(mount)
    return [*argv, "--chdir", walls.cwd, "--", env, "--default-signal"]


def pinned(walls: Walls) -> tuple[str, ...]:
    """What has to be opened before the walls are built, each without a link in its path."""
    return tuple(mount.path for mount in walls.mounts if mount.pin)


def given(count: int) -> range:
    """Where the supervisor gives bubblewrap what is pinned."""
    return range(syscalls.DESCRIPTOR + 1, syscalls.DESCRIPTOR + 1 + count)


@cache
def can_pin() -> bool:
    """Whether this bubblewrap takes what is open already (0.10, and the mended ones before)."""
    bwrap = _which(PROGRAM)
    try:
        asked = subprocess.run(
            [bwrap or PROGRAM, "--help"], capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return b"--ro-bind-fd" in asked.stdout + asked.stderr


def visible(path: str, mounts: Sequence[Mount], whole: bool) -> bool:
    """Whether what lies at this path is seen behind these mounts: the last one above it decides."""
    above = [mount for mount in mounts if mount.kind != SEALED and covered(path, [mount.path])]
    if above:
        return above[-1].kind != EMPTY and not above[-1].source
    return not covered(path, HIDDEN) if whole else covered(path, SYSTEM)


def _which(name: str) -> str | None:
    """A program that builds walls is none of a folder that the agent may write: a relative part of
    PATH is passed over."""
    return shutil.which(name, path=git.absolute_path())


def _laid(mount: Mount) -> list[str]:
    if mount.kind == EMPTY:
        return ["--tmpfs", mount.path]
    if mount.kind == SEALED:
        return ["--remount-ro", mount.path]
    word = "--bind" if mount.kind == WRITE else "--ro-bind"
    return [word, mount.source or mount.path, mount.path]


def _whole() -> list[str]:
    argv = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for folder in HIDDEN:
        if os.path.isdir(folder) and not os.path.islink(folder):
            argv += ["--tmpfs", folder]
    return argv + _from_run()


def _system() -> list[str]:
    argv = ["--dev", "/dev", "--proc", "/proc"]
    for path in (*SYSTEM, *(f"/etc/{name}" for name in ETC)):
        if os.path.islink(path) and path in SYSTEM:
            argv += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            argv += ["--ro-bind", os.path.realpath(path), path]
    for folder in SCRATCH:
        argv += ["--dir", folder]
    return argv + _from_run()


def _from_run() -> list[str]:
    """What programs need of the hidden /run: how names are resolved, and the system where it is
    linked from there."""
    found: list[str] = []
    resolver = os.path.realpath("/etc/resolv.conf")
    for path in (resolver, *FROM_RUN):
        if covered(path, HIDDEN) and os.path.exists(path):
            found += ["--ro-bind", os.path.realpath(path), path]
    return found


def sockets() -> list[str]:
    """Named sockets of this machine on which somebody listens: read-only mounts do not keep anybody
    from connecting."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()[1:]
    except OSError:
        return []
    listed = {line.split(None, 7)[7] for line in lines if line.count("/") and len(line.split()) > 7}
    return sorted(
        path
        for path in listed
        if os.path.isabs(path) and os.access(path, os.F_OK) and "\n" not in path
    )


def refused(walls: Walls, program: str, env: Mapping[str, str]) -> str:
    """Why nothing can be started behind these walls; empty if the program can be. They are really
    built, for a moment."""
    said, code = run(walls, ["test", "-x", program], env)
    if code == 0:
        return ""
    if said:
        return one_line(said.splitlines()[-1], 200)
    return f"{program} is not visible in it" if code == 1 else f"{PROGRAM} ended with {code}"


@contextmanager
def enclosed(walls: Walls, argv: Sequence[str]) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """A command behind these walls, and the descriptors that it must be given.

    Raises `NoWalls`, and OSError if something that is pinned leads elsewhere by now.
    """
    with ExitStack() as opened:
        calls = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        opened.callback(os.close, calls)
        os.write(calls, syscalls.program(walls.network))
        os.lseek(calls, 0, os.SEEK_SET)
        pins = []
        for path in pinned(walls):
            pins.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
            opened.callback(os.close, pins[-1])
            if os.readlink(f"/proc/self/fd/{pins[-1]}") != path:
                raise OSError(errno.ELOOP, "it leads elsewhere by now", path)
        yield [*words(walls, calls, pins), *argv], (calls, *pins)


def run(
    walls: Walls, argv: Sequence[str], env: Mapping[str, str], seconds: float = SECONDS
) -> tuple[str, int]:
    """What a short command says behind these walls, and its exit code; a problem of ours is in its
    words, with code -1."""
    try:
        with enclosed(walls, argv) as ((bwrap, *rest), fds):
            done = subprocess.run(
                [bwrap, "--as-pid-1", *rest],  # no further process that bubblewrap leaves to us
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": env.get("PATH", os.defpath)},
                cwd="/",
                timeout=seconds,
                check=False,
            )
    except NoWalls as error:
        return error.message, -1
    except (OSError, subprocess.SubprocessError) as error:
        return str(error), -1
    return done.stdout.decode("utf-8", "replace").strip(), done.returncode


PROBE = """\
(echo x > "$1") 2>/dev/null && echo 'it wrote outside'
(cat "$2") >/dev/null 2>&1 && echo 'it read what is hidden'
kill -0 "$3" 2>/dev/null && echo 'it reached a process outside'
(echo x > "$4") 2>/dev/null || echo 'it cannot write its own folder'
exit 0
"""


# What mounts and namespaces do not part.  Each call has to be refused as the filter of system calls
# refuses it.
KERNEL_PROBE = """\
import ctypes, errno, fcntl, socket, sys
call = ctypes.CDLL(None, use_errno=True).syscall
add, request, control = map(int, sys.argv[1:4])
trials = (add, b"user", b"x", b"x", 1, -3), (request, b"user", b"x", None, 0), (control, 0, -3, 0)
for trial in trials:
    if call(*trial) >= 0 or ctypes.get_errno() != errno.ENOSYS:
        print("it reached keys that the kernel keeps")
        break
try:
    with open("x", "w") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    print("it may keep others from opening a file")
except OSError:
    pass
if sys.argv[4:]:
    try:
        socket.socket(40, socket.SOCK_STREAM)  # AF_VSOCK
        print("it may talk to the host of this virtual machine")
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            print(f"a socket to the host of this virtual machine: {error}")
    if call(425, 1, ctypes.create_string_buffer(120)) >= 0:  # io_uring_setup
        print("it may ask the kernel for such a socket unseen")
    for _, name in socket.if_nameindex():
        if name != "lo":
            print(f"it sees the network {name}")
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a trial came to: ``failed`` says what the walls did not keep out, ``untried`` why the
    kernel's part was not tried."""

    failed: str = ""
    untried: str = ""


def proof(whole: bool, network: bool = True) -> Proof:
    """What a sandbox fails to do here, as tried by processes in one."""
    shell = _which("sh") or "/bin/sh"
    with tempfile.TemporaryDirectory(dir=os.path.expanduser("~")) as scratch:
        scratch = os.path.realpath(scratch)
        for name in ("own", "hidden"):
            os.mkdir(f"{scratch}/{name}")
        with open(f"{scratch}/hidden/x", "w", encoding="ascii") as file:
            file.write("x\n")
        mounts = (
            Mount(READ, scratch),
            Mount(WRITE, f"{scratch}/own"),
            Mount(EMPTY, f"{scratch}/hidden"),
        )
        walls = Walls(mounts, f"{scratch}/own", whole, network)
        if why := refused(walls, shell, os.environ):
            return Proof(why)
        tried = [f"{scratch}/outside", f"{scratch}/hidden/x", str(os.getpid()), f"{scratch}/own/x"]
        said, code = run(walls, [shell, "-c", PROBE, "probe", *tried], os.environ)
        wrote = os.path.exists(f"{scratch}/outside")
        if code or said or wrote:
            failed = f"the trial ended with {code}" if code else "it wrote outside"
            return Proof(one_line(said, 200) or failed)
        return _kernel_proof(walls)


def _kernel_proof(walls: Walls) -> Proof:
    """The same for what only system calls reach, tried by this very Python, which is shown for
    that."""
    machine, python = syscalls.here(), os.path.realpath(sys.executable)
    if machine is None:
        return Proof(untried=f"the numbers of system calls of {os.uname().machine} are not known")
    shown = [Mount(READ, path) for path in sorted({os.path.realpath(sys.base_prefix), python})]
    walls = replace(walls, mounts=(*walls.mounts, *shown))
    begin = [python, "-I", "-S", "-c"]
    said, code = run(walls, [*begin, "import ctypes, socket"], os.environ)
    if code:
        return Proof(untried=f"Python does not run in it: {one_line(said, 120)}")
    numbers = [str(number) for number in machine.keys]
    alone = [] if walls.network else ["alone"]
    said, code = run(walls, [*begin, KERNEL_PROBE, *numbers, *alone], os.environ)
    if code and not said:
        said = f"the trial of system calls ended with {code}"
    return Proof(one_line(said, 200))

"""The fast tests on other systems: Debian 12 and 13 as debootstrap makes them, by a person who is not root and has no agent installed.

Each system has the Python that Debian gives it.  The project is copied without ``.venv``; ``scripts/setup`` prepares it, as for anybody.
``TESTS`` are pytest's words.  Needs root, debootstrap, and whatever of Debian's and PyPI's packages this machine reaches.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SUITES = ("bookworm", "trixie")
PACKAGES = "python3,python3-venv,git,ca-certificates,procps"
TESTS = ("-q", "-m", "fast")
PASSED_ON = ("PIP_", "SSL_CERT_", "REQUESTS_CA_", "http_proxy", "https_proxy", "no_proxy")
# A namespace of its own: what is mounted and started goes with it.
UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
INSIDE = """set -eu
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --rbind /sys "$1/sys"
exec chroot "$1" su -s /bin/sh tester -c "$2"
"""


def missing() -> str:
    """Why this cannot be tried here; empty if it can."""
    if os.geteuid() != 0:
        return "this needs root"
    if not shutil.which("debootstrap"):
        return "there is no debootstrap here"
    return "" if _mirror() else "apt names no mirror of Debian"


def _mirror() -> str:
    """Where this machine gets Debian's packages from."""
    words = ("apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN)")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    sites = [line.split()[0] for line in done.stdout.splitlines() if line.endswith(" Debian")]
    return next((site for site in sites if "security" not in site), "")


def make(suite: str, root: Path) -> str:
    """A system below ``root`` with the project in it; what went wrong, empty if nothing did."""
    words = [
        "debootstrap",
        "--variant=minbase",
        f"--include={PACKAGES}",
        suite,
        str(root),
        _mirror(),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stdout + done.stderr).strip().rpartition("\n")[2]
    for name in (
        "etc/resolv.conf",
        "etc/hosts",
        "etc/pip.conf",
        "etc/ssl/certs/ca-certificates.crt",
    ):
        if os.path.exists(f"/{name}"):
            shutil.copy(f"/{name}", root / name)
    subprocess.run(["chroot", root, "useradd", "-m", "tester"], check=True)
    project = root / "home/tester/orchestrator"
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, project / name)
    subprocess.run(["chroot", root, "chown", "-R", "tester", "/home/tester"], check=True)
    return ""


def inside(root: Path, line: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """A line of shell as the person in the system."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    kept.pop("PIP_FIND_LINKS", None)  # a folder of this machine
    env = {**kept, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [*UNSHARE, "sh", "-c", INSIDE, "sh", str(root), f"cd ~/orchestrator && {line}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        env=env,
        check=False,
    )


def siege(
    rounds: int, seed: int, suites: tuple[str, ...] = SUITES
) -> tuple[Counter[str], list[str]]:
    """Each system once, whatever ``rounds`` and ``seed`` are: nothing here is by chance."""
    del rounds, seed
    counts: Counter[str] = Counter()
    broken: list[str] = []
    for suite in suites:
        root = Path(tempfile.mkdtemp(prefix=f"orchestrator-{suite}-"))
        root.chmod(0o755)  # it becomes the root folder of people who are not root
        try:
            wrong = make(suite, root)
            if wrong:
                print(f"systems: {suite} is skipped: {wrong}")
                continue
            tests = " ".join(TESTS)
            done = inside(root, f"./scripts/setup && .venv/bin/python -m pytest {tests}", 1800)
            last = "\n".join(done.stdout.splitlines()[-30:])
            print(f"systems: {suite}: {last.rpartition(chr(10))[2]}")
            counts["killed systems"] += 1
            if done.returncode:
                broken.append(f"{suite}: the tests fail:\n{last}")
        finally:
            shutil.rmtree(root, ignore_errors=True)
    return counts, broken

"""The README's first command and the tutorial, by somebody who has just come: a user account of its own, an empty home, a bare PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT
from test_docs import BLOCK
from transcripts import Stage, perform

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("useradd") or not shutil.which("runuser"),
        reason="making a user account needs root",
    ),
    pytest.mark.skipif(
        not os.access("/usr/bin/python3", os.X_OK)
        or subprocess.run(
            [
                "/usr/bin/python3",
                "-c",
                "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))",
            ],
            capture_output=True,
            check=False,
        ).returncode
        != 0,
        reason="the system's own Python is not 3.11 or newer, or has no venv",
    ),
]
NAME = "orch-newcomer"


@pytest.fixture(scope="module")
def home():
    """The home of a user that nobody has used before, with the project cloned into it."""
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    subprocess.run(
        ["useradd", "--home-dir", str(folder), "--no-create-home", "--shell", "/bin/sh", NAME],
        check=True,
    )
    try:
        copy = folder / "orchestrator"
        copy.mkdir()
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True
        ).stdout
        archive = subprocess.run(
            ["tar", "-C", str(ROOT), "--null", "-T", "-", "-c"],
            input=listed,
            capture_output=True,
            check=True,
        ).stdout
        subprocess.run(["tar", "-C", str(copy), "-x"], input=archive, check=True)
        subprocess.run(["chown", "-R", f"{NAME}:", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["pkill", "-KILL", "-u", NAME], check=False)
        subprocess.run(["userdel", NAME], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def as_newcomer(home: Path) -> tuple[str, ...]:
    return (
        shutil.which("runuser") or "",
        "-u",
        NAME,
        "--",
        "env",
        "-i",
        f"HOME={home}",
        "PATH=/usr/bin:/bin",
        "LANG=C.UTF-8",
        "TZ=UTC",
        "COLUMNS=100",
        "LINES=30",
        "TERM=xterm",
        "NO_COLOR=1",
    )


def test_the_demo_and_then_the_tutorial(home):
    """``./scripts/demo`` sets everything up and shows the main job; then every step of the tutorial prints what the page says."""
    done = subprocess.run(
        [*as_newcomer(home), "./scripts/demo"],
        cwd=home / "orchestrator",
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "done" in done.stdout
    program = home / "orchestrator/.venv/bin/orchestrator"
    prefix = list(as_newcomer(home))
    prefix[prefix.index("PATH=/usr/bin:/bin")] = f"PATH={program.parent}:/usr/bin:/bin"
    stage = Stage(home / "place", terminal=True, prefix=tuple(prefix), program=str(program))
    subprocess.run(["chown", "-R", f"{NAME}:", str(home / "place")], check=True)
    differences: list[str] = []
    for block in BLOCK.finditer((ROOT / "docs/tutorial/first-five-minutes.md").read_text()):
        differences += perform(stage, block[2])[1]
    assert not differences, "\n\n".join(differences)
    owners = {path.lstat().st_uid for path in (stage.root / "work").rglob("*")}
    assert len(owners) == 1 and 0 not in owners

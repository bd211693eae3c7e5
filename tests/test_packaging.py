"""The package as people install it: a wheel, an editable install, and ``python -m``; schemas and catalog included."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


def environment(folder: Path) -> Path:
    """A virtual environment that borrows the dependencies of this one but not the package itself."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    ours = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    for path in ours.iterdir():
        name = path.name.lower()
        if "orchestrator" not in name and name != "__pycache__":
            (site / path.name).symlink_to(path)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A clean copy of the project, as git has it and as it stands now."""
    folder = tmp_path_factory.mktemp("source") / "orchestrator"
    folder.mkdir()
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        original = ROOT / name
        if original.is_symlink() or original.exists():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if original.is_symlink():
                target.symlink_to(original.readlink())
            else:
                target.write_bytes(original.read_bytes())
                target.chmod(original.stat().st_mode)
    return folder


def pip(python: Path, *words: str) -> None:
    """This environment's pip, working on another one's Python."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            *words,
            "--no-deps",
            "-q",
            "--disable-pip-version-check",
        ],
        check=True,
        timeout=300,
    )


def works(python: Path, folder: Path) -> None:
    """A fresh project, one task, run to its end, by both ways to call the program."""
    folder.mkdir()
    program = python.parent / "orchestrator"
    for words in (
        [program, "init"],
        [python, "-m", "orchestrator", "new", "Say hello", "--id", "hello"],
        [program, "validate"],
        [program, "watch", "--until-empty"],
        [program, "wait", "hello"],
    ):
        done = subprocess.run(
            [str(word) for word in words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    assert (folder / "work/done/hello.yaml").exists() and (
        folder / "work/schemas/task.schema.json"
    ).exists()


def test_wheel(source, tmp_path):
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            str(source),
            "--no-deps",
            "-q",
            "-w",
            str(tmp_path),
            "--disable-pip-version-check",
        ],
        check=True,
        timeout=300,
    )
    wheel = next(tmp_path.glob("*.whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "orchestrator/schemas/task.schema.json",
        "orchestrator/tools/catalog/demo.yaml",
        "orchestrator/execution/supervisor.py",
    } <= names
    assert not [name for name in names if name.startswith(("tests", "work", "docs"))]
    python = environment(tmp_path / "env")
    pip(python, "install", str(wheel))
    for name in (
        "man/man1/orchestrator.1",
        "bash-completion/completions/orchestrator",
        "zsh/site-functions/_orchestrator",
        "fish/vendor_completions.d/orchestrator.fish",
    ):
        assert (python.parent.parent / "share" / name).exists(), name
    works(python, tmp_path / "project")


def test_editable(source, tmp_path):
    python = environment(tmp_path / "env")
    pip(python, "install", "-e", str(source))
    works(python, tmp_path / "project")


def test_pyproject_declares_only_the_build_system():
    import tomllib

    assert list(tomllib.loads((ROOT / "pyproject.toml").read_text())) == ["build-system"]


def test_top_level_is_as_agreed():
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-tree", "--name-only", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    agreed = {
        "setup.cfg",
        "orchestrator",
        "schemas",
        "work",
        "tests",
        "scripts",
        "docs",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "pyproject.toml",
        ".ci",
        ".gitignore",
        ".ruff.toml",
        ".editorconfig",
        ".gitattributes",
        ".pre-commit-config.yaml",
        "CONTRIBUTING.md",
    }
    assert set(listed.stdout.split()) <= agreed


def test_our_own_work_directory_has_the_schemas_of_today():
    ours, placed = ROOT / "schemas", ROOT / "work/schemas"
    assert {path.name: path.read_text() for path in placed.iterdir()} == {
        path.name: path.read_text() for path in ours.iterdir()
    }

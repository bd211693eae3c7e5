"""Reading git: whatever a repository configures, nothing of it is executed, and what the caller's environment says is no matter."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import wait_until

from orchestrator.files import git, gitfiles, origin
from orchestrator.queries.health.repository import repository
from orchestrator.tools import changes


def run(folder: Path, *words: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = (
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "-c",
        "protocol.file.allow=always",
    )
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    run(folder, "init", "-q")
    (folder / "a.txt").write_text("one\n")
    (folder / "work").mkdir()
    (folder / "work" / "x").write_text("state\n")
    run(folder, "add", "-A")
    run(folder, "commit", "-qm", "first")
    return folder


def gits_in(folder: Path) -> list[str]:
    """The pids of every git that works there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if os.readlink(entry / "cwd") == str(folder) and "git" in (entry / "comm").read_text():
                found.append(entry.name)
    return found


def bait(tmp_path: Path) -> tuple[Path, Path]:
    """A program that leaves a mark, and the mark."""
    mark, program = tmp_path / "executed", tmp_path / "bait.sh"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {mark}\ncat\n')
    program.chmod(0o755)
    return program, mark


CONFIGURED = {
    "fsmonitor": "[core]\n\tfsmonitor = {}\n",
    "clean filter": '[filter "any name"]\n\tclean = {}\n\tsmudge = {}\n\trequired = true\n',
    "process filter": '[filter "any name"]\n\tprocess = {}\n',
    "external diff": '[diff]\n\texternal = {}\n[diff "d"]\n\tcommand = {}\n\ttextconv = {}\n',
    "hooks": "[core]\n\thooksPath = {folder}\n",
    "include": "[include]\n\tpath = {include}\n",
    "ssh": "[core]\n\tsshCommand = {}\n\tgitProxy = {}\n\talternateRefsCommand = {}\n",
    "worktree config": "[extensions]\n\tworktreeConfig = true\n",
}


@pytest.mark.parametrize("kind", CONFIGURED)
def test_what_a_repository_configures_is_not_executed(repo, tmp_path, kind):
    program, mark = bait(tmp_path)
    included = tmp_path / "included"
    included.write_text(
        f'[core]\n\tfsmonitor = {program}\n[filter "any name"]\n\tclean = {program}\n'
    )
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "reference-transaction", "fsmonitor-watchman"):
        (hooks / hook).symlink_to(program)
    text = CONFIGURED[kind].replace("{folder}", str(hooks)).replace("{include}", str(included))
    with open(repo / ".git/config", "a") as file:
        file.write(text.replace("{}", str(program)))
    if kind == "worktree config":
        (repo / ".git/config.worktree").write_text(f"[core]\n\tfsmonitor = {program}\n")
    (repo / ".gitattributes").write_text('* filter="any name" diff=d\n')
    run_attributes = '* filter="any name" diff=d\n'
    (repo / ".git/info/attributes").write_text(run_attributes.replace('"any name"', "x"))
    before = changes.look(str(repo), "work")
    assert before is not None
    (repo / "a.txt").write_text("two\n")
    os.utime(repo / "a.txt", (1, 1))
    after = changes.look(str(repo), "work")
    assert after is not None and changes.between(str(repo), "work", before, after) == ["a.txt"]
    assert not mark.exists(), mark.read_text()


def test_a_filter_that_appears_between_two_questions_is_not_executed(repo, tmp_path):
    """What the repository configures is never read by the git that looks at files, so there is no moment to hit."""
    program, mark = bait(tmp_path)
    (repo / ".gitattributes").write_text("* filter=late\n")
    with git.reading(git.nearest(str(repo))) as reader:
        with open(repo / ".git/config", "a") as file:
            file.write(f'[filter "late"]\n\tclean = {program}\n[core]\n\tfsmonitor = {program}\n')
        (repo / "a.txt").write_text("two\n")
        assert b"a.txt" in reader.ask("status", "--porcelain").out
    assert not mark.exists()


def test_a_submodule_is_not_looked_into(repo, tmp_path):
    program, mark = bait(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    run(other, "init", "-q")
    (other / "b").write_text("b\n")
    run(other, "add", "-A")
    run(other, "commit", "-qm", "b")
    run(repo, "submodule", "add", "-q", str(other), "sub")
    with open(repo / ".gitmodules", "a") as file:
        file.write("\tignore = none\n")
    run(repo, "commit", "-qam", "sub")
    inner = Path(run(repo / "sub", "rev-parse", "--absolute-git-dir").strip())
    with open(inner / "config", "a") as file:
        file.write(f'[core]\n\tfsmonitor = {program}\n[filter "f"]\n\tclean = {program}\n')
    (repo / "sub/.gitattributes").write_text("* filter=f\n")
    (repo / "sub/b").write_text("changed\n")
    assert changes.look(str(repo), "work") is not None
    assert not mark.exists()
    assert git.nearest(str(repo / "sub")).git_dir == str(inner)


def test_a_missing_object_fetches_nothing(repo, tmp_path):
    """In a partial clone git runs what the repository calls uploadpack to get what it lacks."""
    program, mark = bait(tmp_path)
    run(repo, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    run(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repo}", "clone")
    run(clone, "config", "remote.origin.uploadpack", str(program))
    with git.reading(git.nearest(str(clone))) as reader:
        tip = reader.ask("rev-parse", "--verify", "refs/remotes/origin/HEAD").out.decode().strip()
        blob = reader.ask("ls-tree", tip, "a.txt").out.split()[2].decode()
        with pytest.raises(git.Unclear):
            reader.ask("cat-file", "blob", blob)
    assert not mark.exists()


def test_the_environment_of_the_caller_does_not_count(repo, tmp_path, monkeypatch):
    program, mark = bait(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(elsewhere, "init", "-q")
    for name, value in {
        "GIT_DIR": f"{elsewhere}/.git",
        "GIT_INDEX_FILE": f"{elsewhere}/.git/index",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(program),
        "GIT_EXTERNAL_DIFF": str(program),
        "GIT_TRACE": str(mark),
        "GIT_TRACE2_EVENT": str(mark),
        "GIT_CONFIG_PARAMETERS": f"'core.fsmonitor'='{program}'",
        "GIT_CONFIG_SYSTEM": f"{elsewhere}/.git/config",
        "GIT_WORK_TREE": str(elsewhere),
        "GIT_COMMON_DIR": f"{elsewhere}/.git",
        "GIT_OBJECT_DIRECTORY": f"{elsewhere}/.git/objects",
        "GIT_SHALLOW_FILE": f"{elsewhere}/none",
        "GIT_CEILING_DIRECTORIES": str(tmp_path),
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_PREFIX": "work/",
        "GIT_EXEC_PATH": str(elsewhere),
        "GIT_NAMESPACE": "n",
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_ATTR_SOURCE": "none",
    }.items():
        monkeypatch.setenv(name, value)
    with git.reading(git.nearest(str(repo))) as reader:
        assert reader.ask("ls-files").out == b"a.txt\nwork/x\n"
        (repo / "a.txt").write_text("two\n")
        reader.ask("status")
    assert not mark.exists()


def test_a_filter_of_the_persons_own_is_not_executed(repo, tmp_path, monkeypatch):
    """Many agents may write to a home; a pull can name any filter in its attributes."""
    program, mark = bait(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[filter "f"]\n\tclean = {program}\n')
    monkeypatch.setenv("HOME", str(home))
    (repo / ".gitattributes").write_text("* filter=f\n")
    (repo / "a.txt").write_text("two\n")
    assert changes.look(str(repo), "work") is not None
    assert not mark.exists()


def test_a_filter_of_the_machines_is_not_executed(repo, tmp_path, monkeypatch):
    """As git lfs is installed for all; here for a git whose system's configuration lies elsewhere."""
    program, mark = bait(tmp_path)
    (tmp_path / "gitconfig").write_text(f'[filter "f"]\n\tclean = {program}\n')
    (repo / ".gitattributes").write_text("* filter=f\n")
    (repo / "a.txt").write_text("two\n")
    (tmp_path / "bin").mkdir()
    real = f'#!/bin/sh\nGIT_CONFIG_SYSTEM={tmp_path}/gitconfig exec {shutil.which("git")} "$@"\n'
    (tmp_path / "bin/git").write_text(real)
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert changes.look(str(repo), "work") is not None
    assert not mark.exists()


def test_another_index_is_known_by_its_file(repo):
    """It may be as long as the one before, and of the same moment: clocks have ticks, and some
    programs set times."""
    index, new = repo / ".git/index", repo / ".git/index.new"
    before = origin.indexes(str(repo))
    shutil.copy2(index, new)
    os.rename(new, index)
    assert origin.indexes(str(repo)) != before


def test_a_commit_is_what_its_name_says(repo):
    """Whoever may write refs could have another object shown in place of one."""
    before = run(repo, "rev-parse", "HEAD").strip()
    (repo / "a.txt").write_text("two\n")
    run(repo, "commit", "-qam", "second")
    run(repo, "replace", before, "HEAD")
    assert run(repo, "show", f"{before}:a.txt") == "two\n"
    with git.reading(git.nearest(str(repo))) as reader:
        assert reader.ask("cat-file", "blob", f"{before}:a.txt").out == b"one\n"


def test_what_the_configuration_includes_is_not_read(repo, tmp_path):
    (tmp_path / "included").write_text("[core]\n\tautocrlf = true\n")
    with open(repo / ".git/config", "a") as file:
        file.write(f"[include]\n\tpath = {tmp_path}/included\n")
    assert run(repo, "config", "core.autocrlf") == "true\n"
    with git.reading(git.nearest(str(repo))) as reader:
        assert "autocrlf" not in Path(reader._scratch, "config").read_text()


@pytest.mark.parametrize(
    "stderr,words",
    [
        (b"", ""),
        (b"warning: x\nfatal: bad object\nmore\n", "fatal: bad object"),
        (b"fatal: unknown repository extension found:\n\trefstorage\n", "fatal: unknown repository extension found: refstorage"),
        (b"so it is:\n", "so it is:"),
    ],
)  # fmt: skip
def test_why_git_failed_is_said_whole(stderr, words):
    assert git.words_of(stderr) == words


@pytest.mark.parametrize("name", ["HEAD", "index", "packed-refs", "shallow"])
def test_a_pipe_in_a_repository_is_told_at_once(repo, name):
    """Git would wait for it as long as it may, and every question that follows."""
    nearest = git.nearest(str(repo))
    (repo / ".git" / name).unlink(missing_ok=True)
    os.mkfifo(repo / ".git" / name)
    with pytest.raises(git.Unclear, match="not a regular file"), git.reading(nearest):
        pass


def test_a_question_that_waits_for_a_pipe_is_given_up(repo, monkeypatch):
    """Of all that git reads only the most usual is looked at before."""
    monkeypatch.setattr(gitfiles, "LOOK", 0.05)
    os.mkfifo(repo / ".gitignore")
    with git.reading(git.nearest(str(repo))) as reader:
        with pytest.raises(git.Unclear, match="waited for something that did not come"):
            reader.ask("ls-files", "-o", "--exclude-standard")


def test_with_a_git_that_waits_what_it_has_started_is_ended(repo, monkeypatch):
    monkeypatch.setattr(gitfiles, "LOOK", 0.05)
    os.mkfifo(repo / ".git/info/grafts")  # read by the one that gc starts
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(["git", "gc"], cwd=repo, **quiet) as process:
        wait_until(lambda: len(gits_in(repo)) > 1, "a git of a git")
        with pytest.raises(gitfiles.Waits):
            gitfiles.talk(process, "gc", None, 60)
    wait_until(lambda: not gits_in(repo), "none is left")


def test_scratch_folders_lie_where_nobody_else_may_enter(tmp_path, monkeypatch):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_STATE_HOME", __file__)  # no folder
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert git._base() == str(runtime)
    runtime.chmod(0o755)
    assert git._base() is None


def test_a_program_called_git_in_the_project_is_not_run(repo, tmp_path, monkeypatch):
    program, mark = bait(tmp_path)
    (repo / "git").symlink_to(program)
    monkeypatch.chdir(repo)
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    assert changes.look(str(repo), "work") is not None
    assert not mark.exists()


def test_what_is_unclear_is_said(repo, tmp_path, monkeypatch):
    assert git.nearest(str(repo)) is not None
    broken = tmp_path / "broken"
    (broken / ".git").mkdir(parents=True)
    assert (
        git.nearest(str(broken / "work")) != broken
    )  # an empty folder is no repository to git, either
    (broken / ".git/HEAD").write_text("ref: refs/heads/main\n")
    with pytest.raises(git.Unclear, match="not a repository"):
        git.nearest(str(broken / "work"))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(git.Unclear, match="git is not installed"):
            with git.reading(git.nearest(str(repo))):
                pass
    (repo / ".git/index").write_bytes(b"nonsense")
    with pytest.raises(git.Unclear), git.reading(git.nearest(str(repo))) as reader:
        reader.ask("ls-files")
    with pytest.raises(ValueError):
        reader.ask("commit", "-m", "x")


@pytest.mark.parametrize("listing", ["nonsense", "100644 \\377\\376 0\\tx\\0", "100644 0\\tx\\0"])
def test_a_listing_that_is_none_is_no_answer(repo, tmp_path, monkeypatch, listing):
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    real = shutil.which("git")
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *ls-files*) printf \'{listing}\';; *) exec {real} "$@";; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with git.reading(git.nearest(str(repo))) as reader:
        with pytest.raises(git.Unclear, match="prints no listing"):
            reader.entries(":(literal)x")


@pytest.mark.parametrize("kind", ["plain", "linked", "split", "sparse", "subfolder", "crlf"])
def test_every_kind_of_checkout_is_read_as_git_reads_it(repo, tmp_path, kind):
    folder = repo
    if kind == "linked":
        run(repo, "worktree", "add", "-q", str(tmp_path / "linked"))
        folder = tmp_path / "linked"
    elif kind == "split":
        run(repo, "update-index", "--split-index")
    elif kind == "sparse":
        (repo / "deep").mkdir()
        (repo / "deep/file").write_text("x\n")
        run(repo, "add", "-A")
        run(repo, "commit", "-qm", "deep")
        run(repo, "sparse-checkout", "set", "--cone", "--sparse-index", "work")
    elif kind == "crlf":
        run(repo, "config", "core.autocrlf", "true")
        (repo / "a.txt").unlink()
        run(repo, "checkout", "-q", "--", "a.txt")
        os.utime(repo / "a.txt", (1, 1))
    start = folder / "work" if kind == "subfolder" else folder
    with git.reading(git.nearest(str(start))) as reader:
        for words in (("ls-files",), ("status", "--porcelain"), ("rev-parse", "HEAD")):
            assert reader.ask(*words).out.decode() == run(folder, *words)
        if kind == "crlf":
            assert reader.ask("status", "--porcelain").out == b""


def test_a_look_leaves_nothing_behind(repo):
    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_ino) for p in repo.rglob("*")}

    os.utime(repo / "a.txt", (1, 1))  # plain git status would write the index anew
    before = state()
    with git.reading(git.nearest(str(repo))) as reader:
        reader.ask("status")
        scratch = reader._scratch
    assert state() == before and not os.path.exists(scratch)


def test_a_stash_does_not_hide_the_commit_before_it(repo):
    """It notes a reset of HEAD to where it was; what a pull brought is another matter."""
    assert git.nearest(str(repo)).committed_last()
    (repo / "a.txt").write_text("mine\n")
    run(repo, "stash")
    assert git.nearest(str(repo)).committed_last()
    run(repo, "stash", "pop")
    run(repo, "commit", "-qam", "second")
    run(repo, "reset", "-q", "--hard", "HEAD~1")
    assert not git.nearest(str(repo)).committed_last()
    run(repo, "commit", "-q", "--allow-empty", "-m", "m" * 5000)
    run(repo, "reset", "-q", "--hard")
    assert not git.nearest(str(repo)).committed_last()  # too long ago to be found: unclear


def test_doctor_says_that_git_is_unclear(repo):
    (repo / ".git/index").write_bytes(b"nonsense")
    from orchestrator.files.layout import Layout

    (found,) = repository(Layout(str(repo)))
    assert found.status == "problem" and "no clear answer" in found.summary

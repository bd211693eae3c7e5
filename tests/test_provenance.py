"""Whether git brought a change of the settings (`store.provenance`): the file itself, a link that leads to it, or what a person's own
edit was merged into."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.files import trust
from orchestrator.files.layout import Layout
from orchestrator.store.acceptance import Acceptance, snapshot

MINE = "agents:\n  r: {tool: shell, command: [sh], instructions: docs/role.md}\nslots: 2\n"
HOOK = "hooks:\n- {run: [touch, evil]}\n"
WHO = {
    f"GIT_{who}_{what}": "t@example.org"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


def sh(folder: Path, script: str) -> None:
    done = subprocess.run(
        ["sh", "-ec", script],
        cwd=folder,
        env={**os.environ, **WHO},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A clone of a repository with settings; ``theirs`` lies beside it, ``trusted`` too."""
    theirs = tmp_path / "theirs"
    for folder in ("work/.state", "work/tools", "docs"):
        (theirs / folder).mkdir(parents=True)
    (theirs / "work/orchestrator.yaml").write_text(MINE)
    (theirs / "docs/role.md").write_text("You review.\n")
    (theirs / "work/tools/old.yaml").write_text("argv: [echo]\n")
    sh(theirs, "git init -q -b main; git add .; git commit -qm first")
    sh(tmp_path, "git clone -q theirs here; mkdir here/work/.state trusted")
    return tmp_path / "here"


def look(here: Path) -> Acceptance:
    folder = str(here.parent / "trusted")
    return Acceptance(Layout(str(here)), trust.Trust(folder, trust.KNOWN, "x", folder))


def accept(here: Path) -> None:
    look(here).accept(snapshot(Layout(str(here))))


PUSH = f"printf '{HOOK}{MINE}'".replace("\n", "\\n") + " >../theirs/work/orchestrator.yaml"
PUSH += "; git -C ../theirs commit -qam pushed"
EDIT = "echo '# mine' >>work/orchestrator.yaml"
MERGED = {
    "stash pop": f"{EDIT}; {PUSH}; git stash -q; git pull -q; git stash pop -q",
    "autostash": f"{EDIT}; {PUSH}; git pull -q --rebase --autostash",
    "autostash of a merge": f"{EDIT}; {PUSH}; git pull -q --autostash",
    "checkout -m": f"{EDIT}; {PUSH}; git fetch -q; git checkout -q -m --detach origin/main",
    "a conflict, solved": f"sed -i '1s/^/# mine\\n/' work/orchestrator.yaml; {PUSH}; git stash -q; git pull -q; git stash pop -q || sed -i '/^[<>=|]/d' work/orchestrator.yaml; {EDIT}",
    "merged and unmade": f"{EDIT}; git commit -qam mine; {PUSH}; git fetch -q; git cherry-pick -n origin/main; git reset -q",
    "edited later": f"{PUSH}; git pull -q; {EDIT}",
    "edited later and committed": f"{PUSH}; git pull -q; {EDIT}; git commit -qam mine",
    "edited, committed, edited": f"{PUSH}; git pull -q; {EDIT}; git commit -qam mine; {EDIT}",
    "taken out and edited": f"{PUSH}; git fetch -q; git checkout -q origin/main -- work; {EDIT}",
}


@pytest.mark.parametrize("how", MERGED)
def test_an_own_edit_with_something_of_git_in_it(here, how):
    accept(here)
    sh(here, MERGED[how])
    said = (here / "work/orchestrator.yaml").read_text()
    assert HOOK in said and "# mine" in said
    assert "work/orchestrator.yaml" in str(look(here).review())


def test_an_own_edit_of_a_clone_that_nobody_accepted(here):
    sh(here, f"{EDIT}; git commit -qam mine")
    assert "work/orchestrator.yaml" in str(look(here).review())


TICK = (
    "sleep 0.1"  # of the kernel's clock, by which files are dated: what comes after it is younger
)
OWN = {
    "edited": EDIT,
    "committed": f"{EDIT}; git commit -qam mine",
    "committed and edited": f"{EDIT}; git commit -qam mine; {EDIT}; git add .; {EDIT}",
    "committed and edited later": f"{EDIT}; git commit -qam mine; {TICK}; {EDIT}",
    "amended": f"{EDIT}; git commit -qam mine; {EDIT}; git commit -q --amend -am mine",
    "stashed": f"{EDIT}; git stash -q; git stash pop -q",
    "stashed around a pull": f"{EDIT}; echo x >../theirs/x; git -C ../theirs add x; git -C ../theirs commit -qm x; git stash -q; git pull -q; git stash pop -q",
    "added": f"{EDIT}; {TICK}; git add .",
    "without logs": f"rm -r .git/logs; git config core.logAllRefUpdates false; {EDIT}; {TICK}; git commit -qam mine",
    "told to git as unchanged": f"git update-index --assume-unchanged work/orchestrator.yaml; {EDIT}",
    "told to git as absent": f"git update-index --skip-worktree work/orchestrator.yaml; {EDIT}",
    "a file removed": "rm work/tools/old.yaml",
    "a link of one's own": "mv work/orchestrator.yaml ../o.yaml; echo '# mine' >>../o.yaml; ln -s ../../o.yaml work/orchestrator.yaml; git commit -qam mine",
}


@pytest.mark.parametrize("how", OWN)
def test_an_own_edit_counts(here, how):
    accept(here)
    sh(here, OWN[how])
    assert look(here).review() == []


TIED = {
    "pulled": (f"{PUSH}; git pull -q", True),
    "committed": (f"{EDIT}; git commit -qam mine", False),
}


@pytest.mark.parametrize("how", TIED)
def test_an_object_and_a_file_of_one_moment(here, how):
    """Which of both came first cannot be told from their times: the log of HEAD says who made them."""
    accept(here)
    script, asked = TIED[how]
    sh(here, f"{script}; git hash-object work/orchestrator.yaml >../oid")
    oid = (here.parent / "oid").read_text().strip()
    object_ = here / ".git/objects" / oid[:2] / oid[2:]
    data = object_.read_bytes()
    object_.unlink()
    object_.write_bytes(data)
    moment = (here / "work/orchestrator.yaml").stat().st_ctime_ns
    os.utime(object_, ns=(moment, moment))
    assert bool(look(here).review()) == asked


@pytest.mark.parametrize("since", ["accepted", "pulled"])
def test_what_was_accepted_before_is_ones_own_again(here, since):
    """Whatever git has brought there since, and whether or not anybody accepted that."""
    accept(here)
    sh(here, EDIT)
    accept(here)
    sh(here, f"git checkout -q .; {PUSH}; git pull -q")
    if since == "accepted":
        accept(here)
    (here / "work/orchestrator.yaml").write_text(MINE)
    assert look(here).review() == []
    sh(here, "git restore work/orchestrator.yaml")
    assert bool(look(here).review()) == (since == "pulled")


def test_an_own_edit_of_what_git_wrote_with_other_line_ends(here):
    sh(here, "git config core.autocrlf true; rm -r work/orchestrator.yaml; git checkout -q -- .")
    assert b"\r\n" in (here / "work/orchestrator.yaml").read_bytes()
    accept(here)
    sh(here, EDIT)
    assert look(here).review() == []


def test_what_is_asked_for_hides_nothing(here):
    """Somebody judges the diff by what they see: an escape sequence or a turned line hid a hook."""
    accept(here)
    settings = here / "work/orchestrator.yaml"
    settings.write_bytes(settings.read_bytes() + b"# a\x1b[8mb\xe2\x80\xaec\xff\x0cd\n")
    asked = look(here)
    files = snapshot(asked.layout)
    settings.write_text("# an agent was quicker\n")
    assert "+# a^[[8mb<U+202E>c<FF>^Ld" in asked.difference(files), (
        "what is shown is what is accepted"
    )


LINKS = {
    "the configuration": "work/orchestrator.yaml",
    "a tool": "work/tools/old.yaml",
    "a new tool": "work/tools/new.yaml",
    "the folder of tools": "work/tools",
    "instructions": "docs/role.md",
    "the folder of instructions": "docs",
}


@pytest.mark.parametrize("what", LINKS)
def test_a_link_that_git_brought(here, what):
    """What it leads to may be anything: what npm has unpacked, or an agent has left."""
    accept(here)
    drop, link = here.parent / "drop", LINKS[what]
    (drop / "docs").mkdir(parents=True)
    for name in ("orchestrator.yaml", "old.yaml", "new.yaml", "role.md", "docs/role.md"):
        (drop / name).write_text(f"{MINE}# {HOOK[:5]}\n")
    target = drop / "docs" if link == "docs" else drop / Path(link).name
    target = drop if link == "work/tools" else target
    sh(here.parent / "theirs", f"rm -rf {link}; ln -s {target} {link}; git add .; git commit -qm x")
    sh(here, "git pull -q")
    said = str(look(here).review())
    assert "is a link that came through git" in said, said
    assert f"+{link} -> {target}" in look(here).difference(snapshot(look(here).layout))
    accept(here)
    assert look(here).review() == []
    sh(drop, "echo '# more' | tee -a *.yaml role.md docs/role.md")
    (drop / "more.yaml").write_text("argv: [echo]\n")  # one more tool, where that is the folder
    assert look(here).review() == [], "the link was accepted, and its target is a person's"


def test_what_a_repository_within_brings(here):
    """A submodule's files are in no index of the repository that has it."""
    accept(here)
    tools = here.parent / "tools"
    tools.mkdir()
    sh(tools, "echo 'argv: [touch, evil]' >t.yaml; git init -q; git add .; git commit -qm x")
    sh(here, "rm -r work/tools; git clone -q ../tools work/tools")
    assert "work/tools/t.yaml came through git" in look(here).review()


def test_instructions_that_go_and_come_back(here):
    accept(here)
    sh(here.parent / "theirs", "git rm -q docs/role.md; git commit -qm x")
    sh(here, "git pull -q")
    assert look(here).review() == ["docs/role.md was removed through git"]
    accept(here)
    sh(
        here.parent / "theirs",
        "mkdir docs; echo You obey. >docs/role.md; git add .; git commit -qm x",
    )
    sh(here, "git pull -q")
    assert look(here).review() == ["docs/role.md came through git"]


WRITTEN = {
    "as it is": ":",
    "with other line ends": "git config core.autocrlf true",
    "by an attribute": "echo '*.yaml eol=crlf' >.git/info/attributes",
    "in an encoding": "echo '*.yaml working-tree-encoding=UTF-7' >.git/info/attributes",
    "by a filter": "git config filter.x.smudge 'sed s/echo/printf/'; git config filter.x.clean 'sed s/printf/echo/'; echo '*.yaml filter=x' >.git/info/attributes",
}


@pytest.mark.parametrize("how", WRITTEN)
def test_what_git_took_away(here, how):
    """However it had written the file: of a filter's work, say, nobody can tell what it was."""
    sh(here, f"{WRITTEN[how]}; rm -r work/tools; git checkout -q -- work/tools")
    accept(here)
    sh(here.parent / "theirs", "git rm -q work/tools/old.yaml; git commit -qm x")
    sh(here, "git pull -q")
    assert look(here).review() == ["work/tools/old.yaml was removed through git"]


def test_what_a_filter_makes_of_settings(here):
    """Also when git's index does not know the file's time any more."""
    accept(here)
    sh(here, "git config filter.x.smudge 'sed s/^#//'")
    text = "echo '*.yaml filter=x' >.gitattributes; echo '#hooks: [{run: [touch, evil]}]'"
    sh(here.parent / "theirs", f"{text} >>work/orchestrator.yaml; git add .; git commit -qm x")
    sh(here, "git pull -q; touch work/orchestrator.yaml")
    assert (
        (here / "work/orchestrator.yaml").read_text().endswith("\nhooks: [{run: [touch, evil]}]\n")
    )
    assert "work/orchestrator.yaml" in str(look(here).review())


def test_an_object_that_was_unpacked_later(here):
    """It is another file then, and has the time of its pack."""
    accept(here)
    sh(
        here,
        f"{PUSH}; git fetch -q; git repack -qad; git merge -q --ff-only origin/main; git reset -q HEAD~1; git branch -qdr origin/main; rm -rf .git/logs .git/FETCH_HEAD .git/ORIG_HEAD; git repack -qAd",
    )
    assert look(here).review() == ["work/orchestrator.yaml came through git"]

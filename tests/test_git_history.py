"""Whether git has had what a file says (`files.history`): the very bytes, at the very path, in any commit but a stash's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.files import git, history

TEXT = "prompt: $Id$\nagent: sh\n"
WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")


def run(folder: Path, *words: str) -> None:
    subprocess.run(["git", *WHO, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A repository whose last commit brings a task."""
    folder = tmp_path / "theirs"
    (folder / "inbox").mkdir(parents=True)
    run(folder, "init", "-q", "-b", "main")
    run(folder, "commit", "-q", "--allow-empty", "-m", "first")
    (folder / "inbox/a.yaml").write_text(TEXT)
    run(folder, "add", ".")
    run(folder, "commit", "-q", "-m", "a task")
    return folder


def cloned(theirs: Path, *words: str) -> Path:
    here = theirs.parent / "here"
    run(theirs.parent, "clone", "-q", "--no-checkout", *words, str(theirs), "here")
    run(here, "reset", "-q", "HEAD~1")
    return here


def brought(here: Path, name: str = "inbox/a.yaml", text: str = TEXT) -> bool:
    repository = git.nearest(str(here))
    assert repository is not None
    return history.brought(repository, name, text.encode())


@pytest.mark.parametrize("how", [(), ("--shared",), ("--no-hardlinks", "--no-local")], ids=str)
def test_objects_by_themselves_borrowed_and_packed(theirs, how):
    here = cloned(theirs, *how)
    assert brought(here)
    assert not brought(here, text=TEXT + "# mine\n")
    assert not brought(here, "inbox/b.yaml")


STORES = {
    "links to packs": "git repack -qad; mv .git/objects/pack ../packs; mkdir .git/objects/pack; ln -s $PWD/../packs/* .git/objects/pack",
    "a quoted name": "mv .git/objects '../o \"'; mkdir -p .git/objects/info; printf '\"../../../o \\\\\"\"\\n' >.git/objects/info/alternates",
    "a link to alternates": "mv .git/objects ../o; mkdir -p .git/objects/info; echo ../../../o >../list; ln -s ../../../../list .git/objects/info/alternates",
    "another name for each": "mv .git/objects ../o; mv ../o/pack ../o/info ..; mkdir -p .git/objects/info; ln -s ../../pack ../o; echo ../../../o >.git/objects/info/alternates",
}


@pytest.mark.parametrize("how", STORES)
def test_objects_wherever_git_finds_them(theirs, how):
    here = cloned(theirs)
    sh(here, f"{STORES[how]}; git cat-file -e origin/main:inbox/a.yaml")
    assert brought(here)
    assert not brought(here, text=TEXT + "# mine\n")


def test_objects_that_are_borrowed_from_what_cannot_be_read(theirs):
    here = cloned(theirs)
    (here / ".git/objects/info/alternates").mkdir()
    with pytest.raises(git.Unclear, match="borrows from unknown others"):
        brought(here, text=TEXT + "# mine\n")


@pytest.mark.parametrize(
    "text", [TEXT.replace("\n", "\r\n"), TEXT.replace("$Id$", "$Id: 0123abcd $")], ids=repr
)
def test_as_git_writes_it(theirs, text):
    assert brought(cloned(theirs), text=text)


def test_the_case_of_a_name_is_no_difference(theirs):
    assert brought(cloned(theirs), "Inbox/A.yaml")


def test_fetched_and_in_no_ref(theirs):
    here = theirs.parent / "here"
    run(theirs.parent, "init", "-q", "here")
    run(here, "fetch", "-q", str(theirs), "main")
    assert brought(here)


def test_only_in_a_merge(theirs):
    run(theirs, "switch", "-q", "-c", "side", "HEAD~1")
    run(theirs, "commit", "-q", "--allow-empty", "-m", "side")
    run(theirs, "merge", "-q", "--no-commit", "main")
    (theirs / "inbox/a.yaml").write_text("prompt: of the merge\n")
    run(theirs, "commit", "-q", "-a", "-m", "merged")
    run(theirs, "branch", "merged")
    run(theirs, "reset", "-q", "HEAD~1")
    assert brought(theirs, text="prompt: of the merge\n")


def test_what_a_person_staged_or_stashed_is_their_own(theirs):
    mine = "prompt: mine\n"
    (theirs / "inbox/a.yaml").write_text(mine)
    run(theirs, "add", ".")
    run(theirs, "reset", "-q")
    assert not brought(theirs, text=mine)
    run(theirs, "stash")
    assert not brought(theirs, text=mine)


def test_a_tag_that_is_a_tree(theirs):
    here = theirs.parent / "here"
    run(theirs.parent, "init", "-q", "here")
    run(theirs, "tag", "tree", "HEAD^{tree}")
    run(theirs, "tag", "-a", "-m", "x", "said", "HEAD^{tree}")
    run(theirs.parent, "-C", "here", "fetch", "-q", str(theirs), "tag", "tree")
    assert brought(here)
    assert not brought(here, "inbox/b.yaml")
    run(here, "tag", "-d", "tree")
    run(here, "fetch", "-q", str(theirs), "tag", "said")
    (here / ".git/FETCH_HEAD").unlink()
    assert brought(here)


def test_a_branch_that_was_rewritten_since(theirs):
    here = theirs.parent / "here"
    run(theirs.parent, "clone", "-q", str(theirs), "here")
    run(here, "reset", "-q", "HEAD~1")
    run(theirs, "reset", "-q", "--hard", "HEAD~1")
    run(here, "fetch", "-q", "--prune")
    assert brought(here)


def test_what_an_encoding_makes_of_it(theirs):
    """A blob that git writes as other bytes: this encoding cannot say a plus sign in one letter."""
    (theirs / ".gitattributes").write_text("inbox/* working-tree-encoding=UTF-7\n")
    run(theirs, "add", ".")
    written = "prompt: x\nlabels: a+-b\n"
    (theirs / "inbox/a.yaml").write_text(written)
    run(theirs, "commit", "-q", "-a", "-m", "encoded")
    here = theirs.parent / "here"
    run(theirs.parent, "clone", "-q", str(theirs), "here")
    assert (here / "inbox/a.yaml").read_text() == written
    run(here, "reset", "-q", "HEAD~1")
    assert brought(here, text=written)
    assert not brought(here, text=written + "title: mine\n")


def test_what_a_filter_makes_of_it_nobody_can_tell(theirs):
    """Then the name alone counts: a program of the person's makes the file of what git has."""
    here = cloned(theirs)
    assert not brought(here, text="prompt: made by the filter\n")
    (here / ".gitattributes").write_text("*.yaml filter=lfs\n")
    assert brought(here, text="prompt: made by the filter\n")
    assert not brought(here, "inbox/b.yaml", "prompt: made by the filter\n")
    (here / ".gitattributes").write_text("*.yaml -filter\n")
    assert not brought(here, text="prompt: made by the filter\n")
    (here / ".git/info/attributes").symlink_to(here.parent / "attributes")
    (here.parent / "attributes").write_text("*.yaml filter=lfs\n")
    assert brought(here, text="prompt: made by the filter\n")
    (here / ".git/info/attributes").unlink()
    (here / ".gitattributes").write_text("*.yaml filter=lfs\n" + "# long\n" * (1 << 18))
    assert brought(here, text="prompt: made by the filter\n"), "too long to be read here"


# Branches that have the task in another folder: of one it is the only file; and none that has it here.
ELSEWHERE = (
    "git -C ../theirs switch -qc was old; cd ../theirs; mkdir was; echo k >was/k; echo l >was/l; git add was; git commit -qm was;"
    " git switch -qc will; cp ../task was/a.yaml; git add was; git commit -qm will;"
    " git switch -q --orphan alone; cp ../task a.yaml; git add a.yaml; git commit -qm alone;"
    " git branch -qf main old; cd ../here; git fetch -qp; rm -rf .git/logs/refs/remotes; git gc -q --prune=now"
)
WAYS = {
    "merge --no-commit": "git fetch -q; git merge -q --no-ff --no-commit origin/main",
    "cherry-pick, undone": "git fetch -q; git cherry-pick origin/main; git reset -q HEAD~1",
    "rebase --autostash": "echo k >k; git add k; git commit -qm k; echo z >>k; git pull -q --rebase --autostash",
    "bisect": "git pull -q; git reset -q --hard HEAD~1; git bisect start origin/main HEAD; git checkout -q origin/main",
    "index of its own": "git fetch -q; git read-tree origin/main; git checkout-index inbox/a.yaml; git read-tree HEAD",
    "show": "git fetch -q; mkdir -p inbox; git show origin/main:inbox/a.yaml >inbox/a.yaml",
    "archive": "git fetch -q; git archive origin/main inbox | tar x",
    "sparse checkout": "git sparse-checkout set --no-cone '/*' '!inbox/*'; git pull -q; git sparse-checkout disable",
    "am": "git fetch -q; git format-patch -q -1 origin/main --stdout >../p; git am -q ../p; git reset -q HEAD~1",
    "apply": "git fetch -q; git format-patch -q -1 origin/main --stdout >../p; git apply ../p",
    "untracked in a stash": "git pull -q; git reset -q HEAD~1; git stash -q -u; git stash pop -q",
    "an odd ref": "git fetch -q origin main:refs/odd/x; git checkout -q refs/odd/x -- inbox; git reset -q",
    "an orphan branch": "git fetch -q; git checkout -q --orphan o origin/main; git rm -rq --cached inbox",
    "another worktree": "git fetch -q; git worktree add -q ../tree origin/main; cp -r ../tree/inbox .",
    "a hook": "printf '#!/bin/sh\\ngit rm -q --cached inbox/a.yaml\\n' >.git/hooks/post-merge; chmod +x .git/hooks/post-merge; git pull -q --no-rebase",
    "a replaced commit": "git fetch -q; git replace HEAD origin/main; git checkout -q HEAD -- inbox; git reset -q; git rm -rq --cached inbox",
    "a merge into a renamed folder, undone": f"{ELSEWHERE}; git switch -q -C main origin/was; git mv was inbox; git commit -qm mv; git pull -q --no-rebase origin will || git reset -q",
    "a merge of a subtree, undone": f"{ELSEWHERE}; mkdir inbox; echo k >inbox/k; git add inbox; git commit -qm k; git pull -q --no-rebase --no-commit -X subtree=inbox --allow-unrelated-histories origin alone; git reset -q",
    "split index": "git update-index --split-index; git pull -q; git rm -q --cached inbox/a.yaml",
    "separate folder": "git pull -q; git reset -q HEAD~1; git init -q --separate-git-dir ../sep.git",
}


@pytest.mark.parametrize("way", WAYS)
def test_whichever_command_writes_it(theirs, way, monkeypatch):
    """Commands that leave the bytes in the folder, and mostly not in the index."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "t")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "t@example.org")
    run(theirs, "branch", "old", "HEAD~1")
    run(theirs.parent, "clone", "-q", "-b", "old", str(theirs), "here")
    here = theirs.parent / "here"
    (theirs.parent / "task").write_text(TEXT)
    run(here, "branch", "-q", "-u", "origin/main")
    subprocess.run(["sh", "-ec", WAYS[way]], cwd=here, check=True, capture_output=True)
    assert (here / "inbox/a.yaml").read_text() == TEXT
    assert brought(here) and not brought(here, text=TEXT + "# mine\n")


LOST = "git branch -qdr origin/main; rm -rf .git/logs/refs/remotes"  # no ref leads there, no log
HIDDEN = f"git -C ../theirs update-ref refs/x/t main; git -C ../theirs branch -qf main old; {LOST}"
BUNDLE = f"git -C ../theirs bundle create -q ../b main; {HIDDEN}; git -C ../theirs update-ref -d refs/x/t"
NAMED = "git -C ../theirs switch -q main; git -C ../theirs commit -q --amend -m '{}: 1 x'"
HIDE = f"git -C ../theirs switch -q old; {HIDDEN}"
TAKEN = "git fetch -q origin refs/x/t; git restore --source=FETCH_HEAD -- inbox; git fetch -q"
COPY = "cp -r inbox copy; git add copy; git commit -qm copy"
FORGED = (
    f'{HIDDEN}; git gc -q --prune=now; c() {{{{ git -C ../theirs commit-tree "$@"; }}}}; r=$(c old^{{{{tree}}}} -m r);'
    " t=refs/x/t^{{tree}}; i=$(c $t {} -m '{}'); w=$(c $t -p old -p $i -m 'WIP on main: 1 x');"
    f" git -C ../theirs update-ref refs/x/t $w; {TAKEN}"
)
UNNAMED = {
    "a bundle unpacked": f"{BUNDLE}; t=$(git bundle unbundle ../b | cut -c1-40); git restore --source=$t -- inbox",
    "a bundle, fetched over": f"{BUNDLE}; git fetch -q ../b main; git checkout -q FETCH_HEAD -- inbox; git reset -q; git fetch -q",
    "a merge given up": f"{HIDDEN}; git fetch -q origin refs/x/t; git merge -q --no-ff --no-commit FETCH_HEAD; cp -r inbox ../kept; git fetch -q; git merge --abort; cp -r ../kept inbox",
    "fetched by another worktree": f"{HIDDEN}; git worktree add -q ../tree HEAD; git -C ../tree fetch -q origin refs/x/t; git restore --source=$(git -C ../tree rev-parse FETCH_HEAD) -- inbox",
    "undone in another worktree": f"git worktree add -q ../tree -b b HEAD; git -C ../tree fetch -q; git -C ../tree reset -q --hard origin/main; git -C ../tree switch -q --detach HEAD~1; git branch -qD b; {HIDDEN}; git restore --source=$(git -C ../tree rev-parse HEAD@{{1}}) -- inbox",
    "a tag, deleted": f"git -C ../theirs tag t main; {HIDDEN}; git fetch -q origin tag t; git restore --source=t -- inbox; git tag -d t; git fetch -q",
    "named like a stash": f"{NAMED.format('WIP on main')}; {HIDE}; {TAKEN}",
    "named like one with a name": f"{NAMED.format('On main')}; {HIDE}; {TAKEN}",
    "named like a stash's index": f"{NAMED.format('index on main')}; {HIDE}; {TAKEN}",
    "a merge named like a stash": f"git -C ../theirs switch -q -c s main; {NAMED.format('index on main')}; git -C ../theirs merge -q -s ours -m 'WIP on main: 1 x' s; git -C ../theirs branch -qD s; {HIDE}; {TAKEN}",
    "named like a stash, and of another shape": FORGED.format("-p $r", "index on main: 1 x"),
    "a stash by shape alone": FORGED.format("-p old", "x"),
    "fetched last, and tracked elsewhere": f"{HIDDEN}; {TAKEN.removesuffix('; git fetch -q')}; {COPY}",
    "undone, and tracked elsewhere": f"git fetch -q; git reset -q --hard origin/main; git reset -q --hard HEAD~1; {HIDDEN}; git fetch -q; git restore --source=HEAD@{{1}} -- inbox; {COPY}",
    "a mirror's stash": f"{HIDDEN}; git fetch -q origin refs/x/t:refs/stash; git fetch -q; git restore --source=refs/stash -- inbox",
}


@pytest.fixture
def here(theirs, monkeypatch) -> Path:
    """A clone whose branch is one commit behind."""
    run(theirs, "switch", "-q", "-c", "old", "HEAD~1")
    run(theirs.parent, "clone", "-q", str(theirs), "here")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "t")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "t@example.org")
    return theirs.parent / "here"


def sh(folder: Path, script: str) -> None:
    done = subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("way", UNNAMED)
def test_a_commit_that_nothing_names_any_more(here, way):
    sh(here, UNNAMED[way])
    assert (here / "inbox/a.yaml").read_text() == TEXT
    assert brought(here) and not brought(here, text=TEXT + "# mine\n")


MINE = "mkdir -p inbox; echo 'prompt: mine' >inbox/a.yaml"
OWN = {
    "staged": f"{MINE}; git add inbox; git reset -q",
    "stashed": f"{MINE}; git stash -q -u; git stash pop -q",
    "stashed by name": f"{MINE}; git stash push -q -u -m 'some words'; git stash pop -q",
    "stashed without a branch": f"git switch -q --detach; {MINE}; git add inbox; git stash -q; git stash pop -q; git reset -q",
    "stashed by a rebase": f"{MINE}; git add inbox; git rebase -q --autostash HEAD; git reset -q",
    "copied": f"{MINE}; mv inbox prompts; git add prompts; git commit -qm x; cp -r prompts inbox",
}


@pytest.mark.parametrize("way", OWN)
def test_what_git_only_kept_for_its_person_is_their_own(here, way):
    sh(here, OWN[way])
    assert not brought(here, text="prompt: mine\n")


@pytest.mark.parametrize(
    "attribute, text, written",
    [
        ("text eol=crlf", "prompt: x\r\nagent: sh\n", "prompt: x\r\nagent: sh\r\n"),
        ("ident", "prompt: $Id: mine $\n", "prompt: $Id: 0123abcd $\n"),
    ],
)
def test_what_git_made_of_what_it_had_not_made_so(theirs, attribute, text, written):
    """A blob that was not made by ``git add``: no way back leads from the file to its bytes."""
    raw = theirs / "raw"
    raw.write_bytes(text.encode())
    sh(
        theirs,
        f"echo '*.yaml {attribute}' >.gitattributes; git add .gitattributes;"
        " oid=$(git hash-object -w --no-filters raw);"
        f" git {' '.join(WHO)} update-index --add --cacheinfo 100644,$oid,inbox/a.yaml;"
        f" git {' '.join(WHO)} commit -qm raw",
    )
    here = cloned(theirs)
    assert brought(here, text=written)
    assert not brought(here, text=written + "title: mine\n")
    assert not brought(here, "inbox/b.yaml", written)

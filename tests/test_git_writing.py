# ruff: noqa: F811 - fixtures come by their names
"""What an agent does to the repository that all trees share: no git of ours executes it, no other branch moves by it, and a
person merges what was shown."""

from __future__ import annotations

import json

import pytest
from test_tree_harm import SUBMODULE, with_submodule
from test_trees import Repo, git, repo  # noqa: F401

from orchestrator.store import git as store_git
from orchestrator.store import trees

# The task's script: $G is the repository, $EVIL a program that notes that it ran, $TMP a folder
# outside the project.
FILTER = (
    "git config --file $G/evil.conf filter.evil.clean $EVIL; echo '* filter=evil' > .gitattributes;"
)
LAZY = (
    "git config remote.o.url file://$TMP/o; git config remote.o.promisor true; git config extensions.partialClone o;"
    " git config core.repositoryFormatVersion 1; b=$(echo lost | git hash-object --stdin);"
    ' t=$(printf "100644 blob $b\\tlost\\n" | git mktree --missing);'
    " git update-ref refs/heads/task/x $(git commit-tree -p HEAD -m lost $t); git read-tree HEAD;"
    " git update-index --skip-worktree lost;"
)
INSTALLS = {
    "a filter that is included for trees": FILTER
    + "git config --file $G/config includeIf.gitdir:**/worktrees/**.path evil.conf",
    "a filter that is included for a branch": FILTER
    + "git config --file $G/config includeIf.onbranch:task/x.path evil.conf",
    "a filter whose name cannot be named": "git config 'filter.a=b.clean' $EVIL;"
    " echo '* filter=a=b' > .gitattributes",
    "a filter of another repository": FILTER
    + "cp -r $G $TMP/other; cat $G/evil.conf >> $TMP/other/config; echo $TMP/other > $G/worktrees/x/commondir",
    "what a missing object is fetched by": LAZY + "git config remote.o.uploadpack $EVIL",
    "a url that is a program": LAZY
    + "git config remote.o.url 'ext::'$EVIL; git config protocol.ext.allow always",
    "how a submodule is fetched": SUBMODULE.replace("cd sub;", "cd sub; echo kept > kept;")
    + "git config --file $G/modules/sub/config 'url.ext::'$EVIL' /.insteadOf' /;"
    " git config --file $G/modules/sub/config protocol.ext.allow always",
    "a filter of a submodule": SUBMODULE
    + 'git config filter.evil.clean $EVIL; echo "* filter=evil" > .gitattributes; git add -A; git commit -qm in;'
    " touch .gitattributes",
}


@pytest.mark.parametrize("what", INSTALLS)
def test_what_an_agent_installs_in_the_repository_is_not_executed(repo: Repo, tmp_path, what):
    ran, evil = tmp_path / "ran", tmp_path / "evil"
    evil.write_text(f'#!/bin/sh\n[ "$ATTEMPT" ] || echo "$0 $*" >> {ran}\nexit 1\n')
    evil.chmod(0o755)
    if "submodule" in what:
        with_submodule(repo)
    script = f"export ATTEMPT=1 G={repo.root}/.git EVIL={evil} TMP={tmp_path}; {INSTALLS[what]}"
    repo.do("x", f"({script})\necho kept > kept", code=None)
    for verb in (["diff", "x"], ["approve", "x"], ["reject", "x"], ["trees", "clean", "-y"]):
        repo.run(*verb, code=None)
    assert not ran.exists(), ran.read_text()
    saved = repo.git("for-each-ref", "--format=%(objectname)", "refs/orchestrator").split()
    assert repo.tree("x").exists() or "kept" in {
        repo.git("show", f"{ref}:kept", code=None) for ref in (*saved, "main")
    }


LEADING = {
    "refs/orchestrator/saved/x/1": "main",
    "refs/orchestrator/saved/x/9": "theirs",
    "refs/heads/task/x": "main",
    "refs/heads/task/y": "new",
}


@pytest.mark.parametrize("ref", LEADING)
def test_a_ref_that_leads_to_another_moves_and_deletes_none(repo: Repo, ref):
    """Made by an agent in place of one of ours."""
    repo.git("branch", "theirs", "HEAD")
    repo.git("symbolic-ref", "HEAD", "refs/heads/work")
    repo.git("update-ref", "refs/heads/work", "main")
    seen = (
        "for-each-ref",
        "--format=%(refname) %(objectname)",
        "refs/heads/main",
        "refs/heads/theirs",
        "refs/heads/new",
    )
    before = repo.git(*seen)
    repo.do("x", f"git symbolic-ref {ref} refs/heads/{LEADING[ref]}; echo 1 > n", code=None)
    repo.run("approve" if LEADING[ref] == "theirs" else "reject", "x", code=None)
    repo.run("trees", "clean", "-y", code=None)
    repo.do("y", "echo 2 > m", code=None)
    repo.run("reject", "y", code=None)
    repo.run("archive", "x", "y", code=None)
    repo.run("trees", "clean", "-y", "--branches", code=None)
    assert repo.git(*seen) == before


@pytest.mark.parametrize("how", ["replace", "graft"])
def test_what_is_merged_is_what_was_shown(repo: Repo, how):
    """An agent may have git see another commit, or other parents, in place of one."""
    commit = "echo {0} > n; git add n; git commit -qm {0}; {0}=$(git rev-parse HEAD);"
    script = commit.format("shown") + "git reset -q --soft HEAD^;" + commit.format("other")
    if how == "replace":
        script += "git reset -q --soft $shown; git replace $shown $other"
    else:
        script += "mkdir -p $ORCHESTRATOR_ROOT/.git/info; echo $other > $ORCHESTRATOR_ROOT/.git/info/grafts"
    repo.do("x", script)
    shown = repo.run("diff", "x").stdout
    assert how == "graft" or "changed in your repository: replace/" in str(repo.result("x"))
    assert repo.result("x")["files_changed"] == ["n"]
    repo.run("approve", "x")
    assert f"+{(repo.root / 'n').read_text()}" in shown
    assert repo.git("--no-replace-objects", "status", "--porcelain", "-uno") == ""


def test_a_run_moves_its_own_branch_only(repo: Repo):
    """An agent of a run makes a link to the person's branch of the run's."""
    repo.settings("merge: auto")
    script = "git symbolic-ref refs/heads/run/r.run refs/heads/main; echo 1 > n\nexit\n"
    before = repo.git("rev-parse", "main")
    repo.drop("r.run.yaml", json.dumps({"tasks": {"a": {"prompt": script}}}))
    repo.run("watch", "--until-empty", code=None)
    assert repo.git("rev-parse", "main") == before


def test_another_name_of_a_branch_stays_one(repo: Repo):
    """As people have ``master`` for ``main``."""
    repo.git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    repo.settings(more="trees: {base: alias}\n")
    repo.do("x", "echo 1 > n")
    repo.run("approve", "x")
    assert repo.git("symbolic-ref", "refs/heads/alias") == "refs/heads/main"
    assert repo.git("show", "alias:n") == "1" and (repo.root / "n").exists()


def test_uncommitted_work_is_taken_without_asking_a_submodule(repo: Repo, tmp_path):
    """`git add -u` starts a git in each: it obeys what an agent wrote into its configuration."""
    with_submodule(repo)
    sub, modules, ran = repo.root / "sub", repo.root / ".git/modules/sub", tmp_path / "ran"
    persons = ("-c", "user.name=n", "-c", "user.email=e")
    (sub / "f").write_text("1\n")
    git(sub, "add", "f")
    git(sub, *persons, "commit", "-qm", "f")
    repo.git("commit", "-qm", "newer", "sub")
    git(sub, "config", "filter.evil.clean", f"touch {ran}; cat")
    (modules / "info/attributes").write_text("* filter=evil\n")
    (sub / "f").write_text("2\n")
    (repo.root / "src/a.txt").write_text("mine\n")
    found = store_git.find(str(repo.root))
    tree = trees.snapshot(repo.layout, found, found.shared.commit_of("HEAD"))
    assert not ran.exists()
    assert repo.git("show", f"{tree}:src/a.txt") == "mine"
    git(sub, "checkout", "-q", "HEAD^", "--force")
    tree = trees.snapshot(repo.layout, found, found.shared.commit_of("HEAD"))
    assert repo.git("rev-parse", f"{tree}:sub") == git(sub, "rev-parse", "HEAD")

"""What a newcomer stands on: scripts that say what they do, pages that name what exists, recipes whose steps are checked."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from test_architecture import MODULES, PACKAGE, nodes, tree_of
from test_words import NEVER

from orchestrator.cli.app import VERBS, module_of
from orchestrator.testing import End, Tube

ROOT = PACKAGE.parent
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").iterdir() if os.access(path, os.X_OK) and path.is_file())  # fmt: skip
PAGES = (ROOT / "CONTRIBUTING.md", ROOT / "docs/explanation/architecture.md")


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """The scripts of a fresh clone: no .venv, and a Python that has nothing installed."""
    root = tmp_path_factory.mktemp("bare")
    shutil.copytree(
        ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    (root / "bin").mkdir()
    python = root / "bin/python3"
    python.write_text(f'#!/bin/sh\nexec {sys._base_executable} -E -S "$@"\n')
    python.chmod(0o755)
    return root


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_says_what_it_does_and_does_nothing_else(bare, script):
    env = {"PATH": f"{bare}/bin:/usr/bin:/bin", "HOME": str(bare)}
    done = subprocess.run(
        [bare / "scripts" / script, "--help"],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), (
        f"{script}: source scripts/usage, or inside.run"
    )
    assert len(done.stdout.split()) > 8, (
        f"{script}: say at its top what it does, and how it is called"
    )
    assert {path.name for path in bare.iterdir()} == {"scripts", "bin"}


def test_scripts_in_python_are_checked_as_modules_are():
    """pre-commit hands them over by their names, and ``ruff check .`` looks at endings."""
    known = tomllib.loads((ROOT / ".ruff.toml").read_text())["extend-include"]
    python = [name for name in SCRIPTS if b"python3" in (ROOT / "scripts" / name).read_bytes()[:40]]
    assert known == [f"scripts/{name}" for name in python], "name them in .ruff.toml"


def test_check_names_what_it_does_not_know(bare):
    done = subprocess.run(
        [bare / "scripts/check", "tests/test_x.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_setup_says_in_one_line_what_is_missing(bare):
    (bare / "old").mkdir(exist_ok=True)
    old = bare / "old/python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for program in ("dirname", "sh"):
        (bare / "old" / program).unlink(missing_ok=True)
        (bare / "old" / program).symlink_to(shutil.which(program))
    done = subprocess.run(
        [bare / "scripts/check"],
        env={"PATH": f"{bare}/old", "HOME": str(bare)},
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(bare / "old")
    assert done.returncode == 6 and done.stderr.count("\n") == 1, done.stderr
    assert "Python 3.11 or newer is needed" in done.stderr


def test_every_module_of_verbs_is_a_verb():
    there = {name for name in MODULES if name.startswith("orchestrator.cli.verbs.")}
    wrong = there ^ {module_of(verb) for verb in VERBS}
    assert not wrong, f"name it in VERBS of cli/app.py, or write its module in cli/verbs: {wrong}"


def test_help_uses_no_other_word_for_a_status():
    page = (ROOT / "docs/reference/command-line.md").read_text()
    wrong = [line for line in page.splitlines() if re.search(r"\b(queued|pending|parked)\b", line)]
    assert not wrong, f"say waiting or held, as docs/reference/glossary.md does: {wrong}"
    assert NEVER.search("it is queued")


def names_in(module: str) -> set[str]:
    """What a module defines at its top, and ``Class.member`` of its classes."""
    found = set()
    for node in tree_of(MODULES[module]).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{member}" for member in members(node)}
    return found


def members(owner: ast.ClassDef) -> set[str]:
    found = set()
    for node in ast.walk(owner):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


@pytest.fixture(scope="module")
def defined() -> dict[str, set[str]]:
    """What each module defines."""
    return {name: names_in(name) for name in MODULES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_that_a_page_says_is_there(page, defined):
    """``model/choice.choose``, ``Lives.ended``, `` `SIGNS` of `cli/screen/console.py` ``: after a renaming, too."""
    text = " ".join(page.read_text().split())
    everywhere = set().union(*defined.values())
    wrong = []
    for path, name in re.findall(r"`((?:\w+/)+\w+)\.([A-Za-z_]\w*(?:\.\w+)?)`", text):
        ends = path.replace("/", ".")
        homes = [module for module in MODULES if f".{module}".endswith(f".{ends}")]
        if homes and name != "py" and not any(name in defined[home] for home in homes):
            wrong.append(f"{name} of {path}")
    for said, path in re.findall(
        r"((?:`[\w.]+`(?:, | and | or |, and )?)+) of `([\w/]+\.py)`", text
    ):
        home = f"orchestrator.{path.removesuffix('.py').replace('/', '.')}"
        if home in MODULES:
            wrong += [f"{name} of {path}" for name in re.findall(r"`([\w.]+)`", said) if name not in defined[home]]  # fmt: skip
    wrong += [
        name for name in re.findall(r"`([A-Z]\w*[a-z]\w*\.\w+)`", text) if name not in everywhere
    ]
    for path in re.findall(r"`([\w./]+\.(?:py|json|md|yaml))`", text):
        places = (ROOT / path, PACKAGE / path, ROOT / "tests" / path)
        if (
            "/" in path
            and not path.startswith("work/")
            and not any(place.exists() for place in places)
        ):
            wrong.append(path)
    assert not wrong, f"{page.name} names what is not there (any more): {wrong}"


def test_no_page_has_a_script_that_is_not_there():
    wrong = []
    for page in [*PAGES, ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for script in re.findall(r"\./scripts/([\w-]+)", page.read_text()):
            if script not in SCRIPTS:
                wrong.append(f"{page.name}: {script}")
    assert not wrong


WRITES = "unlink remove rename replace mkdir makedirs rmdir link symlink truncate chmod utime rmtree move copyfile copytree"
TO_WRITE = re.compile(r", '[rb]*[wax+]|O_(WRONLY|RDWR|CREAT|APPEND|TRUNC)")


def writes(call: ast.Call) -> bool:
    called, said = ast.unparse(call.func), ast.unparse(call)
    owner, _, last = called.rpartition(".")
    if called in ("open", "os.open", "opening.descriptor"):
        return TO_WRITE.search(said) is not None
    if owner in ("os", "shutil"):
        return last in WRITES.split()
    return last in ("write_text", "write_bytes", "touch")


def test_what_reads_has_no_line_that_writes():
    """Verbs that read run under an audit hook, but not through every branch: this looks at all of them."""
    allowed = {
        "projection/index.py": 2,  # a broken index, made again from the log
        "files/git.py": 5,  # a scratch folder of its own, outside of the project
        "files/statehome.py": 2,  # the person's own folder of state
    }
    wrong = {}
    for path in MODULES.values():
        inside = str(path.relative_to(PACKAGE))
        if inside.startswith(("model/", "files/", "projection/", "queries/")):
            found = [ast.unparse(node) for node in nodes(path, ast.Call) if writes(node)]
            if len(found) > allowed.get(inside, 0):
                wrong[inside] = found
    assert not wrong, f"what reads does not write; the writers are in store/: {wrong}"


@functools.cache
def words() -> set[str]:
    """All words of the program."""
    places = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.yaml")]
    return {word for path in places for word in re.findall(r"[\w-]+", path.read_text())}


def keys_of(rule: object, above: str = "") -> Iterator[tuple[str, str, dict]]:
    """``(path, key, rule)`` of everything that may be written into a file of this schema."""
    if isinstance(rule, list):
        for each in rule:
            yield from keys_of(each, above)
    if isinstance(rule, dict):
        for name, inner in rule.items():
            if name == "properties" and isinstance(inner, dict):
                for key, value in inner.items():
                    if isinstance(value, dict):
                        yield f"{above}{key}", key, value
                        yield from keys_of(value, f"{above}{key}.")
            else:
                yield from keys_of(inner, above)


@pytest.mark.parametrize("kind", "config hold run schedule task template tool".split())
def test_every_key_of_a_file_is_described_and_read(kind):
    """A setting is documented by its schema, and a key that no code knows does nothing."""
    schema = json.loads((ROOT / f"schemas/{kind}.schema.json").read_text())
    silent, unread = [], []
    for path, key, rule in keys_of(schema):
        if "$ref" not in rule and not rule.get("description"):
            silent.append(path)
        if key not in words():
            unread.append(path)
    assert not silent, f"schemas/{kind}.schema.json: give these a description: {silent}"
    assert not unread, f"schemas/{kind}.schema.json: no code reads these: {unread}"


def test_where_a_task_was_is_known_from_events_that_exist():
    from orchestrator.model.event import EVENTS
    from orchestrator.queries import past

    unknown = {*past._GONE, *past._STAY} - set(EVENTS)
    assert not unknown, f"queries/past.py names events that EVENTS does not have: {unknown}"


def test_every_event_is_written_by_somebody():
    """A hook may wait for each of them."""
    from orchestrator.model.event import EVENTS

    readers = ("model/event.py", "queries/past.py", "cli/screen/task_page.py")
    said: set[str] = set()
    for path in (ROOT / "orchestrator").rglob("*.py"):
        if not str(path).endswith(readers):
            said.update(re.findall(r"\w+", path.read_text()))
    unwritten = set(EVENTS) - said
    assert not unwritten, f"in EVENTS of model/event.py, and nobody writes them: {unwritten}"


def test_the_words_of_a_hook_are_those_that_its_schema_names():
    from orchestrator.coordination import hooks
    from orchestrator.model.event import FIELDS

    schema = json.loads((ROOT / "schemas/config.schema.json").read_text())
    told = schema["properties"]["hooks"]["items"]["properties"]["run"]["description"]
    named = re.findall(r"\{(\w+)\}", told)
    filled = [word for word in named if hooks._PLACEHOLDER.search(f"{{{word}}}")]
    wrong = set(hooks._PLACEHOLDER.pattern.strip(r"\{}()").split("|")) ^ set(filled)
    assert filled == named and not wrong, (
        "name the same words in _PLACEHOLDER of coordination/hooks.py and in the description of"
        f" hooks.run in schemas/config.schema.json: {wrong or set(named) - set(filled)}"
    )
    fields = json.loads((ROOT / "schemas/event.schema.json").read_text())["properties"]
    unknown = set(named) - {*FIELDS, *fields}
    assert not unknown, f"no event has these fields: {unknown}"


def test_a_task_goes_through_the_modules_in_the_order_of_the_page(tmp_path):
    """One task's journey in architecture.md: each of these is first asked after the one before it."""
    rooms = (
        "intake entrance waitingtasks starts claiming runningtasks nextsteps finishing aftermath"
    )
    named = {f"coordination/{room}" for room in rooms.split()}
    named |= {"model/admission", "model/choice", "store/claiming", "model/policy", "store/placing"}
    page = (ROOT / "docs/explanation/architecture.md").read_text()
    journey = page.partition("## One task's journey")[2].partition("## One query's journey")[0]
    told = dict.fromkeys(re.findall(r"`(\w+/\w+)[\w.]*`", journey))
    asked: dict[str, None] = {}

    def called(frame: FrameType, event: str, _: object) -> None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if event == "call" and path.startswith(f"{PACKAGE}/") and name[0] not in "<_":
            asked.setdefault(path.removeprefix(f"{PACKAGE}/").removesuffix(".py"))

    tube = Tube(tmp_path)
    tube.plan("before", End(after=60))  # the watcher has begun, and its loop goes round
    tube.drop("before")
    tube.at(50, lambda: (asked.clear(), tube.drop("a")))
    sys.setprofile(called)
    try:
        tube.run()
    finally:
        sys.setprofile(None)
    found = [name for name in asked if name in named]
    assert found == [name for name in told if name in named], "architecture.md tells another order"

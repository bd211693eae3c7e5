"""The structure is a promise: layers, no cycles, one door for each package, a read side that only reads."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Project

from orchestrator.cli.app import VERBS, module_of

PACKAGE = ROOT / "orchestrator"
# From the lowest layer to the highest: a module imports from its own layer and those before it in this list.
LAYERS = [
    "lazily",
    "records",
    "patterns",
    "libraries",
    "errors",
    "clock",
    "waiting",
    "model",
    "files",
    "store",
    "tools",
    "execution",
    "distributors",
    "coordination",
    "projection",
    "queries",
    "cli",
    "testing",
]
WALL = {
    name: {"store", "execution", "distributors", "coordination"}
    for name in ("queries", "projection")
}
DOORS = {
    "click": ["cli/"],
    "yaml": ["files/documents.py", "store/yamltext.py"],
    "jsonschema": ["files/schemas.py"],
    "filelock": ["store/locks.py"],
    "watchdog": ["coordination/arrivals.py"],
    "sqlite3": ["projection/", "queries/"],
    "jmespath": ["tools/queries.py"],
    "mcp": ["cli/verbs/mcp.py"],
    "nats": ["distributors/engines/nats.py"],
    "redis": ["distributors/engines/redis.py"],
}


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def kinds_of(path: Path) -> dict[type[ast.AST], list[Any]]:
    """The nodes of a file by their class: it is walked once for all tests."""
    found: dict[type[ast.AST], list[Any]] = {}
    for node in ast.walk(tree_of(path)):
        found.setdefault(type(node), []).append(node)
    return found


def nodes(path: Path, *classes: type[ast.AST]) -> list[Any]:
    return [node for kind in classes for node in kinds_of(path).get(kind, ())]


@functools.cache
def imports(path: Path) -> list[tuple[str, bool]]:
    """``(module, whether inside a function)`` of every import in a file."""
    tree = tree_of(path)
    found = []

    def visit(node: ast.AST, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            deeper = inside or isinstance(
                child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
            )
            if isinstance(child, ast.Import):
                found.extend((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                names = [f"{child.module}.{alias.name}" for alias in child.names]
                found.extend((name if name in MODULES else child.module, inside) for name in names)
            visit(child, deeper)

    visit(tree, False)
    return list(dict.fromkeys(found))


def layer(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_every_module_is_in_a_layer():
    strange = [name for name in MODULES if layer(name) not in [*LAYERS, "", "__main__"]]
    assert not strange, f"name their layer in LAYERS above, and in CONTRIBUTING.md: {strange}"


def test_every_module_that_a_text_names_exists():
    """``coordination.claiming`` in backquotes, or ``coordination/claiming``: after a renaming, too."""
    packages = "|".join(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    named = re.compile(rf"`({packages})[./](\w+(?:/\w+)*)[\w.]*`")
    texts = [*MODULES.values(), ROOT / "CONTRIBUTING.md", ROOT / "docs/explanation/architecture.md"]
    missing = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in texts
        for found in named.finditer(path.read_text())
        if f"orchestrator.{found[1]}.{found[2].replace('/', '.')}" not in MODULES
    ]
    assert not missing, f"there is no such module (any more): {missing}"


def test_imports_point_down():
    wrong = []
    for name, path in MODULES.items():
        mine = layer(name)
        if mine in ("", "__main__"):
            continue
        for target, _ in imports(path):
            ours = target.startswith("orchestrator.") and layer(target) in LAYERS
            if ours and LAYERS.index(layer(target)) > LAYERS.index(mine):
                wrong.append(f"{name} imports {target}")
    assert not wrong, f"from a higher layer (see LAYERS above): {wrong}"


def test_read_side_does_not_import_write_side():
    wrong = [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        for target, _ in imports(path)
        if layer(target) in WALL.get(layer(name), ()) and target.startswith("orchestrator.")
    ]
    assert not wrong, f"what reads imports nothing that writes, decides or runs: {wrong}"


def test_no_cycles():
    graph = {
        name: {target for target, _ in imports(path) if target in MODULES and target != name}
        for name, path in MODULES.items()
    }
    # importlib's imports count, too: the command line loads its verbs by name, and what its strings name.
    main = "orchestrator.cli.main"
    said = {node.value for node in nodes(MODULES[main], ast.Constant)}
    graph[main] |= {module_of(verb) for verb in VERBS} | (said & MODULES.keys())
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join((*path[path.index(name) :], name))}"
        if name not in done:
            for target in graph[name]:
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_supervisors_load_the_standard_library_and_themselves():
    """No other module is there: their program is handed to them in this order (`execution.program`)."""
    from orchestrator.execution.program import FIRST, LATER

    home, known = "orchestrator.execution", set()
    for name in (*FIRST, *LATER):
        found = {target for target, _ in imports(MODULES[f"{home}.{name}"])} - {home, "__future__"}
        ours = {target for target in found if target.startswith("orchestrator")}
        assert ours <= known, f"name it before {name} in execution/program.py: {ours - known}"
        assert {target.split(".")[0] for target in found - ours} <= sys.stdlib_module_names, name
        known |= {f"{home}.{name}"} if name in FIRST else set()


def test_what_supervisors_load_later_is_there():
    """The type checker sees nothing of a neighbour that is found by its name, and a supervisor that fails leaves
    nothing but an attempt that is lost."""
    from orchestrator.execution.program import LATER

    wrong = []
    for name, path in MODULES.items():
        if layer(name) != "execution":
            continue
        found = {}  # how the neighbour is called there
        for node in nodes(path, ast.Call):
            if ast.unparse(node.func) == "neighbour" and isinstance(node.args[0], ast.Constant):
                found[ast.unparse(node)] = node.args[0].value
        for node in nodes(path, ast.Assign):
            if ast.unparse(node.value) in found:
                found[ast.unparse(node.targets[0])] = found[ast.unparse(node.value)]
        unnamed = set(found.values()) - set(LATER)
        assert not unnamed, f"name it in LATER of execution/program.py: {unnamed}"
        for node in nodes(path, ast.Attribute):
            if theirs := found.get(ast.unparse(node.value)):
                body = tree_of(MODULES[f"orchestrator.execution.{theirs}"]).body
                names = {getattr(item, "name", "") for item in body}
                names |= {
                    ast.unparse(item.targets[0]) for item in body if isinstance(item, ast.Assign)
                }
                if node.attr not in names:
                    wrong.append(f"{name}:{node.lineno}: {theirs} has no {node.attr}")
    assert not wrong, f"a supervisor would fail: {wrong}"


def test_modules_are_loaded_by_name_in_one_place():
    """Every other place would be an import that the tests above do not see."""
    ways = {
        *("importlib", "importlib.import_module", "importlib.util", "importlib.reload"),
        *("importlib.util.spec_from_file_location", "pkgutil", "pkgutil.resolve_name", "runpy"),
        *("runpy.run_module", "runpy.run_path"),
    }
    by_name = set()
    for name, path in MODULES.items():
        found = {node.id for node in nodes(path, ast.Name)} & {"__import__"}
        for node in nodes(path, ast.Import):
            found |= {item.name for item in node.names} & ways
        for node in nodes(path, ast.ImportFrom):
            found |= {f"{node.module}.{item.name}" for item in node.names} & ways
        by_name |= {name} if found else set()
    # libraries refuses all that is not of the standard library; specs only asks whether a module is there
    allowed = {
        *("orchestrator.cli.main", "orchestrator.tools.sdk", "orchestrator.libraries"),
        "orchestrator.tools.specs",
    }
    assert by_name <= allowed, f"import it at the top instead: {by_name - allowed}"


def test_one_admission():
    """Nobody but admission puts gates together; others may ask for a part of it by its name there."""
    parts = {"own_gates", "standing_gates"}
    users = {
        name
        for name, path in MODULES.items()
        for node in nodes(path, ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id in parts
    }
    # The forecast plays the watcher's part: what has no gates of its own is offered to the same choice.
    players = {"orchestrator.coordination.waitingtasks", "orchestrator.model.forecast"}
    users -= {"orchestrator.model.admission", *players}
    assert not users, f"ask admit of model/admission.py for all gates instead: {users}"


SIDES = ("coordination", "queries")  # who start tasks, and who say why they do not start


def test_what_closes_a_scope_is_asked_by_the_watcher_and_by_who_reads():
    """`LiveWorld.limits` and `Known.limits_of` find the same gates: a task never waits for what ``why`` does not know."""
    closing = {
        f"{name.split('.')[-1]}.{node.name}"
        for name, path in MODULES.items()
        for node in (tree_of(path).body if layer(name) == "model" else ())
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_" and node.returns
        if re.search(r"\[(Scope|tuple\[str, str\]), (gates\.)?Gate\]", ast.unparse(node.returns))
    }
    assert {"quota.reserved", "budget.spent_gates"} <= closing
    used = {side: called(side) for side in SIDES}
    wrong = {
        name: side
        for name in closing
        for side in SIDES
        if name not in used[side] and any(name in called for called in used.values())
    }
    assert not wrong, (
        "put its gates into Limits.closed in LiveWorld.limits of coordination/liveworld.py and in"
        f" Known._closed of queries/world.py; nobody in this package calls: {wrong}"
    )


def called(package: str) -> set[str]:
    """``module.function`` of what is called of other modules in a package."""
    found = set()
    for name, path in MODULES.items():
        if layer(name) == package:
            of = {
                item.asname or item.name: f"{node.module.split('.')[-1]}.{item.name}"
                for node in nodes(path, ast.ImportFrom)
                if node.module
                for item in node.names
            }
            said = [ast.unparse(node.func) for node in nodes(path, ast.Call)]
            found |= {of.get(words, words) for words in said}
    return found


# The modules that fill the questions of admission, and what they leave open: the watcher alone has an
# index of stopped runs, and it asks nothing of a file that an editor holds.
FILLING = [
    ("World", "coordination.waitingtasks coordination.liveworld", ""),
    ("World", "queries.world", "stopped"),
    ("Ask", "coordination.waitingtasks coordination.leaving", "editing"),
    ("Ask", "queries.world", ""),
    ("Ask", "queries.ahead queries.world", ""),
]


@pytest.mark.parametrize("kind, where, but", FILLING)
def test_whoever_asks_admission_fills_every_field(kind, where, but):
    """A field that one of them leaves at its default is a gate that only the others see."""
    from orchestrator.model import admission

    names = [item.name for item in dataclasses.fields(getattr(admission, kind))]
    given = set(but.split())
    for name in where.split():
        for node in nodes(MODULES[f"orchestrator.{name}"], ast.Call):
            last = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if last == kind:
                given |= set(names[: len(node.args)])
            if last in (kind, "replace"):
                given |= {item.arg for item in node.keywords}
    assert set(names) <= given, f"fill these fields of {kind} in {where}: {set(names) - given}"


def test_only_they_ask_admission():
    makers = {
        (kind, name.removeprefix("orchestrator."))
        for name, path in MODULES.items()
        for node in nodes(path, ast.Call)
        if (kind := ast.unparse(node.func).split(".")[-1]) in ("World", "Ask")
        if layer(name) in SIDES
    }
    known = {(kind, name) for kind, where, _ in FILLING for name in where.split()}
    assert makers <= known, f"name it in FILLING above, or ask them: {makers - known}"


def test_coordination_hands_no_call_backs_around():
    """Values come back, or one listener is told typed news: no constructor of coordination takes a function to call later."""
    allowed = {("Settings", "load")}  # what reads the files, with what the command line says on top
    functions = ("Callable", "Load")
    found = set()
    for path in (PACKAGE / "coordination").rglob("*.py"):
        for node in nodes(path, ast.ClassDef):
            taken = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    taken += [*item.args.args, *item.args.kwonlyargs]
            for item in taken:
                name = item.target.id if isinstance(item, ast.AnnAssign) else item.arg
                said = ast.unparse(item.annotation) if item.annotation is not None else ""
                if any(word in said for word in functions):
                    found.add((node.name, name))
    assert found == allowed, f"return a value, or tell the listener: {found ^ allowed}"


def test_every_room_is_asked():
    """A part of the watcher that nobody asks does nothing, and one whose moment nobody waits for does it late."""
    built = MODULES["orchestrator.coordination.rooms"]
    asking = ("watch", "hintedpaths", "rescans")  # they are given all rooms
    texts = [MODULES[f"orchestrator.coordination.{name}"].read_text() for name in asking]
    watch, everywhere = texts[0], "".join(texts)
    home = {item.name: node.module for node in nodes(built, ast.ImportFrom) for item in node.names}
    passed = {ast.unparse(word) for node in nodes(built, ast.Call) for word in node.args}
    forgotten = []
    for node in nodes(built, ast.Assign):
        room, made = ast.unparse(node.targets[0]), node.value
        module = home.get(ast.unparse(made.func)) if isinstance(made, ast.Call) else None
        if module not in MODULES or not room.startswith("self."):
            continue
        said = f"rooms.{room.removeprefix('self.')}."
        if room not in passed and said not in everywhere:
            forgotten.append(said)
        for method in ("next_look", "seconds_left"):
            for found in nodes(MODULES[module], ast.ClassDef):
                names = {item.name for item in found.body if isinstance(item, ast.FunctionDef)}
                if found.name == ast.unparse(made.func) and method in names:
                    forgotten += [said + method] if f"{said}{method}(" not in watch else []
    assert not forgotten, (
        "built in coordination/rooms.py; ask it in its step of coordination/watch.py, and when it"
        f" is due in _next_look there: {forgotten}"
    )


def test_every_status_has_a_row():
    """A status that nobody said anything about is one that somebody forgot."""
    from orchestrator.model.event import EVENTS
    from orchestrator.model.status import TABLE, Status

    missing = set(Status) - {row.status for row in TABLE}
    assert not missing, f"give them a row of TABLE in model/status.py: {missing}"
    assert len(TABLE) == len(Status)
    unknown = {row.moved for row in TABLE if row.moved} - set(EVENTS)
    assert not unknown, f"say in EVENTS of model/event.py what they mean: {unknown}"
    assert all(row.ended for row in TABLE if row.finished)
    assert not [row for row in TABLE if row.waits and row.ended]


def test_every_status_has_a_sign():
    """A new folder is a row of the table, and its sign a row here."""
    from orchestrator.cli.screen.console import SIGNS
    from orchestrator.files.layout import FOLDER_NAMES
    from orchestrator.model.status import Status

    missing = {status.word for status in Status} - set(SIGNS)
    assert not missing, f"give them a sign in SIGNS of cli/screen/console.py: {missing}"
    assert set(Status) <= set(FOLDER_NAMES)


def test_every_match_is_whole():
    """Where cases are told apart the type checker is asked whether one was forgotten: it is told that the rest never comes."""
    unguarded = []
    for name in MODULES:
        for node in nodes(MODULES[name], ast.Match):
            last = node.cases[-1]
            rest = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
            if not rest or not ast.unparse(last.body[0]).startswith("assert_never("):
                unguarded.append(f"{name}:{node.lineno}")
    assert not unguarded, f"end them with  case _: assert_never(...): {unguarded}"


def test_every_remark_has_a_look():
    """The table of what is printed names each of them."""
    from orchestrator.cli.screen.newslines import REMARKS
    from orchestrator.coordination.news import About

    assert set(REMARKS) == set(About), (
        f"add to (or take from) REMARKS of cli/screen/newslines.py: {set(REMARKS) ^ set(About)}"
    )


def test_no_lazy_internal_imports():
    lazy = [
        f"{name} imports {target} in a function"
        for name, path in MODULES.items()
        for target, inside in imports(path)
        if inside and target.startswith("orchestrator")
    ]
    assert not lazy, f"put them at the top (modules load late anyway, see lazily.py): {lazy}"


@pytest.mark.parametrize("package", DOORS)
def test_packages_have_one_door(package):
    wrong = []
    for name, path in MODULES.items():
        inside = str(path.relative_to(PACKAGE))
        uses = any(target.split(".")[0] == package for target, _ in imports(path))
        if uses and not any(inside.startswith(door) for door in DOORS[package]):
            wrong.append(name)
    assert not wrong, f"{package} is imported in {DOORS[package]} alone: ask there"


def test_modules_and_functions_stay_readable():
    """An observation about clarity, with room: nothing grows without anybody noticing."""
    long_functions = []
    for name, path in MODULES.items():
        lines = path.read_text().count("\n")
        assert lines < 1000, f"{name} has {lines} lines"
        for node in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef):
            size = (node.end_lineno or 0) - node.lineno
            if size > 100:
                long_functions.append(f"{name}.{node.name}: {size}")
    assert not long_functions, f"longer than 100 lines: {long_functions}"


HARMLESS = ("O_DIRECTORY", "O_EXCL", "O_PATH", "data_file(", "/proc/", "'x'")


def openings(path: Path) -> list[str]:
    """Calls that open a file by its name, but not those that can only open a folder or create a new file."""
    found = []
    for node in nodes(path, ast.Call):
        last = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if last not in ("open", "read_text", "read_bytes"):
            continue
        called = ast.unparse(node.func)
        if called in ("open", "io.open", "os.open", "codecs.open") or called.endswith(
            (".read_text", ".read_bytes")
        ):
            text = ast.unparse(node)
            if not called.startswith("opening.") and not any(word in text for word in HARMLESS):
                found.append(text)
    return found


def test_no_conditional_expression_is_in_another():
    """Three ways to go on are statements, or a table."""
    nested = [
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        for node in nodes(path, ast.IfExp)
        if any(isinstance(inner, ast.IfExp) for inner in ast.walk(node) if inner is not node)
    ]
    assert not nested, f"write statements, or a table: {nested}"


def test_there_is_one_way_to_open_what_lies_below_work():
    """A FIFO, a link or an endless file in place of any of ours must find no reader that waits for it."""
    allowed = {
        "files/opening.py": 1,
        "files/git.py": 3,  # what git keeps, and a scratch folder of its own
        "tools/demo.py": 1,  # the demo agent, in its own process
        "distributors/packing.py": 3,  # below a folder that is open, no link followed, new files only
        "tools/asking.py": 1,  # the same: an agent's hook
        "queries/health/project.py": 1,  # a number below /proc, by a name that is handed to it
        "cli/main.py": 1,  # /dev/null
        "cli/trying.py": 3,  # a scratch folder of its own
        "cli/notes.py": 1,  # AGENTS.md and the like, which init was asked to write
        "cli/verbs/demo.py": 2,  # a project of its own
        "cli/verbs/edit.py": 1,  # the draft in the person's editor
        "cli/verbs/new.py": 2,  # the same
    }
    wrong = {}
    for path in MODULES.values():
        inside = str(path.relative_to(PACKAGE))
        if inside.startswith("execution/"):
            continue
        found = openings(path)
        if len(found) > allowed.get(inside, 0):
            wrong[inside] = found
    assert not wrong, f"open it with files/opening.py: {wrong}"


def test_json_that_others_could_have_written_is_read_in_one_way():
    """Brackets that are nested too deeply are a ValueError there, like all else that is no JSON."""
    wrong = [
        f"{path}:{node.lineno}"
        for path in MODULES.values()
        if path.name != "changes.py"  # names of files that are no UTF-8 are in what it keeps
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "json.loads"
        and ast.unparse(node.args[0]).startswith(("opening.read_bytes", "file.read"))
    ]
    assert not wrong, f"read it with files/jsonlines.py: {wrong}"


def test_small_files_below_work_are_replaced_in_one_way():
    """A folder or a pipe where one of them belongs gives way, whichever it is."""
    elsewhere = {
        "store/atomic.py",
        "store/smallfiles.py",
        "store/eventlog.py",  # the writer's name: `clone_name` makes way itself
        "store/trusting.py",  # below the home folder; `_name` makes way itself
        "store/holding.py",  # the same: holds that all projects of a person share
        "coordination/elsewhere/spool.py",  # a worker's own folder
    }
    wrong = []
    for path in MODULES.values():
        if str(path.relative_to(PACKAGE)) in elsewhere:
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "atomic.publish":
                if any(word.arg == "replace" for word in node.keywords) or len(node.args) > 3:
                    wrong.append(f"{path}:{node.lineno}")
    assert not wrong, f"replace it with store/smallfiles.py: {wrong}"


def test_no_temporary_name_can_be_foreseen():
    """Who can foresee it puts a folder there, and what was to be written never is."""
    elsewhere = {
        "files/owners.py",  # where they are made
        "store/smallfiles.py",  # .state/tmp
        "store/recovery.py",  # what is left there goes
        "queries/health/tidiness.py",  # and is counted
        "coordination/health.py",  # whether a file can be made there
        "cli/verbs/run.py",  # the name of a writer of events
        "cli/verbs/demo.py",  # an example
        "store/replying.py",  # the name of a reply that comes back
        "coordination/watch.py",  # what is told of the watcher
        "coordination/notes.py",  # an event's id
        "coordination/walls.py",  # what is in a sandbox
        "execution/sandbox.py",  # the same
    }
    told = re.compile(r"getpid|get_ident|/tmp\b")
    wrong = [
        f"{path}:{node.lineno}"
        for path in MODULES.values()
        if str(path.relative_to(PACKAGE)) not in elsewhere
        for node in nodes(path, ast.JoinedStr)
        if told.search(ast.unparse(node))
    ]
    assert not wrong, (
        f"ask smallfiles.scratch, or owners.fresh where it is not below .state: {wrong}"
    )


def test_a_digit_is_a_decimal_one():
    """What `str.isdigit` says yes to (``²``), `int` refuses."""
    wrong = [name for name, path in MODULES.items() if ".isdigit(" in path.read_text()]
    assert not wrong, f"say isdecimal: {wrong}"


def test_who_writes_ends_lines_as_git_does():
    """The name of a ref may contain U+2028: str.splitlines() makes two names of it."""
    writers = ("store", "coordination", "distributors")
    wrong = [
        name
        for name, path in MODULES.items()
        if layer(name) in writers and ".splitlines(" in path.read_text()
    ]
    assert any(layer(name) in writers for name in MODULES)
    assert not wrong, f"say files.text.lines_of: {wrong}"


def test_supervisors_open_what_a_tool_can_write_in_one_way():
    """Who waits for a pipe in place of a file of ours enforces no limit."""
    from orchestrator.execution.program import FIRST, LATER

    allowed = {
        "plainfiles": 1,
        "logs": 3,  # new files only, and /dev/null
        "attempt": 1,  # /dev/null
    }
    wrong = {}
    for name in (*FIRST, *LATER):
        found = openings(MODULES[f"orchestrator.execution.{name}"])
        if len(found) > allowed.get(name, 0):
            wrong[name] = found
    assert not wrong, f"open it with execution/plainfiles.py: {wrong}"


STARTS = re.compile(
    r"(\w*\.)*(run|Popen|call|check_call|check_output|getoutput|system|popen|which|posix_spawnp?"
    r"|exec[lv]p?e?|spawn[lv]p?e?|create_subprocess_(exec|shell))"
)


def is_git(node: ast.expr) -> bool:
    """``"git"``, ``"/usr/bin/git"``, ``"git status"``, or a list that begins so."""
    if isinstance(node, (ast.List, ast.Tuple)):
        return bool(node.elts) and is_git(node.elts[0])
    said = node.value if isinstance(node, ast.Constant) else ""
    return isinstance(said, str) and said.split(" ")[0].split("/")[-1] == "git"


def test_nobody_else_starts_git():
    """One door for reading (files/git), one for writing (store/git)."""
    wrong = []
    for name, path in MODULES.items():
        if name in ("orchestrator.files.git", "orchestrator.store.git"):
            continue
        found = [node for node in nodes(path, ast.List) if is_git(node)]
        for node in nodes(path, ast.Call):
            given = [*node.args, *(item.value for item in node.keywords)]
            if STARTS.fullmatch(ast.unparse(node.func)) and any(map(is_git, given)):
                found.append(node)
        for node in nodes(path, ast.Assign):  # a name for it
            if is_git(node.value) and isinstance(node.value, ast.Constant):
                found.append(node)
        wrong += [f"{name}:{node.lineno}" for node in found]
    assert not wrong, f"ask files/git.py, or store/git.py to change something: {sorted(set(wrong))}"


def test_trees_are_removed_in_one_way():
    """`shutil.rmtree` of a pipe waits for ever; where an error is to be raised, what is removed was made a moment ago."""
    allowed = {"store/atomic.py": 1, "files/git.py": 1, "store/removal.py": 2, "store/trees.py": 1}
    wrong = {}
    for path in MODULES.values():
        inside = str(path.relative_to(PACKAGE))
        if inside.split("/", maxsplit=1)[0] in ("execution", "cli", "queries"):
            continue
        found = path.read_text().count("shutil.rmtree(")
        if found > allowed.get(inside, 0):
            wrong[inside] = found
    assert not wrong, f"use remove_tree of store/atomic.py: {wrong}"


def test_no_walk_calls_itself_for_every_level():
    """Whoever makes a folder in a folder a thousand times would end it: `scan.walk` does not."""
    wrong = [name for name, path in MODULES.items() if "os.walk(" in path.read_text()]
    assert not wrong, f"use walk of files/scan.py: {wrong}"


def test_no_method_is_found_by_a_name_in_a_string():
    """What `getattr` finds by a name that is not written there no search and no type checker finds: only
    fields of records are read so, and nothing that is found so is called."""
    fields = {"name", "field"}  # of a record's description: one.name, field.name, self.field
    allowed = "lazily records patterns libraries execution.births execution.neighbours".split()
    forbidden = "globals locals vars eval exec methodcaller".split()
    wrong = []
    for name, path in MODULES.items():
        for node in nodes(path, ast.Call):
            found = isinstance(node.func, ast.Call) and ast.unparse(node.func.func) == "getattr"
            called = getattr(node.func, "id", "")
            asked = node.args[1] if called == "getattr" else ast.Constant("")
            plain = isinstance(asked, ast.Constant) or ast.unparse(asked).split(".")[-1] in fields
            if found or called in forbidden or not plain:
                wrong.append((name.removeprefix("orchestrator."), node.lineno))
    assert not [(name, line) for name, line in wrong if name not in allowed]


def test_no_cancel_is_forgotten():
    """asyncio.wait_for of Python 3.11 may swallow one: `orchestrator.waiting` does not."""
    wrong = [name for name, path in MODULES.items() if "asyncio.wait_for(" in path.read_text()]
    assert not wrong, f"use waiting.within: {wrong}"


def test_every_module_says_what_it_is():
    silent = [name for name, path in MODULES.items() if not ast.get_docstring(tree_of(path))]
    assert not silent, f"begin them with a docstring that says what they hold: {silent}"


READING = [
    ["status"],
    ["list"],
    ["list", "--last", "0"],
    ["show", "fine"],
    ["logs", "fine"],
    ["events"],
    ["why", "waits"],
    ["runs"],
    ["runs", "r"],
    ["status", "--json"],
    ["list", "--jsonl"],
    ["status", "--short"],
    [],
]
# These read, too, but may load more, and may end with a code of their own.  `report` and `events --sql` make an index, and so are left out.
ALSO_READING = [
    ["review", "--list"],
    ["diff", "fine"],
    ["trees"],
    ["agents"],
    ["validate"],
    ["help", "guide"],
    ["help", "all"],
    ["wait", "fine"],
    ["projects"],
    ["schedules"],
    ["workers"],
    ["completion", "bash"],
    ["status", "--ahead"],
    ["status", "--at", "1m"],
    ["status", "--all"],
    ["list", "--all"],
    ["review", "--all"],
]
# All the others: they change something, start something, or (doctor, report) make an index or a scratch folder.
WRITING = set(
    "new watch approve reject reply cancel retry hold release run edit attach init import archive demo service "
    "mcp worker doctor report".split()
)
HEAVY = ("jsonschema", "asyncio", "watchdog", "filelock")


@pytest.fixture(scope="module")
def full_project(tmp_path_factory) -> Project:
    """A project in which something of every kind lies about."""
    root = tmp_path_factory.mktemp("read") / "p"
    root.mkdir()
    made = Project(root)
    made.run("init")
    made.drop("fine.yaml", "prompt: hello\n")
    made.drop("bad.yaml", "promt: hello\n")
    made.drop("waits.yaml", "prompt: x\nneeds: [nothing]\n")
    made.drop("r.yaml", "tasks: {a: hello, b: there}\n")
    made.run("watch", "--until-empty", code=1)
    return made


@pytest.mark.parametrize("words", READING, ids=lambda words: " ".join(words) or "none")
def test_reading_verbs_import_nothing_heavy(full_project, words):
    code = (
        "import sys, orchestrator.cli.main as m\n"
        "try: m.main(sys.argv[1:])\nexcept SystemExit as e: assert not e.code, e.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "ours = [name for name in sys.modules if name.startswith(('orchestrator.store', 'orchestrator.execution',"
        " 'orchestrator.distributors', 'orchestrator.coordination'))]\n"
        "assert not heavy and not ours, (heavy, ours)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=full_project.root,
        env=full_project.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# What people type most may not load these where little is to be done: each costs more than the answer.
SPARED = {
    "status": "inspect locale hashlib ctypes subprocess tempfile sqlite3 difflib yaml textwrap shlex dataclasses orchestrator.model.config orchestrator.tools.specs orchestrator.queries.ahead"
    " orchestrator.queries.validity orchestrator.queries.past orchestrator.files.git orchestrator.files.schemas",
    "list": "inspect locale textwrap shlex hashlib ctypes subprocess sqlite3 yaml orchestrator.tools.specs orchestrator.model.config"
    " orchestrator.files.configuration orchestrator.queries.validity orchestrator.files.schemas",
    "runs": "inspect locale hashlib yaml orchestrator.tools.specs orchestrator.model.config orchestrator.queries.tasks",
    "events": "inspect locale hashlib yaml orchestrator.tools.specs orchestrator.queries.world orchestrator.queries.tasks",
    "new -n x": "logging concurrent.futures signal textwrap jsonschema sqlite3 subprocess tempfile calendar glob secrets orchestrator.queries.tasks orchestrator.queries.world",
    "complete st": "inspect locale hashlib yaml orchestrator.files.scan orchestrator.queries.tasks",
    "complete show a": "inspect locale hashlib yaml orchestrator.queries.tasks orchestrator.model.config",
}


def test_yaml_is_imported_where_its_patterns_wait():
    """PyYAML compiles patterns for milliseconds that libyaml does not need: `patterns.LaterToo` spares them."""
    for path in (ROOT / "orchestrator").rglob("*.py"):
        tree = tree_of(path)
        spared = {
            node
            for block in ast.walk(tree)
            if isinstance(block, ast.With)
            and ast.unparse(block.items[0].context_expr) == "LaterToo()"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if "yaml" in names:
                assert node in spared, f"{path.name}:{node.lineno}: import yaml within LaterToo()"


@pytest.mark.parametrize("line", SPARED)
def test_what_people_type_loads_little(project, line):
    code = (
        "import os, sys, orchestrator.cli.main as m\n"
        "from orchestrator import lazily\n"
        "try: m.main(sys.argv[1:])\nexcept SystemExit as e: assert not e.code, e.code\n"
        "loaded = [name for name in os.environ['SPARED'].split() if name in sys.modules and name not in lazily._waiting]\n"
        "assert not loaded, loaded\n"
    )
    words = line.split()
    env = {**project.env, "SPARED": SPARED[line]}
    if words[0] == "complete":
        typed = {"COMP_WORDS": f"orchestrator {' '.join(words[1:])}", "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
        env |= {"_ORCHESTRATOR_COMPLETE": "bash_complete", **typed}
        words = []
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=project.root,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


AUDIT = """
import os, sys
WRITES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
          "os.utime", "fcntl.flock", "fcntl.lockf", "os.kill", "shutil.move", "sqlite3.connect")
seen = []
def hook(event, args):
    if event in WRITES:
        seen.append((event, args))
    elif event == "open":
        path, mode, flags = args
        if isinstance(path, str) and ("__pycache__" in path or path == "/dev/null"):
            return
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            seen.append((event, args))
import orchestrator.cli.main as m
sys.addaudithook(hook)
try: m.main(sys.argv[1:])
except SystemExit as e: assert e.code in CODES, e.code
assert not seen, seen
"""


@pytest.mark.parametrize(
    "words", READING + ALSO_READING, ids=lambda words: " ".join(words) or "none"
)
def test_reading_verbs_write_nothing(full_project, words):
    before = snapshot(full_project.work)
    codes = "CODES = (None, 0)\n" if words in READING else "CODES = (None, 0, 1, 3, 4, 7)\n"
    done = subprocess.run(
        [sys.executable, "-B", "-c", codes + AUDIT, *words],
        cwd=full_project.root,
        env=full_project.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"a verb that reads writes, or fails: {done.stderr}"
    assert snapshot(full_project.work) == before


def test_every_verb_writes_or_is_looked_at_here():
    """A new verb belongs into one of the lists: what reads is run under an audit hook."""
    read = {words[0] for words in READING + ALSO_READING if words}
    assert not read & WRITING, f"both as reading and as writing: {read & WRITING}"
    wrong = (read | WRITING) ^ set(VERBS)
    assert not wrong, f"name in READING, ALSO_READING or WRITING above what VERBS has: {wrong}"


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.rglob("*")
    }


QUESTIONS = """
import collections, json, os, sys
LISTS = ("os.listdir", "os.scandir")
STARTS = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.system", "os.spawn")
listed, started = collections.Counter(), []
def hook(event, args):
    if event in LISTS and isinstance(args[0], str):
        listed[os.path.relpath(args[0], os.environ["WORK"])] += 1
    elif event in STARTS:
        started.append([event, [str(word) for word in args[1]] if len(args) > 1 and args[1] else str(args)])
import orchestrator.cli.main as m
sys.addaudithook(hook)
try: m.main(sys.argv[1:])
except SystemExit: pass
print(json.dumps([listed, started]), file=sys.stderr)
"""
PROGRAMS = 3  # that git has to be asked with: its version, its settings, the files it has


@pytest.fixture(scope="module")
def versioned_project(full_project) -> Project:
    """The same below git, which has brought all of it."""
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "-Af", "work/inbox"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=full_project.root, check=True, timeout=60)
    return full_project


@pytest.mark.parametrize(
    "words", [*READING, *ALSO_READING, ["doctor"]], ids=lambda words: " ".join(words) or "none"
)
def test_one_question_lists_each_folder_once(versioned_project, words):
    """However large a folder of tasks is, an answer costs one listing of it; git is asked once, too."""
    from orchestrator.model.status import Status

    done = subprocess.run(
        [sys.executable, "-c", QUESTIONS, *words],
        cwd=versioned_project.root,
        env={**versioned_project.env, "WORK": str(versioned_project.work)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    listed, started = json.loads(done.stderr.splitlines()[-1])
    assert not {
        folder: times for folder, times in listed.items() if folder in set(Status) and times > 1
    }
    assert len(started) <= PROGRAMS or words == ["doctor"], started


def test_audit_hook_notices_a_write(full_project):
    done = subprocess.run(
        [sys.executable, "-B", "-c", "CODES = (None, 0)\n" + AUDIT, "hold", "waits"],
        cwd=full_project.root,
        env=full_project.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (
        (done.returncode != 0 and "os.rename" in done.stderr)
        or "O_" in done.stderr
        or "open" in done.stderr
    )
    full_project.run("release", "waits")


def test_no_python_looks_for_modules_in_the_current_folder():
    """It may be a project that was just pulled.  -P and -I keep it out; whoever forgets them is named here."""
    wrong = []
    for name, path in MODULES.items():
        text = path.read_text()
        for node in nodes(path, ast.List, ast.Tuple) if "sys.executable" in text else ():
            shown = [ast.unparse(word) for word in node.elts]
            if "sys.executable" in shown:
                after = shown[shown.index("sys.executable") + 1 :][:1]
                if after and after[0] not in ("'-P'", "'-I'"):
                    wrong.append(f"{name}:{node.lineno}")
        if "{python} -m" in text:
            wrong.append(f"{name}: {{python}} -m")
    assert not wrong, f"say -P or -I right after the program: {wrong}"


def test_a_session_of_its_own_is_begun_in_one_way():
    """Else its process would be taken for what an attempt has left, and ended; see ``store.owned``."""
    sides = ("store", "distributors", "coordination", "execution")
    begun = [
        name
        for name, path in MODULES.items()
        if layer(name) in sides
        and name != "orchestrator.store.owned"
        and "start_new_session=True" in path.read_text()
    ]
    assert begun and not [name for name in begun if "owned." not in MODULES[name].read_text()]

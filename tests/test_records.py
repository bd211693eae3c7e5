"""Classes and patterns that are finished when they are first used behave as the standard library's."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle
import pkgutil
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import orchestrator
from orchestrator.libraries import later
from orchestrator.patterns import regex
from orchestrator.records import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Point:
    """A point."""

    x: int
    y: int = 2
    tags: tuple[str, ...] = field(default_factory=tuple)

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclass(slots=True)
class Box:
    name: str
    inside: list[int] = field(default_factory=list)
    size: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.size = len(self.name)


@dataclass(frozen=True, slots=True)
class Labelled(Point):
    label: str = ""


def test_values_are_those_of_a_dataclass():
    one = Point(1)
    assert one == Point(1, 2, ()) and one != Point(2) and one != (1, 2, ())
    assert hash(one) == hash(Point(1)) and repr(one) == "Point(x=1, y=2, tags=())"
    assert dataclasses.replace(one, y=5) == Point(1, 5) and one.sum == 3
    assert dataclasses.asdict(one) == {"x": 1, "y": 2, "tags": ()}
    assert [item.name for item in dataclasses.fields(Point)] == ["x", "y", "tags"]
    assert Point.__doc__ == "A point." and dataclasses.is_dataclass(Point)
    assert not hasattr(one, "__dict__")
    for attempt in (lambda: setattr(one, "x", 3), lambda: delattr(one, "x")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            attempt()
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()


def test_values_can_be_copied_and_sent():
    one, box = Point(1, tags=("a",)), Box("abc", [1])
    for value in (one, box):
        assert copy.copy(value) == copy.deepcopy(value) == value
        assert pickle.loads(pickle.dumps(value)) == value


def test_what_can_be_changed_and_what_inherits():
    box = Box("abc")
    box.inside.append(1)
    box.name = "x"
    assert (box.size, box.inside, Box("y").inside) == (3, [1], [])
    with pytest.raises(TypeError):
        hash(box)
    labelled = Labelled(1, label="here")
    assert labelled.sum == 3 and labelled == Labelled(1, 2, (), "here") and labelled != Point(1)
    match labelled:
        case Labelled(x, y, _, label):
            assert (x, y, label) == (1, 2, "here")


def test_two_threads_make_the_same_class():
    @dataclass(frozen=True, slots=True)
    class Fresh:
        n: int

    made: list[object] = []
    threads = [threading.Thread(target=lambda n=n: made.append(Fresh(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(value.n for value in made) == list(range(8)) and len(set(made)) == 8


def test_a_pattern_is_a_pattern():
    found = regex(r"(\d+)-(?P<b>[a-z]+)", re.IGNORECASE)
    assert found.match("12-AB")["b"] == "AB" and found.sub("x", "1-a 2-b") == "x x"
    assert found.pattern == r"(\d+)-(?P<b>[a-z]+)" and found.groups == 2
    assert [match[1] for match in found.finditer("1-a 2-b")] == ["1", "2"]


def test_only_the_standard_library_is_loaded_later():
    assert later("json").dumps([1]) == "[1]"
    with pytest.raises(ValueError, match="only of the standard library"):
        later("orchestrator")


def test_every_pattern_of_ours_is_one():
    count = 0
    for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        if module.name.split(".")[-1] in ("__main__", "demo", "sdk", "answer_check", "supervisor"):
            continue
        for value in list(vars(importlib.import_module(module.name)).values()):
            for item in value if isinstance(value, tuple) else (value,):
                if type(item) is regex:
                    assert item.pattern
                    count += 1
    assert count > 60


def test_what_is_not_used_is_not_made():
    """The law of what a verb costs: importing all that ``status`` needs makes few of its classes (those of which a module keeps a value), and
    compiles few of its patterns."""
    code = (
        "import dataclasses, re\n"
        "made = []\n"
        "real = dataclasses.dataclass\n"
        "dataclasses.dataclass = lambda *a, **k: made.append(a) or real(*a, **k)\n"
        "import click, yaml, json\n"
        "before = re._cache.copy(); made.clear()\n"
        "import orchestrator.cli.main, orchestrator.cli.verbs.status, orchestrator.cli.verbs.list\n"
        "print(len(made), len(set(re._cache) - set(before)))\n"
        "import sys\n"
        "print([name for name in ('ctypes', 'difflib', 'sqlite3', 'zoneinfo') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    figures, libraries = done.stdout.splitlines()
    classes, patterns = map(int, figures.split())
    assert libraries == "[]"
    assert classes <= 24 and patterns <= 12, done.stdout


@pytest.fixture
def eager_threads():
    """Threads that take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_threads_that_make_the_first_values_at_once_agree():
    """A watcher's threads do: the printer's and the loop's."""
    for _ in range(30):

        @dataclass(frozen=True, slots=True)
        class Row:
            name: str
            more: tuple[str, ...] = ()
            env: dict[str, str] = field(default_factory=dict)
            count: int = 3

        ready = threading.Barrier(8)

        def make(number: int, row: Any = Row, ready: threading.Barrier = ready) -> Any:
            ready.wait(10)
            return row(str(number))

        with ThreadPoolExecutor(8) as pool:
            rows = list(pool.map(make, range(8)))
        assert [row.count for row in rows] == [3] * 8 and rows[0] == Row("0")


def test_few_values_are_those_of_many():
    """The first values are filled one by one, later ones by compiled methods: nobody can tell."""
    for number in (0, 3, 20):

        @dataclass(frozen=True, slots=True)
        class Base:
            x: int
            hidden: int = field(default=0, compare=False)

        @dataclass(frozen=True, slots=True)
        class Value(Base):
            tags: tuple[str, ...] = field(default_factory=tuple)

        made = [Value(number, 1), *(Value(number, n, tags=()) for n in range(number))]
        assert len({*made}) == 1 and all(value == made[0] for value in made)
        assert replace(made[0], x=9) == Value(9) and made[-1].x == number and made[0] != Base(9)
        for wrong in (lambda: Value(), lambda: Value(1, 2, (), 4), lambda: Value(1, x=2)):
            with pytest.raises(TypeError):
                wrong()
        with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
            Value(1, y=2)
        assert repr(made[0]).endswith(f"Value(x={number}, hidden=1, tags=())")


LAZY = """
import sys
import orchestrator.cli
from orchestrator import lazily
from orchestrator.queries import ahead, overview
assert {"orchestrator.queries.ahead", "orchestrator.queries.overview"} <= set(lazily._waiting)
assert overview.RECENT == 5 and "RECENT" in vars(overview) and "look" not in vars(ahead)
assert overview.__file__.endswith("queries/overview.py") and overview.__spec__.loader.get_source("orchestrator.queries.overview")
try: overview.nothing
except AttributeError as error: assert "nothing" in str(error)
else: raise AssertionError
lazily.settle()
assert not lazily._waiting and all(type(m).__name__ == "module" for n, m in sys.modules.items() if n.startswith("orchestrator."))
from orchestrator.files import permissions
assert "permissions" in vars(sys.modules["orchestrator.files"]) and not lazily._waiting
"""


def test_modules_of_ours_are_loaded_when_they_are_used():
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr


def test_what_stays_loads_all_at_its_start():
    """A watcher that is replaced by a newer version loads nothing of that."""
    code = (
        "from orchestrator import lazily\n"
        "from orchestrator.cli.main import cli\n"
        "from orchestrator.cli.app import AT_ONCE, VERBS\n"
        "assert AT_ONCE < set(VERBS) and not {'watch', 'run', 'worker', 'mcp', 'wait', 'review', 'attach'} & AT_ONCE\n"
        "cli.get_command(None, 'watch')\n"
        "assert not lazily._waiting\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr

"""Tool specs: one YAML file per tool, built in (``catalog/``) or the user's own
(``work/tools/``)."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.files import opening, schemas
from orchestrator.files.documents import MAX_BYTES, Document, Problem, parse
from orchestrator.files.layout import Layout, data_file
from orchestrator.files.scan import names, settings_names
from orchestrator.libraries import later
from orchestrator.model.units import duration
from orchestrator.records import dataclass, field
from orchestrator.tools import failures as failures_tools
from orchestrator.tools import output, sessionlog
from orchestrator.tools import queries as queries_tools
from orchestrator.tools.activity import Presentation, presentation_from
from orchestrator.tools.protocols import SPOKEN, completed

if TYPE_CHECKING:
    from orchestrator.tools.failures import Pattern
    from orchestrator.tools.sessionlog import SessionLog

if TYPE_CHECKING:
    import shutil
else:
    shutil = later("shutil")


@dataclass(frozen=True, slots=True)
class Steering:
    """How a tool is told more while it runs: by ``options`` it reads lines like ``message``, and
    goes on reading.

    A line that it prints has ``taken`` when it repeats words by their id, and ``end`` when its turn
    is over.
    """

    options: tuple[str, ...]
    message: Mapping[str, Any]
    taken: str
    end: str


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """How one program is run. ``argv`` has placeholders; ``path`` is the file that says all
    this."""

    name: str
    argv: tuple[str, ...]
    path: str
    prompt: str = "stdin"
    model: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    timeout: float | None = None
    silence: float | None = None
    version: tuple[str, ...] = ()
    adapter: str = "spec"
    success_codes: tuple[int, ...] = (0,)
    permissions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)  # of a session, by level
    resumes: bool = True  # whether a protocol's sessions can be gone on with
    new_session: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    resume_argv: tuple[str, ...] = ()
    interactive: tuple[str, ...] = ()
    reply: Steering | None = None  # how it is told more while it runs
    ask: tuple[str, ...] = ()  # options by which it asks a person while it runs
    resume_by_hand: tuple[str, ...] = ()
    result_schema: tuple[str, ...] = ()
    verified: tuple[str, ...] = ()
    session_log: SessionLog | None = None
    first_alone: bool = False
    parse: output.Parse | None = None
    presentation: Presentation = Presentation()
    module: str = ""
    failures: tuple[Pattern, ...] = ()
    description: str = ""
    built_in: bool = False
    edits: bool | None = (
        None  # whether it changes files of the project; None: its spec does not say
    )
    state: tuple[str, ...] = ()  # where it keeps its sessions: a sandbox leaves that writable
    settings: tuple[
        str, ...
    ] = ()  # names in a project that steer it: a sandbox keeps them as they are

    @property
    def at_hand(self) -> bool:
        """Whether its program is on the PATH (or comes with us, or is set elsewhere), and the
        package that it needs."""
        if self.module and importlib.util.find_spec(self.module) is None:
            return False
        return self.argv[0].startswith("{") or shutil.which(self.argv[0]) is not None

    @property
    def can_resume(self) -> bool:
        """Whether a session that ended can be gone on with."""
        if self.speaks:
            return self.resumes
        return bool(self.resume or self.resume_argv)

    @property
    def speaks(self) -> bool:
        """Whether it is talked to by a protocol, which has sessions and questions."""
        return self.adapter in SPOKEN

    @property
    def asks(self) -> bool:
        """Whether it can ask a person while it runs."""
        return bool(self.ask) or self.speaks


def of_account(name: str) -> bool:
    """Whether a tool of this name belongs to an account of the person's, which all projects share:
    those of the catalog do."""
    if name in ("demo", "shell"):
        return False
    return any(file.rpartition(".")[0] == name for file in names(data_file("tools", "catalog")))


class Shelf(Mapping[str, ToolSpec]):
    """Tools by name.  Those of the catalog may be read when they are asked for: nearly every verb
    needs one of them."""

    def __init__(self) -> None:
        self._specs: dict[str, ToolSpec | str] = {}  # or the path of one that is read later

    def put(self, spec: ToolSpec) -> None:
        """Have this tool; it takes the place of another of its name."""
        self._specs[spec.name] = spec

    def promise(self, name: str, path: str) -> None:
        """Have a tool of the catalog, whose file is right, and is read later."""
        self._specs[name] = path

    def __getitem__(self, name: str) -> ToolSpec:
        spec = self._specs[name]
        if isinstance(spec, str):
            spec = self._specs[name] = _spec(name, spec, completed(_document(spec).data), True)
        return spec

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


@dataclass(slots=True)
class Toolbox:
    """All tools that can be used here, by name, and the spec files that cannot: ``(path, document,
    problems)``."""

    tools: Shelf = field(default_factory=Shelf)
    broken: list[tuple[str, Document, list[Problem]]] = field(default_factory=list)


def load_tools(layout: Layout | None, lazily: bool = False) -> Toolbox:
    """The catalog and, over it, the user's own tools.

    ``lazily``: files of the catalog are read when their tool is asked for.  Not for who stays: an
    upgrade replaces them.
    """
    box = Toolbox()
    folders = [(data_file("tools", "catalog"), True)]
    if layout is not None:
        folders.append((layout.tools, False))
    for folder, built_in in folders:
        for name in settings_names(folder):
            stem, suffix = os.path.splitext(name)
            if suffix in (".yaml", ".yml") and not name.startswith((".", "_")):
                if lazily and built_in:
                    box.tools.promise(stem, f"{folder}/{name}")
                else:
                    _load(box, f"{folder}/{name}", stem, built_in)
    return box


def _parse(data: Mapping[str, Any]) -> output.Parse:
    return output.Parse(
        **{"source" if key == "from" else key: value for key, value in data.items()}
    )


def _steering(data: Mapping[str, Any] | None) -> Steering | None:
    if data is None:
        return None
    options = tuple(data.get("options", ()))
    return Steering(options, data["message"], data["taken"], data["end"])


def _listed(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def queries(document: Document) -> list[Problem]:
    """Queries and patterns that are none."""
    parse_, found = document.data.get("parse", {}), []
    listed: list[tuple[tuple[str, ...], Any]] = [
        (("parse", key), parse_[key])
        for key in (
            "session",
            "done",
            "failed",
            "error",
            "idle",
            "error_status",
            "limited",
            "reset",
            "quota",
            "warnings",
            "text",
            "structured",
        )
        if key in parse_
    ]
    listed += [(("parse", "usage", key), query) for key, query in parse_.get("usage", {}).items()]
    listed += [
        ((part, key), query)
        for part in ("show", "live")
        for key, query in document.data.get(part, {}).items()
    ]
    listed += [
        (("session_log", key), query)
        for key, query in document.data.get("session_log", {}).items()
        if key not in ("path", "beside", "includes_cached")
    ]
    found += [
        document.problem_at(path, f"not a JMESPath query: {why}", "https://jmespath.org")
        for path, query in listed
        if (why := queries_tools.problem(query))
    ]
    for place, item in enumerate(document.data.get("failures", ())):
        try:
            re.compile(item["pattern"])
        except re.error as error:
            found.append(
                document.problem_at(
                    ("failures", place, "pattern"), f"not a regular expression: {error}"
                )
            )
    return found


def _load(box: Toolbox, path: str, name: str, built_in: bool) -> None:
    document = _document(path)
    problems = document.problems or (
        [] if built_in else schemas.check("tool", document)
    )  # ours are checked by the tests
    if problems:
        box.broken.append((path, document, problems))
        return
    problems = [] if built_in else queries(document)
    if problems:
        box.broken.append((path, document, problems))
        return
    try:
        box.tools.put(_spec(name, path, completed(document.data), built_in))
    except (TypeError, KeyError) as error:  # of ours: those of others fit the schema
        error.add_note(
            f"in {path}: to see what is wrong, copy it to work/tools/ and run: orchestrator agents"
            f" check {name}"
        )
        raise


def _document(path: str) -> Document:
    try:
        return parse(opening.read_bytes(os.path.realpath(path), MAX_BYTES))
    except OSError as error:
        return Document("", problems=[Problem(1, 1, f"cannot be read: {error.strerror}")])


def _spec(name: str, path: str, data: Mapping[str, Any], built_in: bool) -> ToolSpec:
    return ToolSpec(
        name=name,
        argv=tuple(data["argv"]),
        path=path,
        prompt=data.get("prompt", "stdin"),
        model=data.get("model"),
        env=data.get("env", {}),
        pass_env=tuple(data.get("pass_env", ())),
        timeout=duration(data["timeout"]) if "timeout" in data else None,
        version=tuple(data.get("version", ())),
        adapter=data.get("adapter", "spec"),
        silence=duration(data["silence"]) if "silence" in data else None,
        permissions={name: tuple(words) for name, words in data.get("permissions", {}).items()},
        modes=data.get("modes", {}),
        resumes=data.get("resumes", True),
        **{
            key: tuple(data.get(key, ()))
            for key in (
                "new_session",
                "resume",
                "resume_argv",
                "interactive",
                "resume_by_hand",
                "result_schema",
                "ask",
            )
        },
        reply=_steering(data.get("reply")),
        verified=_listed(data.get("verified")),
        first_alone=data.get("first_alone", False),
        session_log=sessionlog.session_log_from(data.get("session_log")),
        parse=_parse(data["parse"]) if "parse" in data else None,
        presentation=presentation_from(data),
        module=data.get("module", ""),
        failures=failures_tools.patterns(data.get("failures", ())),
        success_codes=tuple(data.get("success_codes", (0,))),
        description=data.get("description", ""),
        built_in=built_in,
        edits=data.get("edits"),
        state=tuple(data.get("state", ())),
        settings=tuple(data.get("settings", ())),
    )

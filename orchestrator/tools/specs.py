"""Tool specs: one YAML file per tool, built in (``catalog/``) or the user's own (``work/tools/``)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.files.documents import Document, Problem, parse
from orchestrator.files.layout import Layout, data_file
from orchestrator.files.scan import names
from orchestrator.files.schemas import check
from orchestrator.model.units import duration


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """How one program is run.  ``argv`` has placeholders; ``path`` is the file that says all this."""

    name: str
    argv: tuple[str, ...]
    path: str
    prompt: str = "stdin"
    mode: str = "batch"
    model: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    timeout: float | None = None
    version: tuple[str, ...] = ()
    adapter: str = "spec"
    success_codes: tuple[int, ...] = (0,)
    description: str = ""
    built_in: bool = False


@dataclass(slots=True)
class Toolbox:
    """All tools that can be used here, by name, and the spec files that cannot: ``(path, document, problems)``."""

    tools: dict[str, ToolSpec] = field(default_factory=dict)
    broken: list[tuple[str, Document, list[Problem]]] = field(default_factory=list)


def load_tools(layout: Layout | None) -> Toolbox:
    """The catalog and, over it, the user's own tools."""
    box = Toolbox()
    folders = [(data_file("tools", "catalog"), True)]
    if layout is not None:
        folders.append((layout.tools, False))
    for folder, built_in in folders:
        for name in sorted(names(folder)):
            stem, suffix = os.path.splitext(name)
            if suffix in (".yaml", ".yml") and not name.startswith((".", "_")):
                _load(box, f"{folder}/{name}", stem, built_in)
    return box


def _load(box: Toolbox, path: str, name: str, built_in: bool) -> None:
    try:
        with open(path, "rb") as file:
            document = parse(file.read())
    except OSError as error:
        document = Document("", problems=[Problem(1, 1, f"cannot be read: {error.strerror}")])
    problems = document.problems or check("tool", document)
    if problems:
        box.broken.append((path, document, problems))
        return
    data = document.data
    box.tools[name] = ToolSpec(
        name=name, argv=tuple(data["argv"]), path=path, prompt=data.get("prompt", "stdin"),
        mode=data.get("mode", "batch"), model=data.get("model"), env=data.get("env", {}),
        pass_env=tuple(data.get("pass_env", ())),
        timeout=duration(data["timeout"]) if "timeout" in data else None,
        version=tuple(data.get("version", ())), adapter=data.get("adapter", "spec"),
        success_codes=tuple(data.get("success_codes", (0,))), description=data.get("description", ""),
        built_in=built_in)

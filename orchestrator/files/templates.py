"""``work/templates/<name>.yaml`` and ``.md``: tasks with parameters.  Settings, and trusted like
roles."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestrator.files import documents, opening
from orchestrator.files.layout import SUFFIXES, Layout, is_draft, stem_of
from orchestrator.files.scan import settings_names
from orchestrator.model import ids
from orchestrator.model import template as template_model
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.model.template import Find, Template


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """What one file says, as far as it can be read; what is wrong with it is for
    `files.templating`."""

    name: str
    path: str
    document: documents.Document
    problems: tuple[documents.Problem, ...] = ()
    warnings: tuple[documents.Problem, ...] = ()

    @property
    def template(self) -> Template | None:
        """None if it cannot be read as one."""
        if self.problems:
            return None
        try:
            return template_model.template_from(self.name, self.document.data)
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


def listed(folder: str) -> list[str]:
    """The names of the template files in a folder."""
    return [
        name for name in settings_names(folder) if name.endswith(SUFFIXES) and not is_draft(name)
    ]


def read_template(path: str) -> TemplateFile:
    """One file.  The text of a Markdown file is the prompt."""
    name = stem_of(os.path.basename(path))
    try:
        document = documents.parse(
            opening.read_bytes(os.path.realpath(path), 1 << 20), markdown=path.endswith(".md")
        )
    except OSError as error:
        why = error.strerror or str(error)
        return TemplateFile(name, path, documents.Document(""), (documents.Problem(1, 1, why),))
    problems = list(document.problems)
    if not problems and not isinstance(document.data, dict):
        problems = [documents.Problem(1, 1, "a template is a mapping, and this file is not one")]
    if not problems and document.body.strip() and "prompt" not in document.data:
        document.data["prompt"] = document.body.strip() + "\n"
    if ids.problem(name):
        problems.append(documents.Problem(1, 1, f"the name '{name[:60]}' {ids.problem(name)}"))
    return TemplateFile(name, path, document, tuple(problems))


def lookup(layout: Layout) -> Find:
    """Finds a template of this work directory by its name, as its file is now."""
    return in_folder(layout.templates)


def beside(path: str) -> Find:
    """Finds the templates of the work directory in one of whose folders this file lies."""
    folder = os.path.dirname(os.path.dirname(path))
    return in_folder(f"{folder}/templates") if folder else lambda _: None


def in_folder(folder: str) -> Find:
    """Finds a template in a folder: reads it when it is asked for."""

    def find(name: str) -> Template | None:
        file = next((item for item in listed(folder) if stem_of(item) == name), None)
        return read_template(f"{folder}/{file}").template if file is not None else None

    return find

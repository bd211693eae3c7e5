"""Judging templates: each is filled with sample values and must make a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.files import documents, requests, templates
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.templates import TemplateFile, read_template
from orchestrator.model import template

if TYPE_CHECKING:
    from orchestrator.files.requests import Check
    from orchestrator.model.template import Template


def load_templates(layout: Layout, check: Check | None = None) -> list[TemplateFile]:
    """Every template in ``work/templates``, those with problems included."""
    found: dict[str, TemplateFile] = {}
    for file in templates.listed(layout.templates):
        item = judged(f"{layout.templates}/{file}", check)
        if item.name in found:
            problem = documents.Problem(
                1, 1, f"the template '{item.name}' already exists", "rename one"
            )
            item = TemplateFile(file, item.path, item.document, (problem,))
        found[item.name] = item
    return list(found.values())


def judged(path: str, check: Check | None) -> TemplateFile:
    """One template, with its problems at their places."""
    item = read_template(path)
    if item.problems:
        return item
    document = item.document
    problems = check("template", document) if check else []
    made = item.template if not problems else None
    if not problems and made is None:
        problems = [documents.Problem(1, 1, "it does not fit the schema of templates")]
    if made is not None:
        found = template.problems(document.data)
        problems = [document.problem_at(where, text, hint) for where, text, hint in found]
        problems = problems or _as_task(made, document, check)
    warnings = _unused(document) if made is not None else []
    name = stem_of(path.rpartition("/")[2])
    return TemplateFile(name, path, document, tuple(problems), tuple(warnings))


def _unused(document: documents.Document) -> list[documents.Problem]:
    """Warnings of parameters that change nothing."""
    return [
        document.problem_at(
            ("params", name),
            f"no text of the template uses the parameter '{name[:60]}'",
            f"write {{{name}}} where its value belongs, or remove it",
            key=True,
            warning=True,
        )
        for name in template.unused(document.data)
    ]


def _as_task(
    made: Template, document: documents.Document, check: Check | None
) -> list[documents.Problem]:
    """What is wrong with the task that it makes of sample values."""
    data = template.body_of(made, template.sample(made))
    inner = documents.Document(document.text, data, values=document.values, keys=document.keys)
    return requests.load(f"{made.name}.yaml", made.name, b"", check, parsed=inner).errors


def usable(
    layout: Layout, check: Check | None = None
) -> tuple[dict[str, Template], dict[str, str]]:
    """The templates by name, and why others are left out."""
    good: dict[str, Template] = {}
    wrong: dict[str, str] = {}
    for item in load_templates(layout, check):
        made = item.template
        if made is not None:
            good[item.name] = made
        else:
            first = item.problems[0]
            place = f"{layout.shown(item.path)}:{first.line}:{first.column}"
            wrong[f"template {item.name}"] = f"{place}: {first.message}"
    return good, wrong

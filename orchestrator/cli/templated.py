"""``new -T``: a task, or a run of many, made of a template and the values on the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import consent
from orchestrator.cli.options import complete_from, words_of
from orchestrator.errors import INVALID, NotFound, OrchestratorError, Refused
from orchestrator.files import configuration, encodings, listing, schemas, templates
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.ownership import find_own_layout
from orchestrator.model import filling, template
from orchestrator.store.yamltext import task_text

if TYPE_CHECKING:
    from orchestrator.model.template import Template

complete_templates = complete_from(
    lambda layout: [stem_of(name) for name in templates.listed(layout.templates)]
)


def complete_words(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """With ``-T`` the parameters that are not given yet."""
    name = ctx.params.get("template")
    if not name:
        return []
    try:
        layout = find_own_layout(ctx.find_root().params.get("directory"))
    except OrchestratorError:
        return []
    found = templates.lookup(layout)(name)
    given = {word.partition("=")[0] for word in ctx.params.get("prompt") or ()}
    params = found.params if found is not None else {}
    left = [key for key in words_of(params) if key not in given and key.startswith(incomplete)]
    return [f"{key}=" for key in left]


def named(layout: Layout, name: str) -> Template:
    """The template of this name. `NotFound` if there is none that can be used, and `Refused` if git
    brought it."""
    config = configuration.load_config(layout, schemas.check)
    found = config.templates.get(name)
    if found is not None:
        consent.refuse_brought(layout, name)
        return found
    if wrong := config.left_out.get(f"template {name}"):
        raise OrchestratorError(wrong, "orchestrator validate", INVALID)
    hint = (
        template.near(name, config.templates)
        if config.templates
        else "files in work/templates make some"
    )
    raise NotFound(f"there is no template '{name}'", hint)


def values_of(words: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE`` each; a value of ``-`` is read from standard input."""
    values: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise click.UsageError(f"with -T words are values: '{word[:60]}' is not NAME=VALUE")
        if name in values:
            raise click.UsageError(f"'{name}' is given twice")
        values[name] = encodings.readable(value)
    piped = [name for name, value in values.items() if value == "-"]
    if len(piped) > 1:
        raise click.UsageError(f"standard input is one value: {' and '.join(piped)} ask for it")
    for name in piped:
        values[name] = encodings.readable(sys.stdin.buffer.read()).rstrip("\n")
    return values


def refuse_misfits(found: Template, values: Mapping[str, Any]) -> None:
    """`OrchestratorError` with all that is wrong with the values."""
    wrong = template.problems_of(found, values, form="{}=...")
    if wrong:
        hints = [hint for _, _, hint in wrong if hint]
        message = "; ".join(text for _, text, _ in wrong)
        raise OrchestratorError(message, "; ".join(hints), INVALID)


def task_of(found: Template, values: Mapping[str, str], keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the task; what the options say comes first."""
    refuse_misfits(found, values)
    data = template.merged(found, {**keys, "use": found.name, "with": values})
    return {**data, "x-template": found.name}


def run_of(
    layout: Layout, found: Template, values: dict[str, str], keys: Mapping[str, Any], each: str
) -> str:
    """The text of a run with a task for every file that fits; the list is in it, so that it never
    changes."""
    name, sign, pattern = each.partition("=")
    name, pattern = (name, pattern) if sign else ("file", each)
    try:
        listed = listing.like(layout.root, pattern)
    except listing.CannotList as error:
        raise Refused(str(error), error.hint) from None
    refuse_misfits(found, {**values, name: listed[0]})
    own = {key: value for key, value in keys.items() if key != "run"}
    given = {key: filling.literal(value) for key, value in values.items()}
    given[name] = "{" + name + "}"
    entry = {**own, "use": found.name, "matrix": {name: listed}, "with": given}
    return task_text({"title": f"{found.name} {pattern}", "tasks": {found.name: entry}}, "run")

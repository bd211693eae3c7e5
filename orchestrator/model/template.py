"""A template: a task with ``params`` and ``{name}`` in its texts.  Everything here is pure.

A value takes the place of its name in texts that are parsed already, so that it can be anything and
inject nothing: no YAML, no further place, no value of a follow-up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.model import chain, filling, matrix
from orchestrator.model.closeness import closest
from orchestrator.records import dataclass, field

TYPES: Mapping[str, Callable[[str], object]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": {"true": True, "false": False}.__getitem__,
}
SAMPLES = {"string": "x", "integer": "1", "number": "1", "boolean": "true"}
JOINED = ("context", "labels")  # what a task has beside what its template has
Path = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Param:
    """What a template is given.  ``default`` None: it must be given."""

    type: str = "string"
    default: str | None = None
    choices: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """``body`` are the keys of the task, with places in its texts. One that is ``filled`` has none:
    it was filled at the claim."""

    name: str
    params: Mapping[str, Param] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    filled: bool = False


Find = Callable[[str], Template | None]


def template_from(name: str, data: Mapping[str, Any]) -> Template:
    """The template in a mapping that fits ``template.schema.json``."""
    params = {key: _param(said or {}) for key, said in (data.get("params") or {}).items()}
    return Template(name, params, {key: value for key, value in data.items() if key != "params"})


def _param(said: Mapping[str, Any]) -> Param:
    default = matrix.as_text(said["default"]) if "default" in said else None
    if default is None and said.get("required") is False:
        default = ""
    choices = tuple(matrix.as_text(item) for item in said.get("choices", ()))
    kind = str(said.get("type", "string"))
    return Param(kind, default, choices, str(said.get("description", "")))


def body_of(template: Template, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the task that these values make; what is wrong with them is for `problems_of`."""
    if template.filled:
        return dict(template.body)
    values = {name: param.default or "" for name, param in template.params.items()}
    values |= {name: matrix.as_text(value) for name, value in given.items()}
    literal = {name: filling.literal(value) for name, value in values.items()}
    return {key: _put(key, value, values, literal) for key, value in template.body.items()}


def _put(key: str, value: Any, values: Mapping[str, str], literal: Mapping[str, str]) -> Any:
    if key in matrix.FILLED:
        return filling.everywhere(value, lambda text: filling.fill(text, values))
    if key == "then":  # its texts are filled once more, when the task has ended
        known = {**{name: "{" + name + "}" for name in chain.VALUES}, **literal}
        return filling.everywhere(value, lambda text: filling.fill(text, known, keep=True))
    return value


def merged(template: Template, data: Mapping[str, Any]) -> dict[str, Any]:
    """The task that a file with ``use`` asks for: what it says itself comes first, lists of files
    and labels are joined."""
    own = {key: value for key, value in data.items() if key not in ("use", "with")}
    made = body_of(template, data.get("with") or {})
    if "prompt" in own or "prompt_file" in own:
        made = {key: value for key, value in made.items() if key not in ("prompt", "prompt_file")}
    for key in JOINED:
        if key in own and key in made:
            own[key] = list(dict.fromkeys([*made[key], *own[key]]))
    return {**made, **own}


def problems_of(
    template: Template, given: Mapping[str, Any], form: str = "with: {{{}: ...}}"
) -> list[tuple[Path, str, str]]:
    """What is wrong with the values for a template: path below ``with``, message, hint.

    ``form`` is how a value is written where these come from.
    """
    if template.filled:
        return []
    found: list[tuple[Path, str, str]] = []
    for name, value in given.items():
        param = template.params.get(name)
        if param is None:
            what = f"the template '{template.name}' has no parameter '{name[:60]}'"
            found.append(((name,), what, near(name, template.params)))
        elif why := _misfit(param, matrix.as_text(value)):
            found.append(((name,), f"{name} {why}", param.description))
    missing = [
        name
        for name, param in template.params.items()
        if param.default is None and name not in given
    ]
    for name in missing:
        said = template.params[name].description
        what = f"the template '{template.name}' needs '{name}'"
        found.append(((), what, f"{name}: {said}" if said else f"write  {form.format(name)}"))
    return found


def _misfit(param: Param, text: str) -> str:
    try:
        TYPES[param.type](text)
    except (ValueError, KeyError):
        return f"is '{text[:40]}', which is not of type {param.type}"
    if param.choices and text not in param.choices:
        return f"is '{text[:40]}', which is not one of {', '.join(param.choices)}"
    return ""


def problems(data: Mapping[str, Any]) -> list[tuple[Path, str, str]]:
    """What is wrong with a template that fits its schema: places that nothing fills, defaults that
    do not fit."""
    made = template_from("", data)
    found: list[tuple[Path, str, str]] = []
    texts = {key: made.body[key] for key in matrix.FILLED if key in made.body}
    listed: list[tuple[Path, str, Mapping[str, Any]]] = [
        (path, name, made.params) for path, name in filling.unknown(texts, made.params)
    ]
    deeper = {"then": made.body["then"]} if "then" in made.body else {}
    known = {**made.params, **dict.fromkeys(chain.VALUES)}
    listed += [(path, name, known) for path, name in filling.unknown(deeper, known)]
    for path, name, names in listed:
        hint = f"{near(name, names)}; {{{{{name}}}}} is the text itself"
        found.append((path, f"nothing fills {{{name}}}", hint))
    for name, param in made.params.items():
        why = _misfit(param, param.default) if param.default else ""
        if why:
            found.append((("params", name, "default"), f"the default {why}", ""))
    return found


def unused(data: Mapping[str, Any]) -> list[str]:
    """The parameters of a template that fits its schema of which no text is filled: whoever gives
    one changes nothing."""
    filled = [data[key] for key in (*matrix.FILLED, "then") if key in data]
    used = {name for _, text in filling.texts(filled) for name in filling.places(text)}
    return [name for name in data.get("params") or {} if name not in used]


def sample(template: Template) -> dict[str, str]:
    """Values with which the template makes a task, to judge it by."""
    return {
        name: param.default or (param.choices[0] if param.choices else SAMPLES[param.type])
        for name, param in template.params.items()
    }


def near(name: str, known: Mapping[str, Any]) -> str:
    """A hint for a name that is not known."""
    close = closest(name, known)
    if close:
        return f"did you mean '{close}'?"
    return f"there are: {', '.join(known)}" if known else "it has no parameters"

"""``new``: make a task, from an argument, standard input or an editor."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import templated
from orchestrator.cli.app import App
from orchestrator.cli.options import (
    Choice,
    agent_names,
    complete_from,
    complete_ids,
    complete_runs,
    dry_run_option,
    examples,
    json_option,
    now,
)
from orchestrator.cli.screen import follow
from orchestrator.cli.screen.asking import ask_yes
from orchestrator.cli.screen.console import say, shown
from orchestrator.cli.writing import open_config, open_store
from orchestrator.errors import INVALID, NOT_FOUND, OrchestratorError, Taken
from orchestrator.files import (
    card,
    diagnostics,
    documents,
    encodings,
    named,
    owners,
    requests,
    schemas,
)
from orchestrator.libraries import later
from orchestrator.model import ids
from orchestrator.model.status import Status
from orchestrator.store import atomic
from orchestrator.store.transitions import Rehearsed
from orchestrator.store.yamltext import task_text
from orchestrator.tools import judging, routing

if TYPE_CHECKING:
    import tempfile
else:
    tempfile = later("tempfile")

if TYPE_CHECKING:
    from orchestrator.files.documents import Document, Problem
    from orchestrator.model.config import Config
    from orchestrator.model.task import Task
    from orchestrator.tools.specs import Toolbox

DRAFT = """\
# yaml-language-server: $schema={schema}
# Write the prompt, save and close: the task waits in inbox/ once it is valid. An empty prompt makes no task.
{keys}prompt: |
  {prompt}
{more}"""
# What people set most often, as comments; `orchestrator help task` has all keys.
OPTIONAL = {
    "title": "A name for people",
    "agent": "demo",
    "priority": "high            # high | normal | low",
    "timeout": "15m",
    "retries": "1",
    "needs": "[other-task]",
    "context": "[docs/design.md]",
    "labels": "[docs]",
}
NONE: Mapping[str, str] = {}
# The keys that options set, in the order that people expect.
_SINGLE = (
    *("title", "agent", "tool", "model", "mode", "priority"),
    *("timeout", "retries", "run", "not_before", "cwd"),
)
_SEVERAL = ("needs", "context", "artifacts", "labels")

DROP = "ORCHESTRATOR_DROP"  # set inside a sandbox: the folder from which the watcher takes tasks


@click.command(
    epilog=examples(
        'orchestrator new "Review retry logic" -a demo -t 10m',
        'git diff | orchestrator new "Review this diff" -      # standard input is added to the'
        " prompt",
        'orchestrator new "Plan the release" -a claude -i      # talk to it: orchestrator attach'
        " plan",
        "orchestrator new -e                                   # write it in $EDITOR",
        'orchestrator new "Fix login" --wait; echo $?          # exit code of the task',
        "orchestrator new -T fix file=src/retry.py             # from work/templates/fix.yaml",
        "orchestrator new -T fix --each 'src/**/*.py' -n        # one for every matching file",
    )
)
@click.argument("prompt", nargs=-1, shell_complete=templated.complete_words)
@click.option(
    "-a",
    "--agent",
    help="The role that acts.",
    shell_complete=complete_from(lambda layout: (*agent_names(layout), "demo")),
)
@click.option("--tool", help="A tool in place of the agent's.")
@click.option("-m", "--model", help="The model.")
@click.option(
    "-i",
    "--interactive",
    "mode",
    flag_value="interactive",
    default=None,
    help="Run on a terminal you can attach to.",
)
@click.option("-t", "--timeout", help="How long one attempt may take: 90s, 15m, 2h.")
@click.option("-r", "--retries", type=int, help="How many more attempts after a failure.")
@click.option(
    "-p", "--priority", type=Choice(["high", "normal", "low"]), help="Which tasks start first."
)
@click.option("--title", help="A name for people.")
@click.option(
    "--needs",
    multiple=True,
    metavar="TASK",
    shell_complete=complete_ids(),
    help="Start after this task is done.",
)
@click.option("--run", "run_id", shell_complete=complete_runs, help="The run it belongs to.")
@click.option(
    "--context", multiple=True, metavar="FILE", help="A file the agent should read first."
)
@click.option(
    "--artifact", "artifacts", multiple=True, metavar="FILE", help="A file it should produce."
)
@click.option("--cwd", help="The folder the tool runs in.")
@click.option(
    "--env", multiple=True, metavar="NAME=VALUE", help="An environment variable for the tool."
)
@click.option("--not-before", help="The earliest start: 2026-11-30 or 2026-11-30T08:00.")
@click.option("-l", "--label", "labels", multiple=True, help="A label to find it by.")
@click.option(
    "--id", "task_id", help="The task's id. Default: the date and the prompt's first words."
)
@click.option(
    "-T",
    "--template",
    is_eager=True,
    shell_complete=templated.complete_templates,
    help="Make it from a template. The words are then NAME=VALUE; NAME=- reads standard input.",
)
@click.option(
    "--each",
    metavar="[NAME=]PATTERN",
    help="With -T: make a run with one task for every matching file in git.",
)
@click.option("--plan", is_flag=True, help="Plan first; approve lets it carry the plan out.")
@click.option("--held", is_flag=True, help="Put it in held/: it starts once you release it.")
@click.option("-e", "--edit", is_flag=True, help="Write it in $VISUAL or $EDITOR.")
@click.option(
    "-w", "--wait", "wait_for_it", is_flag=True, help="Wait for it; exit with its outcome."
)
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App,
    /,
    prompt: tuple[str, ...],
    edit: bool,
    wait_for_it: bool,
    held: bool,
    dry_run: bool,
    as_json: bool,
    task_id: str | None,
    template: str | None,
    each: str | None,
    **options: Any,
) -> int:
    """Make a task and print the path of its file. The file's name is the task's id.

    PROMPT says what the agent should do; - stands for standard input.
    """
    if each and not template:
        raise click.UsageError("--each needs -T TEMPLATE")
    text, keys = _draft(app, prompt, _keys(options), template, each, edit)
    if not text:
        say("no task was made: the prompt is empty")
        return 1
    name = _name(task_id, str(template) if each else keys.get("title") or _first_words(text))
    problems = _problems(app, name, text, {} if edit else _given(keys))
    if problems:
        click.echo(shown(problems), err=True)
        say("no task was made")
        return INVALID
    try:
        path = _submit(app, name, text, held, task_id is not None, dry_run)
    except Rehearsed as it:
        if as_json:
            return _tell_programs(app, it.task_id, held)
        return _preview(app, it.task_id, text, held, each is not None)
    made = os.path.basename(path).removesuffix(".yaml")
    if as_json:
        _tell_programs(app, made, held)
        return follow.until_ended(app, [made], None) if wait_for_it else 0
    app.console.out(_from_here(app, path))
    if not sys.stderr.isatty() and not wait_for_it:
        return 0
    if DROP in os.environ:
        say("dropped; the watcher will pick it up soon")
        return 0
    where, obstacle = _whereabouts(app, held)
    say(where)
    if not wait_for_it:
        return 0
    return follow.until_ended(app, [made], None, quiet=False, told=(obstacle,))


def _draft(
    app: App,
    words: tuple[str, ...],
    keys: dict[str, Any],
    template: str | None,
    each: str | None,
    edit: bool,
) -> tuple[str, dict[str, Any]]:
    """The text of the file, and the keys it begins with; no text if the person wrote none."""
    if template:
        found, values = templated.named(app.layout, template), templated.values_of(words)
        if each:
            return templated.run_of(app.layout, found, values, keys, each), keys
        keys = templated.task_of(found, values, keys)
        prompt = keys.pop("prompt", "")
    else:
        prompt = _prompt(words, edit)
    if edit:
        return _edit(app, keys, prompt), keys
    return task_text({**keys, "prompt": prompt} if prompt else keys), keys


def _name(chosen: str | None, about: str) -> str:
    """The task's id: the one that was chosen, or the date and what it is about."""
    name = chosen or ids.dated(datetime.fromtimestamp(now()), about)
    why = ids.problem(name)
    if why:
        raise click.UsageError(f"the id '{name}' {why}")
    return name


def _tell_programs(app: App, made: str, held: bool) -> int:
    entry = {"id": made, "from": None, "to": "held" if held else "waiting"}
    app.console.json("change", {"changed": [entry], "refused": []})
    return 0


def _preview(app: App, name: str, text: str, held: bool, is_run: bool) -> int:
    """What would be written; of a run, which tasks it makes."""
    say(f"would write work/{'held' if held else 'inbox'}/{name}.yaml:")
    app.console.block(text.rstrip())
    if is_run:
        click.echo("which makes:", err=True)
        app.console.table([[made.id, made.title] for made in _made(app, name, text)])
    return 0


def _from_here(app: App, path: str) -> str:
    """The path as a person in this folder writes it."""
    below = not os.path.relpath(path).startswith("..")
    if below and app.start == app.layout.root:
        return app.layout.shown(path)
    return os.path.relpath(path, app.start)


def _made(app: App, name: str, text: str) -> list[Task]:
    """The tasks of a run that is not accepted yet."""
    find = open_config(app, lazily=True)[0].templates.get
    run = requests.load(f"{name}.yaml", name, text.encode(), find=find).run
    return run.all_tasks() if run is not None else []


def _given(keys: Mapping[str, Any]) -> dict[str, str]:
    """By which option each of the keys can be given, as ``--help`` names it."""
    given = {}
    for parameter in command.params:
        key = str(parameter.name).removesuffix("_id")
        if isinstance(parameter, click.Option) and key in keys:
            given[key] = min(parameter.opts, key=len)
    return given


def _keys(options: dict[str, Any]) -> dict[str, Any]:
    """The task's keys in the order people expect, those that were not given left out."""
    keys: dict[str, object] = {}
    for key in _SINGLE:
        value = options.get({"run": "run_id"}.get(key, key))
        if value is not None:
            keys[key] = encodings.readable(value) if isinstance(value, str) else value
    for key in _SEVERAL:
        if options.get(key):
            keys[key] = list(options[key])
    if options.get("plan"):
        keys["plan"] = True
    pairs = [item.partition("=") for item in options.get("env") or ()]
    if any(not sign for _, sign, _ in pairs):
        raise click.UsageError("--env takes NAME=VALUE")
    if pairs:
        keys["env"] = {name: value for name, _, value in pairs}
    return keys


def _prompt(words: tuple[str, ...], edit: bool) -> str:
    """The prompt from the arguments and, where asked for or piped, from standard input."""
    parts = [encodings.readable(word) for word in words if word != "-"]
    if len(parts) > 1:
        raise click.UsageError(f'put the prompt in quotes: "{" ".join(parts)}"')
    piped = "-" in words or (not parts and not edit and not sys.stdin.isatty())
    if piped:
        raw = sys.stdin.buffer.read()
        parts.append(encodings.readable(raw))
        if "\ufffd" in parts[-1] and "\ufffd".encode() not in raw:
            say("note: standard input is not entirely UTF-8; the other bytes are written as U+FFFD")
    text = "\n\n".join(part.rstrip("\n") for part in parts if part.strip())
    if not text and not edit:
        raise click.UsageError('there is no prompt. Say what to do:  orchestrator new "..."')
    return text + "\n" if "\n" in text else text


def _edit(app: App, keys: dict[str, Any], prompt: str) -> str:
    """The text of the task as the person wrote it in an editor; empty if they gave up."""
    if not sys.stdin.isatty() and not os.environ.get("ORCHESTRATOR_FORCE_EDITOR"):
        raise click.UsageError("an editor needs a terminal")
    schema = f"{app.layout.work}/schemas/task.schema.json"
    body = "".join(f"{line}\n" for line in task_text(keys).splitlines()[1:]) if keys else ""
    more = "".join(f"# {key}: {example}\n" for key, example in OPTIONAL.items() if key not in keys)
    text = DRAFT.format(schema=schema, keys=body, prompt=prompt.replace("\n", "\n  "), more=more)
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        path = f"{folder}/task.yaml"
        while True:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            click.edit(filename=path)
            with open(path, "rb") as file:
                text = encodings.readable(file.read())
            data = documents.parse(text).data
            if (
                isinstance(data, dict)
                and not str(data.get("prompt") or data.get("prompt_file") or "").strip()
            ):
                return ""
            problems = _problems(app, "draft", text)
            if not problems:
                return (
                    _without_examples(text)
                    .replace(f"$schema={schema}", "$schema=../schemas/task.schema.json")
                    .replace(DRAFT.splitlines()[1] + "\n", "")
                )
            click.echo(shown(problems), err=True)
            if not ask_yes("edit again?", default=True):
                return ""


def _without_examples(text: str) -> str:
    """The draft without the examples that were left as comments."""
    examples_left = {f"# {key}: {example}" for key, example in OPTIONAL.items()}
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.rstrip("\n") not in examples_left)


def _problems(app: App, name: str, text: str, given: Mapping[str, str] = NONE) -> str:
    """What is wrong with the text, rendered; empty if nothing is. ``given``: by which option a key
    was given."""
    config, toolbox = open_config(app, lazily=True)
    raw = text.encode()
    if len(raw) > documents.MAX_BYTES:
        size = f"{len(raw) / 2**20:.1f} MiB"
        return (
            f"error: the task would be {size}, and the limit is {documents.MAX_BYTES >> 20} MiB\n"
            "  hint: put long material in a file and name it: --context FILE"
        )
    find = config.templates.get
    request = requests.load(f"{name}.yaml", name, raw, schemas.check, find=find)
    if not request.errors:
        request.problems += judging.route_problems(request, config, toolbox)
    if not request.errors:
        request.problems += named.problems(request, app.layout.root)
        request.problems += named.unknown_needs(request, app.layout)
    for problem in request.warnings:
        say(f"warning: {problem.message}" + (f" ({problem.hint})" if problem.hint else ""))
    if not request.errors:
        _tell_what_is_missing(request.task, config, toolbox)
        return ""
    return "\n".join(
        _by_option(problem, request.document, given)
        or diagnostics.render("full", [("task", request.document, [problem])])
        for problem in request.errors
    )


def _by_option(problem: Problem, document: Document, given: Mapping[str, str]) -> str:
    """A problem of a value that was given by an option, told of the option: the person has seen no
    file."""
    for key, option in given.items():
        span = document.values.get((key,))
        if span is not None and span.line == problem.line:
            hint = f"\nhint:  {problem.hint}" if problem.hint else ""
            return f"error: {option}: {problem.message.removeprefix(f'{key}: ')}{hint}"
    return ""


def _tell_what_is_missing(task: Task | None, config: Config, toolbox: Toolbox) -> None:
    """A note if no tool of the task's chain has its program here: it would fail as soon as it
    starts."""
    missing = routing.missing(task, config, toolbox.tools) if task is not None else ""
    if missing:
        say(f"warning: {missing}: install it before this task starts")


def _submit(app: App, name: str, text: str, held: bool, chosen: bool, dry_run: bool) -> str:
    folder = Status.HELD if held else Status.INBOX
    if drop := os.environ.get(DROP):
        if dry_run:
            raise Rehearsed(name, folder)
        return _drop(drop, name, text, held, chosen)
    store = open_store(app, dry_run)
    by = os.environ.get("ORCHESTRATOR_TASK_ID")
    more: dict[str, Any] = {"summary": f"by task {by}", "parent": by} if by else {}
    more.setdefault("summary", "by orchestrator new")
    for number in range(1, 100):
        candidate = name if number == 1 else f"{name}-{number}"
        try:
            return store.submit(candidate, text, folder=folder, **more)
        except Taken:
            if chosen:
                raise
    raise OrchestratorError(
        f"there are too many tasks named {name}", "choose a name with --id", NOT_FOUND
    )


def _drop(folder: str, name: str, text: str, held: bool, chosen: bool) -> str:
    """Inside a sandbox: leave it in the folder from which the watcher takes tasks, under a name
    that is free there."""
    if held:
        text = f"{text.rstrip()}\nhold: true\n"
    for number in range(1, 100):
        path = f"{folder}/{name if number == 1 else f'{name}-{number}'}.yaml"
        try:
            atomic.publish(path, text.encode(), f"{folder}/.{owners.fresh()}.tmp", sync=False)
        except FileExistsError:
            if chosen:
                raise Taken(f"there is already a task '{name}'", "choose another name") from None
            continue
        return path
    raise OrchestratorError(f"there are too many tasks named {name}", "choose a name with --id")


def _whereabouts(app: App, held: bool) -> tuple[str, str]:
    """Where the task is, in words; and the name of the gate that this tells, if any."""
    if held:
        return "held; orchestrator release lets it start", "held"
    known = card.read(app.layout, now())
    if known is None or not known.alive:
        return "waiting; no watcher is running: orchestrator watch", "watcher"
    return "waiting", ""


def _first_words(text: str) -> str:
    data = documents.parse(text).data
    if not isinstance(data, dict):
        return "task"
    words = str(data.get("prompt") or data.get("prompt_file") or "task").strip()
    return words.split("\n", 1)[0]

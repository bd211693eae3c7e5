"""Building the command of an attempt: argv, environment, prompt. A list of words; never a shell."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from fnmatch import translate
from functools import cache
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError
from orchestrator.files.documents import parse
from orchestrator.files.layout import OWN, WORK, data_file, outside_trees
from orchestrator.files.requests import Unreadable, read
from orchestrator.files.rules import outside, unfit
from orchestrator.libraries import later
from orchestrator.model.config import Agent, Config
from orchestrator.model.task import Task
from orchestrator.model.units import duration
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.tools import answers, levels, planning
from orchestrator.tools.routing import Route
from orchestrator.tools.taskenv import ALLOWED_ENV, allowed

if TYPE_CHECKING:
    import shutil
else:
    shutil = later("shutil")

_PACKAGE = os.path.dirname(data_file("tools"))
_PLACEHOLDER = regex(r"\{(\w+)\}")
MAX_ARGUMENT = 128 * 1024 - 1
SECRET_MIN = 8


class CannotStart(OrchestratorError):
    """The command cannot be built: a file or a folder it needs is missing or outside the
    project."""


class NotInstalled(CannotStart):
    """There is no such program."""


@dataclass(frozen=True, slots=True)
class Session:
    """The tool's own memory of a conversation: to begin under this id (empty: it chooses one), or
    to go on with.

    ``ended`` says how the attempt before ended, for the prompt of one that goes on.
    """

    id: str = ""
    resume: bool = False
    ended: str = ""
    told: str = ""  # what people and checks say of the attempt before
    again: bool = (
        False  # resumed: a person runs the task again; else: an earlier attempt has worked on it
    )
    plan: bool = False  # it is to plan only
    words: bool = False  # it can be told more while it runs


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command, ready to be executed.  ``stdin`` is whether it reads the prompt there."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    prompt: str
    stdin: bool


@cache
def _real(root: str) -> str:
    return os.path.realpath(root)


def project_path(root: str, path: str) -> str:
    """A path of a task file, with every link resolved; `CannotStart` if it is not inside the
    project, or if a link, which an attempt can have made, leads to the state of tasks."""
    named = path == WORK or path.startswith(f"{WORK}/")
    if named:
        root = outside_trees(
            root
        )  # the state of tasks is the project's, also for who works in a tree
    base = _real(root)
    resolved = base if path == "." else os.path.realpath(os.path.join(root, path))
    if outside(path) or (resolved != base and not resolved.startswith(base + os.sep)):
        raise CannotStart(f"'{path}' is outside the project")
    if not named and os.path.relpath(resolved, base).split(os.sep)[0] == WORK:
        raise CannotStart(f"'{path}' leads into {WORK}/", "name what it leads to")
    return resolved


def working_folder(root: str, path: str) -> str:
    """`project_path`, of the folder in which a task is to work; `CannotStart` if it is none for
    that, by whatever link it leads there."""
    found = project_path(root, path)
    if why := unfit(path) or unfit(os.path.relpath(found, _real(root))):
        raise CannotStart(f"'{path}' {why}")
    return found


def compose_prompt(
    task: Task,
    agent: Agent,
    root: str,
    session: Session = Session(),
    elsewhere: bool = False,
    given: bool = False,
    script: bool = False,
) -> str:
    """The prompt as the tool gets it: the agent's instructions, the task's text or its prompt_file,
    the files to read first, and what its answer must fit unless the tool is ``given`` that. A
    session that is resumed has all that already and is only told to go on. ``elsewhere``: it has no
    path of this machine. ``script``: the tool runs the task's text, and what is said besides is
    comments in it.
    """
    text = _prompt(task, agent, root, session, elsewhere, given, script)
    return f"{text.rstrip()}\n\n{planning.REQUEST}" if session.plan else text


def _prompt(
    task: Task,
    agent: Agent,
    root: str,
    session: Session,
    elsewhere: bool,
    given: bool,
    script: bool,
) -> str:
    if session.resume and session.told:
        return session.told
    if session.resume and not session.again:
        return (
            "Go on with the task where you left off; the last attempt was cut short"
            f" ({session.ended or 'unknown reason'}).\n"
        )
    text = text_of(root, "prompt_file", task.prompt_file) if task.prompt_file else task.prompt
    context = task.context or agent.context
    if context:
        for path in context:
            project_path(root, path)
        listed = "".join(f"- {path if elsewhere else _as_told(root, path)}\n" for path in context)
        text = _below(text, f"Read these files first:\n{listed}", script)
    if task.result_schema and not given:
        text = _below(text, answers.request(schema_text(root, task.result_schema)), script)
    if session.told:
        earlier = "An earlier attempt has worked on this; its files are as it left them. "
        text = _below(text, f"{earlier if session.again else ''}{session.told}", script)
    if session.resume:  # the file may say something else by now
        ended = f" (it ended: {session.ended})" if session.ended else ""
        return f"Do this task again{ended}. Go on from where it stands now. The task:\n\n{text}"
    instructions = agent.profile or _guide(agent, root)
    if script:
        instructions = _commented(instructions)
    return f"{instructions.rstrip()}\n\n{text}" if instructions.strip() else text


def _below(text: str, words: str, script: bool) -> str:
    """A prompt, and below it what is said besides."""
    words = words.lstrip("\n")
    return f"{text.rstrip()}\n\n{_commented(words) if script else words}"


def _commented(words: str) -> str:
    """Words that a script may hold: whatever may end a line for its program begins a comment."""
    return "".join(f"# {line}".rstrip() + "\n" for line in words.splitlines())


def _guide(agent: Agent, root: str) -> str:
    """What the agent's file of instructions said when the settings were read: no attempt must write
    what the next one is told."""
    if not agent.instructions:
        return ""
    if agent.guide is None:
        text_of(outside_trees(root), "instructions", agent.instructions)
        why = f"instructions '{agent.instructions}' could not be read with the settings"
        raise CannotStart(why, "orchestrator approve --settings")
    return agent.guide


def _as_told(root: str, path: str) -> str:
    """A path as an agent finds it: what is in ``work/`` by its whole path, if it works in a
    tree."""
    inside = path == WORK or path.startswith(f"{WORK}/")
    project = outside_trees(root)
    return os.path.join(project, path) if inside and project != root else path


def text_of(root: str, key: str, path: str) -> str:
    """What is in a file that a task names under this key. `CannotStart` if it cannot be read."""
    try:
        return read(project_path(root, path)).raw.decode("utf-8")
    except (OSError, Unreadable, UnicodeDecodeError) as error:
        raise CannotStart(
            f"{key} '{path}' cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def schema_text(root: str, path: str) -> str:
    """The JSON Schema that a task's answer must fit, as JSON. `CannotStart` if the file has
    none."""
    raw = text_of(outside_trees(root), "result.schema", path)
    document = parse(raw.encode())
    found = document.data
    if document.problems or not isinstance(found, (dict, bool)):
        why = document.problems[0].message if document.problems else "it is not a mapping"
        raise CannotStart(f"result.schema '{path}' is not a JSON Schema: {why}")
    text = json.dumps(found)
    if len(text) > answers.SCHEMA_MOST:
        raise CannotStart(f"result.schema '{path}' is larger than {answers.SCHEMA_MOST >> 10} KiB")
    return text


def chooses_session(route: Route) -> bool:
    """Whether this tool, run this way, begins its session under an id of our choice."""
    return bool(route.tool.new_session) and (
        route.mode != "interactive" or "{session_options}" in route.tool.interactive
    )


def placeholders(
    task: Task, route: Route, root: str, run_dir: str, prompt: str, session: str = ""
) -> dict[str, str]:
    """What stands for each ``{name}`` in a tool's argv and env; empty if there is no value."""
    return {
        # A prompt that is an argument must not be taken for an option: what a task says is no part
        # of the command.
        "model": route.model_name or "",
        "session": session,
        "prompt": f" {prompt}" if prompt.startswith("-") else prompt,
        "run_dir": f"{run_dir}/{OWN}",
        "project": root,
        "prompt_file": f"{run_dir}/prompt.md",
        "cwd": working_folder(root, task.cwd or "."),
        "schema": schema_text(root, task.result_schema) if task.result_schema else "",
        "schema_file": f"{run_dir}/{OWN}/result-schema.json" if task.result_schema else "",
        "python": sys.executable,
        "package": _PACKAGE,
        "ask": asker(run_dir, route.agent.role.ask),
        "task_id": task.id,
        # What the task may still cost, for a program that keeps to it by itself.
        "budget": f"{task.max_cost:.4f}" if task.max_cost is not None else "",
    }


def command(route: Route, session: Session, schema: bool = False) -> tuple[str, ...]:
    """The words of a spec's command, placeholders not replaced: with its permissions, its way into
    a session, and the ``schema`` of an answer."""
    tool = route.tool
    interactive = route.mode == "interactive"
    if wrong := levels.refusal(tool, route.agent.permissions, interactive):
        raise CannotStart(*wrong)  # bounded since it was chosen
    level = level_of(route, session)
    permissions = tool.permissions.get(level, tool.permissions.get("default", ()))
    whole = session.resume and bool(tool.resume_argv)
    begin = tool.new_session if session.id else ()
    options = tool.resume if session.resume else begin
    options = () if whole else options
    if schema and not interactive:
        options = (*options, *tool.result_schema)
    words: list[str] = []
    batch = tool.resume_argv if whole else tool.argv
    argv = tool.interactive if interactive else batch
    stands_for = {"{permissions}": permissions, "{session_options}": options}
    for part in argv:
        words += stands_for.get(part, (part,))
    if "{permissions}" not in argv and not interactive:
        words += permissions
    if "{session_options}" not in argv and not interactive:
        words += options
    if not interactive and route.agent.role.waits:
        words += tool.ask
    if session.words and tool.reply is not None:
        words += tool.reply.options
    return tuple(words)


def level_of(route: Route, session: Session) -> str:
    """The level of permissions, by the name that the tool has its options under."""
    if session.plan and planning.OPTIONS in route.tool.permissions:
        return planning.OPTIONS
    return route.agent.permissions


def ask_limit(ask: str) -> str:
    """How many seconds a person may take; 0: as long as it takes."""
    return f"{duration(ask) if ask and ask not in ('person', 'deny') else 0.0:g}"


def asker(run_dir: str, ask: str) -> str:
    """The command that asks a person, quoted for a shell and for the inside of a JSON string."""
    words = [sys.executable, "-I", f"{_PACKAGE}/tools/asking.py", run_dir, ask_limit(ask)]
    return json.dumps(shlex.join(words))[1:-1]


def by_hand(route: Route, session: str) -> str:
    """The command, for a shell, by which a person goes on in a session; empty if there is none."""
    if not session or not route.tool.resume_by_hand:
        return ""
    values = {"session": session, "model": route.model_name or ""}
    try:
        return shlex.join(fill(route.tool.resume_by_hand, values))
    except CannotStart:
        return ""


def fill(argv: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """Replace placeholders. An argument whose value is missing goes, and with it the option before
    it."""
    result: list[str] = []
    for part in argv:
        used = _PLACEHOLDER.findall(part)
        if any(name in values and not values[name] for name in used):
            if part == "{" + used[0] + "}" and result and result[-1].startswith("-"):
                result.pop()
            continue
        word = _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), part)
        if word.startswith("-") and not part.startswith("-"):
            raise CannotStart(f"the value of {part} begins with a dash: it would be an option")
        result.append(word)
    return result


@cache
def _allowed(patterns: tuple[str, ...]) -> dict[str, str]:
    """The part of our own environment that these names let through; it does not change while we
    run."""
    plain = {name for name in patterns if "*" not in name}
    wild = tuple(name[:-1] for name in patterns if name.endswith("*"))
    return {
        name: value for name, value in os.environ.items() if name in plain or name.startswith(wild)
    }


def environment(
    route: Route, task: Task, config: Config, own: Mapping[str, str], values: Mapping[str, str]
) -> dict[str, str]:
    """The tool's whole environment: what is allowed of ours, then the spec's, the agent's, the
    task's, and ``own``."""
    env = dict(_allowed((*ALLOWED_ENV, *route.tool.pass_env, *config.pass_env)))
    for name, value in {**route.tool.env, **route.agent.env}.items():
        env[name] = _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), value)
    env.update(allowed(task.env, route.agent, route.tool, config))
    env.update(own)
    return env


@cache
def _names(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in patterns) or "(?!)")


def secret_values(env: Mapping[str, str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Values of the variables with these names (``*`` stands for anything): what no log may keep.

    Shorter ones than `SECRET_MIN` are left out: masking ``1`` or ``yes`` would spoil the log and
    hide nothing.
    """
    secret = _names(tuple(patterns))
    found = {
        value for name, value in env.items() if len(value) >= SECRET_MIN and secret.match(name)
    }
    return tuple(sorted(found, key=len, reverse=True))


def program(argv0: str, env: Mapping[str, str], root: str) -> str | None:
    """The file that will be executed; None if there is no such program. A relative path is the
    project's, and so is a relative part of PATH: a task, which chooses the working folder, does not
    choose the program by that."""
    if "/" in argv0:
        path = os.path.join(root, argv0)
        return path if os.access(path, os.X_OK) and os.path.isfile(path) else None
    parts = env.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(argv0, path=os.pathsep.join(os.path.join(root, part) for part in parts))


def recorded(made: Invocation, secrets_: Sequence[str]) -> bytes:
    """The command for whoever wants to run it again, secrets masked."""

    def mask(text: str) -> str:
        for secret in secrets_:
            text = text.replace(secret, "*" * len(secret))
        return text

    return (
        json.dumps(
            {
                "argv": [mask(word) for word in made.argv],
                "cwd": made.cwd,
                "stdin": "prompt.md" if made.stdin else None,
                "env": {name: mask(value) for name, value in sorted(made.env.items())},
            },
            indent=1,
        ).encode()
        + b"\n"
    )

"""What a schema cannot say of a task or a run: each rule is a function that yields what is wrong.
Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from orchestrator.files import mistakes, nearness
from orchestrator.files.layout import WORK
from orchestrator.model import ids
from orchestrator.model import run as run_model

if TYPE_CHECKING:
    from orchestrator.files.documents import Document, Path, Problem
    from orchestrator.model.run import Run
    from orchestrator.model.task import Task

# Names in ``env:`` that decide which code runs; a task file may not set them.
_FORBIDDEN_ENV = frozenset(
    "PATH HOME SHELL USER LOGNAME IFS ENV BASH_ENV CDPATH PERL5LIB PERL5OPT PERLLIB RUBYLIB RUBYOPT"
    " NODE_OPTIONS NODE_PATH PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONINSPECT PYTHONEXECUTABLE"
    " PYTHONUSERBASE PYTHONWARNINGS PYTHONBREAKPOINT PYTHONPLATLIBDIR PYTHONPYCACHEPREFIX CLASSPATH"
    " JAVA_TOOL_OPTIONS _JAVA_OPTIONS GCONV_PATH LOCPATH TMPDIR EDITOR VISUAL PAGER BROWSER"
    " PROMPT_COMMAND PS4 SSH_ASKPASS XDG_CONFIG_HOME".split()
)
_FORBIDDEN_PREFIXES = (
    "LD_",
    "DYLD_",
    "ORCHESTRATOR_",
    "GIT_",
    "BASH_FUNC_",
    "NPM_CONFIG_",
    "npm_config_",
    "PIP_",
)


# -- a task
# --------------------------------------------------------------------------------------------------


def of_task(document: Document, task: Task, base: Path) -> Iterator[Problem]:
    """What is wrong with a task that stands at ``base`` of its document."""
    if task.prompt and task.prompt_file:
        what = "the prompt is given twice: prompt and prompt_file"
        yield document.problem_at((*base, "prompt_file"), what, "keep one of them", key=True)
    yield from refused(document, task, base)
    yield from _needs(document, task, base)


def refused(document: Document, task: Task, base: Path) -> Iterator[Problem]:
    """What no task may say, whoever made it."""
    yield from _environment(document, task, base)
    yield from _paths(document, task, base)


def _environment(document: Document, task: Task, base: Path) -> Iterator[Problem]:
    for name, value in task.env.items():
        path = (*base, "env", name)
        if "\0" in value:
            yield document.problem_at(path, f"the value of {name} contains a NUL character")
        elif name.startswith("ORCHESTRATOR_VAR_"):
            continue  # free for tasks (tools.taskenv, which knows what else is allowed)
        elif name in _FORBIDDEN_ENV or name.startswith(_FORBIDDEN_PREFIXES):
            what = f"a task may not set {name}: it decides which code runs"
            hint = "set it for the agent in orchestrator.yaml"
            yield document.problem_at(path, what, hint, key=True)


def _paths(document: Document, task: Task, base: Path) -> Iterator[Problem]:
    named: list[tuple[Path, str | None]] = [
        (("cwd",), task.cwd),
        (("prompt_file",), task.prompt_file),
        (("result", "schema"), task.result_schema or None),
        *((("context", place), item) for place, item in enumerate(task.context)),
        *((("artifacts", place), item) for place, item in enumerate(task.artifacts)),
    ]
    for where, path in named:
        if path is not None and (why := outside(path)):
            what, hint = f"'{path[:60]}' {why}", "name a path inside the project"
            yield document.problem_at((*base, *where), what, hint)
    if task.cwd is not None and (why := unfit(task.cwd)):
        what, hint = f"'{task.cwd[:60]}' {why}", "name a folder of the project's own"
        yield document.problem_at((*base, "cwd"), what, hint)


def unfit(folder: str) -> str:
    """Why a folder of the project, relative to it, is no working folder for a task; empty if it may
    be. Agents that may edit their working folder would edit there what steers git, or other
    tasks."""
    parts = [part.casefold() for part in os.path.normpath(folder).split("/")]
    if ".git" in parts:
        return "is a folder of git's"
    return "has the state of tasks" if parts[0] == WORK else ""


def outside(path: str) -> str:
    """Why a path of a task file does not stay inside the project, judged by its text; empty if it
    does."""
    if "\0" in path:
        return "contains a NUL character"
    if os.path.isabs(path) or path.startswith("~"):
        return "is an absolute path"
    if ".." in path.split("/"):
        return "leads out of the project"
    return ""


def _needs(document: Document, task: Task, base: Path) -> Iterator[Problem]:
    for place, need in enumerate(task.needs):
        grown = task.ends.get(need) == "proven"
        path = (*base, "base", "task") if grown else (*base, "needs", place)
        if need == task.id:
            words = "begin from its own branch" if grown else "need itself"
            yield document.problem_at(path, f"a task cannot {words}")
        elif why := ids.problem(need):
            what = f"'{need[:60]}' is not an id: it {why}"
            yield document.problem_at(path, what, mistakes.odd_in(need))


def of_prompt(document: Document) -> Iterator[Problem]:
    """A warning if YAML takes the end of a prompt for a comment."""
    prompt = document.data.get("prompt") if isinstance(document.data, dict) else None
    span = document.values.get(("prompt",))
    if not isinstance(prompt, str) or not span or "\n" in prompt:
        return
    rest = document.line(span.line)[span.column - 1 :]
    if rest.startswith(prompt) and rest[len(prompt) :].lstrip().startswith("#"):
        what = "the text after # is a comment and not part of the prompt"
        hint = "put the prompt in quotes, or a block:  prompt: |"
        yield document.problem_at(("prompt",), what, hint, warning=True)


# -- a run
# ---------------------------------------------------------------------------------------------------


def of_id(document: Document, task_id: str, path: Path, *, key: bool = False) -> Iterator[Problem]:
    """What is wrong with the id of a task that its run makes."""
    if why := ids.problem(task_id):
        yield document.problem_at(path, f"the id '{task_id[:60]}' {why}", key=key)


class MistypedNeeds:
    """Finds needs that are no task of their run but nearly one: each is a warning."""

    def __init__(self, document: Document, run: Run, tasks: Mapping[str, Task]) -> None:
        self._document, self._run, self._tasks = document, run, tasks
        self._keys = set(run.keys.values())
        names = {task_id.removeprefix(f"{run.id}.") for task_id in tasks}
        self._near = nearness.Near(names | self._keys)

    def of(self, task_id: str) -> Iterator[Problem]:
        """Those of one task, as its run's file has them."""
        path = self._run.place_of(task_id)
        for place, need in enumerate(self._document.value_at((*path, "needs")) or ()):
            ours = f"{self._run.id}.{need}" in self._tasks or need in self._keys
            if not ours and self._near.close_to(need):
                what = f"'{need}' is not a task of this run"
                hint = "it is taken for the id of another task"
                yield self._document.problem_at((*path, "needs", place), what, hint, warning=True)


def of_run(document: Document, run: Run, tasks: Mapping[str, Task]) -> Iterator[Problem]:
    """What is wrong with the tasks of a run together."""
    yield from _twins(document, run, tasks)
    yield from _circle(document, run, tasks)


def _twins(document: Document, run: Run, tasks: Mapping[str, Task]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for task_id in tasks:
        twin = first.setdefault(ids.key(task_id), task_id)
        if twin != task_id:
            one, other = (_name(run, known)[:60] for known in (task_id, twin))
            what = f"'{one}' and '{other}' would be the same id"
            hint = "ids differ by more than upper and lower case: rename one of them"
            yield document.problem_at(run.place_of(task_id), what, hint, key=True)


def _circle(document: Document, run: Run, tasks: Mapping[str, Task]) -> Iterator[Problem]:
    found = run_model.cycle({task_id: task.needs for task_id, task in tasks.items()})
    if found:
        way = run_model.way_round([_name(run, task_id) for task_id in found], " -> ")
        what = f"these tasks wait for each other: {way}"
        path = (*run.place_of(found[0]), "needs")
        yield document.problem_at(path, what, "remove one of the needs")


def of_members(document: Document, run: Run) -> Iterator[Problem]:
    """What is wrong with a list of tasks that lie in files of their own."""
    for place, member in enumerate(run.members):
        if why := ids.problem(member):
            yield document.problem_at(("tasks", place), f"'{member[:60]}' {why}")


def _name(run: Run, task_id: str) -> str:
    """What a run's file calls its task."""
    return task_id[len(run.id) + 1 :]

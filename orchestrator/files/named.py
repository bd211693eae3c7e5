"""The files and folders that a task names, judged before it starts: what is not there, or cannot be
read as text.

A task that needs others may name what they are still to write: then this is a warning, and an error
else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from orchestrator.errors import MACHINE
from orchestrator.files import documents, encodings, opening, scan
from orchestrator.files.layout import SUFFIXES, Layout
from orchestrator.model.run import way_round

if TYPE_CHECKING:
    from orchestrator.files.documents import Problem
    from orchestrator.files.requests import Request
    from orchestrator.model.task import Task

HINTS = 5  # mistyped names that are compared with all there are


def problems(request: Request, root: str) -> list[Problem]:
    """What is wrong with the files that the request's task, or each task of its run, names below
    ``root``."""
    found = []
    if request.task is not None:
        found += list(_of(request, request.task, (), root))
    if request.run is not None:
        for task in request.run.all_tasks():
            found += list(_of(request, task, request.run.place_of(task.id), root))
    return list(dict.fromkeys(found))


def unknown_needs(
    request: Request,
    layout: Layout,
    folder: str = "",
    names: scan.Names = scan.names,
    hints: int = HINTS,
) -> list[Problem]:
    """A warning for each need that no task has as its id, neither here nor, as a file, in
    ``folder``. The first ``hints`` say what may have been meant, for which all names are looked at.

    The task waits then, for a task that may still come; more often the name is mistyped.
    """
    tasks: list[tuple[Task, tuple[str, ...]]] = []
    if request.task is not None:
        tasks.append((request.task, ()))
    if request.run is not None:
        run = request.run
        tasks += [(task, run.place_of(task.id)) for task in run.all_tasks()]
    own = {task.id for task, _ in tasks}
    found: list[Problem] = []
    for task, base in tasks:
        for number, need in enumerate(task.needs):
            if need in own or _is_task(need, layout, folder):
                continue
            hint = scan.suggest(layout, need, names=names) if len(found) < hints else ""
            place = (*base, "needs", number)
            message = f"needs: there is no task '{need[:200]}'"
            found.append(request.document.problem_at(place, message, hint, warning=True))
    return found


def circle(request: Request, needs: Mapping[str, tuple[str, ...]]) -> list[Problem]:
    """A warning if the task waits for itself by way of other waiting tasks; ``needs``: what each of
    those waits for."""
    task = request.task
    if task is None or not task.needs:
        return []
    found = _way_back(task.id, {**needs, task.id: task.needs})
    if not found:
        return []
    message = f"these tasks wait for each other: {way_round(found)}"
    hint = "remove one of them from needs:"
    return [request.document.problem_at(("needs",), message, hint, warning=True)]


def _way_back(task_id: str, needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """From a task over what it needs back to itself; empty if there is no such way."""
    came_from, todo = dict[str, str](), [task_id]
    while todo:
        here = todo.pop()
        for need in needs.get(here, ()):
            if need == task_id:
                way = [need, here]
                while way[-1] != task_id:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if need not in came_from:
                came_from[need] = here
                todo.append(need)
    return []


def _is_task(need: str, layout: Layout, folder: str) -> bool:
    if scan.locate(layout, need) is not None:
        return True
    return bool(folder) and any(os.path.exists(f"{folder}/{need}{end}") for end in SUFFIXES)


def _of(request: Request, task: Task, base: tuple[str, ...], root: str) -> Iterator[Problem]:
    later = bool(task.needs)
    if task.prompt_file is not None:
        why, hint = of_prompt(os.path.join(root, task.prompt_file))
        if why:
            warning = later and "there is no file" in why
            message = f"prompt_file: {why}"
            place = (*base, "prompt_file")
            yield request.document.problem_at(place, message, hint, warning=warning)
    if task.result_schema and not os.path.isfile(os.path.join(root, task.result_schema)):
        message = f"result.schema: there is no file {task.result_schema[:200]} in the project"
        hint = "write it, or correct the path"
        place = (*base, "result", "schema")
        yield request.document.problem_at(place, message, hint, warning=later)
    if task.cwd is not None and not os.path.isdir(os.path.join(root, task.cwd)):
        message = f"cwd: there is no folder {task.cwd[:200]} in the project"
        hint = "make it, or correct the path"
        yield request.document.problem_at((*base, "cwd"), message, hint, warning=later)
    for number, path in enumerate(task.context):
        if not os.path.exists(os.path.join(root, path)):
            message = f"context: there is no file {path[:200]} in the project"
            hint = "the agent will be told to read it anyway"
            yield request.document.problem_at(
                (*base, "context", number), message, hint, warning=True
            )


def of_prompt(path: str) -> tuple[str, str]:
    """Why a file cannot be a prompt, and what to do; empty if it can. OSError if the machine is to
    blame."""
    try:
        raw = opening.read_bytes(os.path.realpath(path), documents.MAX_BYTES)
    except FileNotFoundError:
        return (
            f"there is no file {os.path.basename(path)[:200]} there",
            "write it, or correct the path",
        )
    except OSError as error:
        if error.errno in MACHINE:
            raise
        return error.strerror or str(error), "name a text file inside the project"
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return f"byte 0x{raw[error.start]:02x} in line {line} is not UTF-8", encodings.hint(raw)
    if "\0" in text:
        return "it contains a NUL character", encodings.hint(raw)
    return ("it is empty", "write in it what to do") if not text.strip() else ("", "")

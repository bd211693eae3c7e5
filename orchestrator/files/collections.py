"""Files and folders of other programs that hold many tasks: Taskmaster's ``tasks.json`` and its
like, Backlog.md's folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.files import jsonlines
from orchestrator.files.documents import parse
from orchestrator.model import ids

# Beside a Backlog.md folder's tasks: these hold no tasks.
BACKLOG_OTHERS = frozenset("docs decisions milestones assets config.yml config.yaml".split())
# Text beside tasks that is none.
NOT_TASKS = frozenset(
    "readme contributing changelog license licence code_of_conduct security index agents claude"
    " gemini".split()
)
# By what trackers number their tasks where these have no ``id``.
_NUMBERS = ("key", "number", "identifier", "iid")
_OF_A_TASK = ("id", *_NUMBERS, "status", "state", "body")  # beside a title: no schema has these
_LISTS = ("tasks", "issues", "items", "stories", "userStories", "todos", "work_items")


def backlog_root(folder: str) -> bool:
    """Whether this is the folder of Backlog.md."""
    there = os.path.isfile(f"{folder}/config.yml") or os.path.isfile(f"{folder}/config.yaml")
    return there and os.path.isdir(f"{folder}/tasks")


def read_json(raw: bytes) -> Any:
    """The data in a JSON file.  Raises ValueError, whose text says what is wrong."""
    try:
        return jsonlines.loads(raw)
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid JSON: {type(error).__name__}") from None


def listed(data: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """``(tag, task)`` of every task in a file with many; none if it is no such file.

    ``{tasks: [...]}``, ``[...]``, and Taskmaster's ``{tag: {tasks: [...]}}``; each task has an id
    or a title.  One task alone, as trackers print it, counts as well.
    """
    found = list(_direct(data, ""))
    if isinstance(data, Mapping) and "fields" in data:
        data = _unfolded(data)
    if not found and isinstance(data, Mapping) and "title" in data:
        return [("", _numbered(data))] if any(key in data for key in _OF_A_TASK) else []
    if not found and isinstance(data, Mapping):
        for tag, inner in data.items():
            if isinstance(inner, Mapping):
                found += _direct(inner, str(tag))
    return found


def _direct(data: Any, tag: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    tasks = data if isinstance(data, list) else None
    if isinstance(data, Mapping):
        tasks = next((data[key] for key in _LISTS if isinstance(data.get(key), list)), None)
    for task in tasks or ():
        if isinstance(task, Mapping) and any(
            key in task for key in ("id", "title", "name", *_NUMBERS)
        ):
            yield tag, _numbered(task)


def _numbered(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """The task with what its tracker calls it as its ``id``."""
    task = _unfolded(task)
    number = next((key for key in _NUMBERS if isinstance(task.get(key), (str, int))), "")
    if "id" in task or not number:
        return task
    return {"id": task[number], **{key: value for key, value in task.items() if key != number}}


def _unfolded(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """An issue as Jira writes it, its ``fields`` being its own keys."""
    fields = task.get("fields")
    if not isinstance(fields, Mapping) or not ("summary" in fields or "title" in fields):
        return task
    result: dict[str, Any] = {"id": task.get("key", task.get("id", "")), "title": ""}
    for key, value in fields.items():
        if key == "issuelinks":
            result["dependencies"] = [*_blockers(value)]
        elif key == "summary":
            result["title"] = value
        elif value not in (None, "", [], {}):
            result[key] = _worded(value)
    return result


def _blockers(links: Any) -> Iterator[str]:
    """The keys of the issues that block this one."""
    for link in links if isinstance(links, list) else ():
        inward = link.get("inwardIssue") if isinstance(link, Mapping) else None
        kind = link.get("type") if isinstance(link, Mapping) else None
        how = str(kind.get("inward", "")) if isinstance(kind, Mapping) else ""
        if isinstance(inward, Mapping) and ("block" in how or "depend" in how):
            yield str(inward.get("key", ""))


def _worded(value: Any) -> Any:
    """What a field says: of a person, a status or the like its name, of a document its text."""
    if isinstance(value, list):
        return [_worded(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("type") == "doc":
        return _text_in(value).strip()
    name = next((value[key] for key in ("name", "displayName", "value") if value.get(key)), None)
    return value if name is None else name


def _text_in(node: Any) -> str:
    """The text of a document in Jira's format, a paragraph or an item a line."""
    if not isinstance(node, Mapping):
        return ""
    text = str(node.get("text", "")) + "".join(_text_in(item) for item in node.get("content") or ())
    ends = ("paragraph", "heading", "listItem", "codeBlock", "hardBreak", "blockquote", "tableRow")
    return text if node.get("type") not in ends else text.rstrip("\n") + "\n"


def subtasks_of(task: Mapping[str, Any]) -> list[str]:
    """The numbers of its subtasks, as other tasks name them: ``2.1``."""
    inner = task.get("subtasks")
    entries = inner if isinstance(inner, list) else ()
    return [f"{task.get('id')}.{item['id']}" for item in entries if _is_numbered(item)]


def _is_numbered(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("id"), (str, int))


def listed_in_yaml(raw: bytes) -> list[tuple[str, Mapping[str, Any]]]:
    """The same of a YAML file whose ``tasks`` are a list of mappings."""
    document = parse(raw)
    if document.problems or not isinstance(document.data, (list, Mapping)):
        return []
    return (
        listed(document.data) if "title" not in document.data and "id" not in document.data else []
    )


def stem_for(tag: str, task: Mapping[str, Any], number: int) -> str:
    """The id of one task of many: ``task-2-build-the-api``, with the tag before it if it is not the
    main one."""
    own = ids.slug(str(task.get("id", number)), 24)
    title = ids.slug(str(task.get("title", task.get("name", ""))), 48)
    parts = [ids.slug(tag, 24)] if tag not in ("", "master", "main") else []
    parts.append(own if own[:1].isalpha() else f"task-{own}")
    return "-".join([*parts, title] if title != "task" else parts)


def without_done(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task whose subtasks say, each in one line, whether they are done already."""
    result = dict(task)
    subtasks = task.get("subtasks")
    if isinstance(subtasks, list):
        result["subtasks"] = [
            _subtask(item) if isinstance(item, Mapping) else item for item in subtasks
        ]
        if not subtasks:
            del result["subtasks"]
    return result


def _subtask(item: Mapping[str, Any]) -> dict[str, Any]:
    rest = {
        key: value
        for key, value in item.items()
        if key not in ("id", "title", "status", "parentTaskId", "parentId")
    }
    head = f"{item.get('id', '')} {item.get('title', '')}".strip() or "subtask"
    status = item.get("status")
    name = f"{head} [{status}]" if status else head
    return {name: {key: value for key, value in rest.items() if value not in (None, "", [], {})}}

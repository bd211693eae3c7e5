"""Task files of other formats and programs: every word, dependency, order and shelf is kept, and nothing finished runs again."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.coordination import importing
from orchestrator.files import collections, schemas
from orchestrator.files.documents import Document
from orchestrator.files.requests import load
from orchestrator.model import dependencies, legacy, meanings
from orchestrator.model.aliases import Aliases
from orchestrator.model.status import Status


def task(body: str = "Do it.", **keys: object) -> str:
    lines = "".join(f"{key}: {value}\n" for key, value in keys.items())
    return f"---\n{lines}---\n\n{body}\n"


def put(project, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        path = project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def taken(project, task_id: str, folder: str = "inbox") -> dict:
    place = project.work / folder / f"{task_id}.yaml"
    return yaml.safe_load(place.read_text())


# -- what words mean ----------------------------------------------------------------------------------------------------

MEANT = {
    Status.INBOX: [
        "To Do",
        "TODO",
        "in progress",
        "In-Progress",
        "not_started",
        "Not Started",
        "ready-for-development",
        "readyForDev",
        "Open",
        "🚧 In Progress",
        "assigned",
        "inProgress",
        "Not done",
        "WIP (started 2025-11-02)",
    ],
    Status.HELD: [
        "Blocked",
        "on hold",
        "On-Hold",
        "deferred",
        "Backlog",
        "Draft",
        "in review",
        "blocked: waits for legal",
        "Someday",
    ],
    Status.DONE: [
        "Done",
        "DONE ✅",
        "completed",
        "Completed (2025-11-23)",
        "closed",
        "Resolved",
        "merged - PR #12",
        "✔ done",
    ],
    Status.CANCELLED: [
        "Won't Do",
        "won’t do",
        "wontfix",
        "Won't Fix",
        "cancelled",
        "Canceled",
        "obsolete",
        "superseded",
        "duplicate",
    ],
    Status.FAILED: ["failed", "Error", "timed out"],
    Status.ARCHIVE: ["Archived"],
}


@pytest.mark.parametrize(
    "word, status", [(word, status) for status, words in MEANT.items() for word in words]
)
def test_statuses(word, status):
    assert meanings.status_of(word) is status


@pytest.mark.parametrize("word", ["moonphase", "42", "", "✅", "half", "donee", "do not do"])
def test_unknown_words_are_not_guessed(word):
    assert meanings.status_of(word) is None


@pytest.mark.parametrize(
    "data, status",
    [
        ({"status": {"name": "Done"}}, Status.DONE),
        ({"status": {"value": "todo"}}, Status.INBOX),
        ({"status": ["done"]}, Status.DONE),
        ({"status": ["open", "blocked"]}, Status.INBOX),
        ({"Status": "Done"}, Status.DONE),
        ({"State": "closed"}, Status.DONE),
        ({"completed": True}, Status.DONE),
        ({"done": "yes"}, Status.DONE),
        ({"isDone": True}, Status.DONE),
        ({"completed_at": "2026-01-01"}, Status.DONE),
        ({"closedAt": "2026-01-01T10:00:00Z"}, Status.DONE),
        ({"cancelled": True}, Status.CANCELLED),
        ({"archived": True}, Status.ARCHIVE),
        ({"status": "todo", "completed_at": "2026-01-01"}, Status.INBOX),
        ({"completed": False}, Status.INBOX),
        ({"completed_at": None, "done": "no"}, Status.INBOX),
        ({"completed": 3}, Status.INBOX),
        ({"status": {"color": "red"}}, Status.INBOX),
    ],
)
def test_however_a_file_says_that_it_is_done(data, status):
    found = meanings.said(data)
    assert (meanings.status_of(found.word) if found.word else Status.INBOX) is status
    text = json.dumps({"id": "T1", "title": "x", "description": "do it", **data})
    problems = load("t.yaml", "t", text.encode(), schemas.check).errors
    assert bool(problems) == (status is not Status.INBOX)
    assert all(found.shown in problem.message for problem in problems)


def test_no_word_means_two_statuses():
    listed = [word for words in meanings._STATUSES.values() for word in words.split()]
    assert len(listed) == len(set(listed))
    assert all(meanings.plain(word) == word for word in listed)
    assert set(meanings.FOLDERS) <= {*meanings.STATUSES, "ideas", "proposals", "failures"}
    assert all(
        meanings.STATUSES.get(word, status) is status for word, status in meanings.FOLDERS.items()
    )


@pytest.mark.parametrize(
    "path, status",
    [
        ("work/inbox", Status.INBOX),
        ("work/assigned/backend-dev", Status.INBOX),
        ("work/done/2025", Status.DONE),
        ("archive/done", Status.DONE),
        ("archive/inbox", Status.ARCHIVE),
        ("done/assigned", Status.DONE),
        ("fridge/assigned/x", Status.HELD),
        ("fridge/backup/inbox", Status.HELD),
        ("backup/inbox", Status.HELD),
        ("inbox/backup-2025-11-01", Status.HELD),
        ("inbox.bak", Status.HELD),
        ("work_backup/assigned", Status.HELD),
        ("backup/done", Status.DONE),
        ("In Progress", Status.INBOX),
        ("tasks", None),
        ("qa/testing", None),
    ],
)
def test_folders(path, status):
    assert meanings.folder_of(path.split("/"))[0] is status


@given(
    st.lists(st.sampled_from(sorted({*meanings.FOLDERS, "backup", "x", "old", "team"})), max_size=5)
)
def test_what_lies_on_a_shelf_stays_there(parts):
    status, _ = meanings.folder_of(parts)
    shelved = [
        part
        for part in parts
        if meanings.FOLDERS.get(part, Status.INBOX) is not Status.INBOX or part == "backup"
    ]
    assert (status in (None, Status.INBOX)) == (not shelved)


# -- dependencies -------------------------------------------------------------------------------------------------------

KNOWN = Aliases()
for _number, (stem, own) in enumerate(
    [
        ("T1-schema", "T1"),
        ("T2-api", "T2"),
        ("003-ui", "003"),
        ("2025-11-23T0722-guide", "task-77"),
        ("back-9 - x", "BACK-9"),
        ("one-long-slug", ""),
    ]
):
    KNOWN.add(stem.replace(" - ", "-"), stem, [own] if own else [])

NEEDS = [
    ("[T1]", ["T1-schema"], 0),
    ("T1", ["T1-schema"], 0),
    ("T1, T2", ["T1-schema", "T2-api"], 0),
    ("[t1, T-2]", ["T1-schema", "T2-api"], 0),
    ("[3]", ["003-ui"], 0),
    ("['003']", ["003-ui"], 0),
    ("['#3']", ["003-ui"], 0),
    ("[task-77]", ["2025-11-23T0722-guide"], 0),
    ("[back-9]", ["back-9-x"], 0),
    ("[task-9]", ["back-9-x"], 0),
    ("[T1-schema.yaml]", ["T1-schema"], 0),
    ("[work/assigned/x/T1-schema.yaml]", ["T1-schema"], 0),
    ("['T1: the schema must exist']", ["T1-schema"], 1),
    ("['T1 (COMPLETED)']", ["T1-schema"], 0),
    ("['T1 - Schema for all']", ["T1-schema"], 1),
    ("['needs T1 and T2 first']", ["T1-schema", "T2-api"], 1),
    ("[one-long-slug]", ["one-long-slug"], 0),
    ("['after one-long-slug is merged']", ["one-long-slug"], 1),
    ("[T99]", ["T99"], 0),
    ("[2025-01-02T0303-not-here-yet]", ["2025-01-02T0303-not-here-yet"], 0),
    ("['2025-01-02T0303-gone (COMPLETED)']", [], 1),
    ("[{type: prerequisite, task_id: T1}]", ["T1-schema"], 0),
    (
        "[{type: prerequisite, description: 'T1 and 2025-11-23T0722-guide are done'}]",
        ["T1-schema", "2025-11-23T0722-guide"],
        1,
    ),
    ("[{type: prerequisite, task: 'Schema work (T1)'}]", ["T1-schema"], 1),
    ("[{type: synergy, task_id: T1}]", [], 1),
    ("[{type: related, id: T1}, {type: blocking, id: T2}]", ["T2-api"], 1),
    ("[{task_id: T1, optional: true}]", [], 1),
    ("[{task_id: T1, required: false}]", [], 1),
    ("[{T1: because of the schema}]", ["T1-schema"], 1),
    ("{required: [T1], optional: [T2]}", ["T1-schema"], 1),
    ("['synergy with T1']", [], 1),
    ("['T1 (optional)']", [], 1),
    ("['once the design is approved']", [], 1),
    ("[work/reports/2026-01-31-status.md (context)]", [], 1),
    ("[python3.11, node18, postgres15]", [], 3),
    ("[none]", [], 0),
    ("['N/A']", [], 0),
    ("[]", [], 0),
    ("None", [], 0),
    ("''", [], 0),
]


@pytest.mark.parametrize("value, needs, prose", NEEDS)
def test_dependencies(value, needs, prose):
    found, keys = dependencies.find({"dependencies": yaml.safe_load(value)}, KNOWN.find)
    assert (found.needs, len(found.prose), keys) == (needs, prose, {"dependencies"})


@pytest.mark.parametrize(
    "key", [*dependencies.KEYS, "dependsOn", "blockedBy", "depends-on", "Dependencies"]
)
def test_keys_of_dependencies(key):
    assert dependencies.find({key: ["T1"]}, KNOWN.find)[0].needs == ["T1-schema"]


def test_a_short_id_that_two_tasks_share_means_neither():
    both = Aliases()
    both.add("001-a", "001-a")
    both.add("001-b", "001-b")
    assert both.find("001") == "" and both.find("001-a") == "001-a"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_no_word_of_a_dependency_is_lost(value):
    found, _ = dependencies.find({"dependencies": value}, KNOWN.find)
    kept = " ".join([*found.needs, *found.prose]).lower()
    if not isinstance(value, (list, dict)) and value not in (None, True, False):
        text = str(value).strip()
        assert dependencies.plain(text) in {
            "",
            *map(dependencies.plain, dependencies.NOTHING),
        } or set(re.findall(r"\w+", text.lower())) <= set(
            re.findall(r"\w+", kept + " " + text.lower() if found.needs else kept)
        )


# -- the prompt ---------------------------------------------------------------------------------------------------------

plain_keys = st.from_regex(r"[a-z][a-z_]{2,14}", fullmatch=True)
values = st.recursive(
    st.from_regex(r"[a-z]{3,9}( [a-z]{3,9}){0,20}", fullmatch=True) | st.integers(0, 99999),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4)
        | st.dictionaries(plain_keys, inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
)


def words_of(value: object) -> set[str]:
    if isinstance(value, dict):
        return {
            word
            for key, inner in value.items()
            for word in re.findall(r"\w+", str(key)) + list(words_of(inner))
        }
    if isinstance(value, list):
        return {word for inner in value for word in words_of(inner)}
    return set(re.findall(r"\w+", str(value)))


@pytest.mark.process  # it takes its time
@given(st.dictionaries(plain_keys, values, min_size=1, max_size=6), st.text(max_size=40))
def test_all_text_is_in_the_prompt_but_what_keeps_books(data, body):
    data.pop("agent", None)
    made = legacy.convert(data, body)
    prompt = words_of(made.data["prompt"])
    for key, value in data.items():
        if (
            key in ("title", "name", "priority", "tags", "labels")
            or key in dependencies.KEYS + dependencies.LOOSE_KEYS
        ):
            continue
        if (
            meanings.plain(key) not in legacy.BOOKKEEPING
            or len(str(value).split()) > 3 * legacy.SHORT
        ):
            assert words_of(value) <= prompt | words_of(made.data.get("cwd", "")), key
    assert body.strip() in made.data["prompt"]
    if made.data["prompt"].strip():
        assert not schemas.check("task", Document(""), dict(made.data))


def test_a_book_that_says_much_is_read_as_well():
    data = {"id": "x", "milestone": "word " * 40 + "end", "status": "new", "description": "d"}
    assert "end" in legacy.convert(data).data["prompt"]


# -- the verb -----------------------------------------------------------------------------------------------------------


def test_short_ids_and_statuses(project):
    put(
        project,
        {
            "old/T1-schema.md": task(id="T1", title="Schema", status="pending", dependencies="[]"),
            "old/T2-api.md": task(id="T2", title="API", status="To Do", dependencies="[T1]"),
            "old/003-ui.md": task(
                id='"003"', title="UI", status="In Progress", dependencies='[T2, "T1"]'
            ),
            "old/004-no.md": task(id="4", title="No", status='"Won\'t Do"'),
            "old/005-what.md": task(id="5", title="What", status="moonphase"),
        },
    )
    out = project.run("import", "old").stdout
    assert taken(project, "T2-api")["needs"] == ["T1-schema"]
    assert taken(project, "003-ui")["needs"] == ["T2-api", "T1-schema"]
    assert (project.work / "cancelled" / "004-no.md").exists()
    assert (
        project.work / "held" / "005-what.yaml"
    ).exists() and "'moonphase' is unknown: it is held" in out


def test_nothing_finished_or_shelved_becomes_work(project):
    put(
        project,
        {
            "w/inbox/a.yaml": "id: a1\ntitle: A\nstatus: done\ndescription: x\n",
            "w/backup/inbox/b.yaml": "id: b1\ntitle: B\nstatus: assigned\ndescription: x\n",
            "w/fridge/assigned/c.yaml": "id: c1\ntitle: C\nstatus: assigned\ndescription: x\n",
            "w/assigned/d-copy.yaml": "id: d1\ntitle: D\nstatus: assigned\ndescription: x\n",
            "w/done/d.yaml": "id: d1\ntitle: D\nstatus: done\ndescription: x\n",
            "w/assigned/e.yaml": "id: e1\ntitle: E\nstatus: blocked\ndescription: x\n",
            "w/assigned/f.yaml": "id: f1\ntitle: F\nstatus: new\ndescription: x\n",
            "w/assigned/f-2.yaml": "id: f1\ntitle: F\nstatus: new\ndescription: x\n",
        },
    )
    out = project.run("import", "w").stdout
    assert [path.name for path in sorted((project.work / "inbox").glob("*.y*ml"))] == [
        "f-2.yaml"
    ] or [path.name for path in sorted((project.work / "inbox").glob("*.y*ml"))] == ["f.yaml"]
    assert {path.name for path in (project.work / "done").glob("*.yaml")} == {"a.yaml", "d.yaml"}
    assert "it is not run again" in out and "it has the id of w/done/d.yaml" in out


def test_finished_files_need_not_be_valid(project):
    put(
        project,
        {
            "w/done/broken.yaml": b"a: [\n",
            "w/done/latin.yaml": "title: caf\xe9\n".encode("latin-1"),
            "w/inbox/bad.yaml": b"a: [\n",
        },
    )
    project.run("import", "w", code=4)
    assert (project.work / "done" / "broken.yaml").read_bytes() == b"a: [\n"
    assert (project.work / "done" / "latin.yaml").read_bytes() == "title: caf\xe9\n".encode(
        "latin-1"
    )
    assert not (project.work / "inbox" / "bad.yaml").exists()
    project.run("list")
    project.run("show", "broken")
    project.run("status")


def test_taskmaster(project):
    tasks = [
        {
            "id": 1,
            "title": "Set up",
            "description": "d",
            "status": "done",
            "dependencies": [],
            "priority": "high",
        },
        {
            "id": 2,
            "title": "Build",
            "description": "the thing",
            "details": "with care",
            "testStrategy": "by hand",
            "status": "pending",
            "dependencies": [1],
            "priority": "medium",
            "subtasks": [
                {"id": 1, "title": "Walls", "status": "done", "description": "of brick"},
                {"id": 2, "title": "Roof", "status": "pending", "dependencies": [1]},
            ],
        },
        {
            "id": 10,
            "title": "Paint",
            "description": "it",
            "status": "deferred",
            "dependencies": [2],
        },
    ]
    other = [
        {"id": 1, "title": "Other", "description": "o", "status": "pending", "dependencies": []},
        {"id": 2, "title": "Next", "description": "n", "status": "pending", "dependencies": [1]},
    ]
    put(
        project,
        {
            "tasks.json": json.dumps(
                {"master": {"tasks": tasks, "metadata": {}}, "feature": {"tasks": other}}
            )
        },
    )
    project.run("import", "tasks.json")
    build = taken(project, "task-2-build")
    assert build["needs"] == ["task-1-set-up"] and build["priority"] == "normal"
    assert all(
        word in build["prompt"]
        for word in (
            "the thing",
            "with care",
            "by hand",
            "Walls [done]",
            "of brick",
            "Roof [pending]",
        )
    )
    assert (project.work / "done" / "task-1-set-up.yaml").exists()
    assert taken(project, "task-10-paint", "held")["needs"] == ["task-2-build"]
    assert taken(project, "feature-task-2-next")["needs"] == ["feature-task-1-other"]


@pytest.mark.parametrize(
    "data, count",
    [
        ({"tasks": [{"id": 1, "title": "a"}]}, 1),
        ([{"id": 1}, {"title": "b"}], 2),
        ({"userStories": [{"id": "US-1", "title": "a"}]}, 1),
        ({"a": {"tasks": [{"id": 1}]}, "b": {"tasks": [{"id": 1}]}}, 2),
        ({"number": 12, "title": "a", "body": "b", "state": "OPEN"}, 1),
        ([{"number": 12, "title": "a"}, {"key": "ACME-1", "fields": {"summary": "b"}}], 2),
        ({"issues": [{"iid": 4, "title": "a"}]}, 1),
        ({"name": "x", "scripts": {"a": "b"}}, 0),
        ({"title": "Config", "description": "of x", "type": "object"}, 0),
        ([1, 2], 0),
        ("x", 0),
        (None, 0),
    ],
)
def test_files_of_many_tasks(data, count):
    assert len(collections.listed(data)) == count


def test_issues_keep_the_numbers_of_their_tracker(project):
    issues = [
        {"number": 12, "title": "Login fails", "body": "fix it", "state": "OPEN"},
        {"number": 7, "title": "Old", "body": "gone", "state": "CLOSED"},
    ]
    put(
        project,
        {"all.json": json.dumps(issues), "one.json": json.dumps({**issues[0], "number": 3})},
    )
    project.run("import", "all.json", "one.json")
    assert "fix it" in taken(project, "task-12-login-fails")["prompt"]
    assert "fix it" in taken(project, "task-3-login-fails")["prompt"]
    assert (project.work / "done" / "task-7-old.yaml").exists()


JIRA = {
    "key": "ACME-12",
    "self": "https://jira.example/12",
    "fields": {
        "summary": "Login fails",
        "description": {
            "type": "doc",
            "content": [
                {
                    "type": "paragraph",
                    "content": [{"type": "text", "text": "It fails for long names."}],
                },
                {
                    "type": "bulletList",
                    "content": [
                        {
                            "type": "listItem",
                            "content": [
                                {
                                    "type": "paragraph",
                                    "content": [{"type": "text", "text": "on Safari"}],
                                }
                            ],
                        }
                    ],
                },
            ],
        },
        "status": {"name": "In Progress", "id": "3"},
        "priority": {"name": "High"},
        "labels": ["web"],
        "assignee": None,
        "customfield_1": "as a guest, too",
        "issuelinks": [
            {"type": {"inward": "is blocked by"}, "inwardIssue": {"key": "ACME-11"}},
            {"type": {"inward": "is blocked by"}, "outwardIssue": {"key": "ACME-13"}},
            {"type": {"inward": "relates to"}, "inwardIssue": {"key": "ACME-14"}},
        ],
    },
}


@pytest.mark.parametrize("alone", [True, False])
def test_issues_of_jira(project, alone):
    before = {"key": "ACME-11", "fields": {"summary": "Names", "status": {"name": "Done"}}}
    if alone:
        put(project, {"a.json": json.dumps(JIRA), "b.json": json.dumps(before)})
    else:
        put(project, {"a.json": json.dumps({"issues": [JIRA, before], "total": 2})})
    project.run("import", *(["a.json", "b.json"] if alone else ["a.json"]))
    task = taken(project, "acme-12-login-fails")
    assert task["needs"] == ["acme-11-names"] and task["priority"] == "high"
    assert task["labels"] == ["web"] and task["title"] == "Login fails"
    for words in ("It fails for long names.\n", "on Safari", "as a guest, too"):
        assert words in task["prompt"]
    assert (project.work / "done/acme-11-names.yaml").exists()


def test_who_needs_a_subtask_needs_its_task(project):
    tasks = [
        {"id": 2, "title": "Build", "status": "pending", "subtasks": [{"id": 1, "title": "Walls"}]},
        {"id": 3, "title": "Paint", "status": "pending", "dependencies": ["2.1"]},
    ]
    other = [{**tasks[0], "title": "Other"}, {**tasks[1], "title": "Next"}]
    put(project, {"t.json": json.dumps({"master": {"tasks": tasks}, "x": {"tasks": other}})})
    project.run("import", "t.json")
    assert taken(project, "task-3-paint")["needs"] == ["task-2-build"]
    assert taken(project, "x-task-3-next")["needs"] == ["x-task-2-other"]


def test_a_checklist_is_one_task_and_says_so(project):
    put(
        project,
        {
            "TODO.md": "# TODO\n\n- [ ] Fix it\n- [x] Ship it\n  * [ ] Write\n",
            "gone.md": "- [x] Ship it\n1. [X] Write\n",
            "one.md": "Do it.\n\n- [ ] it works\n",
        },
    )
    said = project.run("import", "TODO.md", "gone.md", "one.md").stdout
    assert "its 3 boxes, 1 of them checked, are one task" in said and said.count("boxes") == 2
    assert "- [ ] Fix it" in taken(project, "TODO")["prompt"]
    assert (project.work / "held/gone.yaml").exists() and (project.work / "inbox/one.yaml").exists()


def test_a_slip_of_the_pen_is_told_and_the_task_held(project):
    """Read as another program's, ``hodl: true`` was a word to the agent of a task that ran."""
    put(
        project,
        {
            "a.yaml": "agent: demo\nprompt: x\ntimeut: 5m\n",
            "b.md": "---\nhodl: true\n---\nDo it\n",
            "c.yaml": "prompt: x\ndescription: y\ntimeout: 5 parsecs\nretries: 99\n",
            "d.yaml": "title: x\nstatus: pending\ndescription: y\ntags: [a]\nreviewers: me\n",
        },
    )
    said = project.run("import", "a.yaml", "b.md", "c.yaml", "d.yaml").stdout
    for words in (
        "line 3: unknown key 'timeut' - did you mean 'timeout'?",
        "line 2: unknown key 'hodl' - did you mean 'hold'?",
        "timeout: 5 parsecs does not fit: it bounds nothing",
        "retries: 99 does not fit: it bounds nothing",
    ):
        assert words in said, said
    assert said.count("what is misspelt is text for its agent: it is held") == 2
    assert sorted(path.name for path in (project.work / "held").glob("*.yaml")) == [
        "a.yaml",
        "b.yaml",
    ]
    assert sorted(path.name for path in (project.work / "inbox").glob("*.yaml")) == [
        "c.yaml",
        "d.yaml",
    ]


def test_plain_markdown_is_a_prompt(project):
    put(
        project,
        {
            "p/P0001-fix.md": "# Fix the login\n\nIt fails for long names.\n",
            "p/P0002.md": "Just do it.\n",
            "p/README.md": "# About\n",
            "p/empty.md": "\n",
        },
    )
    project.run("import", "p", code=None)
    assert taken(project, "P0001-fix") == {
        "title": "Fix the login",
        "prompt": "# Fix the login\n\nIt fails for long names.\n",
    }
    assert "Just do it." in taken(project, "P0002")["prompt"]
    assert len(list((project.work / "inbox").glob("*.yaml"))) == 2


def test_backlog_md(project):
    put(
        project,
        {
            "backlog/config.yml": "project_name: x\n",
            "backlog/tasks/back-1 - Set up (now).md": task(
                "## Description\n\nwords",
                id="BACK-1",
                title="Set up",
                status="To Do",
                assignee="[]",
                dependencies="[]",
            ),
            "backlog/tasks/back-2 - Go.md": task(
                id="BACK-2",
                title="Go",
                status="To Do",
                assignee="@claude",
                dependencies="\n  - task-1",
                labels="[a]",
            ),
            "backlog/completed/back-3 - Done.md": task(id="BACK-3", title="Done", status="Done"),
            "backlog/drafts/draft-1 - Idea.md": task(id="DRAFT-1", title="Idea", status="Draft"),
            "backlog/archive/tasks/back-4 - Old.md": task(id="BACK-4", title="Old", status="To Do"),
            "backlog/docs/doc-1 - Guide.md": task(id="doc-1", title="Guide", type="guide"),
            "backlog/decisions/d.md": task(id="d", title="D", status="proposed"),
        },
    )
    out = project.run("import", "backlog").stdout
    assert taken(project, "back-2-go")["needs"] == ["back-1-set-up-now"]
    assert "words" in taken(project, "back-1-set-up-now")["prompt"]
    assert (project.work / "held" / "draft-1-idea.yaml").exists()
    assert (project.work / "done" / "back-3-done.md").exists() and (
        project.work / "archive" / "back-4-old.md"
    ).exists()
    assert out.count("Backlog.md keeps no tasks there") == 3


def test_a_dropped_file_that_is_done_is_not_run_and_names_count(project, watch):
    project.drop("old.yaml", "id: T7\ntitle: Old\nstatus: Done\ndescription: x\n")
    project.drop("b.yaml", "id: T9\ntitle: B\nstatus: new\ndescription: x\ndependencies: [T8]\n")
    project.drop("a.yaml", "id: T8\ntitle: A\nstatus: new\ndescription: x\n")
    watch()
    project.until("b", "done")
    assert project.where("a") == "done" and project.where("old") == "inbox"
    note = (project.work / "inbox" / "old.error.md").read_text()
    assert "it says 'status: Done', so it is done, not to do" in note
    ends = [event["task_id"] for event in project.events("task_finished")]
    assert ends == ["a", "b"]


def test_numbers_in_names_are_counted_as_people_count(project):
    put(project, {f"p/{number}-x.md": f"# Task {number}\n\nx\n" for number in (10, 9, 1, 100)})
    out = project.run("import", "p").stdout
    assert re.findall(r"p/(\d+)-x", out) == ["1", "9", "10", "100"]


def test_folders_that_programs_fill_are_named_once(tmp_path):
    inside = {"node_modules/p/a.md", "env/lib/a.md", "target/a.json", "__pycache__/a.md"}
    marks = {"env/pyvenv.cfg", "target/CACHEDIR.TAG"}
    for name in inside | marks | {".git/a.md", ".hg/a.md", ".taskmaster/tasks/tasks.json", "a.md"}:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")
    found = [path for path, _ in importing.files((str(tmp_path),))]
    made = {str(tmp_path / name) for name in ("node_modules", "env", "target", "__pycache__")}
    assert set(found) == made | {
        str(tmp_path / name) for name in ("a.md", ".taskmaster/tasks/tasks.json")
    }
    fates = [fate for path in made for fate in importing.sources(path, str(tmp_path))]
    assert {fate.what for fate in fates} == {"skipped"}
    assert [path for path, _ in importing.files((str(tmp_path / "node_modules"),))] == [
        str(tmp_path / "node_modules/p/a.md")
    ]


def test_an_empty_folder(project):
    (project.root / "old").mkdir()
    assert "there is nothing to import" in project.run("import", "old").stderr

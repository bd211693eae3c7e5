"""The schemas in a real editor's hands: yaml-language-server over standard input and output."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from queue import Queue

import pytest
from conftest import PATIENCE, ROOT

SERVER = ROOT / ".test-editors/node_modules/.bin/yaml-language-server"
pytestmark = pytest.mark.skipif(
    not SERVER.exists(), reason="there is no yaml-language-server: ./scripts/setup-editors"
)
FOLDERS = ["inbox", "held", "running", "review", "done", "failed", "cancelled", "archive"]
MODELINE = "# yaml-language-server: $schema=../schemas/task.schema.json\n"
SETTINGS = {
    "yaml": {
        "validate": True,
        "hover": True,
        "completion": True,
        "schemaStore": {"enable": False},
        "format": {"enable": False},
    }
}


class Editor:
    """As much of an editor as is needed: it opens files, and asks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process = subprocess.Popen(
            [str(SERVER), "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=root,
        )
        self.answers: dict[int, Queue] = {}
        self.found: dict[str, Queue] = {}
        self.number = 0
        self.lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()
        self.ask(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": root.as_uri(),
                "capabilities": {
                    "workspace": {"configuration": True, "didChangeConfiguration": {}},
                    "textDocument": {
                        "completion": {"completionItem": {"snippetSupport": True}},
                        "hover": {},
                        "publishDiagnostics": {},
                    },
                },
            },
        )
        self.say("initialized", {})
        self.say("workspace/didChangeConfiguration", {"settings": SETTINGS})

    def _listen(self) -> None:
        out = self.process.stdout
        while True:
            size = 0
            while line := out.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            if not size:
                return
            message = json.loads(out.read(size))
            if "method" in message and "id" in message:  # it asks us, for its settings
                items = message.get("params", {}).get("items", [])
                self._send(
                    {
                        "id": message["id"],
                        "result": [SETTINGS.get(item.get("section"), {}) for item in items],
                    }
                )
            elif message.get("method") == "textDocument/publishDiagnostics":
                params = message["params"]
                self.found.setdefault(params["uri"], Queue()).put(params["diagnostics"])
            elif "id" in message:
                self.answers[message["id"]].put(message.get("result"))

    def _send(self, body: dict) -> None:
        data = json.dumps({"jsonrpc": "2.0", **body}).encode()
        with self.lock:
            self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
            self.process.stdin.flush()

    def say(self, method: str, params: dict) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: dict):
        self.number += 1
        queue = self.answers[self.number] = Queue()
        self._send({"id": self.number, "method": method, "params": params})
        return queue.get(timeout=PATIENCE)

    def open(self, path: Path, text: str) -> str:
        uri = path.as_uri()
        self.found.setdefault(uri, Queue())
        self.say(
            "textDocument/didOpen",
            {"textDocument": {"uri": uri, "languageId": "yaml", "version": 1, "text": text}},
        )
        return uri

    def problems(self, uri: str) -> list[dict]:
        """The diagnostics of a file that was opened just now."""
        return self.found[uri].get(timeout=PATIENCE)

    def at(self, method: str, uri: str, line: int, character: int):
        return self.ask(
            f"textDocument/{method}",
            {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}},
        )

    def labels(self, uri: str, line: int, character: int) -> dict[str, dict]:
        answer = self.at("completion", uri, line, character)
        return {
            item["label"]: item
            for item in (answer["items"] if isinstance(answer, dict) else answer)
        }

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    from conftest import Project

    root = tmp_path_factory.mktemp("editor") / "acme-api"
    root.mkdir()
    Project(root).run("init")
    made = Editor(root)
    yield made
    made.close()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_modeline_holds_in_every_folder(editor, folder):
    """Diagnostics, hover and completion find the schema by the same relative path wherever the file lies."""
    path = editor.root / "work" / folder / "a.yaml"
    uri = editor.open(path, MODELINE + "promt: x\ntimeout: 10 minutes\npriority: hihg\n\n")
    messages = {1: "", 2: "", 3: ""}
    for problem in editor.problems(uri):
        messages[problem["range"]["start"]["line"]] += problem["message"]
    assert (
        "promt" in messages[1]
        and "not a duration above zero; write 90s, 15m or 2h" in messages[2]
        and "high" in messages[3]
    ), messages
    hover = editor.at("hover", uri, 2, 2)["contents"]
    assert (
        "time limit" in json.dumps(hover).lower() or "one attempt" in json.dumps(hover).lower()
    ), hover
    assert {"prompt", "agent", "needs", "mode"} <= set(editor.labels(uri, 4, 0))


def test_values_and_snippets_are_offered(editor):
    uri = editor.open(
        editor.root / "work/inbox/values.yaml", MODELINE + "prompt: x\npriority: \nmode: \n"
    )
    assert editor.problems(uri) is not None
    assert {"high", "normal", "low"} <= set(editor.labels(uri, 2, 10))
    assert {"batch", "interactive"} <= set(editor.labels(uri, 3, 6))
    uri = editor.open(editor.root / "work/inbox/new.yaml", MODELINE)
    snippet = editor.labels(uri, 1, 0)["task"]
    assert "prompt: |" in (
        snippet.get("insertText") or snippet["textEdit"]["newText"]
    ) and "${" in (snippet.get("insertText") or snippet["textEdit"]["newText"])


@pytest.mark.parametrize(
    "kind,text,line",
    [
        ("run", "tasks:\n  a: {prompt: x, nedes: [b]}\n", 2),
        ("config", "limits:\n  runing: 3\n", 2),
        ("tool", "argv: [x]\nprompt: stdn\n", 2),
    ],
)
def test_the_other_files_too(editor, kind, text, line):
    """Completion in orchestrator.yaml, and a wrong key in each kind of file."""
    place = {"run": "inbox/r.yaml", "config": "other.yaml", "tool": "tools/t.yaml"}[kind]
    schema = f"{'../' * (place.count('/'))}schemas/{kind}.schema.json"
    uri = editor.open(
        editor.root / "work" / place, f"# yaml-language-server: $schema={schema}\n{text}"
    )
    problems = editor.problems(uri)
    assert [problem["range"]["start"]["line"] for problem in problems] == [line], problems


def test_what_init_and_new_write_is_without_a_problem(editor):
    from conftest import Project

    project = Project(editor.root)
    path = (
        editor.root
        / project.run(
            "new", "Say hello", "--id", "hello", "-a", "demo", "-p", "high"
        ).stdout.strip()
    )
    for name in (path, editor.root / "work/orchestrator.yaml"):
        assert editor.problems(editor.open(name, name.read_text())) == [], name


def test_a_snippet_can_be_filled_in(editor):
    """The text that a snippet leaves, its places filled in, is a valid task."""
    uri = editor.open(editor.root / "work/inbox/filled.yaml", MODELINE)
    item = editor.labels(uri, 1, 0)["task"]
    text = (
        (item.get("insertText") or item["textEdit"]["newText"])
        .replace("${1:demo}", "demo")
        .replace("$2", "Say hello")
    )
    from conftest import Project

    (editor.root / "work/inbox/filled.yaml").write_text(MODELINE + text + "\n")
    assert Project(editor.root).run("validate", "work/inbox/filled.yaml").returncode == 0

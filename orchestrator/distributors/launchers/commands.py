"""Engines that have commands: ``submit``, ``status`` and ``cancel`` as argument lists, without a
shell here.

No word of a task is in them: what is filled in are the dispatch, the job, the worker's own command
and what the configuration says.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field

from orchestrator import waiting
from orchestrator.distributors.launchers.base import (
    Refuses,
    Seen,
    Start,
    holes,
    job_from,
    placed,
)
from orchestrator.errors import Unusable
from orchestrator.files import opening
from orchestrator.files.text import lines_of
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.store import owned

PATIENCE = 60.0  # seconds for one command
PRINTED_MOST = 1 << 20  # bytes that one may print
LOG_MOST, LINES = 1 << 20, 3  # bytes of a log that are read, lines that are told
TOLD = 2000  # characters of what a command said
PARTS = ("submit", "status", "cancel", "clean")
WORDS, LABELS = "{words}", "{labels}"  # these stand for any number of arguments
KNOWN = frozenset(("worker", "name", "dispatch", "job", "log"))
_WORD = regex(r"[A-Za-z][A-Za-z_-]*")
# Over there a login shell: it knows the PATH and the broker's address that the person who logs in
# has.
_REMOTE = (
    "mkdir -p .orchestrator-jobs && { nohup setsid sh -lc 'exec \"$@\"' sh {worker}"
    " > .orchestrator-jobs/{name}.log 2>&1 < /dev/null & } && echo $!"
)
_OURS = "ps -p {job} -o args= | grep -q {dispatch}"  # the number may be another process's by now
_ENVIRONMENT = (
    '{"spec":{"containers":[{"name":"{name}","envFrom":'
    '[{"secretRef":{"name":"orchestrator","optional":true}}]}]}}'
)
_SSH = ("ssh", "-o", "BatchMode=yes", "{host}")
PRESETS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "slurm": {
        "submit": (
            *("sbatch", "--parsable", "--job-name={name}", "--output={log}", LABELS),
            *("--wrap", "exec {worker}"),
        ),
        "status": ("squeue", "--noheader", "--states=all", "--format=%T", "--jobs={job}"),
        "cancel": ("scancel", "{job}"),
    },
    "ssh": {
        "submit": (*_SSH, _REMOTE),
        "status": (
            *_SSH,
            f"if {_OURS}; then echo running; else echo ended; tail -n 3 .orchestrator-jobs/{{name}}.log; fi",
        ),
        "cancel": (*_SSH, f"{_OURS} && kill -TERM {{job}}; true"),
    },
    "kubernetes": {
        "submit": (
            *("kubectl", "run", "{name}", "--image={image}", "--restart=Never"),
            *("--override-type=strategic", f"--overrides={_ENVIRONMENT}", LABELS),
            *("--command", "--", WORDS),
        ),
        "status": (
            *("kubectl", "get", "pod", "{name}", "--ignore-not-found"),
            *("-o", "jsonpath={.status.phase}"),
        ),
        "cancel": ("kubectl", "delete", "pod", "{name}", "--ignore-not-found", "--wait=false"),
        "clean": ("kubectl", "delete", "pod", "{name}", "--ignore-not-found", "--wait=false"),
    },
    "dagu": {
        "submit": ("dagu", "enqueue", "--quiet", "--run-id={name}", "{dag}", "--", 'WORKER="{worker}"'),
        "status": ("dagu", "status", "--run-id={name}", "{dag}"),
        "cancel": ("dagu", "stop", "--run-id={name}", "{dag}"),
    },
}  # fmt: skip
NEEDS = {"ssh": ("host",), "kubernetes": ("image",), "dagu": ("dag",)}


@dataclass(frozen=True, slots=True)
class Commands:
    """``argv`` has the commands by `PARTS`, ``given`` what the configuration fills in, ``labels``
    the arguments for each label, ``log`` a folder for what workers say that never got as far as the
    broker (empty: nowhere), ``hidden`` the variable with the broker's address."""

    argv: Mapping[str, Sequence[str]]
    given: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    log: str = ""
    hidden: str = ""

    async def submit(self, start: Start) -> str:
        missing = [label for label in start.labels if label not in self.labels]
        if missing:
            raise Refuses(f"it has no label '{missing[0]}' (labels: in its settings)")
        said = await self._ask("submit", "", start)
        return job_from(said) or start.name

    async def status(self, job: str, start: Start) -> Seen:
        if not self.argv.get("status") or (not job and "job" in self._holes("status")):
            return Seen("")
        try:
            said = await self._ask("status", job, start)
        except Refuses as error:
            return Seen("", error.message)
        word = _WORD.match(said.strip())
        more = " ".join(said.split("\n")[1:]).strip() if word else said.strip()
        seen = Seen(word[0] if word else "", more[:TOLD])
        if seen.over and not more and self.log:
            return Seen(seen.word, await asyncio.to_thread(_tail, self._log(start)))
        return seen

    async def cancel(self, job: str, start: Start) -> None:
        await self._also("cancel", job, start)

    async def clean(self, job: str, start: Start) -> None:
        await self._also("clean", job, start)

    async def _also(self, part: str, job: str, start: Start) -> None:
        if self.argv.get(part) and (job or "job" not in self._holes(part)):
            await self._ask(part, job, start)

    def _log(self, start: Start) -> str:
        return f"{self.log}/{start.name}.log"

    def _holes(self, part: str) -> list[str]:
        return [name for word in self.argv[part] for name in holes(word)]

    async def _ask(self, part: str, job: str, start: Start) -> str:
        """What a command prints.  Raises `Refuses`."""
        return await run(self.filled(part, job, start), hidden=self.hidden)

    def filled(self, part: str, job: str, start: Start) -> list[str]:
        """The arguments of a command."""
        log = self._log(start) if self.log else "/dev/null"
        values = dict(self.given) | {
            "worker": start.line, "name": start.name, "dispatch": start.dispatch, "job": job, "log": log,
        }  # fmt: skip
        argv: list[str] = []
        for word in self.argv[part]:
            if word == WORDS:
                argv += start.words
            elif word == LABELS:
                argv += [item for label in start.labels for item in self.labels[label]]
            else:
                argv.append(placed(word, values))
        return argv


def _tail(path: str) -> str:
    """The last words of a worker that never got as far as the broker."""
    try:
        lines = lines_of(opening.read_bytes(path, LOG_MOST).decode("utf-8", "replace"))
    except OSError:
        return ""
    return " ".join(line.strip() for line in lines[-LINES:])[:TOLD]


async def run(argv: Sequence[str], patience: float = PATIENCE, hidden: str = "") -> str:
    """What a command prints, whatever it leaves running; it does not get the variable ``hidden``.
    Raises `Refuses` if it fails, is not there, takes too long or prints too much."""
    name = os.path.basename(argv[0])
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={key: value for key, value in os.environ.items() if key != hidden},
        )
    except OSError as error:
        raise Refuses(f"{name}: {error.strerror}") from None
    owned.know(process.pid)
    assert process.stdout is not None and process.stderr is not None
    reading = asyncio.gather(_some(process.stdout, process), _some(process.stderr, process))
    try:
        out, err = await waiting.within(patience, reading)
        await process.wait()
    except TimeoutError:
        raise Refuses(f"{name} takes longer than {patience:.0f} s") from None
    finally:
        if process.returncode is None:
            _kill(process)
            await process.wait()
    if max(len(out), len(err)) > PRINTED_MOST:
        raise Refuses(f"{name} prints more than {PRINTED_MOST >> 20} MiB")
    if process.returncode:
        said = (err or out).decode("utf-8", "replace").strip()[-TOLD:]
        raise Refuses(f"{name} ended with {process.returncode}: {said}")
    return out.decode("utf-8", "replace")


async def _some(stream: asyncio.StreamReader, process: asyncio.subprocess.Process) -> bytes:
    """All that it prints. Who prints too much to keep is ended, and its pipe read empty: the loop
    waits for that."""
    data = b""
    while part := await stream.read(1 << 16):
        if len(data) <= PRINTED_MOST:
            data += part
        else:
            _kill(process)
    return data


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def commands_from(
    at: str,
    preset: str,
    argv: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
    labels: Mapping[str, Sequence[str]],
    log: str,
    hidden: str = "",
) -> Commands:
    """The launcher that a configuration means; ``at`` is where it is.  Raises `Unusable`."""
    whole = {**PRESETS.get(preset, {}), **argv}
    if not whole.get("submit"):
        raise Unusable(
            f"{at}: a launcher needs submit, or a preset", f"preset: {', '.join(PRESETS)}, kestra"
        )
    for name in NEEDS.get(preset, ()):
        used = any(f"{{{name}}}" in word for words in whole.values() for word in words)
        if used and not given.get(name):
            raise Unusable(f"{at}: the preset {preset} needs {name}", f"{name}: ...")
    for part, words in whole.items():
        for word in words:
            unknown = set(holes(word)) - KNOWN - given.keys() - {"words", "labels"}
            if word not in (WORDS, LABELS):
                unknown |= {"words", "labels"} & set(holes(word))
            if unknown:
                name = min(unknown)
                raise Unusable(
                    f"{at}.{part}: unknown placeholder {{{name}}}",
                    "{worker}, {words}, {name}, {dispatch}, {job}, {log}, {labels}; {words} and"
                    " {labels} stand alone",
                )
    return Commands(whole, given, labels, log, hidden)

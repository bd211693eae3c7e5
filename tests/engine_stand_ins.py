"""Stand-ins for engines that start workers: they start real processes, and behave as the real ones were seen to.

``Slurm`` is a folder with ``sbatch``, ``squeue`` and ``scancel``, ``Ssh`` one with ``ssh``, ``Pods`` one with ``kubectl``; `KestraServer` speaks HTTP.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_ENGINE = """#!{python}
import json, os, signal, subprocess, sys, time
home, name, args = {home!r}, os.path.basename(sys.argv[0]), sys.argv[1:]
with open(home + "/calls", "a") as file:
    file.write(json.dumps([name, *args]) + "\\n")
def path(job): return home + "/jobs/" + job
def begin(job, argv, log="/dev/null", user={far!r}):
    os.makedirs(os.path.dirname(log), exist_ok=True)
    os.makedirs(user, exist_ok=True)
    env = {{**os.environ, "HOME": user}}
    env.pop("XDG_STATE_HOME", None)
    # Who sees it end writes down how; whoever asks reads that.
    note = 'echo RUNNING $$ > "$0"; "$@"; echo ENDED $? > "$0"'
    with open(log, "ab") as file:
        return subprocess.Popen(["sh", "-c", note, path(job), *argv], env=env, stdin=subprocess.DEVNULL,
            stdout=file, stderr=file, start_new_session=True)
def state(job):
    try: return open(path(job)).read().split()
    except OSError: return []
def end(job):
    known = state(job)
    if known[:1] == ["RUNNING"]:
        os.killpg(int(known[1]), signal.SIGTERM)
mode = open(home + "/mode").read().strip()
if mode.startswith("refuse"):
    sys.exit(mode)
"""
_SLURM = """
option = dict(word[2:].partition("=")[::2] for word in args if word.startswith("--") and "=" in word)
if name == "sbatch":
    job = str(100 + len(os.listdir(home + "/jobs")))
    line = args[args.index("--wrap") + 1]
    log = option["output"].replace("%j", job)
    if mode == "fail":
        open(log, "w").write("no such account\\n")
        open(path(job), "w").write("ENDED 1")
    elif mode == "hold":
        open(path(job), "w").write("PENDING")
    else:
        begin(job, ["sh", "-c", line], log)
        if mode == "twice":  # and on another machine
            begin(job, ["sh", "-c", line], log, {far!r} + "-2")
    print(job + ";cluster")
elif name == "squeue":
    known = state(option["jobs"])
    if not known: sys.exit("slurm_load_jobs error: Invalid job id specified")
    print({{"ENDED 0": "COMPLETED"}}.get(" ".join(known), {{"ENDED": "FAILED"}}.get(known[0], known[0])))
elif name == "scancel":
    end(args[0])
    if state(args[0]) == ["PENDING"]: open(path(args[0]), "w").write("ENDED cancelled")
"""
_SSH = """
line = args[-1]
assert args[:-1] == ["-o", "BatchMode=yes", "gpu1"], args
env = {{**os.environ, "HOME": {far!r}}}
env.pop("XDG_STATE_HOME", None)
sys.exit(subprocess.run(["sh", "-c", line], cwd={far!r}, env=env).returncode)
"""
_PODS = """
if args[0] == "run":
    job, argv = args[1], args[args.index("--") + 1:]
    overrides = [word for word in args if word.startswith("--overrides=")]
    json.loads(overrides[0].partition("=")[2])
    if state(job): sys.exit("Error from server (AlreadyExists): pods already exists")
    open(path(job), "w").write("PENDING")
    begin(job, argv, home + "/pod.log")
    print("pod/" + job + " created")
elif args[:2] == ["get", "pod"]:
    known = state(args[2])
    phase = {{"ENDED 0": "Succeeded", "PENDING": "Pending"}}.get(" ".join(known), "Running" if known[:1] == ["RUNNING"] else "Failed")
    if known: print(phase, end="")
elif args[:2] == ["delete", "pod"]:
    end(args[2])
    if state(args[2]): os.unlink(path(args[2]))
"""
KINDS = {
    "slurm": (("sbatch", "squeue", "scancel"), _SLURM),
    "ssh": (("ssh",), _SSH),
    "kubernetes": (("kubectl",), _PODS),
}


class Engine:
    """Programs of an engine in ``bin``; ``mode`` is how it behaves: well, ``twice``, ``hold``, ``fail``, or ``refuse`` and words."""

    def __init__(self, kind: str, folder: Path, far: Path) -> None:
        self.home, self.bin = folder, folder / "bin"
        self.bin.mkdir(parents=True)
        (folder / "jobs").mkdir()
        self.mode("well")
        names, text = KINDS[kind]
        values = {"python": sys.executable, "home": str(folder), "far": str(far)}
        for name in names:
            program = self.bin / name
            program.write_text((_ENGINE + text).format(**values))
            program.chmod(0o755)

    def mode(self, mode: str) -> None:
        (self.home / "mode.new").write_text(mode)
        (self.home / "mode.new").rename(self.home / "mode")

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of each call of a program so far."""
        path = self.home / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [words[1:] for line in lines if (words := json.loads(line))[0] == name]

    def worker(self, job: str) -> int:
        """The process group of a job."""
        return int((self.home / "jobs" / job).read_text().split()[1])


class KestraServer:
    """As Kestra 0.20.7 was seen to be.

    A flow that is there is refused with 422.  A second start with the same label is accepted.  A kill says KILLED at once and the
    program lives on (`obeys` is whether it is signalled at all).  Any line on stderr makes WARNING; a run that failed has no outputs.  When its own worker dies (`restart`) it
    starts the task again under the same id.
    """

    def __init__(self, far: Path, env: dict[str, str]) -> None:
        self.flows: dict[str, str] = {}
        self.executions: dict[str, dict] = {}
        self.starts: list[str] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.lose_answers = 0  # of so many starts, which are done all the same
        self.env = {**env, "HOME": str(far)}
        self.env.pop("XDG_STATE_HOME", None)
        self.auth: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words: object) -> None:
                """Quiet."""

            def _all(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                outer.auth.append(self.headers.get("Authorization"))
                code, answer = outer.answer(self.command, self.path, body)
                if code == 0:  # the line is cut
                    self.connection.close()
                    return
                data = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do_PUT = _all

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://me:secret@127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        parts = urllib.parse.urlsplit(path)
        query = urllib.parse.parse_qs(parts.query)
        words = parts.path.removeprefix("/api/v1/").split("/")
        if method == "POST" and words == ["flows"]:
            flow = body.decode().partition("\n")[0].removeprefix("id: ")
            if flow in self.flows:
                return 422, {"message": "Flow id already exists"}
            self.flows[flow] = body.decode()
            return 200, {}
        if method == "GET" and words == ["executions", "search"]:
            found = [one for one in self.executions.values() if one["label"] in query["labels"]]
            return 200, {"results": found, "total": len(found)}
        if method == "POST" and len(words) == 3 and words[0] == "executions":
            (label,) = query["labels"]
            dispatch = body.decode().split("\r\n")[3]
            made = {
                "id": f"x{len(self.executions)}",
                "label": label,
                "dispatch": dispatch,
                "flow": words[2],
            }
            self.executions[made["id"]] = made
            self.begin(made["id"])
            if self.lose_answers:
                self.lose_answers -= 1
                return 0, {}
            return 200, self.seen(made["id"])
        if method == "GET" and len(words) == 2:
            return (200, self.seen(words[1])) if words[1] in self.executions else (404, {})
        if method == "DELETE" and words[2:] == ["kill"]:
            self.executions[words[1]]["killed"] = True
            return 202, {}
        return 404, {}

    def begin(self, execution: str) -> None:
        """Start the task, for the first time or again."""
        known = self.executions[execution]
        command = json.loads(self.flows[known["flow"]].partition("commands:\n      - ")[2])
        line = command.replace("{{ inputs.dispatch }}", known["dispatch"])
        self.starts.append(execution)
        known["process"] = process = subprocess.Popen(
            ["sh", "-c", line], env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)

    def restart(self, execution: str) -> None:
        """Its own worker has died: the task begins again, whatever became of the first one."""
        self.begin(execution)

    def seen(self, execution: str) -> dict:
        known = self.executions[execution]
        code = known["process"].poll()
        state = "RUNNING"
        if known.get("killed"):
            state = "KILLED"  # whether or not it lives
        elif code is not None:
            warned = code == 0 and known["process"].stderr.read(1)
            state = "WARNING" if warned else "SUCCESS" if code == 0 else "FAILED"
        outputs = {"exitCode": 0} if state == "SUCCESS" else None
        return {"id": execution, "state": {"current": state}, "outputs": outputs}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stderr.close()

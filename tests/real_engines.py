"""The real Slurm, sshd and Dagu, each in a folder of its own and on the loopback.  ``scripts/test-engines`` installs them."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from brokers import free_port
from conftest import marked, wait_until

SBIN = "/usr/sbin:/usr/local/sbin"
DAGU = Path(sys.executable).parent / "dagu"
NEEDED = {
    "slurm": ("slurmctld", "slurmd", "munged", "sbatch"),
    "ssh": ("sshd", "ssh-keygen"),
    "dagu": (str(DAGU),),
}


def missing(kind: str) -> str:
    """Why tests with this engine are skipped; empty if they can run."""
    path = f"{os.environ['PATH']}:{SBIN}"
    for name in NEEDED[kind]:
        if not shutil.which(name, path=path):
            return f"there is no {Path(name).name}: ./scripts/test-engines {kind}"
    if kind == "slurm" and os.geteuid() != 0:
        return "Slurm's daemons are started as root"
    return ""


class NotReady(Exception):
    """It does not start on this machine; the tests of who asked for it by name fail then, and others are skipped."""


class Real:
    """Its processes end with `close`; ``env`` is what a watcher needs to use it, ``options`` what its configuration says."""

    def __init__(self, folder: Path, far: dict[str, str]) -> None:
        folder.mkdir()
        folder.chmod(0o755)
        self.folder, self.far = folder, far
        self.env: dict[str, str] = {}
        self.options = ""
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self.start()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            self.close()
            raise NotReady(str(error)) from error

    def start(self) -> None:
        raise NotImplementedError

    def _run(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        env = {**self.far, "PATH": f"{self.far['PATH']}:{SBIN}", **more}
        with open(self.folder / "said", "ab") as log:
            process = subprocess.Popen(
                words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


SLURM = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


class Slurm(Real):
    """One node that is this machine.  Jobs get the environment of the watcher, but for HOME."""

    def start(self) -> None:
        conf = self.folder / "slurm.conf"
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        conf.write_text(
            SLURM.format(
                host=socket.gethostname().partition(".")[0],
                controller=free_port(),
                node=free_port(),
                folder=self.folder,
            )
        )
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        place = f"{self.folder}/munge"
        self._run(
            *("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={place}.socket"),
            *(f"--pid-file={place}.pid", f"--log-file={place}.log", f"--seed-file={place}.seed"),
        )
        self.env = {"SLURM_CONF": str(conf)}
        wait_until((self.folder / "munge.socket").exists, "munged listens")
        self._run("slurmctld", "-D", "-c", "-f", str(conf), **self.env)
        self._run("slurmd", "-D", "-c", "-f", str(conf), **self.env)
        wait_until(self._idle, f"the node is idle, see {self.folder}/said")
        self.options = "preset: slurm"

    def close(self) -> None:
        super().close()
        for pid in marked(f"SLURM_CONF={self.folder}/slurm.conf"):  # steps outlive their daemon
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _idle(self) -> bool:
        done = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env={**os.environ, **self.env}, capture_output=True, text=True, check=False
        )  # fmt: skip
        return done.stdout.strip() in ("idle", "mixed")


class Ssh(Real):
    """An sshd of one's own; whoever logs in has the far side's home directory, as on another machine."""

    def start(self) -> None:
        home = Path(self.far["HOME"])
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True
            )  # fmt: skip
        authorized = self.folder / "authorized"
        # The home directory of an account is in the account database: a forced command moves the login to the far side's.
        forced = f'cd {home} && HOME={home} XDG_STATE_HOME= exec sh -c \\"$SSH_ORIGINAL_COMMAND\\"'
        authorized.write_text(f'command="{forced}" ' + (self.folder / "user.pub").read_text())
        authorized.chmod(0o600)
        port = free_port()
        conf = self.folder / "sshd.conf"
        conf.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nAuthorizedKeysFile {authorized}\n"
            f"PidFile {self.folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        )
        os.makedirs("/run/sshd", exist_ok=True)
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:{SBIN}")
        self._run(str(sshd), "-D", "-e", "-f", str(conf))
        wait_until(lambda: _listens(port), f"sshd listens, see {self.folder}/said")
        known = f"[127.0.0.1]:{port} {(self.folder / 'host.pub').read_text()}"
        (self.folder / "known").write_text(known)
        client = self.folder / "client"
        client.write_text(
            f"Host gpu1\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
            f" IdentityFile {self.folder}/user\n UserKnownHostsFile {self.folder}/known\n"
        )
        # ssh reads the configuration of the account's home, whatever HOME says.
        program = self.folder / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {client} "$@"\n')
        program.chmod(0o755)
        self.env = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
        self.options = "preset: ssh, host: gpu1"


class Dagu(Real):
    """Its scheduler, and a DAG that runs a worker."""

    def start(self) -> None:
        dags = self.folder / "dags"
        dags.mkdir()
        (dags / "orchestrator.yaml").write_text(
            'maxActiveRuns: 50\nsteps:\n  - name: worker\n    command: sh -c "$WORKER"\n'
        )
        self.env = {"DAGU_HOME": str(self.folder), "PATH": f"{DAGU.parent}:{os.environ['PATH']}"}
        port = free_port()
        self._run(str(DAGU), "scheduler", **self.env, DAGU_SCHEDULER_PORT=str(port))
        wait_until(lambda: _listens(port), f"the scheduler is ready, see {self.folder}/said")
        self.options = "preset: dagu, dag: orchestrator"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


REAL = {"slurm": Slurm, "ssh": Ssh, "dagu": Dagu}

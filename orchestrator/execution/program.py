"""The supervisors' program as it was when this process began: an upgrade on disk must not change
what they understand.

The watcher and its supervisors speak a protocol of one version. So the code that is handed to every
new supervisor is the watcher's own, in a file without a name that all of them inherit.
"""

from __future__ import annotations

import json
import marshal
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

from orchestrator.store import owned

BOOT = """import marshal, os, sys, types
fd = int(sys.argv[1])
first, later = marshal.loads(os.pread(fd, os.fstat(fd).st_size, 0))
os.close(fd)
sys.modules["orchestrator"] = types.ModuleType("orchestrator")
package = sys.modules["orchestrator.execution"] = types.ModuleType("orchestrator.execution")
while first:
    name, code = first.pop(0)
    module = sys.modules["orchestrator.execution." + name] = types.ModuleType(name)
    exec(code, module.__dict__)
    setattr(package, name, module)
supervisor = package.supervisor
del code
package.neighbours.CODE.update(later)
if sys.argv[3:]:
    package.neighbours.neighbour("nursery").main(supervisor, int(sys.argv[2]))
else:
    supervisor.main(int(sys.argv[2]))
"""
# What every supervisor needs, each after those that it imports; and what few of them need.
FIRST = (
    *("plainfiles", "logs", "mask", "descendants", "neighbours", "attemptjournal"),
    *("attemptlimits", "escalation", "attempt", "supervisor"),
)
LATER = ("nursery", "terminal", "stirring", "feeding", "lastwords")


def start(theirs: socket.socket, *words: str) -> subprocess.Popen[bytes]:
    """A supervisor, or with the word ``nursery`` the warm process that forks them; ``theirs`` is
    its end of a socket.

    Raises `OSError` if no process can be started.
    """
    argv = [sys.executable, "-I", "-S", "-c", BOOT, str(descriptor()), str(theirs.fileno()), *words]
    return cast(
        "subprocess.Popen[bytes]",
        owned.begin(
            lambda: subprocess.Popen(
                argv,
                pass_fds=(theirs.fileno(), descriptor()),
                start_new_session=True,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        ),
    )


def hand_over(to: socket.socket, job: Mapping[str, Any], journal: int) -> None:
    """Send a job and its journal's descriptor.  OSError if the other end is gone."""
    body = json.dumps(job).encode()
    size = len(body).to_bytes(4, "big")
    sent = socket.send_fds(to, [size], [journal])
    to.sendall(size[sent:] + body)


@cache
def descriptor() -> int:
    """The program, for whoever inherits this descriptor; read once, when the first supervisors are
    prepared."""
    fd = os.memfd_create("supervisor", os.MFD_CLOEXEC)
    os.write(
        fd,
        marshal.dumps(
            ([(name, _code(name)) for name in FIRST], {name: _code(name) for name in LATER})
        ),
    )
    return fd


def _code(name: str) -> Any:
    spec = find_spec(f"orchestrator.execution.{name}")
    assert spec is not None and spec.loader is not None
    return spec.loader.get_code(spec.name)  # type: ignore[attr-defined]

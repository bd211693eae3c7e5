"""The supervisors' program as it was when this process began: an upgrade on disk must not change what they understand.

The watcher and its supervisors speak a protocol of one version.  So the code that is handed to every new supervisor is
the watcher's own, in a file without a name that all of them inherit.
"""

from __future__ import annotations

import marshal
import os
from functools import cache
from importlib.util import find_spec
from typing import Any

BOOT = """import marshal, os, sys, types
fd = int(sys.argv[1])
code, later = marshal.loads(os.pread(fd, os.fstat(fd).st_size, 0))
os.close(fd)
supervisor = types.ModuleType("supervisor")
exec(code, supervisor.__dict__)
supervisor.LATER.update(later)
supervisor.main(int(sys.argv[2]))
"""


@cache
def descriptor() -> int:
    """The program, for whoever inherits this descriptor; read once, when the first supervisors are prepared."""
    fd = os.memfd_create("supervisor", os.MFD_CLOEXEC)
    os.write(
        fd,
        marshal.dumps(
            (
                _code("supervisor"),
                {name: _code(name) for name in ("terminal", "stirring", "feeding")},
            )
        ),
    )
    return fd


def _code(name: str) -> Any:
    spec = find_spec(f"orchestrator.execution.{name}")
    assert spec is not None and spec.loader is not None
    return spec.loader.get_code(spec.name)  # type: ignore[attr-defined]

"""The scripts in Python run by the Python of .venv, which is made first if it is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv/bin/python"


def run(usage: str) -> None:
    """Go on, if this is the Python of .venv; otherwise begin the script again with that one.

    ``usage`` is the script's docstring: where there is no .venv, ``--help`` prints it and makes
    none.
    """
    sys.path.insert(0, str(ROOT))
    if "ORCHESTRATOR_SCRIPT" in os.environ or sys.prefix.startswith(str(ROOT / ".venv")):
        return
    if not PYTHON.exists():
        if {"-h", "--help"} & set(sys.argv[1:]):
            print(usage.strip())
            sys.exit(0)
        made = subprocess.run([str(ROOT / "scripts/setup")], check=False)
        if made.returncode:
            sys.exit(made.returncode)  # it has said why
    os.environ["ORCHESTRATOR_SCRIPT"] = "1"
    os.execv(PYTHON, [str(PYTHON), *sys.argv])

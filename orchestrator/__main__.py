"""``python -m orchestrator`` is the same program as ``orchestrator``."""

import os
import sys

# -m puts the current folder first, which may be a project that was just pulled: nothing in it is a
# module of ours.
if sys.path[:1] == [os.getcwd()] and not __file__.startswith(f"{sys.path[0]}/"):
    del sys.path[0]

from orchestrator.cli.main import main

if __name__ == "__main__":
    main()

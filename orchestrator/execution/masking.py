"""Masking the logs of an attempt whose supervisor was killed before it had looked through them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from orchestrator.execution.mask import Mask
from orchestrator.files import masked, opening


def finish(run_dir: str, secrets: Sequence[str], limit: int) -> None:
    """Overwrite what secrets are still there, and let readers see all of the logs: at most
    ``limit`` bytes of each."""
    for path in (f"{run_dir}/stdout.log", f"{run_dir}/stderr.log"):
        try:
            if secrets:
                overwrite(path, secrets, limit)
            os.unlink(path + masked.SUFFIX)
        except OSError:  # no log, or no marker beside it
            continue


def overwrite(path: str, secrets: Sequence[str], limit: int) -> None:
    """Overwrite the secrets in a log that nobody writes any more, and keep ``limit`` bytes of
    it."""
    if os.path.lexists(path + masked.SUFFIX):
        os.unlink(path + masked.SUFFIX)
    log = opening.descriptor(path, os.O_RDWR)
    try:
        Mask(path, list(secrets), log, limit).finish()
        if os.fstat(log).st_size > limit:
            os.ftruncate(log, limit)
    finally:
        os.close(log)

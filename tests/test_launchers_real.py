"""The real Slurm, sshd and Dagu start workers (scripts/test-engines slurm ssh dagu)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from conftest import wait_until
from real_engines import REAL, NotReady, missing
from test_launchers import Site

pytestmark = pytest.mark.engines


@pytest.fixture(params=REAL)
def site(request, tmp_path) -> Iterator[Site]:
    kind = request.param
    if why := missing(kind):
        pytest.skip(why)
    made = Site(tmp_path, "slurm", None)
    near = made.farm.near
    try:
        engine = REAL[kind](tmp_path / "engine", made.farm.far.env)
    except NotReady as error:
        if kind in os.environ.get("ENGINES_ASKED", "").split():
            raise
        pytest.skip(f"{kind} does not start here: {error}")
    text = (near.work / "orchestrator.yaml").read_text()
    near.config(text.replace("preset: slurm", engine.options))
    near.env |= engine.env
    yield made
    made.farm.close()
    engine.close()


def test_work_goes_out_and_comes_back_and_what_runs_can_be_cancelled(site):
    farm = site.farm
    (farm.near.root / "f").write_text("one\n")
    farm.git(farm.near, "add", "f")
    farm.git(farm.near, "commit", "-qm", "base")
    (farm.near.root / "f").write_text("one\ndirty\n")
    site.drop("seen", "cat f; echo odd >&2")
    site.drop("changed", "echo more >> f", agent="ed")
    site.drop("runs", "echo begun; while :; do sleep 0.05; done")
    farm.watch()
    farm.until_printed("runs", b"begun")
    farm.near.run("cancel", "runs")
    farm.near.settled("runs", "cancelled")
    farm.near.settled("seen", "done")
    farm.near.until("changed", "done")
    assert (
        farm.log("seen") == b"one\ndirty\n" and farm.near.log("seen", name="stderr.log") == "odd\n"
    )
    assert farm.git(farm.near, "show", "task/changed:f") == "one\nmore\n"
    wait_until(lambda: not site.spools(), "workers leave nothing behind")
    jobs = f"{farm.near.layout.state}/queues/far.jobs"
    wait_until(lambda: not os.listdir(jobs), "no job is remembered")

"""Fakes for people who write distributors and tools, and for the tests of this project.

`FakeClock` is a clock that moves when told, `FakeDistributor` ends attempts as planned without
running anything, `Tube` is a work directory with a watcher on both: hours of its life pass in
milliseconds. Public: what is named here stays.

    tube = Tube(tmp_path, "retry: {delay: 10s}")
    tube.plan("a", End(code=1), End())
    tube.drop("a", "agent: ok\\nprompt: x\\nretries: 1\\n")
    tube.run()
    assert tube.where("a") == "done" and tube.started == [(0.0, "a", 1), (10.1, "a", 2)]
"""

from orchestrator.testing.contract import DistributorContract
from orchestrator.testing.fakes import End, FakeClock, FakeDistributor
from orchestrator.testing.tube import Tube

__all__ = ["DistributorContract", "End", "FakeClock", "FakeDistributor", "Tube"]

"""The loop in a test tube: hours of a watcher's life in milliseconds, on real files, with a fake clock and a fake distributor."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.verbs.run import in_the_way
from orchestrator.coordination.leaving import summary
from orchestrator.coordination.news import About, Held, Left, Recovered, Remark, Requeued, Stuck
from orchestrator.coordination.starts import Starts
from orchestrator.model.admission import PROCESS, SLOTS, admit
from orchestrator.model.gates import Gate, GateName
from orchestrator.model.journal import Phase
from orchestrator.model.status import Status
from orchestrator.model.units import timestamp
from orchestrator.queries import overview, tasks, why
from orchestrator.queries import rows as rows_queries
from orchestrator.queries.world import Known, lane_of, request_of
from orchestrator.store import quotas
from orchestrator.store.cardfile import CardFile
from orchestrator.testing import End, Tube
from orchestrator.testing.tube import NoArrivals

MIDNIGHT = 1_800_000_000.0 - 1_800_000_000.0 % 86400 + 86400.0
FAILS = End(code=1)
SLOW = End(after=60.0)
FOREVER = End(after=None)


def task(agent: str = "ok", **keys: object) -> str:
    lines = [f"agent: {agent}", "prompt: x", *(f"{key}: {value}" for key, value in keys.items())]
    return "\n".join(lines) + "\n"


def stuck(made: Tube) -> list[str]:
    """Of which tasks and runs it was told that they wait."""
    return [news.id for news in made.of(Stuck)]


@pytest.fixture
def tube(tmp_path: Path) -> Callable[..., Tube]:
    return lambda *words, **named: Tube(tmp_path, *words, **named)


# -- retries and the like ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay, factor", [(1, 2), (10, 1), (10, 3), (60, 2)])
def test_retries_come_when_they_are_due(tube, delay, factor):
    made = tube(f"retry: {{delay: {delay}s, factor: {factor}, max_delay: 1h}}\n")
    made.plan("a", FAILS, FAILS, End())
    made.drop("a", task(retries=2))
    made.run()
    second = 0.1 + delay
    assert [round(at, 1) for at, *_ in made.started] == [
        0.0,
        second,
        round(second + 0.1 + min(delay * factor, 3600), 1),
    ]
    assert made.where("a") == "done"


@pytest.mark.parametrize("retries", range(4))
def test_a_task_fails_when_its_retries_are_used_up(tube, retries):
    made = tube("retry: {delay: 1s}\n")
    made.plan("a", FAILS)
    made.drop("a", task(retries=retries))
    made.run()
    assert made.where("a") == "failed" and len(made.started) == retries + 1
    assert len(made.result("a")["attempts"]) == retries + 1


@pytest.mark.parametrize("cause, outcome", [("timeout", "timed_out"), ("silence", "timed_out")])
def test_causes_become_outcomes(tube, cause, outcome):
    made = tube()
    made.plan("a", End(cause=cause))
    made.drop("a")
    made.run()
    assert made.where("a") == "failed" and made.result("a")["outcome"] == outcome


@pytest.mark.parametrize("on_lost, folder, attempts", [("hold", "review", 1), ("retry", "done", 2)])
def test_a_lost_attempt(tube, on_lost, folder, attempts):
    made = tube(f"on_lost: {on_lost}\nretry: {{delay: 1s}}\n")
    made.plan("a", FOREVER, End())
    made.drop("a", task(retries=1))
    made.at(5, lambda: made.fake.kill("a"))
    made.run()
    assert made.where("a") == folder and len(made.started) == attempts


def test_the_last_line_counts_tasks_in_review_and_not_how_often_they_came(tube):
    made = tube()
    for name in ("taken", "again"):
        made.drop(name, task(review="always"))
    made.at(5, lambda: made.move("taken", "review", "done"))
    made.at(10, lambda: made.move("again", "review", "inbox"))
    made.at(60, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    assert len(made.started) == 3
    assert made.watcher.summary() == "0 done, 1 review, 0 left running"


def test_a_retry_that_waits_for_a_slot_costs_nothing(tube):
    """The loop once turned as fast as it could for as long as that lasted."""
    made = tube("retry: {delay: 5s}\n")
    made.plan("a", FAILS, End())
    made.plan("b", End(after=600.0))
    made.drop("a", task(retries=1))
    made.drop("b")
    passes = iter(range(10**6))
    real = Starts.look

    def counted(self):
        next(passes)
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Starts, "look", counted)
        made.run(slots=1)
    assert made.where("a") == "done" and next(passes) < 300


# -- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [2, 90, 3600, 90000])
def test_not_before(tube, wait):
    made = tube("watch: {rescan: 10m}\n")
    made.drop("a", task(not_before=timestamp(made.clock.wall() + wait)))
    made.at(wait + 10, lambda: made.watcher.signalled(signal.SIGTERM))
    made.run(until_empty=False)
    assert made.where("a") == "done"
    assert wait <= made.started[0][0] <= wait + 1.01


@pytest.mark.parametrize("jump", [-86400.0, -1.0, 1.0, 86400.0])
def test_a_jump_of_the_wall_clock_delays_no_retry(tube, jump):
    made = tube("retry: {delay: 30s}\n")
    made.plan("a", FAILS, End())
    made.drop("a", task(retries=1))
    made.at(5, lambda: made.clock.jump(jump))
    made.run()
    assert made.where("a") == "done" and made.started[1][0] == pytest.approx(30.1, abs=1.1)


def test_a_budget_of_the_day_opens_at_midnight(tube):
    made = tube("budgets: {day: {hard_usd: 0}}\n", start=MIDNIGHT - 30)
    made.drop("a")
    made.at(20, lambda: made.configure("budgets: {day: {hard_usd: 1}}\n"))
    made.at(40, lambda: made.watcher.signalled(signal.SIGTERM))
    made.run(until_empty=False)
    assert made.where("a") == "done" and made.started[0][0] >= 20


def test_a_pace_opens_at_its_moment_whenever_the_inbox_is_listed(tube):
    made = tube("watch: {rescan: 10h}\nbudgets: {day: {max_attempts_per_hour: 1}}\n")
    made.drop("a")
    made.drop("b")
    made.at(3700, lambda: made.watcher.signalled(signal.SIGTERM))
    made.run(until_empty=False)
    first, second = (at for at, *_ in made.started)
    assert second - first == pytest.approx(3600, abs=2)


def test_what_is_kept_for_urgent_tasks_opens_when_the_window_does(tube):
    made = tube("watch: {rescan: 10h}\nlimits: {reserve: {shell: 20%}}\n")
    now = made.clock.wall()
    told = {"window": "5 h", "used": 0.95, "resets": now + 1800}
    quotas.remember(made.layout, "shell", [told], now)
    made.drop("a", task(priority="low"))
    made.at(1900, lambda: made.watcher.signalled(signal.SIGTERM))
    made.run(until_empty=False)
    assert made.started[0][0] == pytest.approx(1800, abs=2)


# -- limits, parking, pauses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 2, 3, 8])
def test_never_more_than_there_are_slots(tube, slots):
    made = tube()
    for number in range(8):
        made.plan(f"t{number}", End(after=10.0))
        made.drop(f"t{number}")
    made.run(slots=slots)
    assert [at for at, *_ in made.started] == pytest.approx(
        [10.0 * (number // slots) for number in range(8)], abs=0.5
    )


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("before", range(3))
def test_stop_starts_nothing_more(tube, slots, before):
    made = tube()
    tasks = "".join(f"  t{n}: {{agent: ok, prompt: x}}\n" for n in range(6))
    made.plan(f"r.t{before}", FAILS)
    made.drop("r", f"on_failure: stop\ntasks:\n{tasks}")
    made.run(slots=slots)
    failed_at = next(at for at, name, _ in made.started if name == f"r.t{before}") + 0.1
    assert all(at < failed_at for at, *_ in made.started)
    assert made.where(f"r.t{before}") == "failed"


@pytest.mark.parametrize("priority", ["high", "normal"])
def test_what_was_waited_for_comes_before_what_is_less_urgent(tube, priority):
    made = tube()
    made.drop("first", task(priority="high"))
    made.drop("low", task(priority="low"))
    made.drop("next", task(priority=priority, needs="[first]"))
    made.run(slots=1)
    assert [name for _, name, _ in made.started] == ["first", "next", "low"]


class Late(Tube):
    """Somebody drops a file while the watcher is looking at another one."""

    def hear(self, news):
        super().hear(news)
        if isinstance(news, Remark) and news.about is About.INVALID:
            self.drop("urgent", task(priority="high"))


def test_what_comes_while_others_are_looked_at_counts_before_the_choice(tmp_path):
    made = Late(tmp_path)
    made.plan("long", End(after=10))
    made.drop("long", task())
    made.at(2, lambda: made.drop("wrong", "agent: nobody\nprompt: x\n"))
    made.at(2, lambda: made.drop("first", task()))
    made.run(slots=2)
    assert [name for _, name, _ in made.started] == ["long", "urgent", "first"]


class Seen(NoArrivals):
    """Notes whether anybody could see that somebody watches before notifications came."""

    seen: list[bool] = []

    def start(self) -> str:
        self.seen.append(os.path.exists(self._layout.watcher_card))
        return super().start()


def test_whoever_sees_that_somebody_watches_is_heard(tmp_path):
    """Otherwise the files of one who drops at once are found by a listing, and a later one overtakes them."""
    made = Tube(tmp_path)
    made.arrivals = Seen
    made.drop("a")
    made.run()
    assert Seen.seen == [False] and made.where("a") == "done"


def test_a_listing_is_looked_at_in_the_order_of_its_names(tube):
    made = tube()
    names = [f"wrong-{letter}" for letter in "abcdefghijklmno"]
    for name in random.sample(names, len(names)):
        made.drop(name, "agent: nobody\nprompt: x\n")
    made.run()
    assert made.remarks(About.INVALID) == names


TOOL = """argv: ['true']
parse: {done: "[?type=='done']", error: "[?type=='error'].message | [0]"}
"""
LIMIT = End(code=1, output='{"type":"error","message":"usage limit reached"}\n')
DONE = End(output='{"type":"done"}\n')


def test_a_tool_whose_limit_is_used_up_is_held(tube):
    made = tube("watch: {rescan: 10m}\nretry: {delay: 5m}\n")
    tools = Path(made.layout.tools)
    tools.mkdir()
    (tools / "one.yaml").write_text(TOOL)
    made.plan("a", LIMIT, DONE)
    made.plan("b", DONE)
    made.drop("a", task("one"))
    made.at(3, lambda: made.drop("b", task("one")))
    made.run()
    assert [news.scope for news in made.of(Held)] == ["one"] and made.where("a") == made.where(
        "b"
    ) == "done"
    assert [at >= 300 for at, *_ in made.started] == [False, True, True]


def test_a_tool_that_cannot_act_is_followed_by_the_next(tube):
    made = tube()
    tools = Path(made.layout.tools)
    tools.mkdir()
    for name in ("one", "other"):
        (tools / f"{name}.yaml").write_text(TOOL)
    made.plan("a", End(code=1, output='{"type":"error","message":"401 unauthorized"}\n'), DONE)
    made.drop("a", task("[one, other]"))
    made.run()
    assert [item["tool"] for item in made.result("a")["attempts"]] == ["one", "other"]


@pytest.mark.parametrize("until", [30, 7200])
def test_a_held_tool_is_waited_for(tube, until):
    made = tube("watch: {rescan: 10m}\n")
    parked = Path(made.layout.folder("held")) / "@shell.yaml"
    moment = timestamp(made.clock.wall() + until)
    parked.write_text(f"not_before: {moment}\nreason: a moment\n")
    made.drop("a")
    made.run()
    assert made.where("a") == "done" and made.started[0][0] >= until
    assert not parked.exists()


@pytest.mark.parametrize(
    "config",
    [
        "limits: {running: 0}\n",
        "limits: {per_agent: {ok: 0}}\n",
        "limits: {per_tool: {shell: 0}}\n",
        "budgets: {day: {hard_usd: 0}}\n",
        "budgets: {agents: {ok: {hard_usd: 0}}}\n",
    ],
)
def test_until_empty_ends_on_what_only_a_person_opens(tube, config):
    made = tube(config)
    made.drop("a")
    made.run(most=60)
    assert made.where("a") == "inbox" and "a" in stuck(made)


def test_until_empty_ends_on_a_spent_budget_of_a_run(tube):
    made = tube("budgets: {run: {hard_usd: 0}}\n")
    made.drop("r", "tasks:\n  a: {agent: ok, prompt: x}\n")
    made.run(most=60)
    assert made.where("r.a") == "inbox" and "r.a" in stuck(made)


def test_until_empty_ends_on_a_retry_whose_tool_a_person_holds(tube):
    made = tube("retry: {delay: 5s}\n")
    made.plan("a", FAILS)
    made.drop("a", task(retries=1))
    parked = Path(made.layout.folder("held")) / "@shell.yaml"
    made.at(2, lambda: parked.write_text("reason: I need it\n"))
    made.run(most=120)
    assert made.where("a") == "running" and "a" in stuck(made)
    parked.unlink()
    made.run()
    assert made.where("a") == "failed" and len(made.result("a")["attempts"]) == 2


# -- people --------------------------------------------------------------------------------------------------------


def test_drain_waits_and_starts_nothing(tube):
    made = tube()
    made.plan("a", SLOW)
    made.drop("a")
    made.drop("b")
    made.at(5, lambda: made.watcher.signalled(signal.SIGINT))
    made.run(until_empty=False, slots=1)
    assert made.where("a") == "done" and made.where("b") == "inbox"


def test_interrupt_gives_back(tube):
    made = tube()
    made.plan("a", FOREVER)
    made.drop("a")
    made.at(5, lambda: made.watcher.signalled(signal.SIGINT))
    made.at(6, lambda: made.watcher.signalled(signal.SIGINT))
    made.run(until_empty=False)
    assert made.where("a") == "inbox" and [news.life.id for news in made.of(Requeued)] == ["a"]


@pytest.mark.parametrize("retrying", [False, True])
def test_cancel(tube, retrying):
    made = tube("retry: {delay: 1h}\n")
    made.plan("a", FAILS if retrying else FOREVER)
    made.drop("a", task(retries=1))
    request = Path(made.layout.folder("running")) / "a.cancel"
    made.at(5, request.touch)
    made.run()
    assert made.where("a") == "cancelled"


def test_the_next_watcher_adopts(tube):
    made = tube()
    made.plan("a", SLOW)
    made.drop("a")
    made.at(5, lambda: made.watcher.signalled(signal.SIGTERM))
    made.run(until_empty=False)
    assert made.where("a") == "running" and [news.life.id for news in made.of(Left)] == ["a"]
    made.run()
    assert (
        made.where("a") == "done"
        and len(made.started) == 1
        and [news.life.id for news in made.of(Recovered)] == ["a"]
    )


@pytest.mark.parametrize("slots", [1, 2])
def test_what_ended_without_a_watcher_is_judged_before_its_run_goes_on(tube, slots):
    made = tube()
    made.plan("r.a", End(after=20.0, code=1))
    made.drop("r", "on_failure: stop\ntasks:\n  a: {agent: ok, prompt: x}\n")
    made.at(5, lambda: made.watcher.signalled(signal.SIGTERM))
    made.run(until_empty=False, slots=1)
    handle = made.fake.alive["r.a"]
    handle._end("")  # while nobody watches
    made.run(slots=slots)
    assert made.where("r.a") == "failed" and len(made.started) == 1


@pytest.mark.parametrize("setting", ["retries: 0", "delay"])
def test_a_change_of_the_settings_counts_for_the_next_attempt(tube, setting):
    made = tube("limits: {running: 1}\n")
    made.plan("a", End(after=20.0))
    made.drop("a")
    made.drop("b")
    made.drop("c")
    made.at(30, lambda: made.configure("limits: {running: 2}\n"))
    made.plan("b", End(after=30.0))
    made.plan("c", End(after=30.0))
    made.run()
    assert all(made.where(name) == "done" for name in "abc")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("method", ["begin_claim", "settle", "stage_result"])
def test_a_disk_that_refuses_loses_nothing(tube, monkeypatch, method, number):
    made = tube()
    refusals = iter(range(2))
    real = getattr(made.store, method)

    def refuses(*words, **named):
        if next(refusals, None) is not None:
            raise OSError(number, "the disk refuses")
        return real(*words, **named)

    monkeypatch.setattr(made.store, method, refuses)
    made.drop("a")
    made.drop("b")
    made.run()
    assert made.where("a") == made.where("b") == "done"
    assert made.remarks(About.FAULT) and len(made.started) == 2


# -- random histories ------------------------------------------------------------------------------------------------


class History:
    """One random life of a watcher; what must hold at every moment is checked on the way."""

    def __init__(self, root: Path, seed: int) -> None:
        self.random = chance = random.Random(seed)
        self.config = (
            f"limits: {{running: {chance.choice([1, 1, 2, 3])}, per_agent: {{two: 1}}}}\n"
            f"retry: {{delay: {chance.choice([1, 20])}s}}\non_lost: {chance.choice(['hold', 'retry'])}\n"
            + chance.choice(["", "", "budgets: {agents: {two: {hard_usd: 0}}}\n"])
        )
        self.tube = Tube(root, self.config)
        self.needs: dict[str, list[str]] = {}
        self.agreed = 0
        self.speaks = seed % 3 == 0  # whether words are compared, too: that reads every tool's file
        for number in range(chance.randint(2, 6)):
            self.add(f"t{number}", at=chance.choice([0, 0, 0, 5, 40]))
        for _ in range(chance.randint(1, 4)):
            self.tube.at(chance.uniform(1, 90), chance.choice(self.deeds()))
        self.jumped = False
        more = random.Random(-1 - seed)
        self.slots = more.choice([0, 2, 3])  # as --slots says
        if more.random() < 0.7:
            self.add_run(more)
        if more.random() < 0.4:
            self.pause(more)
        for moment in (0.5, 1.5, 6.2, 21.7, 55.1, 100.3):
            self.tube.at(moment, self.agree)

    def add_run(self, chance: random.Random) -> None:
        """A run that stops at a failure, with a limit of its own."""
        names = [f"m{number}" for number in range(chance.randint(2, 4))]
        for name in names:
            self.tube.plan(f"r.{name}", chance.choice([End(after=9.0), FAILS, SLOW]))
        members = "".join(f"  {name}: {{agent: ok, prompt: x}}\n" for name in names)
        budget = chance.choice(["", "", "max_cost_usd: 0\n"])
        limits = f"on_failure: stop\nmax_parallel: 1\n{budget}"
        self.tube.at(
            chance.choice([1, 20]), lambda: self.tube.drop("r", f"{limits}tasks:\n{members}")
        )

    def pause(self, chance: random.Random) -> None:
        """Nothing new may start for a while."""
        paused = self.config.replace("{running:", "{running: 0, per_tool: {shell: 1}, asking:")
        self.tube.at(chance.choice([2, 30]), lambda: self.tube.configure(paused))
        self.tube.at(chance.choice([50, 120]), lambda: self.tube.configure(self.config))

    def jump(self) -> None:
        self.jumped = True
        self.tube.clock.jump(self.random.choice([-7000.0, 7000.0]))

    def add(self, name: str, at: float) -> None:
        chance, plans = self.random, []
        for _ in range(chance.randint(1, 3)):
            plans.append(
                chance.choice(
                    [End(), End(after=15.0), FAILS, End(cause="timeout", after=9.0), SLOW]
                )
            )
        keys: dict[str, object] = {"retries": chance.randint(0, 2)}
        keys["priority"] = chance.choice(["high", "normal", "low"])
        if self.needs and chance.random() < 0.4:
            self.needs[name] = [chance.choice(list(self.needs))]
            keys["needs"] = f"[{self.needs[name][0]}]"
        else:
            self.needs[name] = []
        if chance.random() < 0.2:
            keys["not_before"] = timestamp(self.tube.clock.wall() + chance.choice([3, 50]))
        if chance.random() < 0.1:
            keys["hold"] = "true"
        self.tube.plan(name, *plans)
        text = task(chance.choice(["ok", "ok", "two"]), **keys)
        if at:
            self.tube.at(at, lambda: self.tube.drop(name, text))
        else:
            self.tube.drop(name, text)

    def deeds(self) -> list[Callable[[], object]]:
        """What people and bad luck do to it."""
        tube, name = self.tube, f"t{self.random.randint(0, 3)}"
        parked = Path(tube.layout.folder("held")) / "@shell.yaml"
        soon = timestamp(tube.clock.wall() + 70)

        def kill() -> None:
            if name in tube.fake.alive:
                tube.fake.kill(name)

        return [
            lambda: (Path(tube.layout.folder("running")) / f"{name}.cancel").touch(),
            lambda: parked.write_text(f"not_before: {soon}\nreason: a while\n"),
            lambda: tube.configure(self.config.replace("delay: 20s", "delay: 2s")),
            lambda: tube.configure("limits: {running: 1}\n"),
            self.jump,
            lambda: tube.watcher.signalled(signal.SIGTERM),
            lambda: tube.watcher.signalled(signal.SIGINT),
            kill,
        ]

    def agree(self) -> None:
        """Whoever reads the files gives the same answer as the watcher that runs."""
        watcher = self.tube.watcher
        if (
            watcher is None
            or watcher.rooms.signals.leave
            or not Path(self.tube.layout.watcher_card).exists()
        ):
            return
        watcher.rescans.look()
        known = Known(self.tube.layout, self.tube.clock.wall())
        world = watcher.rooms.liveworld.world()
        assert known.use.running == world.use.running
        lives = watcher.rooms.running
        ended = [item.task_id for item in known.journals if item.phase is Phase.ENDED]
        if any(name in lives and not lives[name].ending for name in ended):
            return  # it ended without a watcher, and this one is about to hear of it
        layout, now = self.tube.layout, known.now
        rows = []
        if self.speaks:
            rows += tasks.listed(layout, now, (Status.INBOX,), None, known)[0]
            rows += overview.of(layout, now, known=known).waiting
        for waiting in list(watcher.rooms.waitlist.tasks.waiting.values()):
            mine = admit(watcher.rooms.waitlist.tasks.ask(waiting), world)
            request = request_of(self.tube.layout, Status.INBOX, waiting.name)
            theirs = known.gates(request.task, waiting.name)
            assert [gate.why for gate in mine] == [gate.why for gate in theirs]
            if self.speaks:
                self.speak_as_one(waiting.id, mine, known, rows)
            self.agreed += 1
        for journal in known.journals:
            life = watcher.rooms.running.get(journal.task_id)
            if life is not None and life.retry_at is not None:
                assert lane_of(journal) == life.lane
                mine = {gate.name for gate in watcher.rooms.leaving._gates(life, world)}
                theirs = {gate.name for gate in known.retry_gates(journal)}
                assert mine == theirs or (self.jumped and mine ^ theirs == {GateName.RETRY})
                self.agreed += 1

    def speak_as_one(
        self, task_id: str, mine: list[Gate], known: Known, rows: list[rows_queries.Row]
    ) -> None:
        """What ``why``, ``list``, ``status`` and ``run`` say of a waiting task is what its watcher thinks, word by word."""
        layout, name = self.tube.layout, f"{task_id}.yaml"
        words = [gate.why for gate in mine]
        apart = [gate for gate in mine if gate.name not in PROCESS]
        first = apart[0].why if apart else ""
        answer = why.reasons(layout, task_id, Status.INBOX, name, known.now, known)
        assert [gate.why for gate in answer.gates] == words
        if len(words) < 2 and "waits for itself" not in answer.summary:
            said = f"it waits: {words[0]}" if words else "nothing holds it: it is about to start"
            assert answer.summary == said
        found = [row for row in rows if row.id == task_id]
        assert len(found) == 2 and {row.detail for row in found} == {first}
        for row in found:
            assert ("stuck" in row.flags) == any(gate.stuck for gate in apart)
        request = request_of(layout, Status.INBOX, name)
        refused = [gate.why for gate in in_the_way(known, request.task, name)]
        here = SLOTS | {GateName.ONLY}
        assert refused == [gate.why for gate in apart if gate.name not in here]

    def live(self) -> None:
        """Watchers one after the other, until nothing is left that could run."""
        self.tube.at(150, lambda: self.tube.watcher.signalled(signal.SIGTERM))
        while self.tube.clock.elapsed < 150:
            self.tube.run(until_empty=False, slots=self.slots)
        self.tube.run()
        running = [name for name in self.needs if self.tube.where(name) == "running"]
        assert not running or all(name in stuck(self.tube) for name in running), (
            f"left running: {running}"
        )

    def check(self) -> None:
        """The promises."""
        tube = self.tube
        for name in self.needs:
            places = [
                status
                for status in Status
                if (Path(tube.layout.folder(status)) / f"{name}.yaml").exists()
            ]
            assert len(places) == 1, f"{name} is in {places}"
        finished = {name: at for at, name, _ in tube.started}
        for _, name, _ in tube.started:
            for need in self.needs.get(name, ()):
                assert need in finished and tube.where(need) == "done"
        for name in self.needs:
            if tube.where(name) in ("done", "failed"):
                assert tube.result(name)["outcome"]
        assert not tube.fake.alive


@pytest.mark.parametrize("seed", range(110))
def test_whatever_happens(tmp_path, seed):
    history = History(tmp_path, seed)
    history.live()
    history.check()


def test_a_start_that_nobody_told_of_is_told_by_the_next_watcher(tube):
    """A watcher that is killed right after a start has not written the event; the journal knows."""
    made = tube()
    made.plan("a", SLOW)
    made.drop("a")
    made.at(5, lambda: made.watcher.signalled(signal.SIGTERM))
    made.run(until_empty=False)
    (path,) = Path(made.layout.events).glob("*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    told = [line for line in lines if '"attempt_started"' in line]
    path.write_text("".join(line for line in lines if line not in told))
    made.run()
    again = [item for item in made.events() if item["event"] == "attempt_started"]
    assert [item["ts"] for item in again] == [json.loads(told[0])["ts"]]
    assert [item["event_id"] for item in again] == [json.loads(told[0])["event_id"]]


def test_a_heartbeat_that_cannot_be_written_is_a_fault(tube, monkeypatch):
    """A disk may refuse that alone, as an aborted file system does: then nobody else can tell."""
    made = tube("watch: {rescan: 1s}\n")
    made.plan("a", SLOW)
    made.drop("a", task())
    beat, now = CardFile.beat, made.clock.monotonic
    began = now()

    def refused(self) -> None:
        if 10.0 < now() - began < 20.0:
            raise OSError(errno.EROFS, "Read-only file system")
        beat(self)

    monkeypatch.setattr(CardFile, "beat", refused)
    made.run()
    assert made.where("a") == "done"
    assert any(
        "Read-only" in str(event["summary"])
        for event in made.events()
        if event["event"] == "store_failed"
    )


def spoilt_while_it_runs(tube, spoil: Callable[[str], object]) -> Tube:
    """Two tasks ran; something was done to the journal of the first meanwhile."""
    made = tube()
    made.plan("a", SLOW)
    made.plan("b", End(after=90.0))
    made.drop("a")
    made.drop("b")
    made.at(5, lambda: spoil(made.layout.journal("a")))
    made.at(300, lambda: made.watcher.signalled(signal.SIGTERM))
    made.run(until_empty=False)
    return made


def test_a_journal_with_a_record_nobody_knows_is_left_alone(tube):
    """A newer version may have written it; that concerns its task and nobody else, and is told once."""

    def spoil(path: str) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write('{"record": "weird"}\n')

    made = spoilt_while_it_runs(tube, spoil)
    assert made.where("b") == "done" and made.where("a") == "running"
    told = [news.text for news in made.of(Remark) if news.about is About.TIDIED]
    assert [text for text in told if "a is left alone" in text] == told and len(told) == 1


@pytest.mark.parametrize(
    "put",
    [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/hostname", path)],
    ids=["pipe", "folder", "link"],
)
def test_what_lies_in_place_of_a_journal_gives_way(tube, put):
    """An attempt can reach its own journal: the task ends as it would have, by what is remembered of it."""

    def instead(path: str) -> None:
        os.unlink(path)
        put(path)

    made = spoilt_while_it_runs(tube, instead)
    assert made.where("b") == "done" and made.where("a") == "done"
    assert str(made.of(Remark)).count("a is left alone") == 1  # while it lies there


def test_who_ends_while_its_run_is_looked_at_is_looked_at_afterwards(tube):
    """The look may have passed it already; without a second one the run would wait for the next listing."""
    made = tube()
    made.drop("r", "tasks:\n  a: {agent: ok, prompt: x}\n")
    made.run()
    reviews = made.watcher.rooms.reviews
    reviews._reviewing.add("r")
    reviews.due = False
    reviews.runs("r")
    assert reviews.due and reviews.busy


def test_a_run_that_was_held_and_is_invalid_now_waits_no_more(tube):
    """It counts among the invalid files, and as nothing else."""
    made = tube()
    text = "tasks:\n  a: {agent: ok, prompt: x}\n"
    made.drop("r", text)
    for words in (["init", "-q"], ["add", "-f", "."]):
        subprocess.run(["git", *words], cwd=made.layout.root, check=True)
    made.at(5, lambda: made.drop("r", text.replace("agent: ok", "agent: [")))
    made.at(60, lambda: made.watcher.signalled(signal.SIGTERM))
    made.run(until_empty=False)
    waitlist = made.watcher.rooms.waitlist
    assert stuck(made) == ["r"] and made.remarks(About.INVALID) == ["r"]
    assert waitlist.inbox.stuck() == []
    assert summary(Counter(), 0, [], waitlist) == "0 done, 0 left running, 1 invalid"

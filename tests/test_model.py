"""The pure parts, by tables and properties."""

from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model import ids, units
from orchestrator.model.gates import Gate, GateName, Limits, need_gates, own_gates
from orchestrator.model.journal import Phase, fold
from orchestrator.model.policy import Finish, Retry, RetryPolicy, decide
from orchestrator.model.run import cycle, run_from
from orchestrator.model.status import Outcome, RunStatus, Status, run_status
from orchestrator.model.task import Task, first_line, task_from


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "review-retry",
        "2026-11-22T0941-review",
        "日本語",
        "a.b_c-d",
        "हिन्दी",
        "x" * 120,
        "\u043f\u0440\u043e\u0435\u043a\u0442",
        "\u03bb-calculus",
        "\u0394x",
        "caf\u00e9",
        *(
            "API\u8a2d\u8a08",
            "test\u30c6\u30b9\u30c8",
            "\u0e17\u0e33",
            "\u0661-fix",
            "\u0131s\u0131",
            "2024\u0433\u043e\u0434",
            "2\u0939\u093f",
            "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
            "q\u0302\u0301",
        ),
    ],
)
def test_good_ids(text):
    assert ids.problem(text) == ""


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "is empty"),
        (".hidden", "starts with"),
        ("-rf", "starts with"),
        ("_x", "starts with"),
        ("a/b", "contains"),
        ("../x", "starts with"),
        ("a b", "contains"),
        ("a\nb", "contains"),
        ("x" * 121, "longer"),
        ("é" * 61, "longer"),
        ("e\u0301", "NFC"),
        ("a\x1b[31m", "contains"),
        ("a*", "contains"),
        ("a\0", "contains"),
        ("a\u202eb", "contains"),
        ("dep\u043ey", "mixes '\\u043e' (cyrillic small letter o)"),
        ("x.\u0441lean-up", "mixes"),
        ("\u0391lpha", "mixes"),
        *((f"fi{char}x", "mixes") for char in "\u0585\u13a5\u0261\ua4f3\u0661\u2cad\u0939"),
        *(
            (f"fi{char}x", "mixes")
            for char in "\u0459\u042c\u04cf\u0475\u0451\u03f2\u03ac\u03c3\u1d04\ua731\u01c0"
        ),
        *((f"fi{mark}x", "mixes") for mark in "\u0307\u2d7f\u1039\u17d2\u05b0\u0bcd"),
        *(
            (f"{text}", "mixes")
            for text in ("j\u0307", "\u1ecb\u0307", "\u0456\u0307", "2\u09ea", "2\u2d7f")
        ),
        ("a\n", "contains"),
        *((f"fi{char}x", "stands for") for char in "\uff58\ufb01\xb2\u2170\u02e3\u017f\u2460"),
        *((f"fi{char}x", "nobody sees") for char in "\ufe0f\u034f\u3164\u115f\u180b\U000e0100"),
    ],
)
def test_bad_ids(text, why):
    assert why in ids.problem(text)


@given(st.text(max_size=40))
def test_an_accepted_id_is_a_safe_file_name(text):
    if not ids.problem(text):
        assert "/" not in text and "\0" not in text and text[0] not in ".-_#~"
        assert len(text.encode()) <= ids.MAX_BYTES and unicodedata.normalize("NFC", text) == text


@given(st.text(max_size=60))
def test_slugs_are_ids(text):
    assert ids.problem(ids.slug(text)) == ""


@given(st.text(max_size=30))
def test_keys_fold_case(text):
    assert ids.key(ids.key(text)) == ids.key(text)


@pytest.mark.parametrize("text, same", [("Fix-A", "fix-a"), ("ÉTÉ", "été"), ("ΣΑΣ", "σας")])
def test_ids_that_differ_by_case_are_the_same(text, same):
    assert ids.key(text) == ids.key(same)


@pytest.mark.parametrize("text", ["5s\n", "1ms\n", "1899-12-31T00:00Z", "2200-01-02T00:00Z"])
def test_what_lies_outside_is_no_time(text):
    """Also where no schema has looked at it before."""
    with pytest.raises(ValueError):
        (units.when if "T" in text else units.duration)(text)


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1d", 86400),
        ("300ms", 0.3),
        ("1.5s", 1.5),
    ],
)
def test_durations(text, seconds):
    assert units.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "10 m", "m", "-5s", "5x", "1m1h", "10 minutes", "1e3s"])
def test_no_durations(text):
    with pytest.raises(ValueError):
        units.duration(text)


@pytest.mark.parametrize(
    "words, text",
    [
        ("day", "1d"),
        ("every day", "1d"),
        ("dayly", "1d"),
        ("10 minutes", "10m"),
        ("1hr", "1h"),
        ("Weekly", "7d"),
        ("2 weeks", "14d"),
        ("months", ""),
        ("monday 9", ""),
        ("9:00", ""),
        ("", ""),
    ],
)
def test_durations_in_words(words, text):
    assert units.meant(words) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.04, "40ms"),
        (0.9996, "1.0s"),
        (9.94, "9.9s"),
        (28, "28s"),
        (59.6, "1m"),
        (134, "2m14s"),
        (7200, "2h"),
        (172800, "2d"),
        (4320, "1h12m"),
        (90000, "1d1h"),
    ],
)
def test_shown_durations(seconds, text):
    assert units.show_duration(seconds) == text


def test_a_wait_that_nobody_would_notice_is_none():
    assert [units.show_wait(seconds) for seconds in (0, 0.004, 2.5, 134)] == [
        "at once",
        "at once",
        "in 2.5s",
        "in 2m14s",
    ]


def test_moments():
    assert units.timestamp(units.when("2026-11-22T09:48:55.120Z")) == "2026-11-22T09:48:55.120Z"
    assert units.when("2026-11-22T10:00:00+01:00") == units.when("2026-11-22T09:00:00Z")


@pytest.mark.parametrize(
    "outcome, tries, retries, on_lost, expected",
    [
        (Outcome.SUCCEEDED, 1, 3, "hold", Finish(Status.DONE)),
        (Outcome.FAILED, 1, 0, "hold", Finish(Status.FAILED)),
        (Outcome.FAILED, 1, 1, "hold", Retry(10)),
        (Outcome.FAILED, 2, 3, "hold", Retry(20)),
        (Outcome.FAILED, 2, 1, "hold", Finish(Status.FAILED)),
        (Outcome.TIMED_OUT, 1, 1, "hold", Retry(10)),
        (Outcome.CANCELLED, 1, 5, "hold", Finish(Status.CANCELLED)),
        (Outcome.LOST, 1, 0, "retry", Retry(10)),
        (Outcome.LOST, 2, 0, "retry", Finish(Status.FAILED)),
    ],
)
def test_policy(outcome, tries, retries, on_lost, expected):
    got = decide(outcome, tries, retries, RetryPolicy(), on_lost)
    assert type(got) is type(expected)
    assert (
        got.after == expected.after
        if isinstance(expected, Retry)
        else got.status is expected.status
    )


def test_policy_holds_what_was_lost():
    assert decide(Outcome.LOST, 1, 5, RetryPolicy()).status is Status.REVIEW
    assert decide(Outcome.LOST, 1, 5, RetryPolicy(), "fail").status is Status.FAILED
    assert decide(Outcome.FAILED, 1, 5, RetryPolicy(), may_retry=False) == Finish(Status.FAILED)
    # A provider that says how long to wait is waited for, up to a day, and never for less than the policy says.
    assert [
        decide(Outcome.FAILED, 1, 5, RetryPolicy(10), pause=pause)
        for pause in (-5.0, 3.0, 90.0, 1e9)
    ] == [Retry(10.0), Retry(10.0), Retry(90.0), Retry(86400.0)]


@given(st.integers(1, 200), st.floats(0, 100), st.floats(1, 10), st.floats(0, 1000))
def test_waits_are_bounded(tries, delay, factor, most):
    assert 0 <= RetryPolicy(delay, factor, most).wait(tries) <= most


D, F, C, I, H, R, V = (
    Status.DONE,
    Status.FAILED,
    Status.CANCELLED,
    Status.INBOX,
    Status.HELD,
    Status.RUNNING,
    Status.REVIEW,
)


@pytest.mark.parametrize(
    "tasks, expected",
    [
        ([(I, False), (I, False)], RunStatus.WAITING),
        ([(H, False)], RunStatus.WAITING),
        ([(D, False), (I, False)], RunStatus.RUNNING),
        ([(R, False), (I, False)], RunStatus.RUNNING),
        ([(F, False), (R, False)], RunStatus.RUNNING),
        ([(D, False), (D, False)], RunStatus.DONE),
        ([(D, False), (F, False)], RunStatus.FAILED),
        ([(F, False), (I, True)], RunStatus.FAILED),
        ([(D, False), (I, True)], RunStatus.WAITING),
        ([(I, True)], RunStatus.WAITING),
        ([(C, False), (I, True)], RunStatus.CANCELLED),
        ([(D, False), (C, False)], RunStatus.CANCELLED),
        ([(C, False), (C, False)], RunStatus.CANCELLED),
        ([(C, False), (F, False)], RunStatus.FAILED),
        ([(V, False), (D, False)], RunStatus.RUNNING),
        ([(None, False), (D, False)], RunStatus.DONE),
        ([], RunStatus.CANCELLED),
    ],
)
def test_run_status(tasks, expected):
    assert run_status(tasks) is expected


@given(st.lists(st.tuples(st.sampled_from([*Status, None]), st.booleans()), max_size=8))
def test_run_status_is_total_and_ends(tasks):
    status = run_status(tasks)
    if any(item is R for item, _ in tasks):
        assert status is RunStatus.RUNNING
    if status is RunStatus.DONE:
        assert all(item in (D, None, Status.ARCHIVE) for item, _ in tasks)


def test_run_merges_defaults_and_names_needs():
    run = run_from(
        "rel",
        {
            "defaults": {"timeout": "5m", "env": {"A": "1"}},
            "tasks": {
                "a": "Do a.",
                "b": {
                    "prompt": "Do b.",
                    "needs": ["a", "other"],
                    "env": {"B": "2"},
                    "timeout": "1m",
                },
            },
        },
    )
    assert run.tasks["rel.a"] == {
        "timeout": "5m",
        "env": {"A": "1"},
        "prompt": "Do a.",
        "run": "rel",
    }
    assert run.tasks["rel.b"]["needs"] == ["rel.a", "other"]
    assert run.tasks["rel.b"]["env"] == {"A": "1", "B": "2"}
    assert run.tasks["rel.b"]["timeout"] == "1m" and run.members == ("rel.a", "rel.b")


def test_run_of_existing_tasks():
    run = run_from("rel", {"tasks": ["x", "y"]})
    assert run.members == ("x", "y") and not run.tasks


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3).map(tuple)
    )
)
def test_cycles(needs):
    found = cycle(needs)
    if found:
        assert found[0] == found[-1]
        assert all(after in needs[before] for before, after in itertools.pairwise(found))
    else:  # then there is an order in which all can run
        left = {name: set(need) & set(needs) for name, need in needs.items()}
        while left:
            free = [name for name, need in left.items() if not need & set(left)]
            assert free
            for name in free:
                del left[name]


@pytest.mark.parametrize(
    "where, stuck, words",
    [
        (None, True, "does not exist"),
        (F, True, "failed"),
        (C, True, "cancelled"),
        (V, False, "review"),
        (H, False, "held"),
        (I, False, "after"),
        (R, False, "running"),
    ],
)
def test_needs(where, stuck, words):
    (gate,) = need_gates(["x"], lambda _: where)
    assert gate.stuck is stuck and words in gate.why and gate.on == "x"


def test_own_gates():
    task = Task("t", "p", hold=True, not_before=100.0, needs=("a", "b"))
    approval = Gate(GateName.APPROVAL, "needs approval", stuck=True)
    gates = own_gates(
        task, {"a": D, "b": I}.get, 50.0, approval=approval, run_stopped="run r stopped"
    )
    assert [gate.name for gate in gates] == ["hold", "approval", "not_before", "needs", "stopped"]
    assert own_gates(Task("t", "p", not_before=10.0, needs=("a",)), {"a": D}.get, 50.0) == []


@pytest.mark.parametrize(
    "records, phase, tries",
    [
        ([], Phase.UNCLAIMED, 0),
        (["claim"], Phase.CLAIMED, 0),
        (["claim", "started"], Phase.STARTED, 1),
        (["claim", "started", "exit"], Phase.ENDED, 1),
        (["claim", "exit"], Phase.ENDED, 1),
        (["claim", "started", "lost"], Phase.ENDED, 1),
        (["claim", "started", "exit", "retry"], Phase.RETRYING, 1),
        (["claim", "started", "exit", "final"], Phase.FINAL, 1),
        (["claim", "started", "exit", "final", "requeue"], Phase.REQUEUED, 1),
        (["claim", "started", "exit", "final", "requeue", "claim"], Phase.CLAIMED, 0),
        (["claim", "unknown of a later version", "started"], Phase.BLOCKED, 0),
    ],
)
def test_journals(records, phase, tries):
    number, full = 0, []
    for kind in records:
        number += kind == "started" or (kind == "exit" and "started" not in records)
        full.append({"record": kind, "attempt": max(number, 1), "id": "t"})
    journal = fold(full)
    assert (journal.phase, journal.tries) == (phase, tries)


def test_task_titles():
    assert task_from("t", {"prompt": "\n# Fix it\nnow"}).title == "Fix it"
    assert first_line("x" * 200).endswith("…")
    assert Limits().running == 4

"""The choice of what runs next: one pure function."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.choice import Candidate, Ready, choose
from orchestrator.model.gates import InUse, Lane, Limits, limit_gates

A, B = Lane("a", "x"), Lane("b", "x")


def lanes(*candidates: Candidate) -> dict:
    ready = Ready()
    for candidate in candidates:
        ready.add(candidate)
    return ready.lanes


def test_priority_then_age_then_id():
    found = choose(
        lanes(
            Candidate(1, 5, "late", A),
            Candidate(1, 1, "b", A),
            Candidate(1, 1, "a", B),
            Candidate(2, 0, "low", A),
            Candidate(0, 9, "high", B),
        ),
        Limits(9),
        InUse(),
    )
    assert [candidate.id for candidate in found] == ["high", "a", "b", "late", "low"]


def test_limits_by_all_agent_tool_and_run():
    many = [
        Candidate(
            1,
            number,
            f"t{number}",
            Lane("a" if number % 2 else "b", "x", "r" if number < 4 else ""),
        )
        for number in range(10)
    ]
    assert len(choose(lanes(*many), Limits(4), InUse())) == 4
    assert len(choose(lanes(*many), Limits(9, per_agent={"a": 1}), InUse())) == 6
    assert len(choose(lanes(*many), Limits(9, per_tool={"x": 2}), InUse())) == 2
    chosen = choose(lanes(*many), Limits(9, per_run={"r": 1}), InUse())
    assert sum(candidate.lane.run == "r" for candidate in chosen) == 1 and len(chosen) == 7
    use = InUse()
    use.count(A)
    assert len(choose(lanes(*many), Limits(4, per_agent={"a": 1}), use)) == 3


def test_a_full_lane_does_not_block_the_others():
    found = choose(
        lanes(
            *(Candidate(0, number, f"a{number}", A) for number in range(100)),
            Candidate(2, 0, "b", B),
        ),
        Limits(3, per_agent={"a": 1}),
        InUse(),
    )
    assert [candidate.id for candidate in found] == ["a0", "b"]


def test_zero_switches_off():
    assert choose(lanes(Candidate(0, 0, "t", A)), Limits(4, per_agent={"a": 0}), InUse()) == []


LANES = st.builds(
    Lane, st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from(["", "r", "s"])
)
CANDIDATES = st.lists(
    st.builds(Candidate, st.integers(0, 2), st.integers(0, 5), st.uuids().map(str), LANES),
    max_size=30,
)
SMALL = st.integers(0, 4)
LIMITS = st.builds(
    Limits,
    SMALL,
    st.dictionaries(st.sampled_from("ab"), SMALL),
    st.dictionaries(st.sampled_from("xy"), SMALL),
    st.dictionaries(st.sampled_from("rs"), SMALL),
)


@given(CANDIDATES, LIMITS, st.lists(LANES, max_size=4))
def test_never_over_a_limit_and_never_idle_without_reason(candidates, limits, running):
    use = InUse()
    for lane in running:
        use.count(lane)
    before = use.copy()
    chosen = choose(lanes(*candidates), limits, use)
    assert use == before  # pure
    for candidate in chosen:
        assert not limit_gates(candidate.lane, limits, use)
        use.count(candidate.lane)
    left = set(candidates) - set(chosen)
    assert all(limit_gates(candidate.lane, limits, use) for candidate in left)
    for lane in {candidate.lane for candidate in candidates}:  # within a lane strictly by order
        mine = [candidate for candidate in chosen if candidate.lane == lane]
        rest = [candidate for candidate in left if candidate.lane == lane]
        assert not mine or not rest or max(mine) <= min(rest)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 3), LANES, st.booleans()), max_size=40
    )
)
def test_ready_behaves_like_a_dictionary(steps):
    ready, model = Ready(), {}
    for name, rank, lane, add in steps:
        if add:
            model[name] = Candidate(rank, 0, name, lane)
            ready.add(model[name])
        else:
            model.pop(name, None)
            ready.remove(name)
        assert len(ready) == len(model)
        listed = [candidate for lane_list in ready.lanes.values() for candidate in lane_list]
        assert sorted(listed) == sorted(model.values())
        assert all(
            lane_list == sorted(lane_list) and lane_list for lane_list in ready.lanes.values()
        )

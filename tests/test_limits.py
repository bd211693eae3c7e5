"""Limits: when they end, which words tell of one, and what follows."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from conftest import wait_until
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.files.documents import parse
from orchestrator.model.policy import RetryPolicy, held_until
from orchestrator.tools import failures, when

NOW = datetime(2026, 11, 26, 6, 0, 30, tzinfo=UTC).timestamp()


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text,moment",
    [
        ("You've hit your 5-hour limit · resets 7:54am (UTC)", at(2026, 11, 26, 7, 54)),
        ("You've hit your session limit · resets 7:56am (UTC)", at(2026, 11, 26, 7, 56)),
        ("You've hit your weekly limit · resets Nov 30, 10:01pm (UTC)", at(2026, 11, 30, 22, 1)),
        ("limit reached ∙ resets 5am (UTC)", at(2026, 11, 27, 5, 0)),
        ("resets 3pm (Europe/Berlin)", at(2026, 11, 26, 14, 0)),
        ("resets at 3pm (America/Los_Angeles)", at(2026, 11, 26, 23, 0)),
        ("try again at 7:54 AM.", at(2026, 11, 26, 7, 54)),
        ("try again at Jul 5th, 2027 8:19 PM.", at(2027, 7, 5, 20, 19)),
        ("try again at Dec 2nd, 2026 8:19 PM", at(2026, 12, 2, 20, 19)),
        ("resets Jan 2 at 9am (UTC)", at(2027, 1, 2, 9, 0)),
        ("Your quota resets on December 1", at(2026, 12, 1)),
        ("available again on 1 Dec 2026 12:00 UTC", at(2026, 12, 1, 12, 0)),
        ("resets Monday at 9am (UTC)", at(2026, 11, 30, 9, 0)),
        ("resets tomorrow at 09:30 UTC", at(2026, 11, 27, 9, 30)),
        ("resets at midnight UTC", at(2026, 11, 27)),
        ("try again at 05:59", at(2026, 11, 27, 5, 59)),
        ("retry at 2026-11-26T12:00:00Z", at(2026, 11, 26, 12)),
        ("resets 2026-11-26T12:00:00.123+02:00", at(2026, 11, 26, 10)),
        ("Resets in 2h39m52s", NOW + 2 * 3600 + 39 * 60 + 52),
        ("Please retry in 47.4s.", NOW + 47.4),
        ("try again in 1 day, 2 hours and 3 minutes", NOW + 86400 + 2 * 3600 + 180),
        ("try again in 1.5 hours", NOW + 5400),
        ("try again in an hour", NOW + 3600),
        ("retrying in 500ms", NOW + 0.5),
        ("wait 2 minutes", NOW + 120),
        ('{"resets_in_seconds": 3600}', NOW + 3600),
        ('"retry_after_ms":1500', NOW + 1.5),
        ("retry-after: 30", NOW + 30),
        ('"retryDelay": "47s"', NOW + 47),
        (f'"resets_at":{int(NOW) + 77}', int(NOW) + 77.0),
        (f'"resetsAt":{int(NOW) + 77}000', int(NOW) + 77.0),
        (f"Claude AI usage limit reached|{int(NOW) + 77}", int(NOW) + 77.0),
        # the past is no answer, nor what is too far, nor what is no moment
        (f"usage limit reached|{int(NOW) - 77}", None),
        ("try again at Jul 5th, 2026 8:19 PM", None),
        ("resets Nov 25, 10pm (UTC)", None),
        ("resets 6:00am (UTC)", None),
        ("retry at 2020-01-01T00:00:00Z", None),
        ("try again in 9999999 weeks", None),
        ("resets at 25:99", None),
        ("resets Feb 30, 10am", None),
        ("try again later", None),
        ("You used 5 hours of 3 windows at 7:54am", None),
        ("retry 3 of 5", None),
        ("", None),
    ],
)
def test_when_a_limit_ends(text, moment):
    found = when.ends(text, NOW, UTC)
    assert found == (pytest.approx(moment, abs=0.01) if moment is not None else None)


@given(st.text(max_size=80), st.floats(0, 4e9))
def test_no_text_ends_in_the_past_or_raises(text, now):
    for prefix in ("resets ", "try again at ", "retry in ", ""):
        found = when.ends(prefix + text, now, UTC)
        assert found is None or now < found <= now + when.FARTHEST


@given(
    st.sampled_from(["resets", "try again at", "Resets on"]),
    st.integers(0, 23),
    st.integers(0, 59),
    st.floats(1e9, 3e9),
)
def test_a_time_of_day_is_its_next_occurrence(words, hour, minute, now):
    found = when.ends(f"{words} {hour:02d}:{minute:02d} (UTC)", now, UTC)
    if found is not None:
        assert now < found <= now + 86400
        assert datetime.fromtimestamp(found, UTC).strftime("%H:%M") == f"{hour:02d}:{minute:02d}"


@pytest.mark.parametrize(
    "text",
    [
        "You've hit your 5-hour limit · resets 7:54am (UTC)",
        "You've hit your weekly limit · resets Nov 30, 10:01pm (UTC)",
        "You've hit your Opus limit · resets Nov 30, 10:01pm (UTC)",
        "You've hit your session limit · resets 7:56am (UTC)",
        "You’ve hit your usage limit. Upgrade to Pro or try again at 7:54 AM.",
        "You're out of extra usage · resets 7:54am (UTC)",
        "Claude AI usage limit reached|1795679658",
        "5-hour limit reached ∙ resets 5am",
        "Weekly limit reached",
        "You exceeded your current quota, please check your plan and billing details. Please retry in 47.4s.",
        "You have exhausted your daily quota on this model.",
        "You have exhausted your capacity on this model. Your quota will reset after 2h39m52s.",
        "Quota exceeded for quota metric 'Gemini 2.5 Pro Requests'",
        "TerminalQuotaError: daily limit",
        "402 You have no quota",
        "You've exceeded your monthly premium request allowance.",
        "You have reached your monthly chat messages quota",
        "Your credit balance is too low to access the Anthropic API",
        "The usage limit has been reached",
    ],
)
def test_plan_limits(text):
    assert failures.classify(text, (), NOW).kind == "usage_limit"


@pytest.mark.parametrize(
    "text,kind",
    [
        ("This is a server issue, not your usage limit: 529 Overloaded", "overloaded"),
        ("500 Internal Server Error (this is not your usage limit)", "overloaded"),
        ("it failed, but you have not reached your usage limit", None),
        ("the rate limit was not reached", None),
        ("the usage limit isn't the cause", None),
        ("this isn't a rate limit", None),
        ("no rate limit was involved", None),
        ("request not accepted due to rate limit", "rate_limit"),
        ("not enough time: rate limit exceeded, do not retry", "rate_limit"),
        ("403 assertions failed", None),
        ("ran 429 tests", None),
        ("500 of 529 checks passed", None),
        ('"cacheReadInputTokens":400', None),
        ("line 503: unexpected token", None),
        ("exit code 404", None),
        ("took 504 ms", None),
        ("port 401 is taken", None),
        ("v4.29.400", None),
        ("429 slow down", "rate_limit"),
        ("[API Error: 500 x]", "overloaded"),
        ("unexpected status 401 Unauthorized", "auth"),
        ("HTTP 503", "overloaded"),
        ('{"error":{"code":429}}', "rate_limit"),
        ("Error code: 400 - {'error': 1}", "bad_request"),
        ("exceeded retry limit, last status: 429 Too Many Requests", "rate_limit"),
        ("You've hit your rate limit", "rate_limit"),
        ("you reached your context limit: context window is full", "bad_request"),
        ("no rollout found for thread id 123", "session"),
    ],
)
def test_numbers_and_words_count_only_where_they_mean_it(text, kind):
    found = failures.classify(text, (), NOW)
    assert (found.kind if found else None) == kind


@pytest.mark.parametrize(
    "status,text,kind",
    [
        (429, "slow", "rate_limit"),
        (429, "You've hit your Opus limit", "usage_limit"),
        (529, "not your usage limit", "overloaded"),
        ("401", "", "auth"),
        (404, "no conversation found", "session"),
        (200, "", None),
        ("no number", "x", None),
    ],
)
def test_a_status_that_is_given_as_data(status, text, kind):
    found = failures.classify(text, (), NOW, status)
    assert (found.kind if found else None) == kind


# -- the whole way ----------------------------------------------------------------------------------------------------------

# A small agent that does what its prompt says: lines for standard output and standard error, an exit code, a pause.
SCRIPTED = r"""
import json, os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.argv[1] == "t":  # another tool, which has no troubles
    print(json.dumps({"type": "result", "text": "the other did it"}))
    sys.exit()
for step in json.load(sys.stdin):
    for line in step.get("out", []):
        print(line if isinstance(line, str) else json.dumps(line), flush=True)
    for line in step.get("err", []):
        print(line, file=sys.stderr, flush=True)
    if "long" in step: print(json.dumps({"type": "result", "text": "x" * step["long"]}), flush=True)
    if "sleep" in step: time.sleep(step["sleep"])
    if "burn" in step:
        import subprocess
        subprocess.run([sys.executable, "-c", f"import time\nend = time.time() + {step['burn']}\nwhile time.time() < end: pass"])
    if step.get("kill"): os.kill(os.getpid(), signal.SIGKILL)
    if "exit" in step: sys.exit(step["exit"])
"""
SCRIPTED_SPEC = """argv: [python3, -I, {agent}, {name}]
parse:
  done: "[?type=='result' && !error]"
  failed: "[?type=='result' && error || type=='error']"
  error: "[?error] | [-1].error"
  error_status: "[?error] | [-1].status"
  limited: "[?type=='limit'] | [-1].status == 'rejected'"
  reset: "[?type=='limit'] | [-1].resets"
  quota: "[?type=='limit'] | [-1].windows"
  text: "[?type=='result'] | [-1].text"
show:
  says: "type=='says' && text"
  retries: "type=='retry' && text"
"""


@pytest.fixture
def scripted(project):
    """Makes a tool ``s`` that follows a script, and tasks for it."""
    (project.root.parent / "agent.py").write_text(SCRIPTED)
    (project.work / "tools").mkdir(exist_ok=True)
    for name in ("s", "t"):
        (project.work / f"tools/{name}.yaml").write_text(
            SCRIPTED_SPEC.format(agent=project.root.parent / "agent.py", name=name)
        )

    def task(task_id: str, *steps: dict, agent: object = "s", **more) -> None:
        document = {"agent": agent, "prompt": json.dumps(steps), **more}
        project.drop(f"{task_id}.yaml", json.dumps(document))

    return task


def yaml(path) -> dict:
    return parse(path.read_bytes()).data


def run(project) -> None:
    project.run("watch", "--until-empty", code=None)


RESULT = {"type": "result", "text": "it is done"}


@pytest.mark.parametrize(
    "steps",
    [
        [{"out": [RESULT], "exit": 1}],
        [{"out": [RESULT], "kill": True}],
        [{"out": [RESULT, {"type": "error", "error": ""}], "exit": 0}],
        [{"out": [{"type": "error", "error": "a hiccup"}, RESULT], "exit": 0}],
        [
            {
                "out": [
                    {"type": "result", "error": "first try"},
                    {"type": "says", "text": "x"},
                    RESULT,
                ]
            }
        ],
        [{"out": ["\x1b[0m\x1b]0;title\x07" + json.dumps(RESULT)]}],
    ],
    ids=["exit", "killed", "empty-error", "recovered", "two-results", "escape"],
)
def test_the_last_event_that_ends_it_decides_and_done_work_is_not_done_again(
    project, scripted, steps
):
    scripted("a", *steps, retries=2)
    run(project)
    result = project.result("a")
    assert project.where("a") == "done" and len(result["attempts"]) == 1, result
    assert result["message"] == "it is done"
    assert bool(result.get("warnings")) == ("\x1b" not in str(steps[0]["out"][0])), result


def test_an_error_after_the_result_is_a_failure(project, scripted):
    scripted("a", {"out": [RESULT, {"type": "error", "error": "the disk is full"}], "exit": 0})
    run(project)
    assert project.where("a") == "failed" and "the disk is full" in project.result("a")["reason"]


@pytest.mark.parametrize(
    "steps,kind",
    [
        # its work is about limits; it crashes
        ([{"out": [{"type": "says", "text": "usage limit reached|1999999999"}], "exit": 1}], "exit"),
        ([{"out": [{"type": "tool", "output": "429 Too Many Requests"}], "exit": 1}], "exit"),
        ([{"err": ["TypeError: x is not a function", "  at run (a.js:1)", "params:"], "exit": 1}], "exit"),
        # it says so itself
        ([{"err": ["You've hit your 5-hour limit · resets 7:54am (UTC)"], "exit": 1}], "usage_limit"),
        ([{"err": ["starting", "Error: 529 Overloaded", "    at f (x.js:3)"], "exit": 1}], "overloaded"),
        ([{"out": ["Error: not logged in"], "exit": 1}], "auth"),
        # as data
        ([{"out": [{"type": "result", "error": "no luck", "status": 529}], "exit": 1}], "overloaded"),
        ([{"out": [{"type": "limit", "status": "rejected"}, {"type": "error", "error": "stop"}]}], "usage_limit"),
    ],
)  # fmt: skip
def test_only_what_the_program_says_of_its_own_failure_counts(project, scripted, steps, kind):
    scripted("a", *steps, agent=["s", "t"], retries=0)
    project.config("retry: {delay: 100ms}\n")
    run(project)
    first = project.result("a")["attempts"][0]
    assert first["error_class"] == kind, first
    assert "params:" not in first["reason"] and "at f" not in first["reason"]
    assert len(project.result("a")["attempts"]) == (1 if kind == "exit" else 2)


def test_a_plan_limit_is_waited_for_until_the_time_told_and_the_chain_goes_on(
    project, scripted, watch
):
    resets = int(time.time()) + 5000
    limited = {"out": [{"type": "limit", "status": "rejected", "resets": resets}], "err": ["You've hit your Opus limit"], "exit": 1}  # fmt: skip
    scripted("a", limited)
    watch()
    wait_until((project.work / "held/@s.yaml").exists, "it is held")
    held = yaml(project.work / "held/@s.yaml")
    assert abs(datetime.fromisoformat(held["not_before"]).timestamp() - resets) < 1.5
    scripted("b", {"out": [RESULT]}, agent=["t"])
    project.settled("b", "done")


@pytest.mark.parametrize("told", [int(NOW) - 9_000_000, None])
def test_a_limit_without_an_end_is_looked_at_again_ever_more_seldom(project, scripted, watch, told):
    """A reset in the past is none.  No count of looks fails the task."""
    project.config("retry: {delay: 100ms}\nwatch: {rescan: 100ms}\n")
    event = {"type": "limit", "status": "rejected"} | ({"resets": told} if told else {})
    scripted("a", {"out": [event], "err": ["usage limit reached"], "exit": 1})
    watch()
    wait_until(lambda: len(project.events("attempt_finished", "a")) >= 6, "it was tried again")
    moments = [
        datetime.fromisoformat(event["ts"]).timestamp()
        for event in project.events("attempt_finished", "a")
    ]
    waits = [after - before for before, after in zip(moments, moments[1:], strict=False)]
    assert all(wait > 0.08 * 2**place for place, wait in enumerate(waits)), waits
    assert project.where("a") == "running"


@given(
    st.one_of(st.none(), st.floats(0, 4e9)),
    st.floats(1e9, 2e9),
    st.integers(1, 500),
    st.floats(0.01, 1e4),
    st.floats(1, 10),
)
def test_a_tool_is_never_held_until_the_past_or_for_less_than_the_delay(
    reset, now, times, delay, factor
):
    policy = RetryPolicy(delay, factor, max(delay, 600.0))
    until = held_until(reset, now, times, policy)
    assert until >= now + delay * 0.999
    if reset is not None and reset > now:
        assert until == max(reset, now + delay)
    else:
        assert until <= held_until(None, now, times + 1, policy)
        assert until <= now + max(3600.0, policy.max_delay) * 1.001


@pytest.mark.parametrize(
    "steps,kind",
    [
        ([{"out": [{"type": "says", "text": "x"}, {"type": "retry", "text": "529 overloaded, try 2 of 9"}], "sleep": 60}], "overloaded"),
        ([{"err": ["Attempt 1 failed with status 429. Retrying with backoff..."], "sleep": 60}], "rate_limit"),
        ([{"out": [{"type": "retry", "text": "529 overloaded, try 2 of 9"}, {"type": "says", "text": "on it"}], "sleep": 60}], "timeout"),
        ([{"out": [{"type": "says", "text": "status 429, retrying with backoff"}], "sleep": 60}], "timeout"),
    ],
)  # fmt: skip
def test_a_storm_inside_the_program_is_no_slow_task(project, scripted, steps, kind):
    """What it printed last tells why its time was up; then another tool takes over."""
    scripted("a", *steps, agent=["s", "t"], timeout="2500ms")
    project.config("cancel: {interrupt_grace: 200ms, terminate_grace: 200ms}\nretry: {delay: 100ms}\n")  # fmt: skip
    run(project)
    attempts = project.result("a")["attempts"]
    assert attempts[0]["error_class"] == kind and attempts[0]["outcome"] == "timed_out"
    assert "ran out of time" in attempts[0]["reason"]
    assert [item["tool"] for item in attempts] == (["s"] if kind == "timeout" else ["s", "t"])


def test_after_a_limit_one_attempt_starts_first(project, scripted, watch):
    """The rest follow when it has its first answer."""
    project.config("limits: {running: 3}\n")
    moment = datetime.fromtimestamp(time.time() + 3, UTC).isoformat()
    project.drop("@s.yaml", f"not_before: '{moment}'\nreason: a limit\n", "held")
    answer = {"type": "says", "text": "on it"}
    for name in ("a", "b", "c"):
        scripted(name, {"sleep": 2}, {"out": [answer]}, {"sleep": 1}, {"out": [RESULT]})
    watch()
    for name in ("a", "b", "c"):
        project.settled(name, "done")
    results = [project.result(name)["attempts"][0] for name in ("a", "b", "c")]
    first, second, third = sorted(datetime.fromisoformat(item["started_at"]) for item in results)
    assert (second - first).total_seconds() >= 1.9, (first, second)
    ended = min(datetime.fromisoformat(item["finished_at"]) for item in results)
    assert second < ended, "they wait for its first answer, not for its end"


def test_an_event_of_any_size_is_shown_as_lines(project, scripted):
    """An agent that reads one large file makes one large event; no raw JSON, whatever the pieces it is read in."""
    big = {"type": "says", "text": "\n".join(["a long line"] * 20000)}
    scripted("a", {"out": [big, {"type": "says", "text": "and on"}, RESULT]})
    run(project)
    shown = project.run("logs", "a").stdout.splitlines()
    assert len(shown) == 20001 and set(shown) == {"a long line", "and on"}
    assert len(project.json("logs", "a")["lines"]) == 20001


def test_the_last_words_are_capped(project, scripted):
    scripted("a", {"long": 3_000_000})
    run(project)
    result = project.result("a")
    assert 16_000 < len(result["message"]) < 17_000 and "the log" in result["message"]
    assert project.where("a") == "done" and len(result["attempts"]) == 1


@pytest.mark.parametrize("verb", ["watch", "run"])
def test_who_has_printed_its_result_and_does_not_end_is_ended(project, scripted, verb):
    project.config("cancel: {result_grace: 1s, interrupt_grace: 300ms}\n")
    scripted("a", {"out": [RESULT]}, {"sleep": 60}, timeout="50s")
    project.run(*(["watch", "--until-empty"] if verb == "watch" else ["run", "a"]), code=None)
    result = project.result("a")
    assert project.where("a") == "done" and len(result["attempts"]) == 1
    assert any("did not end after its result" in text for text in result["warnings"])
    assert result["duration_s"] < 20


def test_whoever_goes_on_after_a_result_has_not_ended(project, scripted):
    """Each further event cancels the grace; the last one that ends the work decides."""
    project.config("cancel: {result_grace: 2s}\n")
    more = [{"sleep": 1.2}, {"out": [{"type": "says", "text": "and this"}]}] * 2
    last = {"type": "result", "text": "the second"}
    scripted("a", {"out": [RESULT]}, *more, {"sleep": 2.6}, {"out": [last]})
    run(project)
    result = project.result("a")
    assert project.where("a") == "done" and result["message"] == "the second", result
    assert "warnings" not in result


def test_an_error_that_was_the_last_word_is_a_failure_though_the_program_hangs(project, scripted):
    project.config("cancel: {result_grace: 1s, interrupt_grace: 300ms}\n")
    error = {"type": "result", "error": "529 Overloaded", "status": 529}
    scripted("a", {"out": [error]}, {"sleep": 60}, agent=["s", "t"], retries=0)
    run(project)
    first, second = project.result("a")["attempts"]
    assert first["error_class"] == "overloaded" and second["tool"] == "t"


def test_a_command_at_work_is_no_silence(project, scripted):
    scripted("busy", {"burn": 4}, {"out": [RESULT]}, silence="1500ms", retries=0)
    scripted("idle", {"sleep": 30}, {"out": [RESULT]}, silence="1500ms", retries=0)
    run(project)
    assert project.where("busy") == "done", project.result("busy")
    assert project.result("idle")["error_class"] == "silence"

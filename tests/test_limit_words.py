"""What agents say of limits, and what only sounds like it: words, moments and whole streams, through the real specs.

Each list is of one kind; a text that was misread is added to its list.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from orchestrator.model.attempt import AttemptEnd
from orchestrator.tools import failures, when
from orchestrator.tools.adapters import SpecAdapter
from orchestrator.tools.specs import load_tools

NOW = datetime(2026, 11, 26, 6, 0, 30, tzinfo=UTC).timestamp()
TOOLS = load_tools(None).tools

KINDS = {
    "usage_limit": [
        "You've hit your 5-hour limit · resets 7:54am (UTC)",
        "You've hit your Sonnet limit · resets Nov 30",
        "You've hit your limit · resets 7:54am (UTC)",
        "You've reached your 5-hour limit",
        "You’ve hit your weekly limit",
        "You've used up your weekly limit",
        "You have used all of your weekly limit",
        "You have used 100% of your weekly limit",
        "You've hit your usage limit for GPT-5-Codex. Switch to another model now, or try again at 7:54 AM.",
        "You've hit your usage limit. To get more access now, send a request to your admin or try again in 3 days 2 hours",
        "You've hit your org's monthly usage limit",
        "Claude usage limit reached. Your limit will reset at 3pm (America/Los_Angeles).",
        "You're out of extra usage · resets 7:54am (UTC)",
        "You're out of extra usage",
        "Your workspace is out of credits",
        "Credit balance is too low",
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "Quota exceeded. Check your plan and billing details.",
        "You have exhausted your daily quota on this model.",
        "You have reached your quota limit for today",
        "Daily quota reached",
        "You've reached the daily gemini-2.5-pro quota limit",
        "Free allocated quota exceeded",
        "Qwen OAuth quota exceeded: Your free daily quota has been reached.",
        "You've exceeded your monthly premium requests",
        "You have no remaining premium requests",
        "Premium request quota exhausted",
        "You have exceeded your premium request allowance",
        "You have not enough credits: insufficient_quota",
        "Cannot continue: you have hit your usage limit",
        "You can't send messages until 7:54am because you've reached your weekly limit",
        "It is not possible to continue, your usage limit has been reached",
        "We do not know when: usage limit reached",
        "openai.RateLimitError: Error code: 429 - {'error': {'message': 'You exceeded your current quota'}}",
        "usage_limit_reached",
        "usageLimitExceeded",
        "UsageLimitError: x",
        "codexErrorInfo: usage_limit_exceeded",
        'error: {"type":"usage_limit_reached","plan_type":"plus","resets_at":1795679658}',
        "您已达到使用上限",
        "今日免费配额已用完",
        "Nutzungslimit erreicht",
        "Vous avez atteint votre limite d’utilisation",
        "Has alcanzado tu límite de uso",
    ],
    "rate_limit": [
        "This request would exceed your account's rate limit. Please try again later.",
        "Number of request tokens has exceeded your per-minute rate limit",
        "Rate limit reached for gpt-5 in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.",
        '429 {"type":"error","error":{"type":"rate_limit_error"}}',
        "API Error: Request rejected (429) · this may be a temporary capacity issue",
        "API Error: Server is temporarily limiting requests (not your usage limit)",
        "API Error: Server is temporarily limiting requests (not your usage limit) · Rate limited",
        "code: 429",
        "error: rate_limit_error",
        "RateLimitError: 429 slow down",
        "litellm.RateLimitError: AnthropicException - rate limit",
        "rate_limit_exceeded",
        "ratelimit exceeded",
        "Error: rate-limited",
        "rate limiting in effect",
        "You are being rate limited",
        "RESOURCE_EXHAUSTED",
        "HTTP/1.1 429",
        "status=429",
        "(429)",
        "[429]",
        "got 429 from the server",
        "response 429",
        "429: Too Many Requests",
        "请求过于频繁,请稍后再试",
        "API Error (us.anthropic.claude): 429 Too many tokens, please wait before trying again.",
        "Bedrock is unable to process your request. ThrottlingException",
    ],
    "overloaded": [
        'API Error: 529 {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        "API Error: Repeated 529 Overloaded errors",
        "We're currently experiencing high demand",
        "Selected model is at capacity. Please try a different model.",
        "The model is overloaded. Please try again later.",
        "HTTP 500",
        '500 {"type":"error"}',
        "Server returned 503",
        "received 529",
    ],
    "": [
        "your usage limit was not reached",
        "This does not mean that you hit your usage limit",
        "It has nothing to do with your usage limit",
        "There is no usage limit on this plan",
        "usage limit: unlimited",
        "it is far from the usage limit",
        "you are below your usage limit",
        "Approaching usage limit · resets at 7pm",
        "You've used 87% of your weekly limit · resets Nov 30",
        "You are close to your usage limit",
        "Warning: 90% of your 5-hour limit used",
        "You're nearing your usage limit",
        "test_rate_limit failed: expected 3, got 4",
        "tests/test_rate_limit.py::test_x FAILED",
        "AssertionError: rate limiter allowed 5",
        "expected status 429, got 200",
        "assert response.status_code == 429",
        "ENOENT: no such file 'rate_limit.py'",
        "Error: Cannot find module './rateLimit'",
        "Error: cannot open usage_limit.md",
        "TypeError: Cannot read properties of undefined (reading 'rate_limit')",
        "403 assertions",
        "error: 403 assertions failed",
        "Error: 400 tests failed",
        "compiled 500 modules, 429 warnings",
        "Error on line 429",
        "error TS400: x",
        "error[E0429]: `self` imports",
        "exit code 500",
        "failed with 429 errors",
        "failed with exit code 401",
        "The rate limit is fine",
        "wrote docs/usage-limits.md",
        "the tokens-per-minute limit is 400",
        "took 429 ms",
        "429 files changed",
        "processed 529 of 600",
        "Number of requests exceeds limit",
        "max turns limit reached",
        "step limit reached",
        "session limit for open files reached",
        "time limit exceeded",
        "memory limit reached",
        "disk quota exceeded",
        "EDQUOT: disk quota exceeded, write",
        "the prompt's token limit was reached",
    ],
    "auth": [
        "status: 401",
        "OAuth token has expired",
        "Invalid API key · Please run /login",
        'Please run /login · API Error: 401 {"type":"error"}',
        "Not logged in · Please run /login",
        "Incorrect API key provided",
        "Error: When using Gemini API, you must specify the GEMINI_API_KEY environment variable.",
        "No authentication information found.",
        "Your organization has disabled Claude subscription access",
        "403 Forbidden",
    ],
    "bad_request": [
        "model not found: x",
        "404 model 'x' not found",
        "There's an issue with the selected model (x). It may not exist or you may not have access to it.",
        "prompt is too long: 201000 tokens > 200000 maximum",
        "Your input exceeds the context window of this model",
    ],
    "network": [
        "stream disconnected before completion: idle timeout waiting for SSE",
        "getaddrinfo ENOTFOUND api.x.com",
        "Connection error.",
        "Request timed out.",
        "read ECONNRESET",
        "socket hang up",
        "API Error: Connection closed mid-response",
        "upstream connect error or disconnect/reset before headers",
    ],
    "session": [
        "No conversation found with session ID: x",
        "no rollout found for thread id x",
        "Error: thread/resume failed: no rollout found for thread id x",
        "Session not found",
        "No previous sessions found for this project.",
        "No session found matching 'x'",
        "Session x not found",
        "unknown session x",
    ],
}


@pytest.mark.parametrize(
    "kind,text", [(kind, text) for kind, texts in KINDS.items() for text in texts]
)
def test_what_is_said_of_a_failure(kind, text):
    found = failures.classify(text, (), NOW)
    assert (found.kind if found else "") == kind


MOMENTS = [  # a text, and when it says that something ends: seconds from now, or a moment of UTC
    ("You've hit your 5-hour limit · resets 7:54am (UTC)", "11-26 07:54"),
    ("resets 7:54 am UTC", "11-26 07:54"),
    ("resets at 07:54 UTC", "11-26 07:54"),
    ("resets 7am (America/New_York)", "11-26 12:00"),
    ("resets Nov 26, 11:30pm (Asia/Kolkata)", "11-26 18:00"),
    ("Limit reached · resets Dec 1 at 12am (Europe/Berlin)", "11-30 23:00"),
    ("limit will reset at 14:00 PST", "11-26 22:00"),
    ("Your limit will reset at 3pm (America/Los_Angeles).", "11-26 23:00"),
    ("try again in 3 hours 5 minutes", 11100.0),
    ("try again in 2 days", 172800.0),
    ("Try again in 5 days 3 hours 22 minutes.", 444120.0),
    ("try again at 1:23 PM.", "11-26 13:23"),
    ("try again at Nov 28th, 2026 1:23 PM.", "11-28 13:23"),
    ("Please try again in 20s.", 20.0),
    ("Please try again in 6m0s.", 360.0),
    ("Please try again in 1h2m3.5s.", "11-26 07:02:33"),
    ("Please try again in 642ms", 0.642),
    ("Retry after 30 seconds", 30.0),
    ("retry-after: 30", 30.0),
    ("Retry-After=120", 120.0),
    ("retry after: Thu, 26 Nov 2026 07:00:00 GMT", "11-26 07:00"),
    ("Retry-After: Thu, 26 Nov 2026 07:00:00 GMT", "11-26 07:00"),
    ("anthropic-ratelimit-requests-reset: 2026-11-26T07:00:00Z", "11-26 07:00"),
    ("anthropic-ratelimit-unified-reset: 1795679658", "11-26 07:54:18"),
    ("x-ratelimit-reset: 1795679658", "11-26 07:54:18"),
    ("x-ratelimit-reset-requests: 6m0s", 360.0),
    ("x-ratelimit-reset-tokens: 12ms", 0.012),
    ('"retryDelay":"34.074824224s"', 34.075),
    ('"resets_in_seconds":12345', "11-26 09:26:15"),
    ('"resetsInSeconds": 12345', "11-26 09:26:15"),
    ("'resets_at': 1795679658", "11-26 07:54:18"),
    ('"resetsAt":"2026-11-26T07:00:00Z"', "11-26 07:00"),
    ('"reset_at": "2026-11-26T07:00:00+01:00"', None),
    ('"reset_at": "2026-11-26T09:00:00+01:00"', "11-26 08:00"),
    ("Your quota will reset after 2h39m52s.", "11-26 08:40:22"),
    ("quota resets on 2026-12-01", "12-01 00:00"),
    ("resets 12/1/2026", "12-01 00:00"),
    ("resets in 45 minutes", 2700.0),
    ("resets in about 45 minutes", 2700.0),
    ("resets in ~45 minutes", 2700.0),
    ("resets in less than a minute", 60.0),
    ("resets in one hour", 3600.0),
    ("resets in two hours", 7200.0),
    ("limit resets: 7:54am", "11-26 07:54"),
    ("Wait for 15 minutes before trying again", 900.0),
    ("please wait 15 minutes", 900.0),
    ("You can continue in 15 minutes", 900.0),
    ("come back in 2 hours", 7200.0),
    ("Usage limit reached. Upgrade or wait until 9:30 PM", "11-26 21:30"),
    ("available at 21:30", "11-26 21:30"),
    ("limit resets on Fri at 10am", "11-27 10:00"),
    ("resets Fri 10:00 AM", "11-27 10:00"),
    ("resets Thu 5:00 AM (UTC)", "12-03 05:00"),
    ("resets next Monday", "11-30 00:00"),
    ("resets today at 9pm", "11-26 21:00"),
    ("renews on December 1st", "12-01 00:00"),
    ("Your free-tier quota refreshes in 3h 20m", 12000.0),
    ("try again at 2026-11-26 07:00:00 UTC", "11-26 07:00"),
    ("try again at 26 Nov 2026, 07:00 UTC", "11-26 07:00"),
    ("resets 11pm", "11-26 23:00"),
    ("resets 11 p.m.", "11-26 23:00"),
    ("resets at 7:54 AM", "11-26 07:54"),
    ("resets at 7:54 AM", "11-26 07:54"),
    ("retry in 47.4s", "11-26 06:01:17"),
    ("Retrying in 5 seconds… (attempt 3 of 10)", 5.0),
    ("retry_after=3.5", 3.5),
    ("retryAfter: 3", 3.0),
    ("retryAfterMs: 3000", 3.0),
    ("rate_limit_reset_seconds: 90", "11-26 06:02"),
    ("resets in 1:23:45", "11-26 07:24:15"),
    ("resets in 00:45:00", 2700.0),
    ("resets at 23:59 CET", "11-26 22:59"),
    ("resets at 10:00 (GMT+2)", "11-26 08:00"),
    ("resets at 10:00 UTC+02:00", "11-26 08:00"),
    ("resets at 10:00+02:00", "11-26 08:00"),
    ("resets Nov 30, 2026, 10:01pm (UTC)", "11-30 22:01"),
    ("resets at 10am on Nov 30", "11-30 10:00"),
    ("resets in 5 hours (at 11:00)", 18000.0),
    ("available in 3 hrs", 10800.0),
    ("limit lifted at 10:00", "11-26 10:00"),
    ("resets in -5 minutes", None),
    ("reset 3 branches", None),
    ("git reset --hard 1795679658", None),
    ("resets in 1 month", 2592000.0),
    ("try again tomorrow", "11-27 00:00"),
    ("You used 1795679658 tokens", None),
    ("resets at 7:00 AM Pacific", "11-26 15:00"),
    ("Try again at 7:54 AM PT", "11-26 15:54"),
]


@pytest.mark.parametrize("text,moment", MOMENTS)
def test_when_it_is_over(text, moment):
    found = when.ends(text, NOW, UTC)
    if isinstance(moment, str):
        form = "%m-%d %H:%M:%S" if moment.count(":") == 2 else "%m-%d %H:%M"
        assert found is not None and datetime.fromtimestamp(found, UTC).strftime(form) == moment
    else:
        assert found == (moment if moment is None else pytest.approx(NOW + moment, abs=0.01))


# -- whole streams, read by the specs -------------------------------------------------------------------------------

INIT = {"type": "system", "subtype": "init", "session_id": "s", "model": "m"}
THREAD = {"type": "thread.started", "thread_id": "t"}
TURN = {"type": "turn.completed", "usage": {"input_tokens": 1}}
SOON = int(time.time()) + 3600
RATE = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed", "resetsAt": SOON}}
OVER = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": SOON}}
PAST = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1600000000}}  # fmt: skip
TALK = {"type": "assistant", "message": {"content": [{"type": "text", "text": "usage limit reached"}]}}  # fmt: skip


def result(text: str = "ok", **more) -> dict:
    """Claude's last event."""
    base = {"type": "result", "subtype": "success", "is_error": False, "num_turns": 2}
    return {**base, "result": text, "session_id": "s", **more}


def bad(text: str, **more) -> dict:
    return result(text, is_error=True, **more)


def pi(reason: str, **more) -> dict:
    return {"type": "message_end", "message": {"role": "assistant", "stopReason": reason, **more}}


def read(folder, tool, events, stderr="", code=1, cause="", signal=None):
    """What the spec of a tool makes of a stream and of an end."""
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    (folder / "stdout.log").write_text("".join(line + "\n" for line in lines))
    (folder / "stderr.log").write_text(stderr)
    end = AttemptEnd(cause, code=code, signal=signal, duration_ms=1)
    route = SimpleNamespace(tool=TOOLS[tool], mode="batch")
    return SpecAdapter().reading(route, str(folder), end)


@pytest.mark.parametrize(
    "tool,events,stderr,kind,ends",
    [
        ("claude", [INIT, OVER, bad("You've hit your 5-hour limit · resets 7:54am (UTC)", api_error_status=429)], "", "usage_limit", True),
        ("claude", [INIT, PAST, bad("You've hit your Opus limit")], "", "usage_limit", False),
        ("claude", [INIT, OVER, RATE, bad("TypeError: x")], "", "exit", False),
        ("claude", [INIT, bad("API Error: 500 Internal server error", api_error_status=500)], "", "overloaded", False),
        ("claude", [INIT, TALK], "", "exit", False),
        ("claude", [INIT, bad("odd", modelUsage={"m": {"cacheReadInputTokens": 400}})], "", "exit", False),
        ("codex", [THREAD, {"type": "turn.failed", "error": {"message": '{"error":{"type":"usage_limit_reached","resets_in_seconds":3600}}'}}], "", "usage_limit", True),
        ("codex", [THREAD, {"type": "error", "message": "You've hit your usage limit. Try again in 1 hour."}], "", "usage_limit", True),
        ("codex", [THREAD], "Error: thread/resume failed: no rollout found for thread id 01a (code -32600)\n", "session", False),
        ("gemini", [{"type": "init", "session_id": "g"}], "TerminalQuotaError: You have exhausted your daily quota on this model.\n    at classify (x.js)\n", "usage_limit", False),
        ("copilot", [{"type": "session.error", "data": {"message": "402 You have no quota"}}, {"type": "result", "exitCode": 1}], "", "usage_limit", False),
        ("opencode", [{"type": "error", "sessionID": "o", "error": {"data": {"message": "Usage limit reached for 5 hours, try again in 1 hour"}}}], "", "usage_limit", True),
        ("pi", [pi("error", errorMessage=f'429 {{"error":{{"type":"usage_limit_reached","resets_at":{SOON}}}}}'), {"type": "agent_end"}], "", "usage_limit", True),
        ("llm", [], "Error: Error code: 401 - {'error': {'message': 'bad key'}}\n", "auth", False),
    ],
)  # fmt: skip
def test_streams_that_fail(tmp_path, tool, events, stderr, kind, ends):
    found = read(tmp_path, tool, events, stderr)
    assert (found.outcome, found.error_class) == ("failed", kind)
    assert (found.reset is not None) == ends
    if ends:
        # The texts say a moment, or how long from now on, and now is later than when they were written.
        assert SOON - 120 <= found.reset <= time.time() + 3600 + 120


@pytest.mark.parametrize(
    "tool,events,how",
    [
        ("claude", [INIT, result(), RATE], {"cause": "timeout"}),
        ("claude", [INIT, result(), RATE], {"signal": 9, "code": None}),
        ("claude", [INIT, OVER, result()], {"code": 0}),
        ("claude", [INIT, result("usage limit reached|1999999999")], {"code": 1}),
        ("claude", [INIT, bad("API Error: 500"), result("second")], {"code": 0}),
        ("claude", [INIT, result(), bad("")], {"code": 1}),
        ("claude", [INIT, "\x1b[?25h\x1b]0;x\x07" + json.dumps(result()) + "\x1b[0m"], {"code": 0}),
        ("codex", [THREAD, TURN], {"cause": "silence"}),
        ("codex", [THREAD, TURN, {"type": "error", "message": ""}], {"code": 1}),
        ("pi", [pi("stop"), {"type": "turn_end"}, {"type": "agent_end"}, {"type": "agent_settled"}], {"cause": "timeout"}),
    ],
)  # fmt: skip
def test_streams_whose_work_is_done(tmp_path, tool, events, how):
    assert read(tmp_path, tool, events, **how).outcome == "succeeded"


@pytest.mark.parametrize(
    "tool,events,how,reason",
    [
        ("claude", [INIT, result(), TALK], {"cause": "timeout"}, "ran out of time"),
        ("claude", [INIT, result(), bad("the disk is full")], {"code": 1}, "the disk is full"),
        ("claude", [INIT, bad("", subtype="error_max_turns")], {"code": 1}, "error_max_turns"),
        ("codex", [THREAD, TURN, {"type": "error", "message": "the stream broke"}], {"code": 1}, "the stream broke"),
        ("claude", [INIT, "note: " + json.dumps(result())], {"code": 0}, "without saying that it is done"),
    ],
)  # fmt: skip
def test_streams_whose_work_is_not(tmp_path, tool, events, how, reason):
    found = read(tmp_path, tool, events, **how)
    assert found.outcome != "succeeded" and reason in found.reason

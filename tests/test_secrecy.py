"""In which forms a secret is found in a text, and what of it may be shown while it is written."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import re
import shlex
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.execution.mask import Mask, begun_at_end
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.tools import secrecy

WAYS = {
    "plain": str,
    "json": json.dumps,
    "json with its letters": lambda text: json.dumps(text, ensure_ascii=False),
    "json within json": lambda text: json.dumps({"output": json.dumps({"x": text})}),
    "json with slashes": lambda text: json.dumps(json.dumps(text).replace("/", "\\/")),
    "python": repr,
    "python, of a longer text": lambda text: repr(f'it\'s "{text}"'),
    "python in json": lambda text: json.dumps(repr(text)),
    "an address": lambda text: f"https://x:{urllib.parse.quote(text, '')}@host/",
    "a path": urllib.parse.quote,
    "json by Go": lambda text: _escaped(json.dumps(text, ensure_ascii=False), "<>&"),
    "json by Go within json": lambda text: json.dumps(_escaped(json.dumps(text), "<>&")),
    "json by .NET": lambda text: _net(text),
    "an address by .NET": lambda text: re.sub(
        "%[0-9A-F]{2}", lambda match: match[0].lower(), urllib.parse.quote(text, "")
    ),
    "an address by JavaScript": lambda text: urllib.parse.quote(text, "!'()*"),
    "a page": lambda text: html.escape(text, quote=False),
    "an attribute": html.escape,
    "a page by Go": lambda text: html.escape(text).replace("&#x27;", "&#39;"),
    "an attribute by Go": lambda text: (
        html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    ),
    "a trace of a shell": lambda text: "+ curl -H '" + text.replace("'", "'\\''") + "'",
    "a word by shlex": lambda text: f"curl {shlex.quote(text)}",
    "a trace in json": lambda text: json.dumps("+ '" + text.replace("'", "'\\''") + "'"),
    "single quotes of YAML": lambda text: f"""token: '{text.replace("'", "''")}'""",
    "without the space around it": str.strip,
    "a form": lambda text: urllib.parse.urlencode({"token": text}),
}


def _escaped(text: str, chars: str) -> str:
    return text.translate({ord(char): f"\\u{ord(char):04x}" for char in chars})


def _net(text: str) -> str:
    """As System.Text.Json does."""
    short = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
    plain = "".join(map(chr, range(32, 127)))
    return "".join(
        short.get(char) or (char if char in plain and char not in "<>&'+`\"" else _code(char))
        for char in text
    )


def _code(char: str) -> str:
    pairs = char.encode("utf-16-be")
    return "".join(f"\\u{pairs[n : n + 2].hex().upper()}" for n in range(0, len(pairs), 2))


CORE = "wörd/+s3cret"  # none of it is left, however it is written
SECRETS = [
    f"{CORE}<&>'\"`!*()",
    f'p"a{CORE}\\x y',
    f"'{CORE}'",
    CORE,
    f"{CORE}\t\x01",
    f"%2F{CORE}",
    f"  {CORE}\r\n",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_as_others_write_it(way, secret):
    shown = secrecy.mask(f"it is {WAYS[way](secret)}, see", secrecy.forms([secret]))
    assert "s3cret" not in shown and shown.startswith("it is ") and shown.endswith(", see")


@given(st.text(min_size=8, max_size=40), st.sampled_from(sorted(WAYS)))
def test_no_form_of_any_text_is_left(secret, way):
    try:
        written = WAYS[way](secret)
    except UnicodeEncodeError:  # no program writes half a character
        return
    shown = secrecy.mask(written, secrecy.forms([secret]))
    for left in (written, secret):
        assert left not in shown or not left.strip("*\"'")


def test_each_line_of_a_key_is_a_secret_and_its_frame_is_none():
    key = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2E\r\n  MIIEvQIBADANBg\nab\n-----END KEY-----\n"
    shown = secrecy.mask(f"| {key.splitlines()[1]} | MIIEvQIBADANBg | ab", secrecy.forms([key]))
    assert shown == f"| {'*' * 15} | {'*' * 14} | ab"
    assert secrecy.mask("-----BEGIN KEY-----", secrecy.forms([key])) == "-----BEGIN KEY-----"
    assert "s" not in secrecy.mask(json.dumps(key), secrecy.forms([key]))


def test_no_field_of_a_reading_has_a_secret():
    """Whatever an adapter takes from what a tool says; ``answer`` may be any JSON. Three fields have
    words of ours only."""
    secret = "31415926"
    names = {item.name for item in dataclasses.fields(Reading) if item.type == "str"}
    texts = dict.fromkeys(names - {"signal", "error_class", "cost_source"}, f"it is {secret}")
    said = [{secret: {"x": [int(secret), f"-{secret}-", 1.5, None]}}]
    reading = Reading(Outcome.SUCCEEDED, **texts, answer=said, data=said, warnings=(secret,))
    found = secrecy.masked(reading, secrecy.forms([secret]))
    assert secret not in repr(found) and found.answer[0]["*" * 8]["x"][2:] == [1.5, None]


def test_a_value_that_is_no_text_has_forms_too():
    secret = os.fsdecode(b"\xff\xfe-secret-value")
    assert secrecy.mask(secret, secrecy.forms([secret])) == "*" * len(secret)


@given(st.binary(min_size=1, max_size=20), st.binary(max_size=30), st.integers(0, 20))
def test_the_beginning_of_a_secret_is_held_back(secret, before, count):
    end = before + secret[:count]
    longest = max((n for n in range(1, len(secret)) if end.endswith(secret[:n])), default=0)
    assert begun_at_end(secret, end) == longest


def test_a_long_secret_costs_no_square():
    """64 KiB of it, of which every part looks like the beginning: a look takes no longer than reading does."""
    secret = b"ab" * (1 << 15) + b"c"
    assert begun_at_end(secret, secret[:-1] * 2) == len(secret) - 1


def test_a_secret_that_comes_in_two_pieces_is_masked_when_it_is_whole(tmp_path):
    """While the tool runs: from then on readers may look at all of it."""
    path = tmp_path / "stdout.log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    mask = Mask(str(path), ["hunter2-hunter2"], log, 1 << 20)
    for piece in (b"it is hunter2-", b"hunter2 now"):
        os.write(log, piece)
        mask.run()
    os.close(log)
    assert path.read_text() == "it is *************** now"
    assert int((tmp_path / "stdout.log.masked").read_text()) == 25

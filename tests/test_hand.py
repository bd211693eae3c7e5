"""What keys do in the pane, in a test tube: a selection that belongs to an id, questions, lines that are typed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cli.app import VERBS
from orchestrator.cli.screen.footer import Doing, Row, View, steady, targets
from orchestrator.cli.screen.hand import DRAIN, KEYS, Act, Hand, Key, passed, press, selected, valid
from orchestrator.cli.screen.keyboard import decode
from orchestrator.queries.needs import GIVE_BACK, Need

ASKS = Need(
    "migrate-db", "asks", "Drop it?", "reply migrate-db", question="Drop it?\n1. yes\n2. no", verbs=("reply", "reject", "show")
)  # fmt: skip
REVIEW = Need("fix-login", "review", "+1 -0", "diff fix-login", target="main", verbs=("diff", "show", "approve", "reject", "reply", "retry"))  # fmt: skip
SETTINGS = Need("settings", "held", "changed", "approve --settings")
VIEW = View(
    [Doing("add-schema", "codex", 36, cost_usd=0.76), Doing("talk", "claude", interactive=True)],
    4,
    needs=(ASKS, REVIEW, SETTINGS),
    waiting=(Row("bump", "waiting", "waiting"), Row("kept", "held", "held")),
    ended=(Row("old", "done", "done"),),
)


def play(keys: list[Key | str], hand: Hand | None = None, view: View = VIEW):
    """The hand after some keys, and everything that was to be done."""
    hand, done = hand or Hand(), []
    for key in keys:
        key = Key(key, key if len(key) == 1 else "") if isinstance(key, str) else key
        hand, acts = press(hand, key, targets(view, hand), 0.0)
        done += acts
    return hand, done


def typed(text: str) -> list[Key]:
    return [Key(char, char) for char in text]


def test_every_key_is_a_verb_that_exists():
    assert {verb.split()[0] for verb, _ in KEYS.values() if verb} <= set(VERBS)
    for target in targets(VIEW):
        assert target.opens[0] in VERBS
        assert all(words[0] in VERBS for words in target.words.values())
        for key in valid(target):
            hand, done = play([key], Hand(target.block, target.id))
            assert done or hand.mode, (target.id, key)
            assert all(act.words[0] in VERBS for act in done)


def test_a_conflict_goes_back_to_its_agent_by_one_key():
    """Where none was met the key means nothing."""
    conflict = replace(
        REVIEW, command="reply fix-login --conflict", verbs=(*REVIEW.verbs, GIVE_BACK)
    )
    view = replace(VIEW, needs=(ASKS, conflict))
    chosen = Hand("needs", "fix-login")
    assert play(["f"], chosen, view)[1] == [Act(("reply", "--conflict", "fix-login"))]
    assert play(["f"], chosen)[1] == []


def test_what_cannot_be_undone_is_asked_once():
    hand, done = play(["c"], Hand("running", "add-schema"))
    assert hand.mode == "ask" and not done
    assert hand.prompt == "cancel add-schema, running 36s, $0.76? y/N"
    assert play(["y"], hand)[1] == [Act(("cancel", "add-schema"))]
    for key in ("n", "enter", "esc", "q", "c", Key("paste", "y")):
        after, done = play([key], hand)
        assert not done and after.mode == "" and after.note == "no"
    hand, _ = play(["a"], Hand("needs", "fix-login"))
    assert hand.prompt == "merge fix-login into main, +1 -0? y/N"
    assert play(["y"], hand)[1] == [Act(("approve", "fix-login"))]
    hand, _ = play(["a"], Hand("needs", "settings"))
    assert play(["y"], hand)[1] == [Act(("approve", "--settings"))]


def test_a_question_that_nobody_answers_is_a_no():
    hand, _ = play(["c"], Hand("running", "add-schema"))
    there = targets(VIEW)
    assert passed(hand, there, 9.9) == hand
    assert passed(hand, there, 10.0).mode == "" and "no" in passed(hand, there, 10.0).note
    gone = passed(hand, targets(replace(VIEW, doing=())), 1.0)
    assert gone.mode == "" and gone.note == "add-schema has ended in the meantime"


def test_everything_is_held_and_released_by_one_key():
    hand, done = play(["p"])
    assert hand.mode == "ask" and "nothing new starts" in hand.prompt and not done
    assert play(["y"], hand)[1] == [Act(("hold", "--all"))]
    hand, _ = play(["p"], Hand(all_held=True))
    assert play(["y"], hand)[1] == [Act(("release", "--all"))]


def test_reject_says_why():
    hand, done = play(["x", "y"], Hand("needs", "fix-login"))
    assert hand.mode == "type" and not done
    assert play(["enter"], hand)[1] == [Act(("reject", "fix-login"))]
    why = play([*typed("too big"), "enter"], hand)[1]
    assert why == [Act(("reject", "fix-login", "--", "too big"))]
    assert play([*typed("big"), "enter"], hand)[1] == [Act(("reject", "fix-login", "--", "big "))]
    assert play(["esc"], hand)[1] == []


def test_reply_takes_an_option_a_line_or_an_editor():
    hand, _ = play(["r"], Hand("needs", "migrate-db"))
    assert play(["2"], hand)[1] == [Act(("reply", "migrate-db", "2"))]
    assert play(["3"], hand)[0].text == "3"  # no such option: text
    after, done = play([*typed("-x 2"), "enter"], hand)
    assert done == [Act(("reply", "migrate-db", "-"), stdin="-x 2")] and after.mode == ""
    assert play(["enter"], hand)[1] == []
    draft, _ = play([*typed("half"), "esc"], hand)
    assert draft.drafts == {"migrate-db": "half"}
    again, _ = play(["j", "k", "r"], draft)
    assert again.text == "half"
    sent, done = play([*typed(" done"), "enter"], again)
    assert done[0].stdin == "half done" and not sent.drafts
    edits = Act(("reply", "migrate-db", "-e", "--", "one\ntwo"), opens=True, edits=True)
    assert play([Key("paste", "one\ntwo")], hand)[1] == [edits]
    assert play([Key("paste", "one")], hand)[0].text == "one"
    assert play(["ctrl-e"], hand)[1][0].words == ("reply", "migrate-db", "-e")
    assert play([*typed("abc"), "backspace", "ctrl-u"], hand)[0].text == ""


def test_a_selection_belongs_to_an_id():
    hand, _ = play(["j"], Hand())
    assert hand.id == "fix-login"
    moved = replace(VIEW, needs=(REVIEW, ASKS))
    assert selected(hand, targets(moved)).id == "fix-login"
    gone = replace(VIEW, needs=(ASKS,))
    assert selected(hand, targets(gone)) is None
    assert play(["d"], hand, gone)[1] == []  # never another one's
    assert play(["down", "down", "down", "down", "down", "down"])[0].id == "talk"
    assert play(["3"])[0].id == "settings"
    assert play(["9"])[0].id == ""
    blocks = [play(["tab"] * count)[0].block for count in range(1, 5)]
    assert blocks == ["running", "waiting", "ended", "needs"]
    assert play(["tab", "tab", "j"])[0].id == "kept"
    assert play(["esc"], hand)[0].id == ""


def test_nothing_that_is_aimed_at_moves():
    new = replace(VIEW, needs=(SETTINGS, replace(REVIEW, why="+2 -0")), doing=VIEW.doing[1:])
    shown = steady(VIEW, new)
    assert [need.id for need in shown.needs] == ["migrate-db", "fix-login", "settings"]
    assert shown.needs[1].why == "+2 -0"
    assert [item.id for item in shown.doing] == ["add-schema", "talk"]


def test_filter_and_drain():
    hand, _ = play(["/", *typed("log"), "enter"])
    assert [target.id for target in targets(VIEW, hand)] == ["fix-login"]
    assert play(["/", "esc"], hand)[0].filter == ""
    assert play(["q"])[1] == [DRAIN]
    assert play(["q"], Hand(mode="type", act=Act(("reply", "a"))))[1] == []
    assert play(["?"])[0].mode == "help" and play(["?", "?"])[0].mode == ""
    assert play(["?", "q"])[1] == [] and play(["?", "q", "q"])[1] == [DRAIN]
    assert play([Key("paste", "cy")])[1] == []  # outside of a prompt


@pytest.mark.parametrize("cut", range(1, 12))
def test_keys_come_in_pieces(cut):
    data = "aü\x1b[A\x1bOB\r".encode() + b"\x1b[200~c\ny\x1b[201~\x7f\x1b[1;5C"
    first, left = decode(data[:cut])
    rest, left = decode(left + data[cut:])
    keys = [*first, *rest]
    assert left == b"" and [key.name for key in keys] == ["a", "ü", "up", "down", "enter", "paste", "backspace"]  # fmt: skip
    assert keys[5].text == "c\ny"
    assert [key.name for key in decode(b"\x1bk")[0]] == ["esc", "k"]
    assert decode(b"\x1b") == ([], b"\x1b") and decode(b"\x1b", whole=True)[0] == [Key("esc")]
    assert decode(b"\x00\x01\xff", whole=True)[0] == [Key("�", "�")]

"""What a person does at the keys of the pane: a selection, a question, a line being typed.

Pure: a `Hand` and a key in, a `Hand` and perhaps an `Act` out. A selection belongs to an id, never
to a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.queries.needs import GIVE_BACK
from orchestrator.records import dataclass, field, replace

BLOCKS = ("needs", "running", "waiting", "ended")
PATIENCE = 10.0  # seconds after which a question without an answer is a no
STILL = 2.0  # seconds after a key for which no row moves
ASKED = ("approve", "reject", "cancel")  # what cannot simply be undone is asked once


@dataclass(frozen=True, slots=True)
class Key:
    """One key, or (named ``paste``) a text that was pasted: ``text`` is what it types."""

    name: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """A verb to run: its words; ``stdin`` is what it reads. ``opens``: it is shown to the person,
    beside or instead of the pane."""

    words: tuple[str, ...]
    stdin: str | None = None
    opens: bool = False
    edits: bool = False  # it ends by itself: an editor, a terminal


DRAIN = Act(("drain",))


@dataclass(frozen=True, slots=True)
class Target:
    """What can be selected. ``verbs`` are valid for it now; ``effect`` says what a yes would do, by
    verb."""

    block: str
    id: str
    verbs: tuple[str, ...] = ()
    effect: Mapping[str, str] = field(default_factory=dict)
    opens: tuple[str, ...] = ()  # the words of Enter
    options: int = 0  # of its question
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # where not ``verb id``


@dataclass(frozen=True, slots=True)
class Hand:
    """``mode``: empty (rows), ``ask``, ``type``, ``filter`` or ``help``."""

    block: str = ""
    id: str = ""
    mode: str = ""
    prompt: str = ""
    text: str = ""
    act: Act | None = None  # what follows a yes, or Enter
    since: float = 0.0  # of the question
    last: float = -1e9  # when a key was typed
    filter: str = ""
    note: str = ""  # told in the key line until the next key
    drafts: Mapping[str, str] = field(default_factory=dict)  # replies that were not sent, by id
    all_held: bool = False  # whether everything is held now


# key -> (verb, what it does): each is a verb of the command line.
KEYS = {
    "enter": ("", "show it; if it is running, follow its log"),
    "d": ("diff", "its change"),
    "w": ("why", "what it waits for"),
    "e": ("edit", "its file in your editor"),
    "r": ("reply", "words for the agent, in one line"),
    "R": ("reply", "words for the agent, in your editor"),
    "f": (GIVE_BACK, "have its agent resolve the conflict"),
    "a": ("approve", "yes: start it, merge it, allow it"),
    "x": ("reject", "no, and why"),
    "c": ("cancel", "stop it, or withdraw it"),
    "t": ("retry", "run it again in the same session"),
    "h": ("hold", "keep it from starting"),
    "H": ("release", "let it start again"),
    "p": ("hold", "hold everything, or release it"),
}


def valid(target: Target | None) -> list[str]:
    """The keys that mean something for a target now, in the order they are shown."""
    if target is None:
        return []
    return [
        key for key, (verb, _) in KEYS.items() if key != "p" and (not verb or verb in target.verbs)
    ]


def selected(hand: Hand, targets: Sequence[Target]) -> Target | None:
    """The target under the hand: the one chosen, or the first if none was ever chosen."""
    if not hand.id:
        return targets[0] if targets and targets[0].block in ("needs", "running") else None
    same = [target for target in targets if target.id == hand.id]
    return next((target for target in same if target.block == hand.block), None) or (
        same[0] if same else None
    )


def press(
    hand: Hand, key: Key, targets: Sequence[Target], now: float
) -> tuple[Hand, tuple[Act, ...]]:
    """What a key does. ``targets`` are in the order of the screen; ``now`` is monotonic seconds."""
    hand = replace(hand, last=now, note="")
    if hand.mode == "ask":
        return _answered(hand, key, now)
    if hand.mode in ("type", "filter"):
        return _typed(hand, key, targets)
    if hand.mode == "help" and key.name in ("?", "esc", "enter", "q"):
        return replace(hand, mode=""), ()
    return _chosen(replace(hand, mode=""), key, targets, now)


def passed(hand: Hand, targets: Sequence[Target], now: float) -> Hand:
    """What time does: a question that nobody answers is a no, and one about what has ended in the
    meantime goes."""
    if hand.mode != "ask":
        return hand
    if now - hand.since >= PATIENCE:
        return replace(hand, mode="", note="no answer: taken as no")
    about = hand.act is not None and "--all" not in hand.act.words
    if about and hand.id and not any(target.id == hand.id for target in targets):
        return replace(hand, mode="", note=f"{hand.id} has ended in the meantime")
    return hand


def _answered(hand: Hand, key: Key, now: float) -> tuple[Hand, tuple[Act, ...]]:
    done = replace(hand, mode="", act=None)
    if key.name not in ("y", "Y") or hand.act is None:
        return replace(done, note="no"), ()
    if hand.act.words[0] == "reject":
        why = f"why is {hand.id} rejected? (Enter: no reason)"
        return replace(hand, mode="type", prompt=why, text="", since=now), ()
    return done, (hand.act,)


def _typed(hand: Hand, key: Key, targets: Sequence[Target]) -> tuple[Hand, tuple[Act, ...]]:
    back = replace(hand, mode="", act=None, text="")
    act = hand.act
    replying = act is not None and act.words[0] == "reply"
    if key.name == "esc":
        if hand.mode == "filter":
            return replace(back, filter=""), ()
        if replying:
            note = f"your reply to {hand.id} is kept: r" if hand.text else ""
            return replace(back, drafts={**hand.drafts, hand.id: hand.text}, note=note), ()
        return replace(back, note="no"), ()
    if key.name == "enter":
        return _sent(hand, back)
    if replying and (key.name == "ctrl-e" or (key.name == "paste" and "\n" in key.text.strip())):
        draft = hand.text + key.text
        words = ("reply", hand.id, "-e", *(("--", draft) if draft else ()))
        return back, (Act(words, opens=True, edits=True),)
    target = selected(hand, targets)
    options = target.options if target is not None else 0
    if replying and not hand.text and key.text.isdecimal() and 1 <= int(key.text) <= options:
        return back, (Act(("reply", hand.id, key.text)),)
    if key.name == "backspace":
        text = hand.text[:-1]
    elif key.name == "ctrl-u":
        text = ""
    else:
        text = hand.text + " ".join(key.text.split("\n"))
    changed = replace(hand, text=text)
    return (replace(changed, filter=text) if hand.mode == "filter" else changed), ()


def _sent(hand: Hand, back: Hand) -> tuple[Hand, tuple[Act, ...]]:
    if hand.mode == "filter":
        return replace(back, filter=hand.text), ()
    said, act = hand.text.strip(), hand.act
    if act is None:
        return back, ()
    if act.words[0] == "reject":
        why = f"{said} " if said and " " not in said else said
        return back, (Act((*act.words, *(("--", why) if why else ()))),)
    if not said:
        return replace(back, note="nothing was sent"), ()
    drafts = {name: text for name, text in hand.drafts.items() if name != hand.id}
    return replace(back, drafts=drafts), (Act((*act.words, "-"), stdin=said),)


def _chosen(
    hand: Hand, key: Key, targets: Sequence[Target], now: float
) -> tuple[Hand, tuple[Act, ...]]:
    name = key.name
    if name == "q":
        return hand, (DRAIN,)
    if name == "?":
        return replace(hand, mode="help"), ()
    if name == "/":
        return replace(hand, mode="filter", prompt="filter", text=hand.filter), ()
    if name == "esc":
        return replace(hand, block="", id="", filter=""), ()
    if name == "p":
        everything = ("release" if hand.all_held else "hold", "--all")
        what = "release everything" if hand.all_held else "hold everything: nothing new starts"
        prompt = f"{what}? y/N"
        return replace(hand, mode="ask", prompt=prompt, act=Act(everything), since=now), ()
    target = selected(hand, targets)
    if name in ("up", "down", "j", "k", "tab") or name.isdecimal():
        return _moved(hand, name, target, targets), ()
    if name not in valid(target) or target is None:
        return hand, ()
    hand = replace(hand, block=target.block, id=target.id)
    verb = KEYS[name][0]
    if not verb:
        return hand, (Act(target.opens, opens=True, edits=target.opens[0] == "attach"),)
    words = target.words.get(verb, (*verb.split(), target.id))
    if name == "R":
        return hand, (Act((*words, "-e"), opens=True, edits=True),)
    if name == "r":
        draft = hand.drafts.get(target.id, "")
        prompt = f"reply {target.id}"
        return replace(hand, mode="type", prompt=prompt, text=draft, act=Act(words)), ()
    if verb in ("diff", "why", "edit"):
        return hand, (Act(words, opens=True, edits=verb == "edit"),)
    if verb in ASKED:
        prompt = f"{target.effect.get(verb) or ' '.join(words)}? y/N"
        return replace(hand, mode="ask", prompt=prompt, act=Act(words), since=now), ()
    return hand, (Act(words),)


def _moved(hand: Hand, name: str, at: Target | None, targets: Sequence[Target]) -> Hand:
    """The selection after a key that moves it; a digit takes that row of the block."""
    if not targets:
        return hand
    blocks = [block for block in BLOCKS if any(target.block == block for target in targets)]
    if name == "tab":
        place = blocks.index(at.block) + 1 if at is not None and at.block in blocks else 0
        block = blocks[place % len(blocks)]
        first = next(target for target in targets if target.block == block)
        return replace(hand, block=block, id=first.id)
    if name.isdecimal():
        block = at.block if at is not None else blocks[0]
        rows = [target for target in targets if target.block == block]
        place = int(name) - 1
        return replace(hand, block=block, id=rows[place].id) if 0 <= place < len(rows) else hand
    # Up and down pass through what is on the screen: what waits or has ended is reached by Tab.
    there = ("needs", "running") if at is None or at.block in ("needs", "running") else (at.block,)
    rows = [target for target in targets if target.block in there]
    if not rows:
        return hand
    place = rows.index(at) if at in rows else -1
    place = max(place - 1, 0) if name in ("up", "k") else min(place + 1, len(rows) - 1)
    return replace(hand, block=rows[place].block, id=rows[place].id)

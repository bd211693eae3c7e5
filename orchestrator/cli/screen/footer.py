"""The footer of the pane: what needs you, what runs now and how the rest stands, in at most half of
the terminal.

Pure: a `View` and a `Hand` in, rows of text out.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.cli.screen.console import Console, cost, day_cost, tokens
from orchestrator.cli.screen.hand import KEYS, Hand, Target, selected, valid
from orchestrator.files.text import fit, fit_middle, one_line, width
from orchestrator.model.question import options
from orchestrator.model.units import show_duration
from orchestrator.queries.needs import Need
from orchestrator.records import dataclass, replace

NO_COST, NO_AGENT = 60, 48  # below so many columns these are left out
TITLE, BRANCH = 2, 3  # columns of a row on a wide screen
NARROWEST = 10  # cells of a title that still say something
WIDE = 110  # from so many columns on there is room for title, branch, limit, tokens, the answer
RULE = 100  # columns that a rule takes at most: what wraps when the terminal shrinks is little then
LOW = 10  # rows below which the footer is one line
MOST = 16  # rows of a block
NEED_SIGNS = {"asks": "review", "budget": "held"}


@dataclass(frozen=True, slots=True)
class Doing:
    """An attempt that runs (or, with ``sign`` retrying, waits).  Times are seconds."""

    id: str
    agent: str
    seconds: float = 0.0
    limit: float = 0.0
    cost_usd: float | None = None
    tokens: int = 0
    line: str = ""
    model: str = ""
    run: str = ""  # its name, and how far it is
    attempt: int = 1
    sign: str = "running"
    title: str = ""
    branch: str = ""
    interactive: bool = False
    lent: bool = False  # it asks a person, and its slot is somebody else's meanwhile


@dataclass(frozen=True, slots=True)
class Row:
    """A task that waits or has ended: its sign, its state in a word, and a line about it."""

    id: str
    sign: str
    word: str
    line: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What the watcher knows at one moment. ``counts`` are in the order they are shown; empty ones
    are left out."""

    doing: Sequence[Doing] = ()
    slots: int = 1
    counts: Sequence[tuple[str, int]] = ()
    notes: Sequence[str] = ()  # parked tools, no notifications: what else to know
    cost_usd: float = 0.0  # today
    budget_usd: float | None = None  # for today
    tokens: int = 0
    up: float = 0.0
    fault: str = ""
    draining: bool = False
    interrupted: bool = False
    needs: Sequence[Need] = ()
    waiting: Sequence[Row] = ()
    ended: Sequence[Row] = ()
    now: float = 0.0  # seconds since the epoch
    all_held: bool = False  # by a person


def footer(
    view: View, console: Console, columns: int, rows: int, hand: Hand | None = None
) -> tuple[str, ...]:
    """The rows for a terminal of this size. Without a ``hand`` nothing can be selected, and no keys
    are shown."""
    columns = max(columns - 1, 10)  # writing to the last cell makes some terminals wrap
    there = targets(view, hand)
    at = selected(hand, there) if hand is not None else None
    bottom = [] if hand is None else _bottom(view, hand, at, console, columns, rows // 2 - 2)
    if rows < LOW:
        typing = hand is not None and (hand.mode in ("ask", "type", "filter") or bool(hand.note))
        return (bottom[-1],) if typing else (_one(view, console, columns),)
    marked = at.id if at is not None else ""
    needs = [_need_cells(need, view.now, columns) for need in view.needs if _fits(hand, need.id)]
    doing = [_cells(item, columns) for item in view.doing if _fits(hand, item.id)]
    third = _third(view, at)
    rules = 2 + bool(needs) + bool(third)
    room = rows // 2 - rules - len(bottom)
    shares = _shares(room, [len(needs), len(doing), len(third)])
    parts: list[str] = []
    if needs and shares[0]:
        words = f"needs you {len(view.needs)}"
        parts.append(_rule(words, console, columns, "yellow"))
        spare = room - sum(shares) if columns >= WIDE else 0
        said = {need.id: need.said for need in view.needs}
        parts += _table(needs, console, columns, shares[0], marked, hand, said, spare)
    elif needs:
        room += 1
        shares = _shares(room, [0, len(doing), len(third)])
    words, colour = _state(view, needs and not shares[0])
    parts.append(_rule(words, console, columns, colour))
    parts += _table(doing, console, columns, shares[1], marked, hand)
    if third and shares[2]:
        block = at.block if at is not None else ""
        parts.append(_rule(f"{block} {len(third)}", console, columns))
        parts += _table(third, console, columns, shares[2], marked, hand)
    return (*parts, _summary(view, console, columns), *bottom)


def targets(view: View, hand: Hand | None = None) -> list[Target]:
    """Everything that can be selected, in the order of the screen."""
    found = [_of_need(need) for need in view.needs]
    asked = {target.id for target in found}
    found += [_of_doing(item) for item in view.doing if item.id not in asked]
    found += [_of_waiting(row) for row in view.waiting]
    found += [_of_ended(row) for row in view.ended]
    return [target for target in found if _fits(hand, target.id)]


def steady(old: View, new: View) -> View:
    """The new facts in the old rows: nothing that a person aims at moves while they type."""
    needs = {(need.id, need.kind): need for need in new.needs}
    doing = {item.id: item for item in new.doing}
    return replace(
        new,
        needs=[needs.get((need.id, need.kind), need) for need in old.needs],
        doing=[doing.get(item.id, item) for item in old.doing],
        waiting=old.waiting,
        ended=old.ended,
    )


def _fits(hand: Hand | None, task_id: str) -> bool:
    return hand is None or hand.filter.casefold() in task_id.casefold()


# -- what can be selected
# ----------------------------------------------------------------------------------------


def _of_need(need: Need) -> Target:
    verbs = tuple(dict.fromkeys((*need.verbs, *(("show",) if need.verbs else ()))))
    opens = ("show", need.id) if "show" in verbs else tuple(need.command.split())
    facts = f", {need.why}" if need.why else ""
    into = f" into {need.target}" if need.target else ""
    accept = f"merge {need.id}{into}" if "diff" in verbs else f"approve {need.id}"
    effect = {
        "approve": f"{accept}{facts}",
        "reject": f"reject {need.id}{facts}",
    }
    words: dict[str, tuple[str, ...]] = {}
    if need.command == "approve --settings":
        verbs, opens = ("approve",), ("approve", "--settings", "-n")
        words["approve"] = ("approve", "--settings")
        effect["approve"] = "accept these settings, which decide what programs run here"
    known = len(options(need.question))
    return Target("needs", need.id, verbs, effect, opens, known, words)


def _of_doing(item: Doing) -> Target:
    spent = f", {cost(item.cost_usd)}" if item.cost_usd else ""
    state = f"running {_clock(item.seconds)}" if item.sign == "running" else item.line
    effect = {"cancel": f"cancel {item.id}, {state}{spent}"}
    opens = ("attach", item.id) if item.interactive else ("logs", "-f", item.id)
    return Target("running", item.id, ("diff", "why", "reply", "cancel"), effect, opens)


def _of_waiting(row: Row) -> Target:
    held = row.sign == "held"
    verbs = ("why", "edit", "cancel", "release" if held else "hold")
    effect = {"cancel": f"cancel {row.id}, {row.word}"}
    return Target("waiting", row.id, verbs, effect, ("show", row.id))


def _of_ended(row: Row) -> Target:
    return Target("ended", row.id, ("diff", "reply", "retry"), {}, ("show", row.id))


# -- rows
# --------------------------------------------------------------------------------------------------


def _rule(words: str, console: Console, columns: int, colour: str = "") -> str:
    """``── needs you 3 ──────``."""
    line = "─" if console.unicode else "-"
    text = f"{line}{line} {one_line(words)} "
    if width(text) > columns:
        text = fit(text, columns, _dots(console))
    rest = line * max(min(columns, RULE) - width(text), 0)
    return console.paint(text, colour) + console.paint(rest, "dim")


def _state(view: View, names: object) -> tuple[str, str]:
    """What the rule above the running tasks says: how many, or what is wrong, or that it is about
    to end."""
    running = sum(item.sign == "running" for item in view.doing)
    if view.fault:
        return f"FAULT {view.fault}: nothing new starts until this is over", "red"
    if view.interrupted:
        return f"INTERRUPTING {running}", "yellow"
    if view.draining:
        return f"DRAINING {running} running, no new tasks; Ctrl-C interrupts them", "yellow"
    if view.all_held:
        return f"HELD {running} running, nothing new starts: release --all", "yellow"
    if not view.slots:
        return f"HELD {running} running, nothing new starts: limits.running is 0", "yellow"
    waiting = dict(view.counts).get("waiting", 0)
    needs = f" · needs you {len(view.needs)}" if names else ""
    return f"running {_in_slots(view)} of {view.slots} · waiting {waiting}{needs}", ""


def _shares(room: int, sizes: Sequence[int]) -> list[int]:
    """How many rows each block gets: one after the other takes one, while it has any left."""
    given = [0] * len(sizes)
    while room > 0:
        wanting = [n for n, size in enumerate(sizes) if given[n] < min(size, MOST)]
        if not wanting:
            break
        for place in wanting[:room]:
            given[place] += 1
        room -= len(wanting[:room])
    return given


@dataclass(frozen=True, slots=True)
class _Line:
    """One row before it is fitted: cells, the last of which gives way, and what stands at the right
    end."""

    id: str
    sign: str
    cells: tuple[str, ...]
    last: str
    right: str = ""


def _table(
    lines: Sequence[_Line],
    console: Console,
    columns: int,
    room: int,
    marked: str,
    hand: Hand | None,
    below: dict[str, str] | None = None,
    spare: int = 0,
) -> list[str]:
    if room < 1 or not lines:
        return []
    first = _first(lines, room, marked)
    all_shown = len(lines) <= room
    shown = lines[first : first + room] if all_shown else lines[first : first + max(room - 1, 1)]
    margin = 4 if hand is not None else 2
    sizes = _sizes(shown, columns, margin)
    rows = []
    for line in shown:
        mark = ""
        if hand is not None:
            mark = "> " if line.id == marked else "  "
        text = _fitted(line, sizes, columns - margin, _dots(console))
        rows.append(f"{mark}{console.sign(line.sign)} {text}")
        said = one_line((below or {}).get(line.id, ""))
        if said and spare > 0:
            spare -= 1
            indent = " " * (margin + sizes.cells[0] + 2)
            rows.append(indent + fit(said, columns - len(indent), _dots(console)).rstrip())
    if not all_shown and room > 1:
        rows.append(console.paint(f"  {_dots(console)} {len(lines) - len(shown)} more", "dim"))
    return rows


@dataclass(frozen=True, slots=True)
class _Sizes:
    """How wide the columns of a table are: its cells (0: not shown), and what stands at the right
    end."""

    cells: Sequence[int]
    right: int

    @property
    def end(self) -> int:
        """The columns that the right end takes, with the gap before it."""
        return self.right + 2 if self.right else 0


def _sizes(shown: Sequence[_Line], columns: int, margin: int) -> _Sizes:
    """As wide as what they hold; where that is too much, the first cell gives way, then the branch
    and the title: why it needs you, and what it does, come before them."""
    cells = [max(width(line.cells[n]) for line in shown) for n in range(len(shown[0].cells))]
    last = max(width(line.last) for line in shown)
    found = _Sizes(cells, max(width(line.right) for line in shown))
    taken = margin + found.end
    if cells:
        others = sum(cells[1:]) + 2 * len(cells) + taken
        cells[0] = min(cells[0], max(columns // 3, 12, columns - others - last))
    if columns >= WIDE and len(cells) > BRANCH:
        wanted = min(last, columns // 3)
        for n in (BRANCH, TITLE):
            free = columns - taken - sum(size + 2 for size in cells if size)
            narrower = cells[n] - max(wanted - free, 0)
            cells[n] = narrower if free >= wanted or narrower >= NARROWEST else 0
    return found


def _fitted(line: _Line, sizes: _Sizes, columns: int, dots: str) -> str:
    """One row, in so many columns: an id gives way in its middle, all else at its end."""
    cells = [
        fit(cell, size, dots) if n else fit_middle(cell, size, dots)
        for n, (cell, size) in enumerate(zip(line.cells, sizes.cells, strict=True))
        if size
    ]
    text = "  ".join(cells)
    end = f"  {line.right:>{sizes.right}}" if sizes.right else ""
    left = columns - width(text) - 2 - width(end)
    text += "  " + fit(line.last, left, dots) if left > 4 else ""
    return fit(text + end, columns, dots).rstrip()


def _first(lines: Sequence[_Line], room: int, marked: str) -> int:
    """Where a block that does not fit begins, so that the selected row is seen."""
    if len(lines) <= room:
        return 0
    shown = max(room - 1, 1)
    place = next((n for n, line in enumerate(lines) if line.id == marked), 0)
    return max(0, min(place - shown + 1, len(lines) - shown))


def _need_cells(need: Need, now: float, columns: int) -> _Line:
    cells = [one_line(need.id), need.kind]
    if columns >= WIDE:
        cells += [one_line(need.title, 30), one_line(need.branch, 30)]
    age = _clock_short(now - need.since) if need.since is not None and now else ""
    sign = NEED_SIGNS.get(need.kind, need.kind)
    return _Line(need.id, sign, tuple(cells), one_line(need.why), age)


def _cells(item: Doing, columns: int) -> _Line:
    """One row's columns; the last is what it is doing."""
    took = _clock(item.seconds) if item.sign == "running" else ""
    if took and item.limit and columns >= WIDE:
        took += f" of {show_duration(item.limit)}"
    cells = [one_line(item.id)]
    if columns >= NO_AGENT:
        cells.append(one_line(item.agent) + (f" #{item.attempt}" if item.attempt > 1 else ""))
    if columns >= WIDE:
        cells += [one_line(item.title, 30), one_line(item.branch, 30)]
    cells.append(took)
    if columns >= NO_COST:
        cells.append(cost(item.cost_usd) if item.cost_usd else "")
    if columns >= WIDE:
        cells += [tokens(item.tokens) if item.tokens else ""]
    if columns >= WIDE + 40:
        cells += [one_line(item.model, 24), one_line(item.run, 30)]
    return _Line(item.id, item.sign, tuple(cells), one_line(item.line))


def _third(view: View, at: Target | None) -> list[_Line]:
    """The block of what waits or has ended, while the selection is there."""
    rows = {"waiting": view.waiting, "ended": view.ended}.get(
        at.block if at is not None else "", ()
    )
    return [
        _Line(row.id, row.sign, (one_line(row.id), row.word), one_line(row.line)) for row in rows
    ]


# -- the last rows
# --------------------------------------------------------------------------------------------------


def _summary(view: View, console: Console, columns: int) -> str:
    """``── done 39 · failed 1 · $5.81 of $20 · claude 5 h 100 %, until 11:54 ─────``."""
    left = [
        f"{name} {count}"
        for name, count in view.counts
        if name != "waiting" and (count or name == "done")
    ]
    if view.budget_usd is not None:
        left.append(day_cost(view.cost_usd, view.budget_usd))
    elif view.cost_usd:
        left.append(cost(view.cost_usd))
    left += view.notes
    left += [f"{tokens(view.tokens)} tok"] if view.tokens else []
    left.append(f"up {show_duration(view.up // 60 * 60) if view.up >= 60 else '<1m'}")
    dot = " · " if console.unicode else " - "
    while len(left) > 1 and width(dot.join(left)) + 4 > columns:
        left.pop()
    return _rule(dot.join(left), console, columns)


def _one(view: View, console: Console, columns: int) -> str:
    """All of it in one line, for a terminal with few rows."""
    parts = [f"running {_in_slots(view)} of {view.slots}"]
    parts += [f"{name} {count}" for name, count in view.counts if count or name == "waiting"]
    if view.needs:
        parts.insert(0, f"needs you {len(view.needs)}")
    if view.fault or view.draining:
        parts.insert(0, "FAULT" if view.fault else "draining")
    parts.append(f"up {show_duration(view.up // 60 * 60) if view.up >= 60 else '<1m'}")
    dot = " · " if console.unicode else " - "
    while len(parts) > 1 and width(dot.join(parts)) + 1 > columns:
        parts.pop()
    return fit(" " + dot.join(parts), columns, _dots(console)).rstrip()


def _bottom(
    view: View, hand: Hand, at: Target | None, console: Console, columns: int, most: int
) -> list[str]:
    """What is asked or typed, else the keys that mean something now."""
    dots = _dots(console)
    if hand.mode == "ask":
        return [console.paint(fit(one_line(hand.prompt), columns, dots).rstrip(), "yellow")]
    if hand.mode in ("type", "filter"):
        head = fit(one_line(hand.prompt), columns - 11, dots).rstrip() + ": "
        room = columns - width(head) - 1
        typed = one_line(hand.text) + (" " if hand.text.endswith(" ") else "")
        while width(typed) > room:
            typed = typed[1:]
        asked = next((need.question for need in view.needs if need.id == hand.id), "")
        above = [line.strip() for line in asked.splitlines() if line.strip()]
        above = above if hand.mode == "type" and hand.act and hand.act.words[0] == "reply" else []
        shown = [fit(one_line(line), columns, dots).rstrip() for line in above[: max(most - 1, 0)]]
        return [*shown, head + typed + "_"]
    if hand.mode == "help":
        rows = [f"{key:<6} {KEYS[key][1]}" for key in valid(at)]
        rows.append("p      hold everything, or release it")
        rows.append("up down j k 1-9 select · Tab next block · / filter · Esc back")
        rows.append(
            "q or Ctrl-C: start nothing new; again: interrupt what runs; a third time: leave"
        )
        return [fit(row, columns, dots).rstrip() for row in rows][-max(most, 1) :]
    if hand.note:
        return [fit(one_line(hand.note), columns, dots).rstrip()]
    words = [f"{key} {_word(key, at)}" for key in valid(at) if key not in ("R", "w")]
    end = ["? keys", "q drain"]
    while words and width("  ".join((*words, *end))) > columns:
        words.pop()
    return [console.paint(fit("  ".join((*words, *end)), columns, dots).rstrip(), "dim")]


def _word(key: str, at: Target | None) -> str:
    if key == "enter":
        return at.opens[0] if at is not None and at.opens else "show"
    return KEYS[key][0]


def _in_slots(view: View) -> int:
    """Attempts that run and have a slot: one that asks has lent it, one that waits has none."""
    return sum(item.sign == "running" and not item.lent for item in view.doing)


def badge(view: View, console: Console) -> str:
    """``orch 3▶ 2· 1✗ 2?``: the title of the window, at most 21 cells; the signs are those of
    ``status --short``."""
    counts = dict(view.counts)
    signs = ("▶", "·", "✗") if console.unicode else (">", ".", "x")
    parts = [f"{len(view.doing)}{signs[0]}", f"{counts.get('waiting', 0)}{signs[1]}"]
    parts += [f"{counts['failed']}{signs[2]}"] if counts.get("failed") else []
    parts += [f"{len(view.needs)}?"] if view.needs else []
    parts += ["!"] if view.fault or any("settings" in note for note in view.notes) else []
    return fit("orch " + " ".join(parts), 21).rstrip()


def _clock(seconds: float) -> str:
    """Elapsed time that changes once a second at most."""
    return f"{int(seconds)}s" if seconds < 60 else show_duration(float(int(seconds)))


def _clock_short(seconds: float) -> str:
    """An age in its largest unit: ``40s``, ``2m``, ``3h``, ``5d``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def _dots(console: Console) -> str:
    return "…" if console.unicode else "~"

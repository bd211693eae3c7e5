"""What click asks of the standard library, without what none of our verbs needs of it.

Half of what importing click costs is ``inspect``, of which it uses one function, and looking for
translations of its words, which nobody has installed for us: our own words are English, too.
"""

from __future__ import annotations

import gettext
import sys

from orchestrator import lazily


def spare() -> None:
    """To be called before click is imported.  Who needs more of ``inspect`` gets it."""
    lazily.library("inspect", cleandoc=_cleandoc)
    if "click" not in sys.modules:
        gettext.gettext, gettext.ngettext = _as_it_is, _one_or_many


def _cleandoc(text: str) -> str:
    """`inspect.cleandoc`, which for one line is no work."""
    if "\n" not in text and "\t" not in text:
        return text.lstrip()
    lazily.load("inspect")
    return str(sys.modules["inspect"].cleandoc(text))


def _as_it_is(message: str) -> str:
    return message


def _one_or_many(msgid1: str, msgid2: str, n: int) -> str:
    return msgid1 if n == 1 else msgid2

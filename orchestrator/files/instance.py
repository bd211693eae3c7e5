"""The name of a work directory, in ``.state/instance``: what is begun in it bears that name.

The first line is the name. The second says by which inode and birth the file is known, so that a
copy can be told. The third has the names that a copied project had before a person took it for
their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.files import requests
from orchestrator.files.layout import Layout

if TYPE_CHECKING:
    from orchestrator.files.identity import Identity


def path_of(layout: Layout) -> str:
    return f"{layout.state}/instance"


def lines(layout: Layout) -> tuple[str, str, tuple[str, ...]]:
    """The name, what the file says it is known by, and earlier names; empty if there is none that
    can be read."""
    try:
        said = requests.read(path_of(layout)).raw.decode("ascii").splitlines()
    except (OSError, requests.Unreadable, UnicodeDecodeError):
        return "", "", ()
    name, known_by, earlier, *_ = [*said, "", "", ""]
    return name.strip()[:64], known_by, tuple(earlier.split())


def name_of(layout: Layout) -> str:
    """The name of the work directory; empty if it has none that can be read."""
    return lines(layout)[0]


def names_of(layout: Layout) -> frozenset[str]:
    """Its name, and those that it had before."""
    name, _, earlier = lines(layout)
    return frozenset((name, *earlier)) - {""}


def known_line(known_by: Identity) -> str:
    """How the file says by what it is known."""
    inode, birth = known_by
    return f"{inode} {birth}"

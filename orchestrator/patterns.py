"""Regular expressions that are compiled when they are first used.

A verb imports some two hundred of them and uses a few; those with ``re.IGNORECASE`` take
milliseconds each.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    def regex(text: str, flags: int = 0) -> re.Pattern[str]: ...

    def bytes_regex(text: bytes, flags: int = 0) -> re.Pattern[bytes]: ...

else:

    class regex:  # noqa: N801 (it stands in for a function)
        """What `re.compile` gives, once something of it is asked for. A pattern that is none raises
        then: tests compile all."""

        def __init__(self, text: Any, flags: int = 0) -> None:
            self._text, self._flags = text, flags

        def __getattr__(self, name: str) -> Any:
            compiled = re.compile(self._text, self._flags)
            for method in ("search", "match", "fullmatch", "finditer", "findall", "sub", "split"):
                setattr(self, method, getattr(compiled, method))
            return getattr(compiled, name)

    bytes_regex = regex


class LaterToo:
    """While this is entered, `re.compile` makes patterns of this kind: for the import of a library
    that compiles many and needs few.

    PyYAML compiles a dozen for its reader and its resolver; libyaml, which reads for us, needs none
    of them.
    """

    def __enter__(self) -> None:
        self._real = re.compile
        setattr(re, "compile", regex)  # noqa: B010 (no checker of types may take it for the function itself)

    def __exit__(self, *_: object) -> None:
        setattr(re, "compile", self._real)  # noqa: B010

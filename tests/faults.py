"""Breaks off what runs at a chosen step, as a kill would: for tests of what a second look completes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Cut(BaseException):
    """Nothing catches it, as nothing survives a kill."""


@contextmanager
def cut_off(module: Any, names: tuple[str, ...], after: int) -> Iterator[None]:
    """Inside, the call number ``after`` of these functions of a module raises `Cut` instead of doing anything."""
    left = [after]

    def cut(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Cut
            return real(*words, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(module, name, cut(getattr(module, name)))
        yield

"""``dataclass`` as everything here uses it: the same, but its methods are made when the first value is.

A verb imports a hundred and fifty such classes and makes values of ten.  Compiling the methods of all of them was half of what
``status`` cost.  So a class gets its slots at once, and the rest when its first value is made or its fields are asked for.
Type checkers see the standard library's decorator.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

_MAKING = threading.RLock()

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen=False, slots=False, order=False):
        """`dataclasses.dataclass`, with these options of it."""

        def decorate(cls):
            if order or not slots:
                import dataclasses  # here and below: only who needs it pays for it

                return dataclasses.dataclass(cls, frozen=frozen, slots=slots, order=order)
            return _Later(cls, frozen).slotted

        return decorate


class _Later:
    """What is still to be made of a class.  It stands in for the facts about fields until somebody asks for them."""

    COPIED = ("__repr__", "__eq__", "__hash__", "__match_args__", "__dataclass_params__", "__dataclass_fields__")  # fmt: skip

    def __init__(self, plain: type, frozen: bool) -> None:
        self.plain, self.frozen = plain, frozen
        self.made = False
        kinds = plain.__dict__.get("__annotations__", {})  # noqa: RUF063 (its own, unread)
        names = [name for name, kind in kinds.items() if not str(kind).startswith("ClassVar")]
        taken = {slot for base in plain.__mro__[1:] for slot in base.__dict__.get("__slots__", ())}
        left_out = {*names, "__dict__", "__weakref__"}
        body = {key: value for key, value in plain.__dict__.items() if key not in left_out}
        body["__slots__"] = tuple(name for name in names if name not in taken)
        body["__init__"] = _first(self)
        body["__dataclass_fields__"] = _Fact(self, "__dataclass_fields__")
        body["__dataclass_params__"] = _Fact(self, "__dataclass_params__")
        if frozen:
            body |= {"__setattr__": _set, "__delattr__": _delete}
            body |= {"__getstate__": _state, "__setstate__": _restore}
        self.slotted: Any = type(plain)(plain.__name__, plain.__bases__, body)

    def finish(self) -> None:
        """Make the methods, once: the standard library takes the defaults out of the class that it is given."""
        import dataclasses

        with _MAKING:  # two threads may make their first values at the same moment
            if self.made:
                return
            made: Any = dataclasses.dataclass(self.plain, frozen=self.frozen)
            for name in self.COPIED:
                if name in made.__dict__:
                    setattr(self.slotted, name, made.__dict__[name])
            self.slotted.__init__ = made.__dict__["__init__"]
            self.made = True


class _Fact:
    """A fact about fields that is not there yet."""

    def __init__(self, later: _Later, name: str) -> None:
        self.later, self.name = later, name

    def __get__(self, value: Any, owner: Any = None) -> Any:
        self.later.finish()
        return self.later.slotted.__dict__[self.name]


def _first(later: _Later) -> Any:
    def first(self: Any, *args: Any, **more: Any) -> None:
        later.finish()
        later.slotted.__init__(self, *args, **more)

    return first


def _set(self: Any, name: str, value: Any) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(self: Any, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__dataclass_fields__]


def _restore(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__dataclass_fields__, state, strict=True):
        object.__setattr__(self, name, value)

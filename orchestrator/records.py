"""``dataclass`` as everything here uses it: the same, but its methods are made when they are worth
it.

A verb imports a hundred and fifty such classes and makes one or two values of fifteen. Compiling
the methods of all of them was half of what ``status`` cost, and the standard library's machinery
the half of the rest. So a class gets its slots at once. Its first values are filled field by field;
when there are more of them, or its fields are asked for, the standard library makes its methods.
Type checkers see the standard library.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

_MAKING = threading.RLock()
FEW = (
    24  # values for which a class needs no compiled methods: compiling costs as much as some fifty
)

if TYPE_CHECKING:
    from dataclasses import asdict as asdict
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:

    def dataclass(*, frozen=False, slots=False, order=False):
        """`dataclasses.dataclass`, with these options of it."""

        def decorate(cls):
            if order or not slots:
                import dataclasses  # here and below: only who needs it pays for it

                _for_library(cls)
                return dataclasses.dataclass(cls, frozen=frozen, slots=slots, order=order)
            return _Later(cls, frozen).slotted

        return decorate

    class field:  # noqa: N801 (it stands in for a function)
        """`dataclasses.field`."""

        __slots__ = ("more",)

        def __init__(self, **more):
            self.more = more

    def replace(value, **changes):
        """`dataclasses.replace`."""
        later = _known.get(type(value))
        if later is None or later.fields is None:
            import dataclasses

            return dataclasses.replace(value, **changes)
        for one in later.fields:
            if one.init and one.name not in changes:
                changes[one.name] = getattr(value, one.name)
        return type(value)(**changes)

    def asdict(value):
        """`dataclasses.asdict`."""
        import dataclasses

        return dataclasses.asdict(value)


_NONE: Any = object()
_known: dict[type, _Later] = {}  # the classes that are ours


class _Field:
    """One field: its default or what makes one, whether the constructor takes it, and whether
    equality looks at it."""

    __slots__ = ("compare", "default", "factory", "init", "name")

    def __init__(self, name: str, given: Any) -> None:
        more = given.more if type(given) is field else {}
        self.name = name
        self.default = more.get("default", _NONE) if type(given) is field else given
        self.factory = more.get("default_factory", _NONE)
        self.init, self.compare = more.get("init", True), more.get("compare", True)


class _Later:
    """What is still to be made of a class. It stands in for the facts about fields until somebody
    asks for them."""

    COPIED = ("__repr__", "__eq__", "__hash__", "__match_args__", "__dataclass_params__", "__dataclass_fields__")  # fmt: skip

    def __init__(self, plain: type, frozen: bool) -> None:
        self.plain, self.frozen = plain, frozen
        self.made, self.values = False, 0
        kinds = plain.__dict__.get("__annotations__", {})  # noqa: RUF063 (its own, unread)
        names = [name for name, kind in kinds.items() if not str(kind).startswith("ClassVar")]
        self.fields = self._all_fields(names)
        taken = {slot for base in plain.__mro__[1:] for slot in base.__dict__.get("__slots__", ())}
        left_out = {*names, "__dict__", "__weakref__"}
        body = {key: value for key, value in plain.__dict__.items() if key not in left_out}
        body["__slots__"] = tuple(name for name in names if name not in taken)
        body["__init__"] = _first(self)
        for name in ("__match_args__", "__dataclass_fields__", "__dataclass_params__"):
            body[name] = _Fact(self, name)
        body |= _methods(self, body)
        if frozen:
            body |= {"__setattr__": _set, "__delattr__": _delete}
            body |= {"__getstate__": _state, "__setstate__": _restore}
        self.slotted: Any = type(plain)(plain.__name__, plain.__bases__, body)
        _known[self.slotted] = self

    def _all_fields(self, names: list[str]) -> tuple[_Field, ...] | None:
        """Those of the classes that it builds on first; None if something of it is the standard
        library's."""
        found: dict[str, _Field] = {}
        for base in reversed(self.plain.__mro__[1:]):
            later = _known.get(base)
            if later is None and "__dataclass_fields__" in base.__dict__:
                return None
            if later is not None and later.fields is None:
                return None
            found |= {one.name: one for one in (later.fields or () if later else ())}
        given = {name: self.plain.__dict__.get(name, _NONE) for name in names}
        if any(type(item).__module__ == "dataclasses" for item in given.values()):
            return None
        found |= {name: _Field(name, item) for name, item in given.items()}
        return tuple(found.values())

    def fill(self, value: Any, args: tuple[Any, ...], more: dict[str, Any]) -> bool:
        """Fill the fields of a new value, if what is given fits them."""
        given, named = iter(args), dict(more)
        for one in self.fields or ():
            item: Any = next(given, _NONE) if one.init else _NONE
            if item is _NONE and one.init:
                item = named.pop(one.name, _NONE)
            if item is _NONE:
                item = one.factory() if one.factory is not _NONE else one.default
            if item is not _NONE:
                object.__setattr__(value, one.name, item)
            elif one.init:
                return False
        if named or next(given, _NONE) is not _NONE:
            return False
        finish = getattr(value, "__post_init__", None)
        if finish is not None:
            finish()
        return True

    def finish(self) -> None:
        """Make the methods, once: the standard library takes the defaults out of the class that it
        is given."""
        import dataclasses

        with _MAKING:  # two threads may make their first values at the same moment
            if self.made:
                return
            for base in self.plain.__mro__[1:]:
                if base in _known:
                    _known[base].finish()
            _for_library(self.plain)
            made: Any = dataclasses.dataclass(self.plain, frozen=self.frozen)
            for name in self.COPIED:
                if name in made.__dict__:
                    setattr(self.slotted, name, made.__dict__[name])
            self.slotted.__init__ = made.__dict__["__init__"]
            self.made = True


def _for_library(cls: type) -> None:
    """The fields of a class as the standard library knows them."""
    import dataclasses

    for name, value in list(cls.__dict__.items()):
        if type(value) is field:
            setattr(cls, name, dataclasses.field(**value.more))


class _Fact:
    """A fact about fields that is not there yet."""

    def __init__(self, later: _Later, name: str) -> None:
        self.later, self.name = later, name

    def __get__(self, value: Any, owner: Any = None) -> Any:
        self.later.finish()
        return self.later.slotted.__dict__[self.name]


def _first(later: _Later) -> Any:
    def first(self: Any, *args: Any, **more: Any) -> None:
        later.values += 1
        few = later.fields is not None and later.values <= FEW
        if not few or not later.fill(self, args, more):
            later.finish()
            later.slotted.__init__(self, *args, **more)

    return first


def _methods(later: _Later, body: dict[str, Any]) -> dict[str, Any]:
    """The methods until the standard library's are there; what the class has itself stays."""

    def told(self: Any) -> str:
        later.finish()
        return str(later.slotted.__repr__(self))

    def equal(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _compared(later, self) == _compared(later, other)

    def hashed(self: Any) -> int:
        return hash(_compared(later, self))

    found = {"__repr__": told, "__eq__": equal, "__hash__": hashed if later.frozen else None}
    own = {name for name in found if name in body and body[name] is not None}
    return {name: method for name, method in found.items() if name not in own}


def _compared(later: _Later, value: Any) -> tuple[Any, ...]:
    if later.fields is None:
        later.finish()
        fields = later.slotted.__dataclass_fields__.values()
    else:
        fields = later.fields
    return tuple(getattr(value, one.name) for one in fields if one.compare)


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

"""Our own modules are loaded when something of them is asked for, not when they are imported.

``from orchestrator.queries import ahead`` costs next to nothing until ``ahead.something`` is used;
``from orchestrator.queries.ahead import something`` loads the module at once. So a verb pays for
what it does, while every import stays at the top of its file, where tests see it.

The command line switches this on (`install`). What stays for a while, or starts threads, has all of
its modules loaded before (`settle`): a program that is replaced by a newer one while it runs must
not load half of that, and nothing is loaded by two threads at once.
"""

from __future__ import annotations

import gc
import sys
import threading
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from os.path import isfile
from types import ModuleType
from typing import Any

PACKAGE = "orchestrator."
_LOADING = threading.RLock()
_waiting: dict[str, _Later] = {}


class _Later(ModuleType):
    """A module that is not loaded yet. Only what it has not got comes here, so a loaded one is as
    fast as any."""

    def __getattr__(self, name: str) -> Any:
        _load(self)
        return ModuleType.__getattribute__(self, name)


class _Loader:
    """Makes the module, and leaves it to be loaded by the real loader later."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Later(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.real
        if module.__spec__ is not None:
            module.__spec__.loader = self.real
        assert isinstance(module, _Later)
        _waiting[module.__name__] = module


class _Finder:
    """Finds our modules, but for packages, which are small. It looks for one name, where the usual
    finders list folders."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith(PACKAGE) or path is None:
            return None
        file = f"{path[0]}/{fullname.rpartition('.')[2]}.py"
        if not isfile(file):
            return None
        real: Any = _Loader(SourceFileLoader(fullname, file))
        spec = ModuleSpec(fullname, real, origin=file)
        spec.has_location = True
        return spec


def _load(module: _Later) -> None:
    with _LOADING:
        if _waiting.pop(module.__name__, None) is None:  # loaded, or being loaded by this thread
            return
        real: Any = module.__loader__
        try:
            real.exec_module(module)
        except BaseException:
            _waiting[module.__name__] = module
            raise
        module.__class__ = ModuleType  # type: ignore[assignment]


def install() -> None:
    """From now on our modules are loaded when they are used."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def library(name: str, **given: Any) -> None:
    """Leave a module of the standard library until more is asked of it than is ``given``."""
    spec = PathFinder.find_spec(name) if name not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    module = _Later(name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    vars(module).update(given)
    sys.modules[name] = _waiting[name] = module


def load(name: str) -> None:
    """Load one that was left."""
    if name in _waiting:
        _load(_waiting[name])


def settle() -> None:
    """Load what is imported and not loaded yet, and all that this imports; later imports load at
    once."""
    if _Finder in sys.meta_path:
        sys.meta_path.remove(_Finder)
    collects = gc.isenabled()
    gc.disable()  # modules stay: looking through them for garbage takes a tenth of the time
    try:
        while _waiting:
            _load(next(iter(_waiting.values())))
    finally:
        if collects:
            gc.enable()

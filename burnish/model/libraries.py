"""transformers and peft, opened without what they would open beside themselves and a training never uses.

Both look for whatever else is installed and import it at once: bitsandbytes, which loads torch's compiler, and a client
of a cloud. Here these stand as modules that load when something of them is used, which changes when they load and not
what they do.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

WHEN_USED = ("bitsandbytes", "boto3")  # taken as a whole: "import bitsandbytes as bnb"
BEGUN = "_burnish_begun"
_PACKED = ("peft.tuners.lora.model", "peft.tuners.ia3.model")
_lock, _loading = threading.RLock(), threading.RLock()


def open_transformers() -> None:
    """Imports the parts of transformers that every model of it needs, with a lighter hand than they would."""
    _open("transformers.loss.loss_utils", "transformers.modeling_layers", "transformers.models.auto.modeling_auto")


def open_peft() -> None:
    """Imports peft in the same way."""
    open_transformers()
    _open("peft")


def open_bitsandbytes() -> None:
    """Loads bitsandbytes, which a base in four bits uses from the start."""
    module: Any = importlib.import_module("bitsandbytes")
    module.nn  # noqa: B018  # to ask for something of it is to load it


def _open(*names: str) -> None:
    with _lock:
        if all(name in sys.modules for name in names):
            return
        with collector_at_rest():
            for name in WHEN_USED:
                _load_when_used(name)
            for name in names:
                importlib.import_module(name)


def with_packed_layers() -> contextlib.AbstractContextManager[object]:
    """Inside the block nobody else makes layers `without_packed_layers`, which would hold for this thread as well."""
    return _lock


@contextlib.contextmanager
def without_packed_layers() -> Iterator[None]:
    """Inside the block peft makes layers for plain weights and does not ask bitsandbytes for its kinds of them."""
    with _lock, contextlib.ExitStack() as stack:
        for name in _PACKED:
            module = sys.modules.get(name)
            for asked in ("is_bnb_available", "is_bnb_4bit_available"):
                if hasattr(module, asked):
                    stack.callback(setattr, module, asked, getattr(module, asked))
                    setattr(module, asked, lambda: False)
        yield


class _WhenUsed(ModuleType):
    """A module that is there and runs when something of it is asked for, or one of its parts is imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__version__", "__path__"):
            raise AttributeError(name)  # whoever walks through all modules uses none of them
        with _loading:
            if type(self) is _WhenUsed:
                if BEGUN in self.__dict__:  # by this thread: what it did not define yet is not there
                    raise AttributeError(name)
                self.__dict__[BEGUN] = True
                self._run()
        return getattr(self, name)

    def _run(self) -> None:
        found: Any = self.__spec__
        self.__path__ = found.submodule_search_locations
        try:
            found.loader.exec_module(self)
        except BaseException:
            sys.modules.pop(self.__name__, None)  # the next import says again what is wrong
            raise
        del self.__dict__[BEGUN]
        self.__class__ = ModuleType  # type: ignore[assignment]  # from here on its own names decide


def _load_when_used(name: str) -> None:
    found = None if name in sys.modules else importlib.util.find_spec(name)
    if found is not None and found.loader is not None:
        module = importlib.util.module_from_spec(found)
        module.__class__ = _WhenUsed
        del module.__path__
        sys.modules[name] = module


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """In the block, which imports much, no garbage is looked for."""
    working = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if working:
            gc.enable()

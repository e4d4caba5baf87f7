"""transformers and peft, opened without what they would open beside themselves and a training never uses.

Both look for whatever else is installed and import it at once: bitsandbytes, which loads torch's compiler, a client of
a cloud, an optimizer that losses of object detectors call. Here these stand as modules that load when something of
them is used, which changes when they load and not what they do.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

WHEN_USED = ("bitsandbytes", "boto3")  # taken as a whole: "import bitsandbytes as bnb"
WHEN_CALLED = "scipy.optimize"  # functions are taken from it: "from scipy.optimize import linear_sum_assignment"
MUCH = 100  # modules
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
                with _functions_when_called() if "transformers.loss" in name else contextlib.nullcontext():
                    importlib.import_module(name)


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
    """A module that is there and runs when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":  # whoever walks through all modules uses none of them
            raise AttributeError(name)
        with _loading:
            if type(self) is _WhenUsed:
                self.__class__ = ModuleType  # type: ignore[assignment]  # from here on its own names decide
                found: Any = self.__spec__
                try:
                    found.loader.exec_module(self)
                except BaseException:
                    sys.modules.pop(self.__name__, None)  # the next import says again what is wrong
                    raise
        return getattr(self, name)


class _WhenCalled(ModuleType):
    """Gives functions that import the module of this name when they are called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        module = self.__name__

        def call(*arguments: Any, **named: Any) -> Any:
            return getattr(importlib.import_module(module), name)(*arguments, **named)

        return call


def _load_when_used(name: str) -> None:
    found = None if name in sys.modules else importlib.util.find_spec(name)
    if found is not None and found.loader is not None:
        module = importlib.util.module_from_spec(found)
        module.__class__ = _WhenUsed
        sys.modules[name] = module


@contextlib.contextmanager
def _functions_when_called() -> Iterator[None]:
    """In the block whoever imports functions of WHEN_CALLED gets ones that load it when they are called."""
    if WHEN_CALLED in sys.modules or importlib.util.find_spec(WHEN_CALLED.split(".")[0]) is None:
        yield
        return
    sys.modules[WHEN_CALLED] = _WhenCalled(WHEN_CALLED)
    try:
        yield
    finally:
        sys.modules.pop(WHEN_CALLED, None)


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """In the block, which imports much, no garbage is looked for; afterwards not among what was loaded, which stays."""
    working, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before + MUCH:
            gc.freeze()
        if working:
            gc.enable()

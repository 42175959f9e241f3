"""Registries: things by name, the built-in ones and those of other packages.

.. code-block:: text

    srcnn              built in, or added: MODELS["mine"] = Mine
    mine               an entry point of an installed package, in the registry's group
    my_module:Mine     an attribute of a module that is imported

A name never imports a module by itself, so that a config or a checkpoint of a stranger runs no
code. The command line imports what its arguments name (:func:`import_named`).
"""

# importlib.metadata: types of entry points are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import Any, TypeVar

from degrade.cli import import_modules
from degrade.errors import close

__all__ = ["Registry", "construct", "import_named"]

T = TypeVar("T")


class Registry(dict[str, T]):
    """Things of one kind by name.

    Args:
        kind: The noun in messages: ``model``.
        group: Group of the entry points: ``sr.models``.
        accepts: Whether an object is of the kind; what entry points and modules bring must be, so
            that no name of a stranger's config, such as ``os:abort``, is called.
        wanted: What ``accepts`` accepts, in words.
    """

    def __init__(self, kind: str, group: str, accepts: Callable[[Any], bool], wanted: str) -> None:
        super().__init__()
        self.kind, self.group, self.accepts, self.wanted = kind, group, accepts, wanted

    def find(self, name: str) -> T:
        """Return the thing called ``name``.

        Raises:
            ValueError: The name is unknown, its module is not imported or fails, or it is of
                another kind.
        """
        if name in self:
            return self[name]
        module, colon, attribute = name.partition(":")
        if colon:
            if module not in sys.modules:
                raise ValueError(
                    f"{self.kind} {name}: {module} is not imported; give --import {module}, "
                    f"or `import {module}` in Python"
                )
            names: dict[str, Any] = vars(sys.modules[module])
            if attribute not in names:
                own = [
                    known
                    for known, found in names.items()
                    if getattr(found, "__module__", None) == module and self.accepts(found)
                ]
                known = close(attribute, own) if own else ""
                raise ValueError(f"{self.kind} {name}: {module} has no {attribute}{known}")
            return self._checked(name, names[attribute])
        for entry in metadata.entry_points(group=self.group):
            if entry.name == name:
                try:
                    found = entry.load()
                except Exception as error:  # whatever the code of others raises
                    raise ValueError(
                        f"{self.kind} {name}: its entry point {entry.value}: "
                        f"{type(error).__name__}: {error}"
                    ) from error
                self[name] = self._checked(name, found)
                return self[name]
        raise ValueError(
            f"{self.kind} {name!r}: unknown{close(name, self.names())} "
            "(MODULE:NAME is one of your own)"
        )

    def names(self) -> list[str]:
        """Return the names that are registered or installed."""
        installed = [entry.name for entry in metadata.entry_points(group=self.group)]
        return [*dict.fromkeys([*self, *installed])]

    def knows(self, name: str) -> bool:
        """Return whether :meth:`find` would find ``name``."""
        try:
            self.find(name)
        except ValueError:
            return False
        return True

    def _checked(self, name: str, found: Any) -> T:
        if not self.accepts(found):
            raise ValueError(f"{self.kind} {name}: is not {self.wanted}")
        return found


def construct(registry: Registry[Callable[..., T]], name: str, settings: Mapping[str, Any]) -> T:
    """Call the constructor ``name`` of a registry.

    Raises:
        ValueError: The name, a setting or a setting's value is unknown.
    """
    constructor = registry.find(name)
    known = inspect.signature(constructor).parameters
    wrong = [setting for setting in settings if setting not in known]
    if wrong:
        raise ValueError(
            f"{registry.kind} {name}: no setting {', '.join(wrong)}; it has {', '.join(known)}"
        )
    for setting, value in settings.items():
        if known[setting].annotation in ("int", int) and type(value) is not int:
            raise ValueError(f"{registry.kind} {name}: {setting} {value!r}: should be an integer")
    try:
        return constructor(**settings)
    except (ValueError, TypeError, RuntimeError) as error:  # torch's, of impossible sizes
        raise ValueError(f"{registry.kind} {name}: {str(error).splitlines()[0]}") from error


def import_named(names: Iterable[str]) -> None:
    """Import modules, and the modules of names such as ``my_module:Mine``, from the working
    directory too. Raises UserError.
    """
    import_modules([name.partition(":")[0] for name in names])

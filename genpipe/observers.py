"""Tells plugins what happens in a run: one by one, guarded, each failure said once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Any

import pluggy

from genpipe import hookspecs
from genpipe.registry import Registry

logger = logging.getLogger("genpipe")


class Observers:
    """The implementations of the observing hooks: plugins', and those of one run's listeners, which come first.

    Safe to call from several threads.
    """

    def __init__(self, registry: Registry, listeners: Iterable[Any] = ()) -> None:
        own = pluggy.PluginManager("genpipe")  # not the registry's, which runs in other threads share
        own.add_hookspecs(hookspecs)
        for listener in listeners:
            own.register(listener, name=type(listener).__name__)
        self._managers = (own, registry.manager)
        self._lock = threading.Lock()
        self._failed: set[tuple[str, str]] = set()

    def notify(self, hook: str, **arguments: Any) -> None:
        """Calls every implementation of a hook with the arguments it takes."""
        with self._lock:
            for implementation in [i for m in self._managers for i in getattr(m.hook, hook).get_hookimpls()]:
                taken = {name: arguments[name] for name in implementation.argnames}
                try:
                    implementation.function(**taken)
                except (Exception, SystemExit) as error:
                    name = (implementation.plugin_name, hook)
                    if name not in self._failed:
                        self._failed.add(name)
                        logger.warning(
                            "observer '%s' failed in %s and is passed over: %s: %s", *name, type(error).__name__, error
                        )

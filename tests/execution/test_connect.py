"""Connecting this process to Ray: what goes wrong is told, and what is nobody's mistake but ours is raised."""

from __future__ import annotations

from typing import Any

import pytest

from genpipe.errors import GenpipeError
from genpipe.execution.connect import connect

ray = pytest.importorskip("ray")


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (
            Exception("The current node timed out during startup. This could"),
            GenpipeError,
            "Ray did not start: The curr",
        ),
        (RuntimeError("no port is free"), GenpipeError, "Ray did not start: no port is free"),
        (AttributeError("a mistake of ours"), AttributeError, "a mistake of ours"),
    ],
)
def test_what_ray_raises_as_it_starts_is_told(
    raised: Exception, kind: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(kind, match=text):
        connect(None)

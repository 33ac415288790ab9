"""Local paths in a recipe, as they are in the folder that goes with a job.

Data sets make relative paths absolute when a recipe is read. Of what is included the paths become relative again, and on
the cluster they count from the job's folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any


def placed(values: Any, places: Mapping[str, str]) -> Any:
    """Plain values with every path that leads to an included file, folder, or a pattern in one, as it is in the job.

    places: absolute path → place in the folder, of each file that was included.
    """
    if isinstance(values, Mapping):
        return {key: placed(value, places) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [placed(value, places) for value in values]
    if not isinstance(values, str):
        return values
    before, link, path = values.rpartition("::")  # zip://*.csv::data.zip
    return before + link + _placed(path, places) if os.path.isabs(path) else values


def _placed(path: str, places: Mapping[str, str]) -> str:
    fixed = re.split(r"[*?\[{]", path)[0]
    root = path if fixed == path else os.path.dirname(fixed)  # of a pattern, the folder that it is in
    for whole, place in places.items():
        inside = whole.removeprefix(root)
        if whole.startswith(root) and inside[:1] in ("", "/") and f"/{place}".endswith(inside):
            return (f"/{place}".removesuffix(inside) + path[len(root) :]).removeprefix("/") or "."
    return path

"""A store that fails on purpose: what the fixture `faulty` gives."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Faulty:
    """address: of an empty store below `folder`, for this process and those that it starts."""

    folder: Path

    @classmethod
    def make(cls, parent: Path, monkeypatch) -> "Faulty":
        import fsspec

        monkeypatch.syspath_prepend(str(FOLDER))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]))
        monkeypatch.setenv("FAULTY_PLAN", str(parent / "faults.json"))
        fsspec.register_implementation("faulty", "faulty_store.FaultyFileSystem", clobber=True)
        made = cls(parent / "store")
        made.plan()
        return made

    @property
    def address(self) -> str:
        return f"faulty://{self.folder}"

    def plan(self, **faults) -> None:
        """What goes wrong from now on, in the words of faulty_store.py; nothing where nothing is given."""
        (self.folder.parent / "faults.json").write_text(json.dumps(faults))

    @property
    def operations(self) -> list[str]:
        """What was asked of the store since `forget`: "find", "cat_file", …"""
        log = self.folder.parent / "faults.log"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    def forget(self) -> None:
        (self.folder.parent / "faults.log").write_text("")

    def files(self) -> list[str]:
        return sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())

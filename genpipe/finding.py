"""Finished artifacts: on this machine, or in the workspace's store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from genpipe.artifacts import Manifest, read_manifest, verify
from genpipe.errors import ArtifactError
from genpipe.workspace import Workspace


@dataclass(frozen=True)
class Finding:
    """manifest: of the whole artifact, None where there is none; here: on this machine, not in the store alone.

    damage: what was found that is not whole.
    """

    manifest: Manifest | None = None
    here: bool = False
    damage: tuple[str, ...] = ()


MISSING = Finding()


def find_artifacts(folders: Mapping[str, Path], workspace: Workspace, check_files: bool = False) -> dict[str, Finding]:
    """What there is of each named folder of the workspace. The store is asked for all that is not here at once.

    check_files: also compare checksums here, and sizes in the store. StoreError where the store does not answer.
    """
    found = {name: _find_here(folder, check_files) for name, folder in folders.items()}
    asked = {name: workspace.stored(folders[name]) for name in found if found[name].manifest is None}
    if workspace.store is None or not asked:
        return found
    from genpipe.stores import in_parallel

    def ask(name: str) -> Finding:
        stored = asked[name]
        assert stored is not None
        try:
            return Finding(stored.whole() if check_files else stored.manifest(), damage=found[name].damage)
        except ArtifactError as error:
            return Finding(damage=(*found[name].damage, str(error)))

    return found | dict(zip(asked, in_parallel(ask, asked), strict=True))


def _find_here(folder: Path, check_files: bool) -> Finding:
    if not folder.is_dir():
        return MISSING
    try:
        return Finding(verify(folder) if check_files else read_manifest(folder), here=True)
    except ArtifactError as error:
        return Finding(damage=(str(error),))


def find_manifest(folder: Path, workspace: Workspace) -> Manifest:
    """The manifest of a folder of the workspace, from here or from the store; ArtifactError where neither has one."""
    finding = find_artifacts({"": folder}, workspace)[""]
    if finding.manifest is None:
        raise ArtifactError(next(iter(finding.damage), f"there is no artifact {folder}"))
    return finding.manifest

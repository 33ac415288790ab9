"""A run's workspace as other machines see it."""

import socket
from pathlib import Path

import pytest

from genpipe.artifacts import publish, staging, verify
from genpipe.errors import ArtifactError, GenpipeError, StoreError, UsageError
from genpipe.stores import Site, Store, StoredFolder
from genpipe.stores.patience import Patience

HASTY = Patience(timeout_seconds=300, num_tries=2, first_pause_seconds=0)


def make(final: Path, content: str = "content") -> Path:
    with staging(final.parent) as folder:
        (folder / "file").write_text(content)
        publish(folder, final, {})
    return final


@pytest.fixture
def site(tmp_path, faulty):
    """A run of a driver whose workspace holds one artifact, which the store has too."""
    root = tmp_path / "driver"
    (root / "runs" / "1").mkdir(parents=True)
    store = Store(faulty.address, HASTY)
    StoredFolder(store, "artifacts/model/key").send(make(root / "artifacts" / "model" / "key"))
    return Site(str(root), str(root / "runs" / "1"), store)


@pytest.fixture
def elsewhere(site, monkeypatch, tmp_path):
    monkeypatch.setenv("GENPIPE_NODE_HOME", str(tmp_path / "node"))
    return site


def test_where_the_workspace_is_seen_paths_stay_as_they_are(site, faulty):
    faulty.forget()
    path = Path(site.root) / "artifacts" / "model" / "key"
    assert site.is_shared
    assert site.artifact(path) == site.path(path) == path
    assert site.seen_from_here() == site
    assert faulty.operations == []


def test_a_workspace_that_is_not_to_be_seen_needs_a_store(tmp_path):
    site = Site("/nowhere/workspace", "/nowhere/workspace/runs/1")
    with pytest.raises(UsageError, match=f"not to be seen on {socket.gethostname()}: give it a folder .* or a store"):
        site.path("/nowhere/workspace/artifacts/model/key")


def test_a_node_s_home_is_filled_from_the_store(elsewhere, tmp_path):
    there = Path(elsewhere.root) / "artifacts" / "model" / "key"
    here = elsewhere.artifact(there)
    assert here == tmp_path / "node" / "artifacts" / "model" / "key"
    verify(here)
    seen = elsewhere.seen_from_here()
    assert (seen.root, seen.is_shared, seen.artifact(here)) == (str(tmp_path / "node"), False, here)


def test_the_same_path_is_taken_where_it_can_be_made(site, tmp_path, monkeypatch):
    monkeypatch.delenv("GENPIPE_NODE_HOME", raising=False)
    other = Site(str(tmp_path / "made"), str(tmp_path / "made" / "runs" / "1"), site.store)
    assert other.root_here() == tmp_path / "made"


def test_else_a_temporary_folder_of_this_user_s_own(site, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    other = Site("/proc/workspace", "/proc/workspace/runs/1", site.store)
    home = other.root_here()
    assert home.parent == tmp_path / "tmp"
    assert home.stat().st_mode & 0o777 == 0o700
    home.rmdir()
    home.symlink_to(tmp_path)
    with pytest.raises(GenpipeError, match="it belongs to somebody else"):
        other.root_here()


def test_what_is_made_elsewhere_is_sent_and_an_earlier_one_s_content_is_taken(elsewhere, tmp_path):
    there = Path(elsewhere.root) / "artifacts" / "model" / "new"
    make(elsewhere.path(there))
    elsewhere.keep(there)
    assert StoredFolder(elsewhere.store, "artifacts/model/new").whole()
    first = Path(elsewhere.root) / "artifacts" / "model" / "key"
    make(elsewhere.path(first), "other")
    elsewhere.keep(first)
    assert (elsewhere.path(first) / "file").read_text() == "content"


def test_what_cannot_be_sent_from_elsewhere_fails_and_stays(elsewhere, faulty):
    there = Path(elsewhere.root) / "artifacts" / "model" / "new"
    make(elsewhere.path(there))
    faulty.plan(refuse=["put_file"])
    with pytest.raises(StoreError, match=r"Access Denied; .* keeps what was made"):
        elsewhere.keep(there)
    verify(elsewhere.path(there))


def test_what_nobody_has_is_an_error(elsewhere):
    with pytest.raises(ArtifactError, match="is not there"):
        elsewhere.artifact(Path(elsewhere.root) / "artifacts" / "model" / "nothing")

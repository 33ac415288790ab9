"""Artifacts in stores: whole, or known not to be."""

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from genpipe.artifacts import MANIFEST, publish, staging, verify
from genpipe.errors import ArtifactError, StoreError
from genpipe.stores import Store, StoredFolder
from genpipe.stores.patience import Patience

HASTY = Patience(timeout_seconds=300, num_tries=2, first_pause_seconds=0)
CONTENT = {"a.bin": b"0123456789" * 1000, "inner/b.json": b"{}", "empty": b""}


def make(final: Path, files=CONTENT, replace=False, **facts) -> Path:
    with staging(final.parent) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        publish(folder, final, facts, replace=replace)
    return final


@pytest.fixture
def stored(faulty):
    return StoredFolder(Store(faulty.address, HASTY), "artifacts/model/key")


@pytest.fixture
def here(tmp_path):
    return make(tmp_path / "here" / "key", seconds=3)


@pytest.fixture(params=["file", "memory", "faulty"])
def anywhere(request, tmp_path, faulty):
    addresses = {"file": f"file://{tmp_path}/files", "memory": f"memory://{tmp_path}", "faulty": faulty.address}
    return StoredFolder(Store(addresses[request.param], HASTY), "artifacts/model/key")


def test_an_artifact_comes_back_byte_for_byte(anywhere, here, tmp_path):
    assert anywhere.manifest() is None
    assert anywhere.whole() is None
    sent = anywhere.send(here)
    assert sent == anywhere.manifest() == anywhere.whole() == anywhere.fetch(tmp_path / "there" / "key")
    assert {p.relative_to(here): p.read_bytes() for p in here.rglob("*") if p.is_file()} == {
        p.relative_to(tmp_path / "there" / "key"): p.read_bytes()
        for p in (tmp_path / "there" / "key").rglob("*")
        if p.is_file()
    }
    anywhere.discard()
    assert anywhere.whole() is None
    assert anywhere.store.sizes("") == {}


def test_what_is_there_is_sent_no_second_time(stored, here, faulty):
    stored.send(here)
    faulty.forget()
    stored.send(here)
    assert faulty.operations == ["cat_file", "find"]


def test_the_first_of_two_writers_stays_unless_the_second_was_made_anew_on_purpose(stored, here, tmp_path):
    first = stored.send(here)
    other = make(tmp_path / "other" / "key", {"a.bin": b"other"}, seconds=4)
    assert stored.send(other) == first == stored.whole()
    assert stored.send(other, replace=True).files.keys() == {"a.bin"}
    assert stored.whole().seconds == 4
    assert len(stored.store.sizes("")) == 2  # nothing of the first is left


def test_an_upload_that_broke_off_is_not_whole_and_goes_on(stored, here, faulty):
    faulty.plan(tear=[5000, True])
    with pytest.raises(StoreError, match=r"uploading .*a\.bin failed"):
        stored.send(here)
    assert stored.whole() is None
    faulty.plan()
    stored.send(here)
    assert stored.whole() is not None


def test_an_upload_that_was_torn_and_called_done_is_noticed_before_it_looks_whole(stored, here, faulty):
    faulty.plan(tear=[5000, False])
    with pytest.raises(StoreError, match=r"a\.bin of artifacts/model/key does not stay there"):
        stored.send(here)
    assert stored.whole() is None


def test_a_file_that_lost_its_end_later_is_named_and_uploaded_again(stored, here, faulty, caplog):
    stored.send(here)
    (path,) = faulty.folder.rglob("a.bin")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match=r"a\.bin has 5000 bytes, its manifest says 10000"):
        stored.whole()
    stored.send(here)
    assert "a.bin has 5000 bytes, its manifest says 10000; it is uploaded again" in caplog.text
    assert stored.whole() is not None


@pytest.mark.parametrize("num_bytes", [0, 1, 100])
def test_a_torn_manifest_is_no_manifest(stored, here, faulty, num_bytes):
    stored.send(here)
    path = faulty.folder / stored.path / MANIFEST
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        stored.whole()
    stored.send(here)
    assert stored.whole() is not None


@pytest.mark.parametrize("name", ["../../escape", "/etc/escape", "a/../../escape"])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(stored, here, faulty, name):
    stored.send(here)
    path = faulty.folder / stored.path / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"][name] = manifest["files"]["empty"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="is not in the artifact"):
        stored.manifest()


def test_altered_content_is_found_when_it_is_fetched_named_and_removed(stored, here, faulty, tmp_path):
    stored.send(here)
    (path,) = faulty.folder.rglob("a.bin")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match=r"a\.bin does not match its checksum; it was removed from there"):
        stored.fetch(tmp_path / "there" / "key")
    assert not (tmp_path / "there" / "key").exists()
    assert faulty.files() == []


def test_a_transfer_that_went_wrong_once_condemns_nothing(stored, here, tmp_path, monkeypatch):
    stored.send(here)
    download, wrong = Store.download, iter([True])

    def garbled(self, path, file, num_bytes):
        download(self, path, file, num_bytes)
        if path.endswith("a.bin") and next(wrong, False):
            file.write_bytes(b"garbled")

    monkeypatch.setattr(Store, "download", garbled)
    stored.fetch(tmp_path / "there" / "key")
    verify(tmp_path / "there" / "key")


def test_what_cannot_be_removed_is_said(stored, here, faulty, tmp_path):
    stored.send(here)
    next(faulty.folder.rglob("a.bin")).unlink()
    faulty.plan(refuse=["rm"])
    with pytest.raises(ArtifactError, match=r"a\.bin is missing; the store does not let it be removed"):
        stored.fetch(tmp_path / "there" / "key")


def test_what_is_replaced_while_it_is_fetched_comes_whole(stored, here, tmp_path, monkeypatch):
    stored.send(here)
    other = make(tmp_path / "other" / "key", {"a.bin": b"other"})
    manifest, replaced = StoredFolder.manifest, iter([True])

    def and_then_replaced(self):
        found = manifest(self)
        if next(replaced, False):
            self.send(other, replace=True)
        return found

    monkeypatch.setattr(StoredFolder, "manifest", and_then_replaced)
    assert stored.fetch(tmp_path / "there" / "key").files.keys() == {"a.bin"}
    verify(tmp_path / "there" / "key")


def test_writers_side_by_side_leave_one_whole_artifact(stored, tmp_path, faulty):
    faulty.plan(seconds=0.002)
    made = [make(tmp_path / f"node{n}" / "key", {"a.bin": bytes([n]) * 20000, "b": b"b"}) for n in range(6)]
    sent = [threading.Thread(target=stored.send, args=(folder,)) for folder in made]
    for thread in sent:
        thread.start()
    for thread in sent:
        thread.join()
    stored.fetch(tmp_path / "there" / "key")
    verify(tmp_path / "there" / "key")


def test_an_artifact_that_is_here_is_not_asked_for(stored, here, faulty):
    stored.bring(here, here.with_name("turns"))
    assert faulty.operations == []
    (here / "a.bin").write_bytes(b"cut")
    stored.send(make(here.parent / "other"))
    stored.bring(here, here.with_name("turns"))
    verify(here)


UPLOADER = """
import sys
from pathlib import Path
from genpipe.stores import Store, StoredFolder
stored = StoredFolder(Store(sys.argv[1]), "artifacts/model/key")
print("ready", flush=True)
while True:
    for folder in sys.argv[2:]:
        stored.send(Path(folder), replace=True)
"""


def kill_uploads(stored, faulty, tmp_path, times: int) -> int:
    """Kills a process that replaces one artifact by another over and over; how often what was left was whole."""
    folders = [make(tmp_path / f"made{n}", {"a.bin": bytes([n]) * 300_000, "b": bytes([n])}, n=n) for n in range(2)]
    rng, num_whole = random.Random(0), 0
    for _ in range(times):
        arguments = [sys.executable, "-c", UPLOADER, faulty.address, *map(str, folders)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
        try:
            manifest = stored.whole()
        except ArtifactError:
            manifest = None
        if manifest is not None:  # then it is: nobody altered what arrived
            num_whole += 1
            shutil.rmtree(tmp_path / "there", ignore_errors=True)
            stored.fetch(tmp_path / "there")
            assert verify(tmp_path / "there").files == verify(folders[manifest.n]).files
    stored.send(folders[0], replace=True)
    assert stored.whole().n == 0
    return num_whole


def test_an_uploader_that_is_killed_leaves_nothing_that_looks_whole_and_is_not(stored, faulty, tmp_path):
    faulty.plan(seconds=0.005)
    kill_uploads(stored, faulty, tmp_path, 4)


@pytest.mark.slow
def test_uploaders_are_killed_a_hundred_times(stored, faulty, tmp_path):
    faulty.plan(seconds=0.005)
    assert 0 < kill_uploads(stored, faulty, tmp_path, 100) <= 100

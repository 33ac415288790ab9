"""Whatever is made, sent, torn, killed, altered, fetched and removed in whatever order: what comes is whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import fsspec
import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from genpipe.artifacts import publish, staging, verify
from genpipe.errors import ArtifactError, StoreError
from genpipe.stores import Store, StoredFolder
from genpipe.stores.patience import Patience
from tests.faulty_store import FOLDER, Faulty

HASTY = Patience(timeout_seconds=300, num_tries=1, first_pause_seconds=0)
NODES = st.sampled_from(["a", "b"])
CONTENTS = st.sampled_from([b"one", b"two" * 2000, b"three" * 3000])


class AnyOrder(RuleBasedStateMachine):
    """Two machines and one artifact in a store that fails as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.home = Path(self._folder.name)
        os.environ["FAULTY_PLAN"] = str(self.home / "faults.json")
        self.faulty = Faulty(self.home / "store")
        self.faulty.plan()
        self.stored = StoredFolder(Store(self.faulty.address, HASTY), "artifacts/model/key")
        self.altered = False

    def teardown(self) -> None:
        self._folder.cleanup()

    @contextlib.contextmanager
    def failing(self, **faults):
        """What goes wrong is an error, or is made good; never anything else."""
        self.faulty.plan(**faults)
        try:
            with contextlib.suppress(StoreError, ArtifactError):
                yield
        finally:
            self.faulty.plan()

    def made(self, node: str, content: bytes, replace: bool) -> Path:
        final = self.home / node / "key"
        with staging(final.parent) as folder:
            (folder / "a").write_bytes(content)
            (folder / "b").write_bytes(content[::-1])
            publish(folder, final, {"num": len(content)}, replace=replace)
        return final

    @rule(node=NODES, content=CONTENTS, replace=st.booleans())
    def send(self, node, content, replace):
        self.stored.send(self.made(node, content, replace), replace=replace)
        self.altered &= not replace

    @rule(node=NODES, content=CONTENTS, replace=st.booleans(), at=st.integers(0, 9000), says=st.booleans())
    def send_over_a_line_that_tears(self, node, content, replace, at, says):
        with self.failing(tear=[at, says]):
            self.stored.send(self.made(node, content, replace), replace=replace)

    @rule(node=NODES, content=CONTENTS, operation=st.sampled_from(["put_file", "pipe_file", "find", "cat_file", "rm"]))
    def send_to_a_store_that_refuses(self, node, content, operation):
        with self.failing(refuse=[operation]):
            self.stored.send(self.made(node, content, True), replace=True)

    @rule(node=NODES, content=CONTENTS, room=st.integers(0, 20000))
    def send_to_a_store_that_fills(self, node, content, room):
        with self.failing(full=room):
            self.stored.send(self.made(node, content, False))

    @rule(which=st.integers(0, 5), keep=st.integers(0, 9000), flip=st.booleans())
    def alter(self, which, keep, flip):
        files = [self.faulty.folder / name for name in self.faulty.files() if not name.endswith(".json")]
        if files:
            path = files[which % len(files)]
            content = bytearray(path.read_bytes())
            if flip and content:
                content[keep % len(content)] ^= 1
                path.write_bytes(content)
                self.altered = True
            else:
                path.write_bytes(content[: keep % (len(content) + 1)])

    @rule()
    def discard(self):
        self.stored.discard()
        self.altered = False

    @rule(fault=st.sampled_from([{}, {"refuse": ["get_file"]}, {"fail": {"get_file": 1}}]))
    def fetch(self, fault):
        with self.failing(**fault):
            manifest = self.stored.fetch(self.home / "c" / "key", replace=True)
            assert verify(self.home / "c" / "key") == manifest
            content = (self.home / "c" / "key" / "a").read_bytes()
            assert (self.home / "c" / "key" / "b").read_bytes() == content[::-1]
            assert manifest.num == len(content)
            self.altered = False

    @invariant()
    def what_looks_whole_is(self):
        try:
            manifest = self.stored.whole()
        except ArtifactError:
            return  # known not to be
        if manifest is not None and not self.altered:
            with contextlib.suppress(FileNotFoundError):
                Path(self.home / "look" / "key" / "manifest.json").unlink()
            assert self.stored.fetch(self.home / "look" / "key", replace=True) == manifest


def test_in_any_order_what_comes_is_whole(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("FAULTY_PLAN", "")
    fsspec.register_implementation("faulty", "faulty_store.FaultyFileSystem", clobber=True)
    AnyOrder.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None, derandomize=True)
    AnyOrder.TestCase("runTest").runTest()

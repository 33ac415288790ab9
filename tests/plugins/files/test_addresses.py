"""Addresses of data: local and of other protocols, patterns, secrets, and what a set of files is known by."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import re
import threading
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import yaml

from genpipe.config import key_values
from genpipe.errors import DataError, RecipeError
from genpipe.plugins.files import csv_table, paths
from genpipe.plugins.files.address import alternatives
from genpipe.plugins.files.config import CsvConfig, IdxConfig
from genpipe.recipe import load_recipe
from genpipe.registry import registry
from tests.plugins.files.making import whole

ROWS = "a,b\n1,2\n3,4\n"


@pytest.fixture
def memory() -> Any:
    system = fsspec.filesystem("memory")
    system.pipe("/box/part-0.csv", ROWS.encode())
    system.pipe("/box/part-1.csv", b"a,b\n5,6\n")
    system.pipe("/box/deep/part-2.csv", b"a,b\n7,8\n")
    yield system
    system.rm("/box", recursive=True)


def test_local_paths_are_absolute_as_soon_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for given, path in (
        ("a.csv", f"{tmp_path}/a.csv"),
        (Path("x/../a.csv"), f"{tmp_path}/a.csv"),
        ("~/a.csv", "/home/me/a.csv"),
        (f"file://{tmp_path}/a.csv", f"{tmp_path}/a.csv"),
        ("zip://*.csv::a.zip", f"zip://*.csv::{tmp_path}/a.zip"),
        ("s3://bucket/a b.csv", "s3://bucket/a b.csv"),
        ("https://host:8080/a@b.csv", "https://host:8080/a@b.csv"),
    ):
        config = CsvConfig(path=given)
        assert config.path == path
        assert CsvConfig(**json.loads(config.model_dump_json())) == config


def test_where_data_lie_is_no_part_of_a_key() -> None:
    assert "path" not in key_values(CsvConfig(path="a.csv"))
    assert set(key_values(IdxConfig(images="a", labels="b"))) == {"limit"}


@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIA:se/cret+@bucket/key",
        "https://me:pass@host/a.csv",
        "simplecache::ftp://me:pass@host/a.csv",
        "https://host/a.csv?X-Amz-Signature=0123",
        "https://host/a.csv?sv=1&sig=0123",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    recipe = {"pipeline": "single", "data": {"dataset": {"name": "csv", "path": address}}, "model": "gaussian_mixture"}
    with pytest.raises(RecipeError, match="holds a password or a signature") as error:
        load_recipe(recipe, registry=registry())
    assert "cret" not in str(error.value).replace("secret", "")
    assert "pass@" not in str(error.value)
    assert "0123" not in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("{x,y}{1..2}", ["x1", "x2", "y1", "y2"]),
        ("{2..0}", ["2", "1", "0"]),
    ],
)
def test_braces_stand_for_what_a_shell_makes_of_them(pattern: str, expected: list[str]) -> None:
    assert list(alternatives(pattern)) == expected


@pytest.mark.parametrize(
    ("address", "values"),
    [
        ("memory://box", [[7, 8], [1, 2], [3, 4], [5, 6]]),
        ("memory://box/", [[7, 8], [1, 2], [3, 4], [5, 6]]),
        ("memory://box/*.csv", [[1, 2], [3, 4], [5, 6]]),
        ("memory://box/part-{1,0}.csv", [[1, 2], [3, 4], [5, 6]]),
        ("memory://box/part-0.csv", [[1, 2], [3, 4]]),
        ("simplecache::memory://box/part-0.csv", [[1, 2], [3, 4]]),
    ],
)
@pytest.mark.usefixtures("memory")
def test_folders_patterns_and_files_of_other_protocols_are_read(address: str, values: list[list[float]]) -> None:
    assert whole(csv_table, CsvConfig(path=address)).x.tolist() == values
    assert len(csv_table.fingerprint(CsvConfig(path=address))) == 64


def test_what_is_found_can_be_opened_where_it_was_found(tmp_path: Path, memory: Any) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a[1].csv", "b.csv", ".hidden.csv", "deep/c.csv", "no.txt"):
        (tmp_path / "in" / name).write_text(ROWS)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("in/a.csv", ROWS)
        archive.writestr("in/deep/b.csv", ROWS)
    os.symlink(tmp_path / "in", tmp_path / "in" / "deep" / "again")
    for address, names in (
        (f"{tmp_path}/in", ["a[1].csv", "b.csv", "deep/c.csv"]),
        (f"{tmp_path}/in/a[1].csv", ["a[1].csv"]),
        (f"{tmp_path}/*/*.csv", ["in/a[1].csv", "in/b.csv"]),
        (f"{tmp_path}/i*", ["in/a[1].csv", "in/b.csv", "in/deep/c.csv"]),
        (f"zip://in::{tmp_path}/z.zip", ["a.csv", "deep/b.csv"]),
        (f"zip://*/*.csv::{tmp_path}/z.zip", ["in/a.csv"]),
        (f"zip://*/*.csv::file://{tmp_path}/z.zip", ["in/a.csv"]),
        ("memory://box", ["deep/part-2.csv", "part-0.csv", "part-1.csv"]),
        ("memory://bo*/part-*", ["box/part-0.csv", "box/part-1.csv"]),
    ):
        found = paths.find(address, (".csv",))
        assert [file.name for file in found] == names, address
        for file in found:
            with paths.opened(file.address) as content:
                assert len(content.read()) == file.size


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("memry://bucket/a", r"memry:// is no protocol of fsspec; did you mean 'memory'\?"),
        ("memory://nothing/here.csv", "memory://nothing/here.csv does not exist"),
        ("memory://box/{0..3}.csv", "memory://box/0.csv does not exist"),
        ("memory://box/*.parquet", r"memory://box/\*.parquet matches no file"),
        ("zip://a.csv::/no/such.zip", "/no/such.zip cannot be read: No such file or directory"),
        ("a{0..99999999}.csv", "stands for more than 100,000 files"),
    ],
)
@pytest.mark.usefixtures("memory")
def test_addresses_that_lead_nowhere_are_explained(address: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        csv_table.fingerprint(CsvConfig(path=address))


def test_a_protocol_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(address: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(paths, "url_to_fs", missing)
    with pytest.raises(DataError, match=r"no package for s3:// is installed: pip install s3fs"):
        paths.find("s3://bucket/a.csv", ())


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text(ROWS)

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "open", refused)
    with pytest.raises(DataError, match=r"a\.csv cannot be read: Permission denied"):
        whole(csv_table, CsvConfig(path=tmp_path / "a.csv"))


def test_files_are_known_by_content_and_name_and_not_by_place(tmp_path: Path) -> None:
    for folder in ("one/set", "two/set"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.csv").write_text(ROWS)
    first, second = (csv_table.fingerprint(CsvConfig(path=tmp_path / place / "set")) for place in ("one", "two"))
    assert first == second
    os.utime(tmp_path / "one/set/a.csv", ns=(0, 0))
    assert csv_table.fingerprint(CsvConfig(path=tmp_path / "one/set")) == first
    (tmp_path / "two/set/a.csv").rename(tmp_path / "two/set/b.csv")
    assert csv_table.fingerprint(CsvConfig(path=tmp_path / "two/set")) != first


def test_large_files_are_known_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    monkeypatch.setattr(paths, "READ_FOR_DIGEST", 4)
    monkeypatch.setattr(paths, "opened", None)  # nothing is opened
    before = csv_table.fingerprint(CsvConfig(path=tmp_path / "a.csv"))
    assert csv_table.fingerprint(CsvConfig(path=tmp_path / "a.csv")) == before
    os.utime(tmp_path / "a.csv", ns=(0, 0))
    assert csv_table.fingerprint(CsvConfig(path=tmp_path / "a.csv")) != before


def test_remote_files_are_known_by_what_their_system_says_of_them(memory: Any) -> None:
    config = CsvConfig(path="memory://box/*.csv")
    before = csv_table.fingerprint(config)
    assert csv_table.fingerprint(config) == before
    memory.pipe("/box/part-1.csv", b"a,b\n5,7\n")
    assert csv_table.fingerprint(config) != before


def test_packed_tables_are_unpacked_by_their_ending(memory: Any) -> None:
    for ending in ("gz", "bz2", "xz"):
        with fsspec.open(f"memory://box/packed/a.csv.{ending}", "wb", compression="infer") as file:
            file.write(ROWS.encode())
        assert whole(csv_table, CsvConfig(path=f"memory://box/packed/a.csv.{ending}")).x.tolist() == [[1, 2], [3, 4]]
        whole_file = memory.cat(f"/box/packed/a.csv.{ending}")
        memory.pipe(f"/box/packed/b.csv.{ending}", whole_file[: len(whole_file) // 2])
        with pytest.raises(DataError, match=rf"b\.csv\.{ending} cannot be read"):
            whole(csv_table, CsvConfig(path=f"memory://box/packed/b.csv.{ending}"))


def test_an_archive_is_read_from_memory(memory: Any) -> None:
    from genpipe.plugins.files import npz
    from genpipe.plugins.files.config import NpzConfig

    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.arange(12.0).reshape(4, 3))
    memory.pipe("/box/a.npz", stream.getvalue())
    np.testing.assert_array_equal(whole(npz, NpzConfig(path="memory://box/a.npz")).x, np.arange(12).reshape(4, 3))


def test_every_recipe_in_the_docs_is_one() -> None:
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    examples = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert len(examples) >= 6
    for example in examples:
        load_recipe({"pipeline": "single", "model": "gaussian_mixture", **example}, registry=registry())


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_files_are_read_from_a_web_server(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "box" / name).write_text(ROWS)
    handler = functools.partial(_Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/box"
        assert whole(csv_table, CsvConfig(path=f"{address}/a.csv")).x.tolist() == [[1, 2], [3, 4]]
        for folder in (f"{address}/", f"{address}/*.csv"):
            assert len(whole(csv_table, CsvConfig(path=folder)).x) == 4
        before = csv_table.fingerprint(CsvConfig(path=f"{address}/"))
        assert csv_table.fingerprint(CsvConfig(path=f"{address}/")) == before
        with pytest.raises(DataError, match=r"/box/c\.csv does not exist"):
            whole(csv_table, CsvConfig(path=f"{address}/c.csv"))
        server.shutdown()
    with pytest.raises(DataError, match=r"/a\.csv cannot be read: Connect call failed"):
        whole(csv_table, CsvConfig(path=f"{address}/a.csv"))

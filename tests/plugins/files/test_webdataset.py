"""Tars of samples: what goes together, what is missing, what is torn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genpipe.errors import DataError
from genpipe.plugins.files import webdataset
from genpipe.plugins.files.config import WebDatasetConfig
from tests.plugins.files.making import encoded, whole, write_tar

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 4, 5, 3)).astype(np.uint8)


def members(indices: range | list[int]) -> list[tuple[str, bytes]]:
    found = []
    for i in indices:
        found += [
            (f"set/{i:03d}.cls", str(10 - i).encode()),
            (f"set/{i:03d}.JPG.txt", b"not an image"),
            (f"set/{i:03d}.png", encoded(X[i])),
            (f"set/{i:03d}.json", json.dumps({"kind": "ab"[i % 2], "n": 1.5}).encode()),
        ]
    return found


def config(path: Any, **options: Any) -> WebDatasetConfig:
    return WebDatasetConfig(path=str(path), **options)


@pytest.mark.parametrize(
    ("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz"), ("tar.bz2", "w:bz2")]
)
def test_samples_come_in_the_order_of_the_tars(suffix: str, mode: str, tmp_path: Path) -> None:
    write_tar(tmp_path / f"t-0.{suffix}", members([3, 1, 2]), mode)
    write_tar(tmp_path / f"t-1.{suffix}", members([0, 5, 4]), mode)
    raw = whole(webdataset, config(tmp_path / f"t-{{0..1}}.{suffix}", label="cls"))
    np.testing.assert_array_equal(raw.x, X[[3, 1, 2, 0, 5, 4]].transpose(0, 3, 1, 2))
    assert raw.y is not None
    assert [raw.spec.class_names[k] for k in raw.y] == ["7", "9", "8", "10", "5", "6"]
    assert raw.spec.class_names == ("5", "6", "7", "8", "9", "10")


def test_labels_are_a_field_of_json_or_none(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", members(range(4)))
    raw = whole(webdataset, config(tmp_path, label="json:kind"))
    assert raw.spec.class_names == ("a", "b")
    assert raw.y is not None
    assert raw.y.tolist() == [0, 1, 0, 1]
    assert whole(webdataset, config(tmp_path)).y is None


@pytest.mark.parametrize("label", ["json", "json:"])
def test_json_needs_its_field(label: str) -> None:
    with pytest.raises(ValueError, match="json:class"):
        config("a.tar", label=label)


@pytest.mark.parametrize(
    ("added", "options", "says"),
    [
        ([("9.txt", b"")], {}, r"key '9': no image: expected \.png or \.jpg or \.jpeg or \.webp, given \.txt"),
        ([("9.png", encoded(X[0]))], {"label": "cls"}, r"key '9': no label: expected \.cls, given \.png"),
        ([("9.png", b""), ("9.png", b"")], {}, r"key '9': there are two files \.png"),
        ([("9.png", b"GIF")], {}, r"key '9', \.png is no image in"),
        ([("9.png", encoded(X[0])), ("9.cls", b"\xff")], {"label": "cls"}, r"key '9', \.cls is no text in UTF-8"),
        ([("9.png", encoded(X[0])), ("9.json", b"{")], {"label": "json:kind"}, r"key '9', \.json is no JSON"),
        (
            [("9.png", encoded(X[0])), ("9.json", b'{"kin": 1}')],
            {"label": "json:kind"},
            r"\.json has no field 'kind'; did you mean 'kin'",
        ),
        (
            [("9.png", encoded(X[0])), ("9.json", b'{"kind": [1]}')],
            {"label": "json:kind"},
            r"'kind' is \[1\], expected text or a whole number",
        ),
    ],
)
def test_samples_that_are_not_right_are_named_by_tar_and_key(
    added: list[tuple[str, bytes]], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    write_tar(tmp_path / "t.tar", members(range(2)) + added)
    with pytest.raises(DataError, match=rf"t\.tar, .*{says}"):
        whole(webdataset, config(tmp_path, **options))


def test_a_member_that_claims_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "MAX_FIELD_BYTES", 100)
    write_tar(tmp_path / "t.tar", [("a.png", bytes(101))])
    with pytest.raises(DataError, match=r"t\.tar, 'a\.png' has 101 bytes, expected up to 100"):
        whole(webdataset, config(tmp_path))


def test_hidden_members_folders_and_links_are_passed_over(tmp_path: Path) -> None:
    import tarfile

    write_tar(tmp_path / "t.tar", [("./set/._000.png", b"mac"), *members(range(2))])
    with tarfile.open(tmp_path / "t.tar", "a") as tar:
        link = tarfile.TarInfo("set/../../../etc/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        folder = tarfile.TarInfo("more")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    assert len(whole(webdataset, config(tmp_path)).x) == 2


def test_with_a_size_given_the_survey_reads_labels_only(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", [("a.png", b"no image"), ("a.cls", b"4"), ("b.png", b""), ("b.cls", b"2")])
    source = webdataset.build(config(tmp_path, size=4, label="cls"), 0)
    survey = source.survey(source.parts[0])
    assert (survey["num"], survey["labels"]) == (2, ["2", "4"])

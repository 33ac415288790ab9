"""An artifact that is made anew: at every moment there is the old one or the new."""

import errno
import os

import pytest

from genpipe import exchange
from genpipe.artifacts import publish, staging, verify


@pytest.fixture(params=["in one step", "in three"])
def way(request, monkeypatch):
    if request.param == "in three":

        def refuse(new, final):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        monkeypatch.setattr(exchange, "_rename", refuse)
    return request.param


def make(final, text, **options):
    with staging(final.parent) as folder:
        (folder / "number.txt").write_text(text)
        publish(folder, final, {"text": text}, **options)


def test_a_new_artifact_takes_the_place_of_the_old_one_which_is_gone(tmp_path, way):
    final = tmp_path / "kind" / "key"
    make(final, "old")
    make(final, "new", replace=True)
    assert (verify(final).text, (final / "number.txt").read_text()) == ("new", "new")
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="folders change places in one step on Linux")
def test_a_kill_while_the_old_one_is_removed_leaves_the_new(tmp_path, monkeypatch):
    final = tmp_path / "kind" / "key"
    make(final, "old")

    def die(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("genpipe.artifacts.discard", die)
    with pytest.raises(KeyboardInterrupt):
        make(final, "new", replace=True)
    assert verify(final).text == "new"

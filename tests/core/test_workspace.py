import pytest

from genpipe.errors import UsageError
from genpipe.workspace import Workspace


def test_a_workspace_at_or_under_a_file_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for given in (file, file / "inside"):
        with pytest.raises(UsageError, match=f"{file} is a file, expected a folder"):
            Workspace.choose(given)


def test_a_home_of_nobody_is_a_name_like_any(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Workspace.choose("~nobody-at-all/w").root == tmp_path / "~nobody-at-all/w"

import pytest

from genpipe.errors import UsageError
from genpipe.stores import Store
from genpipe.stores.address import without_secrets
from genpipe.workspace import Workspace


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("file:///mnt/x/", "file:///mnt/x"),
        ("/mnt/x", "file:///mnt/x"),
        ("memory://", "memory://"),
        ("memory://a/", "memory://a"),
    ],
)
def test_an_address_has_one_form(given, address):
    assert Store.at(given).address == address


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store.at("store").address == f"file://{tmp_path}/store"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("s33://bucket/x", "there is no protocol 's33'; did you mean 's3'"),
        ("file://mnt/x", "names no absolute folder"),
        ("s3://", "names no place"),
        (" ", "is empty"),
    ],
)
def test_what_is_no_address_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        Store.at(given)


@pytest.mark.parametrize("given", ["sftp://me:hunter2@host/x", "abfs://container/x?sig=hunter2"])
def test_credentials_in_an_address_are_refused_and_not_repeated(given):
    with pytest.raises(UsageError, match="holds credentials; give them in the environment") as error:
        Store.at(given)
    assert "hunter2" not in str(error.value)


def test_secrets_are_cut_out_of_what_drivers_say():
    said = without_secrets("GET https://me:pw@host/key?X-Signature=abc failed, see s3://bucket/key")
    assert said == "GET https://…@host/key?… failed, see s3://bucket/key"


def test_a_missing_package_is_named(monkeypatch):
    from fsspec.registry import known_implementations

    monkeypatch.setitem(known_implementations, "there", {"class": "notthere.System", "err": "Install notthere"})
    with pytest.raises(UsageError, match=r"notthere is not installed \(pip install notthere\)"):
        Store.at("there://x/y")


def test_the_environment_names_a_store_and_an_argument_names_another(tmp_path, monkeypatch):
    assert Workspace.choose(tmp_path).store is None
    monkeypatch.setenv("GENPIPE_STORE", "memory://a")
    assert Workspace.choose(tmp_path).store == Store.at("memory://a")
    assert Workspace.choose(tmp_path, "memory://b").store == Store.at("memory://b")


def test_a_workspace_is_not_its_own_store(tmp_path):
    with pytest.raises(UsageError, match="is the workspace itself"):
        Workspace.choose(tmp_path, tmp_path.as_uri())

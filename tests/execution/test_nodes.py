"""What is told of a node that does not run what the driver runs."""

import pytest

from genpipe.execution.nodes import Account, differences, look
from genpipe.stores import Site

HERE = Account(
    {"genpipe": "0.2", "torch": "2.13.0+cpu"},
    {"genpipe.model": "a", "genpipe.noise": "b", "genpipe.plugins.vae.model": "c", "mine.net": "d", "core_ext": "e"},
)


def there(versions=None, code=None, **rest) -> Account:
    return Account({**HERE.versions, **(versions or {})}, {**HERE.code, **(code or {})}, **rest)


def without(*modules: str) -> dict[str, str]:
    return {name: sha for name, sha in HERE.code.items() if name not in modules}


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (there(), []),
        (there({"torch": "2.13.0+cu130"}), []),
        (there({"torch": "2.11.0"}), ["has torch 2.11.0, and here is 2.13.0"]),
        (
            there({"genpipe": "0.1"}, {"genpipe.model": "x", "genpipe.noise": "y"}),
            ["has other code of genpipe.model, genpipe.noise than here (0.1 there, 0.2 here)"],
        ),
        (there(code={"mine.net": "x"}), ["has other code of mine.net than here"]),
        (Account(HERE.versions, without("mine.net")), ["mine is not installed"]),
        (there(code={"core_ext": "x"}), ["its compiled core was built from other sources than here"]),
        (Account(HERE.versions, without("core_ext"), core="the core is missing"), ["the core is missing"]),
        (there(lacking=["HF_TOKEN"]), ["the environment variable HF_TOKEN is not set"]),
        (there(workspace="the workspace is not to be seen"), ["the workspace is not to be seen"]),
    ],
)
def test_what_a_node_lacks_is_told(node, told):
    assert differences(HERE, node) == told


def test_a_place_gives_account_of_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("IS_SET", "1")
    monkeypatch.delenv("IS_NOT", raising=False)
    (tmp_path / "run").mkdir()
    account = look(["genpipe.noise", "core_ext"], ["IS_SET", "IS_NOT"], Site(str(tmp_path), str(tmp_path / "run")))
    assert len(account.code["genpipe.noise"]) == 64
    assert account.versions["torch"]
    assert (account.lacking, account.workspace) == (["IS_NOT"], "")
    unseen = look([], [], Site(str(tmp_path), str(tmp_path / "gone")))
    assert "is not to be seen on" in unseen.workspace

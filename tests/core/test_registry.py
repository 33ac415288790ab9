import sys

import pytest

from genpipe.components import Family
from genpipe.errors import UsageError
from genpipe.registry import PluginSource, Registry, find_plugins

HEADER = "from genpipe import Family, hookimpl\n"
FAMILY = "Family(name='{name}', summary='', config='x:y', build='x:y', likelihood=None, events=(), training='gradient'{more})"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a plugin module; gives its source."""
    monkeypatch.syspath_prepend(str(tmp_path))

    written = []

    def write(name: str, text: str) -> PluginSource:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)
        return PluginSource(name, name, f"{name}-dist", "1.0", shipped=False)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def families(*names: str, more: str = "") -> str:
    records = ", ".join(FAMILY.format(name=name, more=more) for name in names)
    return f"{HEADER}@hookimpl\ndef register_families():\n    return [{records}]\n"


def test_ours_and_a_strangers_come_in_by_the_same_call(plugins):
    sources = {source.name: source for source in plugins.plugins}
    assert sources["toy"].distribution == "toy"
    assert sources["vae"].distribution == "genpipe"
    assert isinstance(plugins.get("family", "vae"), Family)
    assert plugins.find("family", "toy_family").source.name == "toy"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemError('at import')", "SystemError: at import"),
        ("import sys\nsys.exit(5)", "SystemExit: 5"),
        (f"{HEADER}@hookimpl\ndef register_families():\n    return 1 / 0\n", "ZeroDivisionError"),
        (f"{HEADER}@hookimpl\ndef register_families():\n    return ['vae']\n", "gave a str, expected records"),
        (f"{HEADER}@hookimpl\ndef register_familys():\n    return []\n", "unknown hook 'register_familys'"),
        (families("late", more=", api_version=99"), "written for plugin API 99"),
        (families("able", more=", capabilities=frozenset({'fly'})"), "unknown capabilities"),
    ],
)
def test_a_broken_plugin_is_named_and_the_rest_stays(module, text, expected):
    registry = Registry(iter([*find_plugins(), module("broken_one", text), module("good_one", families("good"))]))
    (broken,) = registry.broken
    assert expected in broken.error
    assert str(broken).startswith("plugin 'broken_one' of broken_one-dist 1.0: ")
    assert "Traceback" in broken.traceback
    assert {"good", "vae"} <= set(registry.names("family"))


def test_asking_for_what_a_broken_plugin_may_have_had_names_it(module):
    registry = Registry(iter([module("lost", "import no_such_module_at_all")]))
    with pytest.raises(UsageError, match=r"plugin 'lost' of lost-dist 1\.0: ModuleNotFoundError"):
        registry.get("family", "anything")


def test_two_distributions_with_one_name_are_both_named(module):
    registry = Registry(iter([module("first", families("same")), module("second", families("other", "same"))]))
    (broken,) = registry.broken
    assert "family 'same' is already provided by plugin 'first' of first-dist" in str(broken)
    assert "second-dist" in str(broken)
    assert registry.names("family") == ["same"]  # nothing of a plugin that clashes is half-registered


def test_what_a_plugin_prints_at_import_stays_out_of_what_was_asked_for(module, capsys):
    Registry(iter([module("chatty", "print('hello')")]))
    assert capsys.readouterr() == ("", "hello\n")


def test_plugins_can_be_disabled(module, monkeypatch):
    monkeypatch.setenv("GENPIPE_DISABLE_PLUGINS", "first, other")
    registry = Registry(iter([module("first", families("one")), module("second", families("two"))]))
    assert registry.names("family") == ["two"]


@pytest.mark.parametrize("error", ["ValueError('no')", "SystemExit(3)"])
def test_an_observer_that_fails_is_told_once_and_stops_nothing(module, caplog, error):
    from genpipe.observers import Observers

    text = "from genpipe import hookimpl\nseen = []\n@hookimpl\ndef step_failed(error):\n    {}\n"
    sources = [module("bad", text.format(f"raise {error}")), module("fine", text.format("seen.append(error)"))]
    observers = Observers(Registry(iter(sources)))
    for error in ("first", "second"):
        observers.notify("step_failed", run=None, step="x", error=error)
    import fine

    assert fine.seen == ["first", "second"]
    assert len(caplog.records) == 1
    assert "bad-dist:bad" in caplog.text

"""Imports point one way: plugins → genpipe, pipelines → genpipe, and genpipe.ops → nothing else of ours."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"genpipe": ROOT / "genpipe", "genpipe.pipelines": ROOT / "pipelines", "genpipe.plugins": ROOT / "plugins"}


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(p for p in parts if p != "__init__")]), path


def imports(path: Path, module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where an arrow points"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = dict(modules())


def plugin(module: str) -> str | None:
    """The plugin's folder that a module belongs to, for modules of plugins."""
    parts = module.split(".")
    return ".".join(parts[:3]) if parts[:2] == ["genpipe", "plugins"] and len(parts) > 2 else None


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    for name in set(imports(MODULES[module], module)):
        assert name.partition(".")[0] not in ("plugins", "pipelines"), f"{module} imports {name} by its bare name"
        if inside(module, "genpipe.plugins"):
            assert not inside(name, "genpipe.pipelines"), f"{module} imports {name}"
            other = plugin(name)
            assert other in (None, plugin(module)), f"{module} imports {name}: plugins do not import each other"
        elif inside(module, "genpipe.pipelines"):
            assert not inside(name, "genpipe.plugins"), f"{module} imports {name}"
        else:
            assert not inside(name, "genpipe.plugins"), f"{module} imports {name}"
            assert not inside(name, "genpipe.pipelines"), f"{module} imports {name}"
        if inside(module, "genpipe.ops") and inside(name, "genpipe"):
            assert inside(name, "genpipe.ops") or name in ("genpipe", "genpipe._C"), f"{module} imports {name}"


def test_nothing_is_unpickled():
    for module, path in MODULES.items():
        names = set(imports(path, module))
        assert not names & {"pickle", "cloudpickle", "joblib", "torch.load"}, module
        text = path.read_text()
        assert "torch.load(" not in text, module
        assert "allow_pickle=True" not in text, module


def test_core_and_plugins_need_neither_ray_nor_mlflow():
    on_ray = {f"genpipe.execution.{name}" for name in ("cluster", "connect", "capacity", "letters", "nodes")}
    on_ray |= {"genpipe.parallel.actors", "genpipe.parallel.ray_data", "genpipe.submission.dashboard"}
    on_ray |= {"genpipe.training.ray_train", "genpipe.training.ray_leftovers", "genpipe.sweeps.tuner"}
    allowed = {"ray": on_ray, "mlflow": {"genpipe.tracking.mlflow_sender"}}
    for module, path in MODULES.items():
        for name in {n.partition(".")[0] for n in imports(path, module)} & set(allowed):
            assert module in allowed[name], f"{module} imports {name}"

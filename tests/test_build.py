"""The build: what it records, what it finds, what it refuses."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from genpipe import _build

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setup_script():
    """setup.py as a module, without running it."""
    source = (ROOT / "setup.py").read_text().split("\nsetup(\n")[0]
    spec = importlib.util.spec_from_loader("genpipe_setup", loader=None)
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(ROOT / "setup.py")
    exec(compile(source, "setup.py", "exec"), module.__dict__)
    return module


def test_the_record_is_readable_without_torch():
    code = "import sys; from genpipe import _build; print(_build.source_digest()); assert 'torch' not in sys.modules"
    digest = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert len(digest.strip()) == 64
    assert digest.strip() == _build.source_digest()


def test_build_info_says_what_is_there():
    info = _build.build_info()
    assert info.extension == "loaded"
    assert info.cpu_variant in info.cpu_variants
    assert info.cuda in ("ON", "OFF", "EMULATE")
    text = str(info)
    assert f"in use: {info.cpu_variant}" in text
    assert info.torch_running in text


def test_a_damaged_record_is_named(tmp_path, monkeypatch):
    (tmp_path / "_build.json").write_text("{")
    monkeypatch.setattr(_build, "_RECORD", tmp_path / "_build.json")
    with pytest.raises(RuntimeError, match=r"_build.json is damaged .*; rebuild with make"):
        _build.build_record()


def test_another_build_of_the_core_is_used_or_refused(tmp_path):
    code = "import genpipe; print(genpipe.__path__[0])"

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "GENPIPE_CORE_DIR": str(folder)}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)

    refused = run(tmp_path)
    assert refused.returncode != 0
    assert f"GENPIPE_CORE_DIR={tmp_path}: no compiled core there" in refused.stderr
    (tmp_path / "_build.json").write_text("{}")
    assert run(tmp_path).stdout.strip() == str(tmp_path)


def test_nothing_built_is_an_empty_record(tmp_path, monkeypatch):
    monkeypatch.setattr(_build, "_RECORD", tmp_path / "_build.json")
    assert _build.build_record() == {}
    assert _build.source_digest() is None


def test_the_digest_follows_the_sources(setup_script, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "core_ext", tmp_path / "core_ext")
    shutil.copy(ROOT / "CMakeLists.txt", tmp_path)
    monkeypatch.setattr(setup_script, "ROOT", tmp_path)
    before = setup_script.source_digest()
    assert before == setup_script.source_digest()
    with (tmp_path / "core_ext/include/genpipe/philox.h").open("a") as header:
        header.write("\n")
    assert setup_script.source_digest() != before


def torch_package(folder: Path, version: str, cuda: str | None = None) -> Path:
    package = folder / "torch"
    (package / "include" / "torch").mkdir(parents=True)
    (package / "version.py").write_text(f"__version__ = '{version}'\ncuda: Optional[str] = {cuda!r}\n")
    return package


def test_torch_is_found_without_importing_it(setup_script, tmp_path, monkeypatch):
    package = torch_package(tmp_path, "2.12.1+cu130", "13.0")
    monkeypatch.setenv("GENPIPE_TORCH_DIR", str(package))
    assert setup_script.find_torch() == package
    assert setup_script.torch_version(package) == ("2.12.1+cu130", "13.0")


def test_no_torch_is_one_line_of_advice(setup_script, tmp_path, monkeypatch):
    monkeypatch.setenv("GENPIPE_TORCH_DIR", str(tmp_path))
    with pytest.raises(SystemExit, match=r"no torch in this Python; install it first \(pip install 'torch>=2.11'\)"):
        setup_script.find_torch()


def test_an_old_torch_is_refused(setup_script, tmp_path):
    with pytest.raises(SystemExit, match=r"needs torch 2.11 or newer; .* is 2.9.0"):
        setup_script.torch_version(torch_package(tmp_path, "2.9.0"))


def test_cuda_that_cannot_be_met_stops_the_build(setup_script, tmp_path, monkeypatch):
    monkeypatch.setenv("GENPIPE_CUDA", "MAYBE")
    with pytest.raises(SystemExit, match=r"GENPIPE_CUDA='MAYBE'; expected OFF, ON, CHECK or EMULATE"):
        setup_script.cuda_mode(None)
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.4, V12.4.131'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("GENPIPE_CUDA", "ON")
    monkeypatch.setattr(setup_script, "find_nvcc", lambda: nvcc)
    with pytest.raises(SystemExit, match="the installed torch is a CPU build"):
        setup_script.cuda_mode(None)
    with pytest.raises(SystemExit, match=r"CUDA 13.0 but .* is CUDA 12; their major versions must agree"):
        setup_script.cuda_mode("13.0")
    assert setup_script.cuda_mode("12.8") == ("ON", nvcc)
    monkeypatch.setattr(setup_script, "find_nvcc", lambda: None)
    with pytest.raises(SystemExit, match="GENPIPE_CUDA=ON needs nvcc"):
        setup_script.cuda_mode("13.0")


@pytest.mark.parametrize(
    ("built", "device", "fits"),
    [
        ("80-real,90-real,90-virtual", 80, True),
        ("80-real,90-real,90-virtual", 86, True),  # machine code of its generation
        ("80-real,90-real,90-virtual", 90, True),
        ("80-real,90-real,90-virtual", 100, True),  # from PTX
        ("80-real,90-real,90-virtual", 75, False),
        ("80-real,90-real", 100, False),
        ("86-real", 80, False),
        ("80-virtual", 75, False),
        ("80", 120, True),
        ("90a", 90, True),
        ("90a", 100, False),
        ("native", 75, True),
    ],
)
def test_a_gpu_that_nothing_was_built_for_is_known(built, device, fits):
    from genpipe import _C

    assert _C.architectures_fit(built, device) is fits


def test_packages_map_to_the_top_folders(setup_script):
    packages = setup_script.packages()
    assert {"genpipe", "genpipe.ops", "genpipe.pipelines", "genpipe.plugins"} <= set(packages)
    assert len(packages) == len(set(packages))
    for package, files in setup_script.package_data().items():
        assert package in packages
        assert not any(name.endswith((".py", ".so")) for name in files)


def test_the_core_names_no_folder_of_this_machine():
    library = next((ROOT / "genpipe").glob(f"_C*{sysconfig.get_config_var('SHLIB_SUFFIX')}"))
    assert str(ROOT).encode() not in library.read_bytes()


@pytest.mark.slow
def test_the_cuda_sources_compile(tmp_path, setup_script):
    if setup_script.find_nvcc() is None:
        pytest.skip("nvcc is not installed")
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "GENPIPE_CUDA": "CHECK"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "warning" not in result.stdout + result.stderr
    assert not list(tmp_path.rglob("_*")), "a check leaves no core behind"


def test_a_check_of_the_cuda_sources_is_no_installation():
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=ROOT,
        env={**os.environ, "GENPIPE_CUDA": "CHECK"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "GENPIPE_CUDA=CHECK makes no core to install; `make check-cuda`" in result.stderr

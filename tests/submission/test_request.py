"""What goes to a cluster with a job, and what never does."""

import zipfile
from pathlib import Path

import pytest
import yaml

from genpipe.errors import UsageError
from genpipe.plan import Choice
from genpipe.recipe import load_recipe
from genpipe.registry import registry
from genpipe.submission import bundle as bundles
from genpipe.submission.bundle import bundle, write
from genpipe.submission.request import NEEDED, make_request

TOY = Path(__file__).parents[1] / "toy_plugin"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return with_seed(0)


def with_seed(seed: int):
    return load_recipe("digits-mixture", [f"seed={seed}"], registry=registry())


def test_the_recipe_goes_whole_with_every_default(recipe):
    ((place, content),) = bundle(recipe, []).items()
    assert place == "digits-mixture.yaml"
    assert load_recipe({"name": recipe.name, **yaml.safe_load(content)}, registry=registry()) == recipe


def test_the_same_request_has_the_same_id_and_another_another(recipe):
    ids = [
        make_request(recipe).id,
        make_request(with_seed(1)).id,
        make_request(recipe, workspace="/shared").id,
        make_request(recipe, store="s3://bucket/x").id,
        make_request(recipe, choice=Choice(fresh=True)).id,
        make_request(recipe, settings=["A=b"]).id,
        make_request(recipe, secrets=["HF_TOKEN"]).id,
    ]
    assert len(set(ids)) == len(ids)
    assert make_request(recipe).id == ids[0]
    assert all(job_id.startswith("digits-mixture-") for job_id in ids)


def test_included_files_are_part_of_the_id(recipe):
    Path("table.csv").write_text("1")
    first = make_request(recipe, include=["table.csv"]).id
    Path("table.csv").write_text("2")
    assert make_request(recipe, include=["table.csv"]).id != first


def test_the_command_says_where_and_what(recipe):
    whole = make_request(
        recipe,
        workspace="/shared/my runs",
        choice=Choice(from_step="train", to_step="sample"),
        tracking="http://mlflow",
    )
    assert whole.entrypoint == (
        "python -m genpipe run digits-mixture.yaml --from train --to sample --tracking http://mlflow "
        "--workspace '/shared/my runs'"
    )
    assert "${GENPIPE_HOME:?is not set on the cluster" in make_request(recipe).entrypoint
    assert make_request(recipe, store="s3://b/x").entrypoint.endswith(
        '--store s3://b/x --workspace "${GENPIPE_HOME:-$HOME/.genpipe}"'
    )


def test_names_of_secrets_go_and_values_never(recipe, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hunter2-and-more")
    request = make_request(recipe, settings=["OMP_NUM_THREADS=2"], secrets=["HF_TOKEN", "AWS_KEY", "HF_TOKEN"])
    assert request.environment == {"OMP_NUM_THREADS": "2", NEEDED: "AWS_KEY,HF_TOKEN"}
    assert "hunter2" not in repr(request)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workspace": "runs"}, "--workspace runs: expected an absolute path, as the cluster's nodes see it"),
        ({"settings": ["HF_TOKEN=hunter2"]}, "--env HF_TOKEN: looks like a secret.*`--secret HF_TOKEN`"),
        ({"settings": ["X=http://me:hunter2@host"]}, "--env X: looks like a secret"),
        ({"settings": ["HF_TOKEN"]}, "expected NAME=VALUE; `--secret HF_TOKEN` takes what the cluster's nodes have"),
        ({"settings": ["1=2"]}, "--env 1: expected the name of an environment variable"),
        ({"secrets": ["A=hunter2"]}, "expected the name of an environment variable"),
        ({"tracking": "http://me:hunter2@host"}, "--tracking: looks like a secret"),
        ({"store": "s3://key:hunter2@bucket"}, "--store: looks like a secret"),
        ({"include": ["nothing.csv"]}, "--include nothing.csv: there is nothing there"),
        ({"include": ["."]}, "is the current folder; name what the recipe needs of it"),
        ({"include": [".git"]}, "hidden folders, environments and caches are never sent"),
        ({"include": ["project"]}, "is the source of a distribution; `pip wheel --no-deps project` makes a wheel"),
        ({"include": ["x-1-cp311-cp311-linux_x86_64.whl"]}, "holds compiled code for one kind of machine"),
        ({"include": ["y-1-py3-none-any.whl"]}, "is no wheel"),
    ],
)
def test_what_cannot_go_is_told(recipe, options, text):
    Path(".git").mkdir()
    Path("project").mkdir()
    Path("project/pyproject.toml").touch()
    Path("x-1-cp311-cp311-linux_x86_64.whl").touch()
    Path("y-1-py3-none-any.whl").write_text("no zip")
    with pytest.raises(UsageError, match=text) as caught:
        make_request(recipe, **options)
    assert "hunter2" not in str(caught.value)


def test_too_much_is_refused_with_what_is_large(recipe, monkeypatch):
    monkeypatch.setattr(bundles, "MAX_BYTES", 2**20)
    Path("data").mkdir()
    Path("data/large.bin").write_bytes(bytes(3 * 2**19))
    Path("data/small.bin").write_bytes(bytes(10))
    with pytest.raises(UsageError, match=r"has 1\.5 MiB, and at most 1 MiB may; largest: data/large\.bin \(1\.5 MiB\)"):
        make_request(recipe, include=["data"])


def test_included_paths_keep_their_place_and_leave_caches_behind(recipe, tmp_path_factory):
    for name in ("data/a.csv", "data/.env", "data/.git/config", "data/__pycache__/a.pyc", "data/deep/b.csv"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    outside = tmp_path_factory.mktemp("outside") / "c.csv"
    outside.write_text("c")
    places = set(bundle(recipe, ["data", str(outside)]))
    assert places == {"digits-mixture.yaml", "data/a.csv", "data/deep/b.csv", "c.csv"}


@pytest.mark.parametrize(
    ("include", "path", "sent"),
    [
        ("data", "data", "data"),
        ("data", "data/*.csv", "data/*.csv"),
        ("data", "data/deep/b.csv", "data/deep/b.csv"),
        ("data/a.csv", "data/a.csv", "data/a.csv"),
        ("data/a.csv", "data/{a,b}.csv", "data/{a,b}.csv"),
        ("c.csv", "*.csv", "*.csv"),
        ("c.csv", "c.csv", "c.csv"),
        ("OUTSIDE/far", "OUTSIDE/far", "far"),
        ("OUTSIDE/far", "OUTSIDE/far/d.csv", "far/d.csv"),
        ("OUTSIDE/far/d.csv", "OUTSIDE/far/*.csv", "*.csv"),
        ("data", "c.csv", None),
        ("data/a.csv", "data-2/a.csv", None),
        ("data", "s3://bucket/data/a.csv", None),
    ],
)
def test_paths_to_what_is_included_count_from_the_jobs_folder(include, path, sent, recipe, tmp_path_factory):
    outside = str(tmp_path_factory.mktemp("outside"))
    for name in ("data/a.csv", "data/deep/b.csv", "c.csv", f"{outside}/far/d.csv"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    data = {"dataset": {"name": "csv", "path": path.replace("OUTSIDE", outside)}}
    mine = load_recipe({"pipeline": "single", "model": "gaussian_mixture", "data": data}, registry=registry())
    (content, *_) = bundle(mine, [include.replace("OUTSIDE", outside)]).values()
    unchanged = mine.resolved["data"]["dataset"]["path"]
    assert yaml.safe_load(content)["data"]["dataset"]["path"] == (unchanged if sent is None else sent)


def test_plugins_of_an_installed_folder_and_of_a_wheel_come_to_the_top(recipe, tmp_path):
    with zipfile.ZipFile("mine-1-py3-none-any.whl", "w") as archive:
        archive.writestr("mine/__init__.py", "")
        archive.writestr("mine-1.dist-info/entry_points.txt", "[genpipe]\nmine = mine\n")
    files = bundle(recipe, [str(TOY), "mine-1-py3-none-any.whl"])
    write(files, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"toy.py", "toy-0.1.dist-info", "mine", "mine-1.dist-info"}
    assert (tmp_path / "out/toy.py").read_bytes() == (TOY / "toy.py").read_bytes()


def test_a_wheel_cannot_write_outside_of_the_folder(recipe):
    with zipfile.ZipFile("evil-1-py3-none-any.whl", "w") as archive:
        archive.writestr("../evil.py", "")
    with pytest.raises(UsageError, match="would lie outside"):
        bundle(recipe, ["evil-1-py3-none-any.whl"])

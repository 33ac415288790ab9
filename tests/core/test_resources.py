"""What steps ask of a cluster: as recipes say it, and as Ray is told."""

from dataclasses import replace

import pytest

from genpipe.config import Resources
from genpipe.errors import RecipeError
from genpipe.execution.capacity import shortage
from genpipe.execution.job import Job
from genpipe.parallel import WorkerResources
from genpipe.recipe import load_recipe
from genpipe.stores import Site

ASKED = WorkerResources(cpus=4, gpus=2, memory_gib=1.5, custom={"licence": 0.5}, accelerator_type="H100")


def test_ray_s_tasks_actors_and_trainer_are_told_the_same():
    assert ASKED.ray_options() == {
        "num_cpus": 4,
        "num_gpus": 2,
        "memory": 3 * 2**29,
        "resources": {"licence": 0.5},
        "accelerator_type": "H100",
    }
    assert ASKED.scaling_options() == {
        "use_gpu": True,
        "resources_per_worker": {"CPU": 4, "GPU": 2, "memory": 3 * 2**29, "licence": 0.5},
        "accelerator_type": "H100",
    }


@pytest.mark.parametrize("asked", [ASKED, WorkerResources()])
def test_ray_takes_the_options(asked):
    ray = pytest.importorskip("ray")
    from ray.train import ScalingConfig

    assert ray.remote(**asked.ray_options())(lambda: None)
    assert ScalingConfig(num_workers=2, **asked.scaling_options()).num_workers == 2


def test_every_resource_of_a_recipe_reaches_the_workers():
    asked = Resources(cpus=4, gpus=2, memory_gib=1.5, custom={"licence": 0.5}, accelerator_type="H100")
    assert WorkerResources(**asked.model_dump()) == ASKED


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("resources.left.custom.GPU=1", "resources.left.custom: .*'GPU' is none of the nodes' own; expected in 'gpus'"),
        (
            "resources.left.custom.tpu=0",
            "resources.left.custom.tpu: given 0",
        ),
        ("resources.left.accelerator_type=H100", "resources.left: accelerator_type 'H100' names a GPU, and gpus is 0"),
        ("resources.left.memory_gib=0", "resources.left.memory_gib: given 0"),
        ("resources.left.cpu=1", "did you mean 'cpus'"),
    ],
)
def test_a_wrong_resource_is_told_where_it_stands(plugins, toy_recipe, override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(toy_recipe(), [override], registry=plugins)


def job(*, as_group: bool = True, **options) -> Job:
    workers = options.pop("workers", 1)
    return Job(
        step="train",
        stage="train",
        kind="model",
        key="0",
        key_parts={},
        config={},
        seed=0,
        inputs={},
        artifact="",
        scratch="",
        log="",
        progress="",
        resources=WorkerResources(**options),
        workers=workers,
        as_group=as_group,
        site=Site("", ""),
    )


SMALL = {"CPU": 4.0, "memory": 8 * 2**30, "node:10.0.0.1": 1.0, "object_store_memory": 1e9}
LARGE = {"CPU": 16.0, "memory": 64 * 2**30, "licence": 1.0}
GPUS = {"CPU": 8.0, "GPU": 4.0, "memory": 32 * 2**30, "accelerator_type:A100": 1.0}
NODES = [SMALL, LARGE, GPUS]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"cpus": 16, "memory_gib": 64},
        {"cpus": 2, "gpus": 1, "workers": 4, "accelerator_type": "A100"},
        {"cpus": 4, "workers": 7},
        {"custom": {"licence": 0.1}, "workers": 10},
    ],
)
def test_what_the_nodes_have_is_granted(asked):
    assert shortage(job(**asked), NODES) is None


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"cpus": 17}, "asks for 17 CPUs; the largest node has 16 CPUs (resources.train.cpus)"),
        (
            {"cpus": 17, "gpus": 8, "memory_gib": 100},
            "asks for 17 CPUs, 8 GPUs and 100 GiB of memory; the largest node has 16 CPUs, 4 GPUs and 64 GiB of memory "
            "(resources.train.cpus, resources.train.gpus, resources.train.memory_gib)",
        ),
        (
            {"cpus": 16, "gpus": 1},
            "asks for 16 CPUs and 1 GPU, and no node has all of it; nodes have 4 CPUs and 0 GPUs; 16 CPUs and 0 GPUs; "
            "8 CPUs and 4 GPUs (resources.train.cpus, resources.train.gpus)",
        ),
        (
            {"gpus": 1, "accelerator_type": "H100"},
            "asks for the accelerator 'H100', which no node has; did you mean 'A100'? (resources.train.accelerator_type)",
        ),
        (
            {"custom": {"license": 1}},
            "asks for the custom resource 'license', which no node has; did you mean 'licence'? "
            "(resources.train.custom.license)",
        ),
        (
            {"cpus": 4, "workers": 8},
            "asks for 8 workers with 4 CPUs each, and the cluster has room for 7: 28 CPUs on 3 nodes "
            "(lower the step's workers or resources.train.cpus)",
        ),
        (
            {"gpus": 2, "workers": 3},
            "asks for 3 workers with 1 CPU and 2 GPUs each, and the cluster has room for 2: 28 CPUs and 4 GPUs on 3 "
            "nodes (lower the step's workers or resources.train.cpus, resources.train.gpus)",
        ),
    ],
)
def test_what_no_cluster_of_these_nodes_can_hold_is_told_with_what_they_have(asked, text):
    assert shortage(job(**asked), NODES) == f"step 'train' {text}"


def test_a_step_of_one_of_many_models_is_told_the_key_of_all_of_them():
    text = shortage(replace(job(cpus=17), step="train.vae.0"), NODES)
    assert text.startswith("step 'train.vae.0' asks for 17 CPUs")
    assert text.endswith("(resources.train.cpus)")


def test_work_that_is_cut_into_items_goes_on_with_the_workers_that_there_is_room_for():
    assert shortage(job(cpus=4, workers=100, as_group=False), NODES) is None
    assert shortage(job(cpus=17, workers=100, as_group=False), NODES) is not None

"""What steps ask of a cluster: as recipes say it, and as Ray is told."""

import pytest

from genpipe.config import Resources
from genpipe.errors import RecipeError
from genpipe.parallel import WorkerResources
from genpipe.recipe import load_recipe

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

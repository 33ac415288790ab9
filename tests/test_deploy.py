"""docs/deploy, as far as it can be checked without Docker and Kubernetes."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
INSTRUCTIONS = {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest.strip()) for line in text.splitlines() if line.strip() for word, _, rest in [line.partition(" ")]
    ]


def pinned(package: str) -> str:
    return re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def test_the_dockerfile_has_instructions_that_docker_knows_and_ends_without_root():
    words = [word for word, _ in instructions()]
    assert set(words) <= INSTRUCTIONS
    assert words.count("FROM") == 2
    assert instructions()[words.index("USER")][1] == "1000"
    assert words.index("USER") > len(words) - 1 - words[::-1].index("COPY")


def test_every_source_that_the_dockerfile_copies_is_in_the_repository_and_not_ignored():
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = set()
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from="):
            copied |= set(shlex.split(rest)[:-1])
    assert {source for source in copied if not (ROOT / source).exists()} == set()
    assert copied == allowed
    needed = {"setup.py", "pyproject.toml", "CMakeLists.txt", "core_ext", "genpipe", "pipelines", "plugins"}
    assert needed <= copied


def test_every_variable_of_the_dockerfile_is_declared_where_it_is_used():
    declared: set[str] = set()
    for word, rest in instructions():
        if word == "FROM":
            stage = set()
        name = rest.partition("=")[0]
        if word == "ARG":
            declared.add(name)
            if "stage" in locals():
                stage.add(name)
        used = set(re.findall(r"\$\{(\w+)", rest))
        assert used <= (declared if word in ("FROM", "ARG") else stage), f"{word} {rest}"


def test_the_image_s_python_is_the_one_that_the_versions_were_tested_with():
    base = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)["BASE"]
    version = re.match(r"python:(\d+\.\d+)-", base)[1]
    assert f"on Python {version}." in (ROOT / "constraints.txt").read_text().splitlines()[0]


def test_the_ray_cluster_has_what_kuberay_asks_for():
    claim, cluster = documents("raycluster.yaml")
    assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    spec = cluster["spec"]
    assert spec["rayVersion"] == pinned("ray")
    assert set(spec) <= {
        "rayVersion",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    }
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay takes text alone"
        check_pod(group["template"]["spec"], claim["metadata"]["name"])
    for group in spec["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    names = [group["groupName"] for group in spec["workerGroupSpecs"]]
    assert len(set(names)) == len(names)
    ports = {port["name"]: port["containerPort"] for port in groups[0]["template"]["spec"]["containers"][0]["ports"]}
    assert ports == {"gcs-server": 6379, "dashboard": 8265, "client": 10001}


def check_pod(pod: dict, claim: str) -> None:
    (container,) = pod["containers"]
    assert container["image"].startswith("genpipe:")
    assert container["resources"]["requests"] == container["resources"]["limits"], "Ray counts the limits"
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(mounted) == set(volumes)
    assert volumes["workspace"]["persistentVolumeClaim"]["claimName"] == claim
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["GENPIPE_HOME"] == mounted["workspace"]
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1000
    assert container["envFrom"] == [{"secretRef": {"name": "genpipe", "optional": True}}], "no secret stands in a file"


def test_the_ray_job_runs_a_recipe_on_that_cluster():
    from genpipe.recipe import load_recipe
    from genpipe.registry import registry

    (job,) = documents("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": documents("raycluster.yaml")[1]["metadata"]["name"]}
    assert job["spec"]["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode")
    command = shlex.split(job["spec"]["entrypoint"])
    assert command[:4] == ["python", "-m", "genpipe", "run"]
    assert load_recipe(command[4], command[5:], registry=registry()).name == "digits-vae"


@pytest.mark.parametrize(
    "command", ["docker build -f docs/deploy/Dockerfile", "kubectl apply -f docs/deploy/raycluster.yaml"]
)
def test_the_readme_s_commands_name_files_that_are_there(command):
    assert command in (DEPLOY / "README.md").read_text()
    assert (ROOT / shlex.split(command)[-1]).is_file()

"""What every registered family keeps, ours and a stranger's alike."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from genpipe.components import Family, LikelihoodKind
from genpipe.data import Split
from genpipe.errors import ArtifactError, CapabilityError, DataError, UsageError
from genpipe.model import Estimator, Model
from genpipe.noise import Noise
from genpipe.persistence import load_model, save_model
from genpipe.registry import registry
from genpipe.sampler import choose_sampler
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import train
from tests.contracts.cases import FAMILIES, SPLITS, Case, defaults, labels, marked, members, trained

torch.set_num_threads(1)  # tensors this small gain nothing from more, and spinning threads slow a busy machine down

# The defaults of every family; the settings that have names of their own are held to all of it with --slow, and to what
# matters most in test_members.py.
CASES = [*marked(defaults()), *marked(members(), pytest.mark.slow)]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_registering_a_family_imports_no_torch(family: Family) -> None:
    module = registry().find("family", family.name).source.module
    code = f"import sys, {module}; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_every_option_is_described_and_a_wrong_name_is_refused(family: Family) -> None:
    config_class = family.config_class
    schema = config_class.model_json_schema()
    for name, field in schema["properties"].items():
        assert field.get("description"), f"{family.name}.{name} has no description"
        assert "\n" not in field["description"]
    config = config_class()
    assert config_class(**json.loads(json.dumps(config.model_dump(mode="json")))) == config
    with pytest.raises(ValidationError):
        config_class(no_such_option=1)


@pytest.mark.parametrize("case", CASES)
def test_training_leaves_finite_numbers_and_an_eval_model(case: Case, tmp_path: Path) -> None:
    model, result = trained(case, tmp_path)
    assert not model.training
    assert result.numbers
    assert all(np.isfinite(value) for value in result.numbers.values())
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("case", CASES)
def test_samples_are_in_the_datas_own_units(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    x = model.sample(5, labels(model, 5), seed=1, sampler=case.samplers()[0])
    assert x.shape == (5, *model.spec.shape)
    assert x.dtype == getattr(torch, model.spec.dtype)
    model.units.check(x)
    assert model.sample(0, labels(model, 0)).shape == (0, *model.spec.shape)


@pytest.mark.parametrize("num_steps", [6, pytest.param(None, marks=pytest.mark.slow, id="all steps")])
@pytest.mark.parametrize("case", CASES)
def test_sample_i_is_the_same_in_any_batch(case: Case, num_steps: int | None, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    y = labels(model, 7)
    for sampler in case.samplers(num_steps):
        whole = model.sample(7, y, seed=3, sampler=sampler).double()
        parts = [
            model.sample(n, None if y is None else y[i : i + n], seed=3, first_index=i, sampler=sampler).double()
            for i, n in ((0, 2), (2, 1), (3, 4))
        ]
        difference = (whole - torch.cat(parts)).abs()
        if model.spec.levels is None:
            assert difference.max() < 1e-3 * (1 + whole.abs().max())
        else:
            # A value that lies on a bin's edge may fall to either side of it.
            assert (difference > 0).double().mean() < 0.01
        assert not torch.equal(whole, model.sample(7, y, seed=4, sampler=sampler).double())


@pytest.mark.parametrize("case", CASES)
def test_a_path_ends_with_the_samples_it_led_to(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    y = labels(model, 3)
    if "path" not in case.family.capabilities:
        with pytest.raises(CapabilityError, match="has no path"):
            model.sample_path(3, y)
        return
    for sampler in case.samplers():
        path = model.sample_path(3, y, seed=3, first_index=2, sampler=sampler, num_frames=5)
        assert path.frames.shape == (5, 3, *model.spec.shape)
        assert path.frames.dtype == getattr(torch, model.spec.dtype)
        assert len(set(path.labels)) == 5
        assert torch.equal(path.frames[-1], model.sample(3, y, seed=3, first_index=2, sampler=sampler))
        if path.drawn is None:
            assert not torch.equal(path.frames[0], path.frames[-1])
        else:
            assert not path.drawn[0].any()
            assert path.drawn[-1].all()
            assert (path.drawn[1:] >= path.drawn[:-1]).all()
            assert torch.equal(path.frames * path.drawn[:, None], path.frames[-1] * path.drawn[:, None])
    with pytest.raises(UsageError, match="num_frames is 1"):
        model.sample_path(3, y, num_frames=1)


@pytest.mark.parametrize("case", CASES)
def test_log_prob_has_its_kind_and_no_memory_of_the_batch(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    x, y = torch.from_numpy(case.split.x[:6]), labels(model, 6)
    if "log_prob" not in case.family.capabilities:
        with pytest.raises(CapabilityError, match=case.family.name):
            model.log_prob(x)
        return
    whole = model.log_prob(x, y, seed=2)
    assert whole.kind == case.family.likelihood
    assert whole.nats.shape == (6,)
    assert whole.nats.isfinite().all()
    if whole.standard_error is not None:
        assert whole.standard_error.shape == (6,)
        assert (whole.standard_error >= 0).all()
    tail = model.log_prob(x[2:], None if y is None else y[2:], seed=2, first_index=2)
    torch.testing.assert_close(tail.nats.double(), whole.nats[2:].double(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_every_estimator_of_the_likelihood_has_its_kind_and_no_memory_of_the_batch(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    x, y = torch.from_numpy(case.split.x[:4]), labels(model, 4)
    if "log_prob" not in case.family.capabilities:
        assert not case.family.estimators
        return
    small = {"num_samples": 2, "num_steps": 4}
    for name in case.possible(case.family.estimators):
        options = case.family.estimators[name]
        estimator = {"name": name, **{option: small[option] for option in options}}
        whole = model.log_prob(x, y, seed=2, estimator=estimator)
        assert whole.kind in get_args(LikelihoodKind)
        assert whole.estimator == Estimator(**estimator)
        tail = model.log_prob(x[1:], None if y is None else y[1:], seed=2, first_index=1, estimator=estimator)
        for found, part in ((whole.nats, tail.nats), (whole.standard_error, tail.standard_error)):
            if found is not None:
                assert found.shape == (4,)
                assert found.isfinite().all()
                torch.testing.assert_close(part.double(), found[1:].double(), rtol=1e-2, atol=1e-2)
        assert whole.check is None or whole.check.shape == (4,)
        with pytest.raises(UsageError, match="num_codes"):
            model.log_prob(x, y, estimator={"name": name, "num_codes": 2})
        with pytest.raises(UsageError, match="expected a whole number"):
            model.log_prob(x, y, estimator={"name": name, min(options): 0})
    with pytest.raises(UsageError, match=f"family '{case.family.name}' has no estimator 'no_such_estimator'"):
        model.log_prob(x, y, estimator="no_such_estimator")


@pytest.mark.parametrize("case", CASES)
def test_what_is_for_smaller_examples_is_refused_with_what_is_not(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    x = torch.from_numpy(case.split.x[:1])
    for ask, names in (
        (lambda name: model.sample(1, sampler=name), case.family.samplers),
        (lambda name: model.log_prob(x, estimator=name), case.family.estimators),
    ):
        for name in set(names) - set(case.possible(names)):
            with pytest.raises(
                UsageError, match=f"'{name}' .* at most {case.family.max_dimensions[name]} numbers.*: use '"
            ):
                ask(name)


@pytest.mark.parametrize("case", CASES)
def test_an_energy_is_the_log_density_up_to_sign_and_a_constant(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    x, y = torch.from_numpy(case.split.x[:4]), labels(model, 4)
    if "energy" not in case.family.capabilities:
        with pytest.raises(CapabilityError, match="has no energy"):
            model.energy(x)
        with pytest.raises(CapabilityError, match="has no energy"):
            model.log_normalizer("ais")
        return
    energy = model.energy(x, y, seed=2)
    assert energy.shape == (4,)
    total = model.log_prob(x, y, seed=2).nats + energy
    torch.testing.assert_close(total, total[:1].expand(4), rtol=1e-4, atol=1e-3)
    tail = model.energy(x[1:], None if y is None else y[1:], seed=2, first_index=1)
    torch.testing.assert_close(tail, energy[1:], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_a_score_is_a_finite_gradient_at_each_example(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    x, y = torch.from_numpy(case.split.x[:4]), labels(model, 4)
    if "score" not in case.family.capabilities:
        with pytest.raises(CapabilityError, match="has no score"):
            model.score(x)
        return
    whole = model.score(x, y, seed=2)
    assert whole.shape == x.shape
    assert whole.isfinite().all()
    tail = model.score(x[1:], None if y is None else y[1:], seed=2, first_index=1)
    torch.testing.assert_close(tail, whole[1:], rtol=1e-3, atol=1e-3 * float(whole.abs().max()))


@pytest.mark.parametrize("case", CASES)
def test_of_no_examples_there_are_no_answers(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    x, can = torch.from_numpy(case.split.x[:0]), case.family.capabilities
    y = None if labels(model, 1) is None else torch.zeros(0, dtype=torch.int64)
    for sampler in case.samplers():
        assert model.sample(0, sampler=sampler).shape == x.shape
    if "log_prob" in can and case.family.likelihood != "unnormalized":
        assert model.log_prob(x, y).nats.shape == (0,)
    if "score" in can:
        assert model.score(x, y).shape == x.shape
    if "encode" in can:
        assert model.decode(model.encode(x, y), y).shape == x.shape


@pytest.mark.parametrize("case", CASES)
def test_codes_go_there_and_back(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    x, y = torch.from_numpy(case.split.x[:4]), labels(model, 4)
    if "encode" not in case.family.capabilities:
        with pytest.raises(CapabilityError, match="has no encode"):
            model.encode(x)
        return
    code = model.encode(x, y)
    assert len(code) == 4
    assert code.isfinite().all()
    if "decode" in case.family.capabilities:
        decoded = model.decode(code, y)
        assert decoded.shape == x.shape
        model.units.check(decoded)


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_gets_a_finite_gradient(case: Case) -> None:
    split = case.split
    model = case.build()
    if case.family.training != "gradient" or type(model).loss is Model.loss:
        pytest.skip("no loss to differentiate: a closed form, or a train_step of its own")
    noise = Noise(0, "train")
    z = model.units.to_network(torch.from_numpy(split.x[:8]), noise)
    model.loss(z, labels(model, 8), noise)["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_mean_over_any_cut_of_the_batch(case: Case) -> None:
    split = case.split
    model = case.build().eval()
    if case.family.training != "gradient" or type(model).loss is Model.loss:
        pytest.skip("no loss of one batch: a closed form, or a train_step of its own")
    whole_noise = Noise(0, "train", 160)
    z, y = model.units.to_network(torch.from_numpy(split.x[:8]), whole_noise), labels(model, 8)
    with torch.no_grad():
        whole = model.loss(z, y, whole_noise)["loss"]
        halves = [
            model.loss(z[i : i + 4], None if y is None else y[i : i + 4], whole_noise.at(160 + i))["loss"]
            for i in (0, 4)
        ]
    torch.testing.assert_close(torch.stack(halves).mean(), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_same_seed_builds_the_same_model_and_moves_no_global_state(case: Case) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = case.build(seed=5).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    second = case.build(seed=5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("case", CASES)
def test_a_saved_model_answers_bitwise_as_before(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    save_model(model, tmp_path)
    torch.manual_seed(9)
    loaded = load_model(tmp_path, registry())
    assert not loaded.training
    y = labels(model, 4)
    sampler = case.samplers()[0]
    assert torch.equal(model.sample(4, y, seed=1, sampler=sampler), loaded.sample(4, y, seed=1, sampler=sampler))
    if "log_prob" in case.family.capabilities:
        x = torch.from_numpy(case.split.x[:4])
        assert torch.equal(model.log_prob(x, y).nats, loaded.log_prob(x, y).nats)


@pytest.mark.parametrize("case", CASES)
def test_training_fits_a_tiny_set_better_than_the_start(case: Case, tmp_path: Path) -> None:
    """Eight examples: their log-probability must rise; where there is none, the last losses must be finite.

    An unnormalised density may rise everywhere: theirs must rise against that of noise.
    """
    split = case.split
    few = Split(split.spec, "train", split.x[:8], split.y[:8])
    sizes = {"num_components": 2, "kl_warmup_steps": 20}  # what eight examples and so few steps have room for
    options = {name: size for name, size in sizes.items() if getattr(case.build().config, name, 0)}
    model = case.build(**options).eval()
    x, y = torch.from_numpy(few.x), torch.from_numpy(few.y) if model.conditional else None
    scored = "log_prob" in case.family.capabilities
    noise = model.units.from_network(2 * Noise(0, "far").normal("noise", (8, *split.spec.shape)))

    def fitted() -> float:
        unnormalised = model.log_prob(noise, y).nats.mean() if case.family.likelihood == "unnormalized" else 0.0
        return float(model.log_prob(x, y).nats.mean() - unnormalised)

    before = fitted() if scored else None
    steps, batch_size = (80, 8) if case.event == "image" else (160, 32)  # networks of images take their time
    config = TrainConfig(steps=steps, batch_size=batch_size, learning_rate=3e-3, warmup_steps=5, ema_decay=0)
    result = train(model, few, config, seed=0, device="cpu", scratch=tmp_path, progress=ProgressFile(None))
    if before is not None:
        # A closed form may begin near its optimum where columns are standardised or few; a bound of which training
        # weighs one term more rises by less.
        modest = case.family.training == "closed_form" and case.event != "image"
        modest |= getattr(model.config, "beta", 1.0) != 1.0
        assert fitted() > before + (0.0 if modest else 0.5)
    assert all(np.isfinite(v) for v in result.numbers.values())


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_the_datas_is_refused(case: Case, tmp_path: Path) -> None:
    model, _ = trained(case, tmp_path)
    good = torch.from_numpy(case.split.x[:2])
    ask = model.log_prob if "log_prob" in case.family.capabilities else getattr(model, "encode", None)
    if ask is None or not {"log_prob", "encode"} & case.family.capabilities:
        pytest.skip("takes no data")
    with pytest.raises(DataError, match="shape"):
        ask(good.flatten())
    bad = good.float().clone()  # the split itself is shared by all tests
    bad.view(-1)[0] = float("nan")
    with pytest.raises(DataError, match="not finite"):
        ask(bad)
    if model.spec.levels is not None:
        with pytest.raises(DataError, match="whole numbers"):
            ask(good.float() + model.spec.levels)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_unknown_samplers_labels_and_events_are_named(family: Family, tmp_path: Path) -> None:
    model, _ = trained(Case(family, family.events[0]), tmp_path)
    with pytest.raises(UsageError, match="no sampler 'no_such_sampler'"):
        model.sample(1, sampler="no_such_sampler")
    with pytest.raises(UsageError, match="no option"):
        model.sample(1, sampler={"no_such_option": 1})
    with pytest.raises(UsageError, match="-1"):
        model.sample(-1)
    if not family.conditional:
        with pytest.raises(CapabilityError, match="takes no labels"):
            model.sample(1, 0)
    for name, options in family.samplers.items():
        assert choose_sampler(family, {"name": name, **options}).options == options, "defaults are values that it takes"
        with pytest.raises(UsageError, match=f"'{re.escape(name)}' has no option 'no_such_option'"):
            model.sample(1, sampler={"name": name, "no_such_option": 1})
    for other in set(SPLITS) - set(family.events):
        with pytest.raises(UsageError, match=f"not the {other}s"):
            family.builder(family.config_class(), SPLITS[other].spec)


NO_TENSORS = ("x", None, [[1, 2], [3]], object(), torch.zeros(2, dtype=torch.complex64))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_arguments_that_make_no_sense_are_told_what_was_expected(family: Family, tmp_path: Path) -> None:
    model, _ = trained(Case(family, family.events[0]), tmp_path)
    for num in (2.5, "3", True, None):
        with pytest.raises(UsageError, match=r"num is .*, expected a whole number from 0 on"):
            model.sample(num)  # type: ignore[arg-type]
    for seed in (1.5, "a", 2**64, None):
        with pytest.raises(UsageError, match=r"seed is .*, expected a whole number of 64 bits"):
            model.sample(1, seed=seed)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="first_index is -1"):
        model.sample(1, first_index=-1)
    with pytest.raises(UsageError, match=r"the sampler is \['ddim'\], expected a name"):
        model.sample(1, sampler=["ddim"])  # type: ignore[arg-type]
    assert model.sample(np.int64(1), seed=np.int64(1)).shape[0] == 1  # type: ignore[arg-type]
    for name in sorted({"log_prob", "score", "energy", "encode"} & family.capabilities):
        for nonsense in NO_TENSORS:
            with pytest.raises(DataError, match=r"x is of|x has shape"):
                getattr(model, name)(nonsense)
        with pytest.raises(DataError, match=r"too large for float32|whole numbers"):
            getattr(model, name)(torch.full((2, *model.spec.shape), 1e300, dtype=torch.float64))


@pytest.mark.parametrize("family", [f for f in FAMILIES if "decode" in f.capabilities], ids=lambda f: f.name)
def test_what_is_no_code_is_refused(family: Family, tmp_path: Path) -> None:
    model, _ = trained(Case(family, family.events[0]), tmp_path)
    shape, levels = model.code_shape(), model.code_levels()
    for nonsense in (*NO_TENSORS, torch.zeros(2, 777), torch.tensor(1.0)):
        with pytest.raises(DataError, match="the code "):
            model.decode(nonsense)
    with pytest.raises(DataError, match="not finite"):
        model.decode(torch.full((2, *shape), math.nan))
    if levels is not None:
        with pytest.raises(DataError, match=f"expected whole numbers 0 … {levels - 1}"):
            model.decode(torch.full((2, *shape), levels))
    assert model.decode(torch.zeros(2, *shape)).shape == (2, *model.spec.shape)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_what_a_family_cannot_is_told_with_those_that_can(family: Family, tmp_path: Path) -> None:
    model, _ = trained(Case(family, family.events[0]), tmp_path)
    x = torch.from_numpy(SPLITS[family.events[0]].x[:2])
    asks = {"log_prob": model.log_prob, "score": model.score, "energy": model.energy, "encode": model.encode}
    for name in asks.keys() - family.capabilities:
        with pytest.raises(CapabilityError, match=f"family '{family.name}' has no {name}; it can: sample.* have it: "):
            asks[name](x)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_weights_of_another_config_are_refused_by_name(family: Family, tmp_path: Path) -> None:
    model, _ = trained(Case(family, family.events[0]), tmp_path)
    save_model(model, tmp_path)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "weights.safetensors")
    name = next(iter(model.state_dict()))
    save_file({k: v for k, v in weights.items() if k != name}, tmp_path / "weights.safetensors")
    with pytest.raises(ArtifactError, match=f"'{name}' is missing"):
        load_model(tmp_path, registry())

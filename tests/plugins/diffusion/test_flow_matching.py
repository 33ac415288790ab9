"""Flow matching: its regression, transported noise that no cut of the batch changes, and what the two have to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genpipe.data import Split
from genpipe.errors import UsageError
from genpipe.noise import Noise
from genpipe.plugins.diffusion.config import FlowMatchingConfig
from genpipe.plugins.diffusion.coupling import transported_noise
from genpipe.registry import registry
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model, train
from tests.plugins.diffusion.ideal import PLANE, VARIANCE, IdealDenoiser, flow_matching


def test_the_ideal_velocity_has_the_least_loss() -> None:
    z = VARIANCE**0.5 * torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    model, losses = flow_matching(), []
    for variance in (0.15, VARIANCE, 0.4):
        model.network = IdealDenoiser("velocity", variance)
        losses.append(float(model.loss(z, None, Noise(0, "train"))["loss"]))
    assert losses[1] == min(losses)


# -- transported noise ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), sets=st.integers(1, 4), size=st.sampled_from([2, 5, 16]), dims=st.integers(1, 5))
def test_transported_noise_is_the_same_numbers_in_a_nearer_order(seed: int, sets: int, size: int, dims: int) -> None:
    noise = Noise(seed, "train", 3 * size)
    z = 2 * noise.normal("z", (sets * size, dims))
    plain, paired = noise.normal("noise", tuple(z.shape)), transported_noise(z, noise, size)
    for start in range(0, len(z), size):
        part = slice(start, start + size)
        same = (plain[part, None] == paired[None, part]).all(2)
        assert same.sum(0).tolist() == same.sum(1).tolist() == [1] * size
    assert float((z - paired).square().sum()) <= float((z - plain).square().sum()) + 1e-4


def test_in_one_dimension_the_nearest_order_is_that_of_the_data() -> None:
    noise = Noise(0, "train")
    z = noise.normal("z", (64, 1))
    paired = transported_noise(z, noise, 64)
    assert torch.equal(z[:, 0].argsort(), paired[:, 0].argsort())


def test_pairs_are_the_same_in_any_cut_that_keeps_sets_whole() -> None:
    z = torch.randn(48, 3, generator=torch.Generator().manual_seed(0))
    whole = transported_noise(z, Noise(0, "train", 96), 8)
    parts = [transported_noise(z[i : i + n], Noise(0, "train", 96 + i), 8) for i, n in ((0, 16), (16, 8), (24, 24))]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(("first", "num"), [(4, 8), (0, 12)])
def test_a_set_that_is_cut_is_told_with_what_would_fit(first: int, num: int) -> None:
    with pytest.raises(UsageError, match=r"coupling_size is 8, .*a set was cut\. train\.batch_size / .* multiple of"):
        transported_noise(torch.zeros(num, 2), Noise(0, "train", first), 8)


def test_where_sets_may_be_cut_each_part_is_paired_by_itself() -> None:
    z = torch.randn(21, 3, generator=torch.Generator().manual_seed(0))
    found = transported_noise(z, Noise(0, "validation", 5), 8, whole=False)
    for start, stop in ((0, 3), (3, 11), (11, 19), (19, 21)):  # indices 5–7, 8–15, 16–23 and 24–25
        part = transported_noise(z[start:stop], Noise(0, "validation", 5 + start), stop - start, whole=False)
        assert torch.equal(found[start:stop].sort(0).values, part.sort(0).values)
        assert float((z[start:stop] * found[start:stop]).sum()) >= float((z[start:stop] * part).sum()) - 1e-5
    whole = z[3:19]
    assert torch.equal(found[3:19], transported_noise(whole, Noise(0, "validation", 8), 8))


def test_held_out_examples_need_not_fill_sets(tmp_path: Path) -> None:
    config = FlowMatchingConfig(coupling="optimal_transport", coupling_size=16, hidden=8)
    model = build_model(registry().get("family", "flow_matching"), config, PLANE, seed=0)
    options = TrainConfig(steps=2, batch_size=32, validate_every=1, warmup_steps=0)
    held_out = Split(PLANE, "validation", split().x[:37], None)
    progress = ProgressFile(None)
    result = train(
        model, split(), options, seed=0, device="cpu", scratch=tmp_path, progress=progress, validation=held_out
    )
    assert result.numbers["validation_loss"] > 0


def test_transport_and_labels_together_are_refused() -> None:
    with pytest.raises(UsageError, match="coupling is 'optimal_transport' and conditional is true"):
        flow_matching(coupling="optimal_transport", conditional=True)


def split() -> Split:
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], (256, 2)) + 0.2 * rng.normal(size=(256, 2))
    return Split(PLANE, "train", x.astype(np.float32), None)


@pytest.mark.parametrize("accumulation", [2, 4])
def test_micro_batches_train_as_the_whole_batch_does(accumulation: int, tmp_path: Path) -> None:
    weights = []
    for cut in (1, accumulation):
        config = FlowMatchingConfig(coupling="optimal_transport", coupling_size=16, hidden=8)
        model = build_model(registry().get("family", "flow_matching"), config, PLANE, seed=0)
        options = TrainConfig(steps=5, batch_size=64, accumulation=cut, warmup_steps=0, ema_decay=0)
        scratch = tmp_path / str(cut)
        train(model, split(), options, seed=0, device="cpu", scratch=scratch, progress=ProgressFile(None))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_transported_noise_makes_straighter_paths(tmp_path: Path) -> None:
    """The fewer steps see the more of it: one Euler step against fifty."""
    bends = {}
    for coupling in ("independent", "optimal_transport"):
        config = FlowMatchingConfig(coupling=coupling, hidden=64)
        model = build_model(registry().get("family", "flow_matching"), config, PLANE, seed=0)
        options = TrainConfig(steps=400, batch_size=128, learning_rate=3e-3, warmup_steps=5)
        scratch = tmp_path / coupling
        train(model, split(), options, seed=0, device="cpu", scratch=scratch, progress=ProgressFile(None))
        one, many = (model.sample(400, sampler={"name": "euler", "num_steps": n}) for n in (1, 50))
        bends[coupling] = float((one - many).square().sum(1).mean())
    assert bends["optimal_transport"] < 0.5 * bends["independent"]

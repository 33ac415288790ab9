import math

import pytest
import torch

from genpipe.data import Split
from genpipe.dataspec import DataSpec
from genpipe.errors import UsageError
from genpipe.model import Batch
from genpipe.noise import Noise
from genpipe.plugins.vqvae import VQVAE, codebook
from genpipe.plugins.vqvae.config import VQVAEConfig
from genpipe.steps import ProgressFile
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model, train

LEVELS = 3
TINY = DataSpec(name="tiny", event="image", shape=(1, 2, 2), levels=LEVELS)
SMALL = {"channels": 4, "code_dim": 3, "num_blocks": 0, "num_mixtures": 2}


def tiny(seed=0, **options):
    """One token for an image of four pixels."""
    config = VQVAEConfig(**{**SMALL, "num_codes": 3, "num_halvings": 1, **options})
    return build_model(VQVAE, config, TINY, seed=seed).eval()


def every_image():
    return torch.cartesian_prod(*[torch.arange(LEVELS, dtype=torch.uint8)] * 4).reshape(-1, 1, 2, 2)


@pytest.mark.parametrize("seed", range(4))
def test_its_number_is_below_the_sum_over_all_tokens_of_a_distribution_of_images(seed):
    model, x = tiny(seed), every_image()
    z = model.units.to_network(x, None)
    with torch.no_grad():
        joint = [model.log_likelihood(z, torch.full((len(x), 1, 1, 1), k), None) - math.log(3) for k in range(3)]
    true = torch.stack(joint).double().logsumexp(0)
    assert float(true.exp().sum()) == pytest.approx(1, abs=1e-5)
    bound = model.log_prob(x)
    assert bound.kind == "lower_bound"
    assert (bound.nats <= true + 1e-5).all()


def test_tokens_are_the_nearest_entries():
    generator = torch.Generator().manual_seed(0)
    vectors, entries = torch.randn(50, 4, generator=generator), torch.randn(7, 4, generator=generator)
    assert torch.equal(codebook.nearest(vectors, entries), torch.cdist(vectors.double(), entries.double()).argmin(1))
    assert codebook.nearest(vectors[:0], entries).shape == (0,)
    assert codebook.nearest(vectors[:1], entries[[3, 3, 3]]).item() == 0  # the first of equals


class Recorder:
    """Optimizers that move nothing and keep what was gathered."""

    def __init__(self):
        self.totals = {}

    def minimize(self, loss, group="model"):
        loss.backward()

    def sum(self, name, value):
        self.totals[name] = value

    rows = sum


def test_the_codebook_is_a_running_mean_of_what_falls_to_each_entry():
    """Equations 6 to 8 of the paper, from three batches by hand."""
    model = tiny(codebook_decay=0.6, revival_share=0.0)
    counts, sums = torch.zeros(3), torch.zeros(3, 3)
    for step in range(3):
        z = model.units.to_network(every_image()[step * 20 : step * 20 + 20], None)
        before = model.codebook.clone()
        outputs = model.encoder(z).detach().movedim(1, -1).reshape(-1, 3)
        tokens = codebook.nearest(outputs, before)
        recorder = Recorder()
        model.train_step(Batch(z, None, Noise(0, "train", step * 20)), recorder, step)
        model.after_step(recorder.totals, step)
        for k in range(3):
            counts[k] = 0.6 * counts[k] + 0.4 * (tokens == k).sum()
            sums[k] = 0.6 * sums[k] + 0.4 * outputs[tokens == k].sum(0)
            expected = sums[k] / counts[k] if counts[k] > 0 else before[k]
            torch.testing.assert_close(model.codebook[k], expected)


def test_entries_that_nothing_uses_are_moved_to_where_examples_are():
    model = tiny(revival_share=0.05)
    model.counts.copy_(torch.tensor([50.0, 50.0, 1.0]))
    model.sums.copy_(torch.tensor([[0.0, 0, 0], [50.0, 50, 50], [9.0, 9, 9]]))
    candidates = torch.arange(12.0).reshape(4, 3)
    gathered = {"counts": torch.tensor([2.0, 2, 0]), "sums": torch.zeros(3, 3), "candidates": candidates}
    model.after_step(gathered, 0)
    torch.testing.assert_close(model.codebook[2], candidates[0])
    torch.testing.assert_close(model.codebook[1], torch.full((3,), 49.5 / 49.52))
    assert model.counts[2] > 20  # it is given time
    without = tiny(revival_share=0.0)
    without.counts.copy_(torch.tensor([50.0, 50.0, 0.0]))
    place = without.codebook[2].clone()
    without.after_step(gathered, 0)
    assert torch.equal(without.codebook[2], place)


@pytest.mark.parametrize("share", [0.05, 0.0])
def test_a_codebook_far_from_the_data_comes_to_be_used_by_revival_alone(share, tmp_path):
    spec = DataSpec(name="noise", event="image", shape=(1, 4, 4), levels=LEVELS)
    x = torch.randint(0, LEVELS, (64, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    config = VQVAEConfig(**SMALL, num_codes=8, num_halvings=1, revival_share=share)
    model = build_model(VQVAE, config, spec, seed=0)
    model.codebook[1:] += 1000
    split = Split(spec, "train", x.numpy(), None)
    training = TrainConfig(steps=12, batch_size=32, warmup_steps=0, ema_decay=0, log_every=12)
    train(model, split, training, seed=0, device="cpu", scratch=tmp_path, progress=ProgressFile(None))
    used = len(model.encode(x).unique())
    assert used >= 6 if share else used == 1


def test_gradients_reach_the_encoder_through_the_tokens_as_if_they_were_not_there():
    model = tiny(commitment=0.0)
    z = model.units.to_network(every_image()[:8], None)
    model.loss(z, None, Noise(0, "train"))["loss"].backward()
    through = next(model.encoder.parameters()).grad.clone()
    model.zero_grad()
    outputs = model.encoder(z)
    at = model.look_up(model.tokens(outputs)).requires_grad_()
    slope = torch.autograd.grad(model.nll(model.decoder(at), z).mean() / 4, at)[0]
    outputs.backward(slope)
    torch.testing.assert_close(through, next(model.encoder.parameters()).grad)


def test_what_it_cannot_model_is_told():
    real = DataSpec(name="photos", event="image", shape=(1, 4, 4), low=0.0, high=1.0)
    with pytest.raises(UsageError, match="not the real values of 'photos'"):
        build_model(VQVAE, VQVAEConfig(), real, seed=0)
    four = DataSpec(name="cmyk", event="image", shape=(4, 4, 4), levels=17)
    with pytest.raises(UsageError, match="1 or 3 channels, and those of 'cmyk' have 4"):
        build_model(VQVAE, VQVAEConfig(), four, seed=0)


def test_colours_and_odd_sizes_go_there_and_back():
    spec = DataSpec(name="colours", event="image", shape=(3, 5, 7), levels=256)
    model = build_model(VQVAE, VQVAEConfig(**SMALL, num_codes=300, num_halvings=2), spec, seed=0).eval()
    x = torch.randint(0, 256, (4, 3, 5, 7), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    tokens = model.encode(x)
    assert tokens.shape == (4, 1, 2, 2)
    assert model.decode(tokens).shape == x.shape
    assert model.sample(2).shape == (2, 3, 5, 7)
    assert model.log_prob(x).nats.isfinite().all()

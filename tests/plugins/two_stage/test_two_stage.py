"""A coder and a prior as one model: held to what every family is, to its bound, and to closed forms."""

import json
import math
from dataclasses import replace

import pytest
import torch

from genpipe.codes import code_spec, draw_codes
from genpipe.components import Family
from genpipe.dataspec import DataSpec
from genpipe.errors import ArtifactError, CapabilityError, UsageError
from genpipe.model import Batch, LogProb, Model
from genpipe.noise import Noise
from genpipe.persistence import describe_model, load_model, save_model
from genpipe.registry import registry
from genpipe.training.loop import build_model

IMAGES = DataSpec(name="tiny", event="image", shape=(1, 4, 2), levels=3, num_classes=2)
VECTORS = DataSpec(name="rows", event="vector", shape=(3,), mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 0.5))


def part(name, spec, seed=0, **options):
    record = registry().get("family", name)
    return build_model(record, record.config_class(**options), spec, seed=seed).eval()


def together(coder, prior, **options):
    record = registry().get("family", "two_stage")
    return record.builder(record.config_class(**options), {"coder": coder, "prior": prior}).eval()


def measured(spec):
    """With units, as the stage `encode` gives real codes."""
    one = (1.0,) * spec.num_dimensions
    return replace(spec, mean=(0.0,) * spec.num_dimensions, std=one)


def tokens_and_prior(**options):
    """Two tokens of three values, for images of eight pixels."""
    coder = part("vqvae", IMAGES, num_codes=3, num_halvings=1, channels=4, code_dim=3, num_blocks=0, num_mixtures=1)
    prior = part("autoregressive", code_spec(coder), channels=6, num_layers=1)
    return together(coder, prior, **options)


def latents_and_diffusion(**options):
    coder = part("vae", VECTORS, latent_dim=2, hidden=8)
    prior = part("diffusion", measured(code_spec(coder)), num_timesteps=60, hidden=8, num_bound_evaluations=4)
    return together(coder, prior, **options)


MAKES = [tokens_and_prior, latents_and_diffusion]


def examples(model, num):
    return model.sample(num, seed=7)


# -- the bound --------------------------------------------------------------------------------------------


def test_the_bound_of_tokens_is_below_the_sum_over_all_tokens_and_that_is_a_distribution():
    model = tokens_and_prior()
    x = torch.cartesian_prod(*[torch.arange(3, dtype=torch.uint8)] * 8).reshape(-1, 1, 4, 2)
    z = model.units.to_network(x, None)
    tokens = torch.cartesian_prod(torch.arange(3), torch.arange(3)).reshape(-1, 1, 2, 1).to(torch.uint8)
    log_prior = model.prior.log_prob(tokens).nats.double()
    assert float(log_prior.exp().sum()) == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        terms = [
            model.coder.log_likelihood(z, token.expand(len(x), 1, 2, 1), None).double() + p
            for token, p in zip(tokens, log_prior, strict=True)
        ]
    true = torch.stack(terms).logsumexp(0)
    assert float(true.exp().sum()) == pytest.approx(1, abs=1e-4)
    bound = model.log_prob(x)
    assert bound.kind == "lower_bound"
    assert bound.standard_error is None
    assert (bound.nats <= true + 1e-5).all()
    own = model.coder.log_likelihood(z, model.encode(x), None) + model.prior.log_prob(model.encode(x)).nats
    torch.testing.assert_close(bound.nats, own.double())


LINEAR = Family(
    name="linear",
    summary="z = W h + e",
    config="genpipe.config:Config",
    build=f"{__name__}:Linear",
    likelihood=None,
    events=("vector",),
    training="gradient",
    capabilities=frozenset({"encode", "decode", "posterior"}),
)


class Linear(Model):
    """p(z | h) = N(W h, s² I), and a q(h | z) that is a little wider than it should be."""

    weight, noise, width = torch.tensor([[1.0, 0.5], [-0.3, 0.8], [0.2, 0.4]]), 0.6, 1.15

    def __init__(self):
        spec = DataSpec(name="line", event="vector", shape=(3,), mean=(0.0,) * 3, std=(1.0,) * 3)
        super().__init__(LINEAR, None, spec)
        precision = torch.eye(2) + self.weight.T @ self.weight / self.noise**2
        self.cov = torch.linalg.inv(precision) * self.width**2
        self.gain = torch.linalg.inv(precision) @ self.weight.T / self.noise**2

    def q(self, z):
        return torch.distributions.MultivariateNormal(z @ self.gain.T, self.cov)

    def infer(self, z, y):
        return z @ self.gain.T

    def reconstruct(self, code, y):
        return code @ self.weight.T

    def draw_code(self, z, y, noise):
        e = noise.normal("code", (len(z), 2))
        code = z @ self.gain.T + e @ torch.linalg.cholesky(self.cov).T
        return code, self.q(z).log_prob(code)

    def log_likelihood(self, z, code, y):
        return torch.distributions.Normal(code @ self.weight.T, self.noise).log_prob(z).sum(1)

    def emit(self, code, y, noise):
        return code @ self.weight.T + self.noise * noise.normal("decoder", (len(code), 3))


def test_under_a_gaussian_prior_bounds_rise_to_the_closed_form():
    coder = Linear()
    spec = replace(code_spec(coder), mean=(0.3, -0.2), std=(1.4, 0.7))
    prior = part("gaussian_mixture", spec, num_components=1)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(400, 2, generator=generator) @ torch.tensor([[1.2, 0.3], [0.0, 0.6]]) + 0.4
    prior.fit(lambda: iter([Batch(prior.units.to_network(codes, None), None, Noise(0, "fit"))]), lambda *a, **k: None)
    model = together(coder, prior, num_elbo_samples=64)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    m = prior.means[0].float() * std + mean
    c = (std[:, None] * prior.scales[0].float()) @ (std[:, None] * prior.scales[0].float()).T
    w = coder.weight
    true_density = torch.distributions.MultivariateNormal(w @ m, w @ c @ w.T + coder.noise**2 * torch.eye(3))
    x = model.sample(500, seed=3)
    # Draws of the model have its moments.
    torch.testing.assert_close(x.mean(0), w @ m, atol=0.25, rtol=0)
    true = true_density.log_prob(x).double()
    elbo = model.log_prob(x, seed=1)
    iwae = [model.log_prob(x, seed=1, estimator={"name": "iwae", "num_samples": k}) for k in (1, 8, 64)]
    means = [float(answer.nats.mean()) for answer in (elbo, *iwae[1:])]
    assert means[0] < means[1] < means[2] < float(true.mean()) + 0.01
    assert means[2] > float(true.mean()) - 0.02
    spread = float((iwae[0].nats - elbo.nats).std()) / math.sqrt(len(x))
    assert abs(float(iwae[0].nats.mean()) - means[0]) < 5 * spread  # of one draw the bound is the same
    assert {answer.kind for answer in (elbo, *iwae)} == {"lower_bound"}
    # Closed form of the gap: KL(q ‖ true posterior), for each example.
    posterior_cov = torch.linalg.inv(torch.linalg.inv(c) + w.T @ w / coder.noise**2)
    posterior = torch.distributions.MultivariateNormal(
        (torch.linalg.inv(c) @ m + x @ w / coder.noise**2) @ posterior_cov, posterior_cov
    )
    gap = torch.distributions.kl_divergence(coder.q(x), posterior)
    error = (elbo.nats - (true - gap)) / elbo.standard_error
    assert float(error.square().mean()) == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("make", MAKES)
def test_its_number_has_its_kind_and_no_memory_of_the_batch(make):
    model = make()
    x = examples(model, 6)
    whole = model.log_prob(x, seed=2)
    assert whole.kind == model.family.likelihood == "lower_bound"
    assert whole.nats.isfinite().all()
    tail = model.log_prob(x[2:], seed=2, first_index=2)
    torch.testing.assert_close(tail.nats, whole.nats[2:], rtol=1e-4, atol=1e-3)


# -- samples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("output", ["draw", "mean"])
def test_sample_i_is_the_same_in_any_batch(make, output):
    model = make(output=output)
    whole = model.sample(7, seed=3).double()
    model.units.check(whole)
    parts = [model.sample(n, seed=3, first_index=i).double() for i, n in ((0, 2), (2, 1), (3, 4))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-3, atol=1e-3)
    if output == "draw":  # untrained decoders expect the same of all tokens
        assert not torch.equal(whole, model.sample(7, seed=4).double())
    assert model.sample(0).shape == (0, *model.spec.shape)


def test_it_has_the_samplers_of_its_prior():
    model = latents_and_diffusion()
    assert model.family.samplers == model.prior.family.samplers
    name = next(iter(model.family.samplers))
    assert model.sample(2, sampler=name).shape == (2, 3)
    with pytest.raises(UsageError, match="no sampler 'ddimm'"):
        model.sample(1, sampler="ddimm")


def test_a_path_of_codes_is_one_of_examples_and_ends_with_the_samples():
    model = latents_and_diffusion()
    path = model.sample_path(3, seed=3, first_index=2, num_frames=4)
    assert path.frames.shape == (4, 3, 3)
    assert torch.equal(path.frames[-1], model.sample(3, seed=3, first_index=2))
    assert not torch.equal(path.frames[0], path.frames[-1])
    assert "path" not in tokens_and_prior().family.capabilities


def test_labels_are_the_parts_that_take_them():
    coder = tokens_and_prior().coder
    model = together(coder, part("autoregressive", code_spec(coder), channels=6, num_layers=1, conditional=True))
    assert model.conditional
    x = coder.sample(5, seed=7)
    tokens, z = model.encode(x, torch.zeros(5, dtype=torch.int64)), model.units.to_network(x, None)
    likelihood = coder.log_likelihood(z, tokens, None).double()
    for y in (0, 1, None):
        torch.testing.assert_close(model.log_prob(x, y).nats, likelihood + model.prior.log_prob(tokens, y).nats)
    y = torch.tensor([0, 1, 1])
    assert model.sample(3, y).shape == (3, 1, 4, 2)
    assert not tokens_and_prior().conditional


@pytest.mark.parametrize("make", MAKES)
def test_codes_go_there_and_back(make):
    model = make()
    x = examples(model, 4)
    code = model.encode(x)
    assert torch.equal(code, model.coder.encode(x))
    assert model.decode(code).shape == x.shape


# -- at rest ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKES)
def test_saved_it_answers_bitwise_as_before_and_holds_both_models(make, tmp_path):
    model = make()
    save_model(model, tmp_path)
    described = describe_model(tmp_path, registry())
    assert (described.family, described.spec) == (model.family, model.spec)
    loaded, x = load_model(tmp_path, registry()), examples(model, 3)
    assert torch.equal(loaded.sample(3, seed=1), model.sample(3, seed=1))
    assert torch.equal(loaded.log_prob(x).nats, model.log_prob(x).nats)
    prior = load_model(tmp_path / "prior", registry())
    assert torch.equal(prior.sample(2), model.prior.sample(2))
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_a_part_that_is_gone_or_not_installed_is_named(tmp_path):
    save_model(tokens_and_prior(), tmp_path)
    path = tmp_path / "prior" / "model.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "family": "no_such_family"}))
    with pytest.raises(UsageError, match=r"no_such_family.*not installed"):
        load_model(tmp_path, registry())
    (tmp_path / "prior" / "weights.safetensors").unlink()
    path.write_text(json.dumps(about))
    with pytest.raises(ArtifactError, match="prior is no saved model"):
        load_model(tmp_path, registry())


# -- what goes together -----------------------------------------------------------------------------------


def test_a_prior_of_other_codes_is_refused():
    coder = part("vqvae", IMAGES, num_codes=3, num_halvings=1, channels=4, num_blocks=0)
    other = part("autoregressive", replace(code_spec(coder), levels=5), channels=6, num_layers=1)
    with pytest.raises(UsageError, match=r"levels 5, and the coder's codes .* levels 3: it is of another coder"):
        together(coder, other)


def test_without_a_density_of_the_prior_there_is_none_of_the_whole():
    coder = part("vae", VECTORS, latent_dim=2, hidden=8)
    model = together(coder, part("gan", measured(code_spec(coder))))
    assert "log_prob" not in model.family.capabilities
    assert model.sample(2).shape == (2, 3)
    with pytest.raises(CapabilityError, match="has no log_prob"):
        model.log_prob(model.sample(2))


@pytest.mark.parametrize(
    ("prior", "kind"), [("exact", "lower_bound"), ("lower_bound", "lower_bound"), ("estimate", "estimate")]
)
def test_the_kind_is_never_better_than_what_it_is_made_of(prior, kind):
    record, vae = registry().get("family", "two_stage"), registry().get("family", "vae")
    made = record.made_of({"coder": vae, "prior": replace(vae, likelihood=prior)})
    assert made.likelihood == kind
    assert bool(made.estimators) == (prior == "exact")


def test_tokens_laid_flat_are_the_same_model():
    coder = part("vqvae", IMAGES, num_codes=3, num_halvings=1, channels=4, code_dim=3, num_blocks=0)
    flat = code_spec(coder, "sequence")
    assert (flat.event, flat.shape, flat.levels, flat.num_classes) == ("sequence", (2,), 3, 2)

    class Even(Model):
        def generate(self, num, y, noise, sampler):
            return self.units.to_network(noise.randint("tokens", 3, (num, 2)), None)

        def log_density(self, z, y, noise):
            return LogProb(torch.full((len(z),), -2 * math.log(3)), "exact")

    record = replace(
        LINEAR,
        name="even",
        events=("sequence",),
        likelihood="exact",
        discrete=True,
        capabilities=frozenset({"sample", "log_prob"}),
    )
    model = together(coder, Even(record, None, flat))
    x = examples(model, 5)
    torch.testing.assert_close(model.log_prob(x).nats, coder.log_prob(x).nats.double())


def test_codes_that_are_no_such_data_are_told():
    coder = part("vae", VECTORS, latent_dim=2, hidden=8)
    with pytest.raises(UsageError, match="are no images"):
        code_spec(coder, "image")
    with pytest.raises(UsageError, match="sequences are of whole ones"):
        code_spec(coder, "sequence")


def test_codes_are_drawn_as_the_posterior_says():
    coder = part("vae", VECTORS, latent_dim=2, hidden=8)
    x = torch.tensor([[1.0, 2.0, 3.0]])
    z = coder.units.to_network(x, None)
    mean, log_var = coder.posterior(z)
    drawn = draw_codes(coder, x.expand(4000, 3), None, Noise(0, "encode"))
    torch.testing.assert_close(drawn.mean(0), mean[0].detach(), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.var(0), log_var[0].exp().detach(), atol=0, rtol=0.15)
    code, log_q = coder.draw_code(z.expand(3, 3), None, Noise(0, "encode"))
    q = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    torch.testing.assert_close(log_q, q.log_prob(code).sum(1))

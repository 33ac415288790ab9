"""The VAE beside pythae's: its trainer and its sampler, with our networks in its model.

pythae's decoder has a variance of one and takes the mean alone of what the network gives, so that the networks are the
same and ours does a little more; the layout in memory, which ours chooses, is torch's own there. Both sides run plain
Adam, without clipping and averaged weights. pythae's data are scaled beforehand, ours dequantised in every step; what its
trainer saves at the end is left out.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.samplers import NormalSampler
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor

from benchmarks.peers.case import Case, Work
from benchmarks.peers.data import load, num_parameters, trained
from genpipe.data import Split
from genpipe.model import Model
from genpipe.networks.convolutional import ImageDecoder
from genpipe.registry import registry
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model

BATCH_SIZE, NUM_EPOCHS, NUM_SAMPLES, TIMES = 64, 10, 64, 50
NETWORKS: dict[str, dict[str, Any]] = {"MLP": {"network": "mlp", "hidden": 512}, "convolutions": {"channels": 32}}


class Encoder(BaseEncoder):
    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.network, self.latent_dim = ours.encoder, ours.config.latent_dim

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_var = self.network(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class Decoder(BaseDecoder):
    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.network = ours.decoder

    def forward(self, code: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(code).chunk(2, dim=1)[0])


def our_model(split: Split, options: dict[str, Any]) -> Model:
    family = registry().get("family", "vae")
    return build_model(family, family.config_class(**options), split.spec, seed=0)


def their_model(split: Split, options: dict[str, Any]) -> VAE:
    ours = our_model(split, options)
    torchs_own_layout(ours)
    config = VAEConfig(input_dim=split.spec.shape, latent_dim=ours.config.latent_dim, reconstruction_loss="mse")
    return VAE(config, encoder=Encoder(ours), decoder=Decoder(ours))


def torchs_own_layout(network: torch.nn.Module) -> None:
    """What is (N, C, H, W) lies so in memory, weights and images."""
    for parameter in network.parameters():
        parameter.data = torch.empty(parameter.shape).copy_(parameter)
    for module in network.modules():
        if isinstance(module, ImageDecoder):
            module.blocks[0].register_forward_hook(lambda _, __, image: image.contiguous())


def training(split: Split, name: str) -> Case:
    options, steps = NETWORKS[name], -(-len(split) // BATCH_SIZE) * NUM_EPOCHS

    def ours() -> Work:
        model = our_model(split, options)
        config = TrainConfig(
            steps=steps, batch_size=BATCH_SIZE, learning_rate=1e-3, optimizer="adam", betas=(0.9, 0.999),
            warmup_steps=0, schedule="constant", clip_norm=None, ema_decay=0,
        )  # fmt: skip
        return lambda: trained(model, split, config)

    def theirs() -> Work:
        model = their_model(split, options)
        data = BaseDataset(torch.from_numpy(split.x) / (split.spec.levels - 1), torch.from_numpy(split.y))
        config = BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(), num_epochs=NUM_EPOCHS, per_device_train_batch_size=BATCH_SIZE,
            learning_rate=1e-3,
        )  # fmt: skip
        trainer = BaseTrainer(model, data, training_config=config)
        trainer.save_model = lambda *_, **__: None

        def work() -> dict[str, float]:
            trainer.train()
            return {"parameters": num_parameters(model)}

        return work

    return Case(
        name=f"vae: training, {name}, {split.spec.name}, batches of {BATCH_SIZE}",
        peer="pythae", ours=ours, theirs=theirs, amount=steps, unit="steps", goal=1.2,
    )  # fmt: skip


def sampling(split: Split, name: str) -> Case:
    options = NETWORKS[name]

    def ours() -> Work:
        model = our_model(split, options).eval()

        def work() -> dict[str, float]:
            for seed in range(TIMES):
                model.sample(NUM_SAMPLES, seed=seed, sampler="mean")
            return {"parameters": num_parameters(model.decoder)}

        return work

    def theirs() -> Work:
        model = their_model(split, options)
        sampler = NormalSampler(model)

        def work() -> dict[str, float]:
            for _ in range(TIMES):
                sampler.sample(NUM_SAMPLES)
            return {"parameters": num_parameters(model.decoder)}

        return work

    return Case(
        name=f"vae: {NUM_SAMPLES} samples, {name}, {split.spec.name}",
        peer="pythae", ours=ours, theirs=theirs, amount=NUM_SAMPLES * TIMES, unit="samples", goal=1.0,
    )  # fmt: skip


def cases() -> list[Case]:
    split = load("digits")
    return [make(split, name) for name in NETWORKS for make in (training, sampling)]

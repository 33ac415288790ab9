"""Diffusion beside a hand-written loop around diffusers' U-Net, of as many parameters, to 3 %: training steps and samples.

Their side is the loop of diffusers' tutorial "Train a diffusion model": `UNet2DModel`, `DDPMScheduler.add_noise`, mean
squared error, AdamW and a clipped gradient, of images that are dequantised in every step as ours are. Both predict v on
the cosine schedule. Samples are drawn by DPM-Solver++ in as many steps on both sides, which tests hold to be the same
steps, so that a network as good gives samples as good.
"""

from __future__ import annotations

from typing import Any

import diffusers
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.case import Case, Work
from benchmarks.peers.data import load, num_parameters, trained
from genpipe.data import Split
from genpipe.model import Model
from genpipe.registry import registry
from genpipe.training.config import TrainConfig
from genpipe.training.loop import build_model

CHANNELS, BATCH_SIZE, STEPS = 32, 64, 60
NUM_SAMPLES, NUM_SAMPLING_STEPS = 64, 25
LEARNING_RATE, CLIP_NORM = 1e-3, 1.0
THEIR_SECOND = 48  # channels at the lower resolution: 434,737 parameters beside our 424,161


def our_model(split: Split) -> Model:
    family = registry().get("family", "diffusion")
    return build_model(family, family.config_class(channels=CHANNELS), split.spec, seed=0)


def their_model(split: Split) -> Any:
    """Two resolutions, one block at each and attention at the lower, as ours; its up path has a block more at each."""
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=split.spec.shape[1:],
        in_channels=split.spec.shape[0],
        out_channels=split.spec.shape[0],
        layers_per_block=1,
        block_out_channels=(CHANNELS, THEIR_SECOND),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=16,
    )


def training(split: Split) -> Case:
    def ours() -> Work:
        model = our_model(split)
        config = TrainConfig(
            steps=STEPS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE, betas=(0.9, 0.999), warmup_steps=0,
            schedule="constant", clip_norm=CLIP_NORM, ema_decay=0,
        )  # fmt: skip
        return lambda: trained(model, split, config)

    def theirs() -> Work:
        network, levels = their_model(split), split.spec.levels
        assert levels is not None
        schedule: Any = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
        data = TensorDataset(torch.from_numpy(split.x))
        batches = DataLoader(data, batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.0)

        def work() -> dict[str, float]:
            losses: list[float] = []
            while len(losses) < STEPS:
                for (x,) in batches:
                    z = 2 * (x + torch.rand(x.shape)) / levels - 1
                    noise, t = torch.randn(z.shape), torch.randint(0, schedule.config.num_train_timesteps, (len(z),))
                    output = network(schedule.add_noise(z, noise, t), t).sample
                    loss = F.mse_loss(output, schedule.get_velocity(z, noise, t))
                    optimizer.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
                    optimizer.step()
                    losses.append(loss.item())
                    if len(losses) == STEPS:
                        break
            return {"parameters": num_parameters(network)}

        return work

    return Case(
        name=f"diffusion: training, {split.spec.name}, batches of {BATCH_SIZE}",
        peer="diffusers", ours=ours, theirs=theirs, amount=STEPS, unit="steps", goal=1.0,
    )  # fmt: skip


def sampling(split: Split) -> Case:
    def ours() -> Work:
        model = our_model(split).eval()

        def work() -> dict[str, float]:
            model.sample(NUM_SAMPLES, sampler={"name": "dpmsolver++", "num_steps": NUM_SAMPLING_STEPS})
            return {"parameters": num_parameters(model)}

        return work

    def theirs() -> Work:
        network = their_model(split).eval()
        schedule: Any = diffusers.DPMSolverMultistepScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing"
        )

        @torch.no_grad()
        def work() -> dict[str, float]:
            x = torch.randn(NUM_SAMPLES, *split.spec.shape)
            schedule.set_timesteps(NUM_SAMPLING_STEPS)
            for t in schedule.timesteps:
                x = schedule.step(network(x, t).sample, t, x).prev_sample
            return {"parameters": num_parameters(network)}

        return work

    return Case(
        name=f"diffusion: {NUM_SAMPLING_STEPS} steps of DPM-Solver++, {split.spec.name}",
        peer="diffusers", ours=ours, theirs=theirs, amount=NUM_SAMPLES, unit="samples", goal=1.0,
    )  # fmt: skip


def cases() -> list[Case]:
    split = load("digits")
    return [training(split), sampling(split)]

"""Every op once on the GPU, both ways, over odd shapes, held to the CPU's bits. Small enough for compute-sanitizer."""

from __future__ import annotations

import torch

from genpipe import ops

key = ops.key(5, "smoke")
table = torch.linspace(0.999, 0.01, 10, dtype=torch.float64)


def results(device: str, dtype: torch.dtype, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    a, b, c = (ops.normal(ops.key(5, i), shape, dtype=dtype, device=device).requires_grad_() for i in range(3))
    t = ops.randint(key, 10, shape[:1], device=device)
    levels = table.to(device)
    z, kl = ops.gaussian_reparam(a, b, key, 3)
    bernoulli, gaussian = ops.bernoulli_nll(a, c.sigmoid().detach()), ops.gaussian_nll(a, b, c)
    x_t, noise = ops.q_sample_with_noise(c, t, levels, key, first_index=7)
    grads = torch.autograd.grad((kl.sum() + bernoulli.sum() + gaussian.sum() + z.sum()), (a, b, c))
    tensors = {
        "normal": a,
        "uniform": ops.uniform(key, shape, dtype=dtype, device=device),
        "randint": t,
        "z": z,
        "kl": kl,
        "gaussian_nll": gaussian,
        "q_sample_with_noise": x_t,
        "q_sample, key": ops.q_sample(c, t, levels, key=key),
        "q_sample, device key": ops.q_sample(c, t, levels, key=key.to(device)),
        "q_sample, noise": ops.q_sample(c, t, levels, noise=noise),
    }
    close = {"bernoulli_nll": bernoulli, **dict(zip(("grad a", "grad b", "grad c"), grads, strict=True))}
    return {name: x.detach().cpu() for name, x in {**tensors, **close}.items()}


different = []
for dtype in (torch.float32, torch.float64, torch.bfloat16):
    for shape in ((9, 1), (5, 37), (3, 1300), (2, 3, 9, 9), (1, 5000)):
        cpu, gpu = results("cpu", dtype, shape), results("cuda", dtype, shape)
        for name, expected in cpu.items():
            # torch's own sigmoid and sums differ by device, so what they enter is close, not equal.
            torch.testing.assert_close(gpu[name], expected, msg=lambda text, name=name: f"{name}: {text}")
            if not torch.equal(gpu[name], expected) and "grad" not in name and name != "bernoulli_nll":
                different.append(f"{name} {dtype} {shape}")
torch.cuda.synchronize()
print("bit-identical to the CPU" if not different else "not bit-identical to the CPU: " + "; ".join(different))

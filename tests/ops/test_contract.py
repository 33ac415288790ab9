"""What holds for every registered op: how it stands in torch, and that nothing but its arguments enters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genpipe.ops._extension import core
from tests.ops.cases import Case, Draw, all_cases, forward_and_backward, outputs_of

CASES = all_cases()
# The emulation is slow and has one thread; a second run begins the threads of its blocks in the other order.
NUM_RUNS = 2 if core.cpu_variant == "cuda-emulation" else 30
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def draws(case: Case, device: str = "cpu"):
    return [Draw(dtype, device, rows, columns) for dtype in case.dtypes for rows, columns in case.sizes]


def assert_same_bits(actual: list[Tensor], expected: list[Tensor], text: object) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)), text


def test_every_op_has_a_case():
    registered = {
        name.split("::")[1].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if "genpipe::" in name
    }
    assert registered == {case.op for case in CASES}


@EVERY_CASE
def test_opcheck_has_no_complaint(case):
    dtype = torch.float32 if torch.float32 in case.dtypes else case.dtypes[0]
    torch.library.opcheck(case.call, case.make(Draw(dtype, grad=not case.mutates)))


@EVERY_CASE
def test_many_runs_and_any_number_of_threads_give_the_same_bits(case):
    threads = torch.get_num_threads()
    for draw in draws(case):
        expected = forward_and_backward(case, Draw(draw.dtype, rows=draw.rows, columns=draw.columns))
        try:
            for i in range(NUM_RUNS):
                torch.set_num_threads(1 + i % 3)
                again = Draw(draw.dtype, rows=draw.rows, columns=draw.columns)
                assert_same_bits(forward_and_backward(case, again), expected, (draw, i))
        finally:
            torch.set_num_threads(threads)


def strided(x: Tensor) -> Tensor:
    """x's values, every other element of its storage."""
    view = torch.stack([x.detach(), x.detach()], dim=-1)[..., 0]
    return view.requires_grad_(x.requires_grad)


@EVERY_CASE
def test_strides_do_not_matter(case):
    if case.mutates:
        pytest.skip("writes into its arguments, which must be contiguous: test_errors.py")
    for draw in draws(case):
        arguments = case.make(draw)
        keys = {i for i, a in enumerate(case.call._schema.arguments) if a.name == "key"}
        views = [strided(x) if isinstance(x, Tensor) and i not in keys else x for i, x in enumerate(arguments)]
        assert_same_bits(outputs_of(case.call(*views)), outputs_of(case.call(*arguments)), draw)


@EVERY_CASE
def test_compiles_as_one_graph(case):
    if case.mutates:
        pytest.skip("torch traces it as the functional op beside it")
    dtype = torch.float32 if torch.float32 in case.dtypes else case.dtypes[0]
    arguments = case.make(Draw(dtype))
    tensors = [x for x in arguments if isinstance(x, Tensor)]

    def call(*tensors: Tensor):
        left = list(tensors)
        return case.call(*(left.pop(0) if isinstance(x, Tensor) else x for x in arguments))

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert_same_bits(outputs_of(compiled(*tensors)), outputs_of(call(*tensors)), case.id)
    torch._dynamo.reset()


@pytest.mark.gpu
@EVERY_CASE
def test_cuda_gives_the_cpu_s_results(case, device):
    for on_cpu, on_gpu in zip(draws(case), draws(case, device), strict=True):
        expected, actual = forward_and_backward(case, on_cpu), forward_and_backward(case, on_gpu)
        if case.exact_on_cuda:
            assert_same_bits(actual, expected, on_cpu)
        else:
            tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 1.6e-2}[on_cpu.dtype]
            for a, b in zip(actual, expected, strict=True):
                torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance)

#!/usr/bin/python3
"""cases.py COUNT SEED FILE: random BatchNorm1d configurations, run by PyTorch, as text for torch_test.cpp.

A file is a list of words. Each case: `case dtype N C L eps momentum affine track steps` (L = 0: two axes; momentum -1:
None), gamma and beta if affine, the names of the state dict and `end`, then each step: `train` or `eval`, x, dy, and what PyTorch makes of them: y, dx, dgamma,
dbeta, running_mean, running_var, num_batches_tracked (those that there are), and in double the second order: the
directions ggx, ggg, ggb and the gradients of <ggx, dx> + <ggg, dgamma> + <ggb, dbeta> with respect to x, gamma and dy.
Numbers are hexadecimal, so that nothing is rounded. Every value that torch_test.cpp reads is made here.
"""
import random
import sys

import torch


def words(out, *values):
    for value in values:
        if isinstance(value, torch.Tensor):
            out.extend(float(v).hex() for v in value.detach().double().reshape(-1))
        else:
            out.append(float(value).hex() if isinstance(value, float) else str(value))


def make_case(rng):
    dtype = rng.choice(["float", "double"])
    kind = getattr(torch, dtype)
    N, C, L = rng.choice([2, 3, 5, 8, 9, 17]), rng.choice([1, 2, 3, 5, 8]), rng.choice([0, 0, 1, 2, 5])
    eps = rng.choice([1e-5, 1e-3, 0.1, 1.0])
    if N * max(L, 1) == 2:
        eps = 0.1
    momentum = rng.choice([0.1, 0.01, 0.0, 1.0, None])
    affine, track = rng.random() < 0.7, rng.random() < 0.8
    mean, std = rng.choice([0.0, 1.0, 1e3]), rng.choice([1.0, 0.1, 10.0])
    generator = torch.Generator().manual_seed(rng.getrandbits(62))

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=kind)

    bn = torch.nn.BatchNorm1d(C, eps=eps, momentum=momentum, affine=affine, track_running_stats=track).to(kind)
    steps = rng.choice([1, 2, 3])
    out = []
    words(out, "case", dtype, N, C, L, eps, -1 if momentum is None else momentum, int(affine), int(track), steps)
    if affine:
        with torch.no_grad():
            bn.weight.copy_(normal(C))
            bn.bias.copy_(normal(C))
        words(out, bn.weight, bn.bias)
    words(out, *bn.state_dict(), "end")
    for _ in range(steps):
        training = rng.random() < 0.7
        bn.train(training)
        shape = (N, C) if L == 0 else (N, C, L)
        x = (mean + std * normal(*shape)).requires_grad_()
        dy = normal(*shape).requires_grad_()
        y = bn(x)
        inputs = [x, bn.weight, bn.bias] if affine else [x]
        first = torch.autograd.grad(y, inputs, dy, create_graph=dtype == "double")
        words(out, "train" if training else "eval", x, dy, y, *first)
        if track:
            words(out, bn.running_mean, bn.running_var, int(bn.num_batches_tracked))
        if dtype == "double":
            directions = [normal(*g.shape) for g in first]
            projected = sum((d * g).sum() for d, g in zip(directions, first))
            wanted = [x, bn.weight, dy] if affine else [x, dy]
            second = torch.autograd.grad(projected, wanted, allow_unused=True)
            words(out, *directions, *[torch.zeros_like(w) if g is None else g for g, w in zip(second, wanted)])
    return out


def main():
    count, seed, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    rng = random.Random(seed)
    with open(path, "w") as file:
        for _ in range(count):
            file.write(" ".join(make_case(rng)) + "\n")
    print(f"{count} cases by PyTorch {torch.__version__}, seed {seed}")


main()

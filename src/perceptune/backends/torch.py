"""PyTorch, eager or compiled, in its fastest form for small networks.

All samples are one tensor, scaled once: the workers and collation of a `DataLoader` cost more than
such a step. Optimizers are fused where there is a fused one for CPUs, else `foreach`.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from perceptune.backends.backend import Backend, batch_size, function_of, pack, samples, unsupported
from perceptune.nn import optimizers as opt
from perceptune.nn.layout import Array, Layer
from perceptune.nn.recipe import Recipe
from perceptune.runs.training import Training


class TorchBackend:
    """Linear layers of our widths that start from our weights.

    Args:
        training: what to train.
        compiled: forward and backward pass by `torch.compile`.
    """

    def __init__(self, training: Training, compiled: bool = False) -> None:
        torch.set_num_threads(training.config.threads)
        images, labels = samples(training)
        self._images, self._labels = torch.from_numpy(images), torch.from_numpy(labels)
        self._network, self._batch = training.network, batch_size(training)
        layers = self._network.layout.layers(training.state.theta)
        self._linears = nn.ModuleList([_linear(layer) for layer in layers])
        self._activation = function_of(self._network.activation, functional, approximate="tanh")
        self._optimizer = _optimizer(training.config.recipe, self._linears.parameters())
        eager = self._eager_loss
        self._loss = torch.compile(eager, dynamic=False) if compiled else eager

    def run_epoch(self, order: Array) -> float:
        """See `Backend`."""
        total = torch.zeros((), dtype=self._images.dtype)
        for rows in torch.from_numpy(order).split(self._batch):
            # `index_select` is the faster way to write images[rows].
            images = self._images.index_select(0, rows)
            loss = self._loss(images, self._labels.index_select(0, rows))
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            total += loss.detach() * len(rows)
        return float(total) / len(order)

    def theta(self) -> Array:
        """See `Backend`."""
        weights = [parameter.detach().numpy().T for parameter in self._linears.parameters()]
        return pack(self._network, weights)

    def _eager_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        *hidden, output = self._linears
        for linear in hidden:
            images = self._activation(linear(images))
        return functional.cross_entropy(output(images), labels)


def _linear(layer: Layer) -> nn.Linear:
    linear = nn.Linear(*layer.weight.shape, dtype=torch.from_numpy(layer.weight).dtype)
    with torch.no_grad():
        # Copies, because θ later receives the weights to evaluate.
        linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(layer.weight.T)))
        linear.bias.copy_(torch.from_numpy(layer.bias))
    return linear


def _optimizer(recipe: Recipe, parameters: Any) -> torch.optim.Optimizer:
    """PyTorch's optimizer; ours follow its forms, so that every value carries over."""
    lr, optim = recipe.lr, torch.optim
    match recipe.optimizer:
        case opt.Sgd():
            return optim.SGD(parameters, lr, fused=True)
        case opt.Momentum(momentum):
            return optim.SGD(parameters, lr, momentum, fused=True)
        case opt.Nesterov(momentum):
            return optim.SGD(parameters, lr, momentum, nesterov=True, fused=True)
        case opt.RmsProp(decay, eps):
            return optim.RMSprop(parameters, lr, decay, eps, foreach=True)
        case opt.AdaGrad(eps):
            return optim.Adagrad(parameters, lr, eps=eps, fused=True)
        case opt.Adam(beta1, beta2, eps):
            return optim.Adam(parameters, lr, (beta1, beta2), eps, fused=True)
        case opt.AdamW(beta1, beta2, eps, weight_decay):
            return optim.AdamW(parameters, lr, (beta1, beta2), eps, weight_decay, fused=True)
    raise unsupported(recipe.optimizer)


build: type[Backend] = TorchBackend

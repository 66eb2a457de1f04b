"""PyTorch, eager or compiled, without what slows it down on small networks.

All samples are one tensor, scaled once: no `DataLoader`, whose workers and collation cost more
than such a step. Optimizers are fused where the CPU has a fused one, else `foreach`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from perceptune.backends.backend import Backend, batch_size, samples
from perceptune.nn.layout import Array
from perceptune.training import Training


class TorchBackend:
    """An `nn.Sequential` of our widths that starts from our weights.

    Args:
        training: what is to be trained.
        compiled: forward and backward pass by `torch.compile`.
    """

    def __init__(self, training: Training, compiled: bool = False) -> None:
        torch.set_num_threads(training.config.threads)
        images, labels = samples(training)
        self._images, self._labels = torch.from_numpy(images), torch.from_numpy(labels)
        self._layout, self._batch = training.network.layout, batch_size(training)
        self._model = _network(training, self._images.dtype)
        self._optimizer = _optimizer(training.config.optimizer, self._model.parameters())
        self._loss: Callable[[Tensor, Tensor], Tensor] = self._eager_loss
        if compiled:
            self._loss = torch.compile(self._eager_loss, dynamic=False)

    def one_pass(self, order: Array) -> float:
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
        theta = self._layout.empty(self._images.numpy().dtype)
        for layer, linear in zip(self._layout.layers(theta), _linears(self._model), strict=True):
            layer.weight[:] = linear.weight.detach().numpy().T
            layer.bias[:] = linear.bias.detach().numpy()
        return theta

    def _eager_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self._model(images), labels)


def _network(training: Training, dtype: torch.dtype) -> nn.Sequential:
    layers = training.network.layout.layers(training.state.theta)
    parts: list[nn.Module] = []
    for index, layer in enumerate(layers):
        linear = nn.Linear(*layer.weight.shape, dtype=dtype)
        with torch.no_grad():
            # Copies: our θ goes on to be somebody else's start.
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(layer.weight.T)))
            linear.bias.copy_(torch.from_numpy(layer.bias))
        parts += [linear] if index == len(layers) - 1 else [linear, _activation(training)]
    return nn.Sequential(*parts)


def _linears(model: nn.Sequential) -> list[nn.Linear]:
    return [part for part in model if isinstance(part, nn.Linear)]


def _activation(training: Training) -> nn.Module:
    model = training.config.model
    table: dict[str, nn.Module] = {
        "sigmoid": nn.Sigmoid(),
        "tanh": nn.Tanh(),
        "relu": nn.ReLU(),
        "leaky_relu": nn.LeakyReLU(model.negative_slope),
        "elu": nn.ELU(model.alpha),
        "gelu": nn.GELU(approximate="tanh"),
        "silu": nn.SiLU(),
        "softplus": nn.Softplus(),
    }
    return table[model.activation]


def _optimizer(options: dict[str, Any], parameters: Any) -> torch.optim.Optimizer:
    """Ours follow PyTorch's forms, so every number means the same."""
    name, lr = options["name"], options["lr"]
    if name in ("sgd", "momentum", "nesterov"):
        momentum = options.get("momentum", 0.0)
        return torch.optim.SGD(
            parameters, lr, momentum=momentum, nesterov=name == "nesterov", fused=True
        )
    eps = options["eps"]
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr, alpha=options["decay"], eps=eps, foreach=True)
    if name == "adagrad":
        return torch.optim.Adagrad(parameters, lr, eps=eps, fused=True)
    betas = (options["beta1"], options["beta2"])
    if name == "adamw":
        decay = options["weight_decay"]
        return torch.optim.AdamW(parameters, lr, betas, eps, weight_decay=decay, fused=True)
    return torch.optim.Adam(parameters, lr, betas, eps, fused=True)


def build(training: Training, compiled: bool = False) -> Backend:
    """See `backends.build`."""
    return TorchBackend(training, compiled)

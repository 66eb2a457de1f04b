"""The usual stack's app: Hydra with its Optuna sweeper and joblib launcher, PyTorch, MLflow.

Written as one would write it to be fast: data are read once a process, batches are slices,
nothing is copied from a tensor inside an epoch, Adam is fused.
"""

import time
from itertools import pairwise
from pathlib import Path

import hydra
import mlflow
import torch
from mnist import mnist
from omegaconf import DictConfig
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR


def network(config: DictConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    widths = [784, config.hidden_1, config.hidden_2]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        layers += [nn.Dropout(config.dropout)] if config.dropout else []
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def run_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, x, y, batch_size: int):
    model.train()
    losses, hits = torch.zeros(()), torch.zeros(())
    for rows in torch.randperm(len(x)).split(batch_size):
        logits = model(x[rows])
        loss = cross_entropy(logits, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += loss.detach() * len(rows)
        hits += (logits.argmax(1) == y[rows]).sum()
    return {"train/loss": float(losses) / len(x), "train/accuracy": float(hits) / len(x)}


@torch.inference_mode()
def evaluate(model: nn.Module, x, y):
    model.eval()
    logits = model(x)
    accuracy = (logits.argmax(1) == y).float().mean()
    return {"val/loss": float(cross_entropy(logits, y)), "val/accuracy": float(accuracy)}


@hydra.main(config_path="conf", config_name="config")
def main(config: DictConfig) -> float:
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    mlflow.set_tracking_uri(config.store)
    mlflow.set_experiment(config.experiment)
    train, validation = mnist(config.data_dir)
    model = network(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    decays = config.schedule == "cosine"
    schedule = CosineAnnealingLR(optimizer, config.epochs) if decays else None
    with mlflow.start_run():
        mlflow.log_params(dict(config))
        best = 0.0
        for epoch in range(1, config.epochs + 1):
            began = time.perf_counter()
            measured = run_epoch(model, optimizer, *train, config.batch_size)
            if schedule:
                schedule.step()
            measured |= evaluate(model, *validation)
            measured["epoch_seconds"] = time.perf_counter() - began
            mlflow.log_metrics(measured, step=epoch)
            best = max(best, measured["val/accuracy"])
        torch.save(model.state_dict(), "weights.pt")  # in the job's own folder
        mlflow.log_artifact(str(Path("weights.pt").resolve()), "weights")
    return best


if __name__ == "__main__":
    main()

# What is run by hand, by name; `make check` is all that a commit must pass, and what CI runs.

.PHONY: install check style types test long

install: ## the environment in .venv, and the hooks of git if pre-commit is there
	pip install -q uv
	uv sync
	if command -v pre-commit >/dev/null; then pre-commit install; fi

check: style types test long ## everything; some eighteen minutes on two cores

style:
	uv run ruff check .
	uv run ruff format --check .

types:
	uv run mypy

test: ## the README's own command; some five minutes
	pip install -q uv && uv run pytest

# Tests beside other libraries skip without them. Plain pip knows a small PyTorch here; uv would
# fetch one with CUDA.
# Three at a time on two cores, since many wait for what they have killed.
long: ## real browsers, clusters, kills, and other libraries beside ours
	uv pip install -q jax optax keras
	pip --python .venv/bin/python install -q torch==2.13.0 || echo "no PyTorch: its tests skip" >&2
	uv run pytest -n 3 --no-loadscope-reorder -m "slow or browser or cluster or peers"

# Everything that compose.yml runs but the store: training, TensorBoard, the Optuna dashboard, the demo
FROM python:3.11.14-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 SDL_VIDEODRIVER=dummy MPLBACKEND=agg

# An ordinary user, whose folders the volumes take over
RUN useradd --create-home --uid 1000 udrl && mkdir /runs /store && chown udrl /runs /store
WORKDIR /home/udrl/sb3-udrl

# Versions of the repository's own lock; PyTorch first and alone, for the CPU
COPY constraints.txt .
RUN pip install --constraint constraints.txt --no-deps --extra-index-url "$TORCH_INDEX" torch

COPY pyproject.toml README.md LICENSE ./
COPY hyperparams hyperparams
COPY sb3_udrl sb3_udrl
RUN pip install --constraint constraints.txt ".[stack]"

USER udrl
WORKDIR /runs

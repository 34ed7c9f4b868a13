"""LeWM's planner, in its own environment: a child of `lewm.py`, times one plan per line asked.

Reads {"threads", "iterations"}, a JSON object a line; answers {"seconds", "cpu_seconds"}.
The first line that it writes says which versions and how large a model it runs.

Model, cost and solver are classes of the released package `stable-worldmodel` as they are; only
the weights are random: time does not depend on them. The numbers below are those of
scripts/train/config/lewm.yaml (architecture), scripts/plan/config/pusht.yaml and
scripts/plan/config/solver/cem.yaml (planner) in github galilai-group/stable-worldmodel, the same
as config/train/model/lewm.yaml in github lucas-maes/le-wm.
"""

import json
import os
import sys
import time
from functools import partial
from importlib.metadata import version

import gymnasium
import torch
from stable_pretraining.backbone.utils import vit_hf
from stable_worldmodel import PlanConfig
from stable_worldmodel.solver import CEMSolver
from stable_worldmodel.wm.lewm import LeWM
from stable_worldmodel.wm.lewm.module import MLP, Embedder, Predictor

LATENT, IMAGE, HISTORY, ACTION = 192, 224, 3, 2
SAMPLES, ELITES, HORIZON, ACTION_BLOCK = 300, 30, 5, 5


def lewm() -> LeWM:
    """The published default, in evaluation mode."""
    mlp = partial(
        MLP,
        input_dim=LATENT,
        output_dim=LATENT,
        hidden_dim=2048,
        norm_fn=torch.nn.BatchNorm1d,
    )
    model = LeWM(
        encoder=vit_hf(
            size="tiny", patch_size=14, image_size=IMAGE, pretrained=False, use_mask_token=False
        ),
        predictor=Predictor(
            num_frames=HISTORY,
            input_dim=LATENT,
            hidden_dim=LATENT,
            output_dim=LATENT,
            depth=6,
            heads=16,
            mlp_dim=2048,
            dim_head=64,
            dropout=0.1,
            emb_dropout=0.0,
        ),
        action_encoder=Embedder(input_dim=ACTION_BLOCK * ACTION, emb_dim=LATENT),
        projector=mlp(),
        pred_proj=mlp(),
    )
    return model.eval().requires_grad_(False)


def cem(model: LeWM, iterations: int) -> CEMSolver:
    """The solver for one environment with two action dimensions, as PushT has."""
    solver = CEMSolver(
        model, batch_size=1, num_samples=SAMPLES, n_steps=iterations, topk=ELITES, device="cpu"
    )
    solver.configure(
        action_space=gymnasium.spaces.Box(-1, 1, (1, ACTION)),
        n_envs=1,
        config=PlanConfig(horizon=HORIZON, receding_horizon=HORIZON, action_block=ACTION_BLOCK),
    )
    return solver


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the solver prints

    model = lewm()
    torch.manual_seed(0)
    info = {
        "pixels": torch.randn(1, 1, 3, IMAGE, IMAGE),  # environments, frames, a normalised picture
        "goal": torch.randn(1, 1, 3, IMAGE, IMAGE),
        "action": torch.zeros(1, 1, ACTION),
    }
    packages = ("stable-worldmodel", "stable-pretraining", "transformers", "torch")
    about = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "samples": SAMPLES,
        "elites": ELITES,
        "horizon": HORIZON,
        "versions": {name: version(name) for name in packages},
    }
    print(json.dumps(about), file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        torch.set_num_threads(asked["threads"])
        solver = cem(model, asked["iterations"])
        clock, processor = time.perf_counter(), time.process_time()
        solver.solve(info)
        spent = {
            "seconds": time.perf_counter() - clock,
            "cpu_seconds": time.process_time() - processor,
        }
        print(json.dumps(spent), file=answers)


if __name__ == "__main__":
    main()

"""How many seconds from here to there: learned from the robot's own driving.

Euclidean distance between latents misleads, so the planner uses a learned one. Its teacher is a
graph over recorded frames: edges join frames that the robot drove between, and frames that the
relation head recognises as neighbours although they were visited at other times (loop closures,
checked in both directions). Shortest paths through that graph become the regression target, as in
search on the replay buffer (Eysenbach et al. 2019). Odometry only; no map, no true pose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import track
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor, nn
from torch.nn import functional

from foresight.data.windows import Drives
from foresight.world_model.losses import DISPLACEMENT_BETA, displacement
from foresight.world_model.motion import Motion
from foresight.world_model.networks import WorldModel

NODE_TICKS = 4
NEIGHBOURS = 12
NEAR_M = 0.6  # so near, the way is almost surely free
WITNESS_NODES = 3
CLOSURE_SECONDS = 0.25  # what trusting a loop closure costs: chains of them must not look short


@dataclass
class Teacher:
    """Seconds (G, N) from every node to G goals (inf: no way known), with the frames of both."""

    nodes: Tensor
    goals: Tensor
    seconds: Tensor
    closures: int


@torch.no_grad()
def build_teacher(
    model: WorldModel,
    drives: Drives,
    latent: Tensor,
    motion: Motion,
    goals: int = 1200,
    seed: int = 0,
) -> Teacher:
    """Join the recorded frames into a graph and search it.

    Args:
        latent: (T, D) of all frames of `drives`.
        motion: of the robot that made them, which says what an edge costs.
    """
    nodes = torch.arange(0, len(drives), NODE_TICKS)
    driven = _driven_edges(drives, nodes, motion)
    closures = _loop_closures(model, latent[nodes], drives, nodes, motion)
    rows, columns, seconds = (torch.cat(parts) for parts in zip(driven, closures, strict=True))
    graph = _sparse_minimum(rows, columns, seconds, len(nodes))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(nodes), generator=generator)[:goals]
    reverse = graph.T.tocsr()  # from the goal backwards: time from everywhere to the goal
    found = [
        dijkstra(reverse, indices=part.numpy()).astype(np.float32)
        for part in track(chosen.split(50), "shortest ways")
    ]
    return Teacher(nodes, nodes[chosen], torch.from_numpy(np.concatenate(found)), len(closures[0]))


def _driven_edges(drives: Drives, nodes: Tensor, motion: Motion) -> tuple[Tensor, Tensor, Tensor]:
    """Both ways between nodes up to three apart, unless a bump made the wheels slip between."""
    index = torch.arange(len(nodes))
    parts = []
    for hop in (1, 2, 3):
        a, b = index[:-hop], index[hop:]
        free = drives.free_between(nodes[a], nodes[b])
        same = drives.episode[nodes[a]] == drives.episode[nodes[b]]
        a, b = a[free & same], b[free & same]
        there = displacement(drives.pose[nodes[a]], drives.pose[nodes[b]])
        back = displacement(drives.pose[nodes[b]], drives.pose[nodes[a]])
        parts += [(a, b, motion.seconds(there)), (b, a, motion.seconds(back))]
    return tuple(torch.cat(columns) for columns in zip(*parts, strict=True))  # type: ignore[return-value]


def _loop_closures(
    model: WorldModel, latent: Tensor, drives: Drives, nodes: Tensor, motion: Motion
) -> tuple[Tensor, Tensor, Tensor]:
    """Edges between look-alikes that the relation head places close by.

    One false edge is a tunnel through the home, so three witnesses must agree: the way there and
    the way back, and the views WITNESS_NODES before and after, carried over by odometry.
    """
    scaled = latent / latent.std(0)
    norms = scaled.square().sum(1)
    index, episode = torch.arange(len(latent)), drives.episode[nodes]
    found = []
    for part in track(index.split(500), "loop closures"):
        gap = norms[None] - 2 * scaled[part] @ scaled.T
        gap[((part[:, None] - index[None]).abs() < 25) & (episode[part, None] == episode)] = (
            torch.inf
        )
        match = gap.topk(NEIGHBOURS, largest=False).indices
        a, b = part.repeat_interleave(NEIGHBOURS), match.flatten()
        there, close_there = model.relation(latent[a], latent[b])
        back, close_back = model.relation(latent[b], latent[a])
        sure = (torch.minimum(close_there, close_back) > 2.0) & (_misfit(there, back) < 0.15)
        sure &= torch.hypot(there[:, 0], there[:, 1]) < 0.6
        a, b, there, back = a[sure], b[sure], there[sure], back[sure]
        sure = _witnessed(model, latent, drives, nodes, a, b, there, WITNESS_NODES)
        sure &= _witnessed(model, latent, drives, nodes, a, b, there, -WITNESS_NODES)
        found.append((a[sure], b[sure], motion.seconds(there)[sure] + CLOSURE_SECONDS))
        found.append((b[sure], a[sure], motion.seconds(back)[sure] + CLOSURE_SECONDS))
    return tuple(torch.cat(columns) for columns in zip(*found, strict=True))  # type: ignore[return-value]


def _witnessed(
    model: WorldModel,
    latent: Tensor,
    drives: Drives,
    nodes: Tensor,
    a: Tensor,
    b: Tensor,
    there: Tensor,
    hop: int,
) -> Tensor:
    """Whether the view `hop` nodes from a, too, sees b where odometry and `there` put it."""
    other = (a + hop).clamp(0, len(nodes) - 1)
    first, last = torch.minimum(nodes[a], nodes[other]), torch.maximum(nodes[a], nodes[other])
    known = (drives.episode[first] == drives.episode[last]) & drives.free_between(first, last)
    to_b = _compose(displacement(drives.pose[nodes[other]], drives.pose[nodes[a]]), there)
    seen, close = model.relation(latent[other], latent[b])
    gap = seen - to_b
    agree = (torch.hypot(gap[:, 0], gap[:, 1]) < 0.35) & (gap[:, 2:].abs().amax(1) < 0.4)
    return known & agree & (close > 0)


def _compose(first: Tensor, second: Tensor) -> Tensor:
    """One displacement after another, (..., 4) each: x m, y m, sin yaw, cos yaw."""
    yaw = torch.atan2(first[..., 2], first[..., 3])
    cos, sin = yaw.cos(), yaw.sin()
    x = first[..., 0] + cos * second[..., 0] - sin * second[..., 1]
    y = first[..., 1] + sin * second[..., 0] + cos * second[..., 1]
    yaw = yaw + torch.atan2(second[..., 2], second[..., 3])
    return torch.stack([x, y, yaw.sin(), yaw.cos()], -1)


def _misfit(there: Tensor, back: Tensor) -> Tensor:
    """How far from the start `there` and then `back` end, (...): m, plus 0.3 m per rad."""
    end = _compose(there, back)
    turn = torch.atan2(end[..., 2], end[..., 3])
    return torch.hypot(end[..., 0], end[..., 1]) + 0.3 * turn.abs()


def _sparse_minimum(rows: Tensor, columns: Tensor, seconds: Tensor, size: int) -> csr_matrix:
    """Adjacency matrix that keeps the quickest of parallel edges."""
    order = torch.argsort(seconds, descending=True)
    key = rows[order] * size + columns[order]
    unique, inverse = torch.unique(key, return_inverse=True)
    value = torch.full((len(unique),), torch.inf)
    value.scatter_reduce_(0, inverse, seconds[order].clamp(min=1e-3), "amin")
    return csr_matrix(
        (value.numpy(), ((unique // size).numpy(), (unique % size).numpy())), shape=(size, size)
    )


def refine_relation(
    model: WorldModel, drives: Drives, latent: Tensor, steps: int, batch: int = 1024, seed: int = 0
) -> None:
    """Fit the relation head further on frozen latents, which is cheap.

    Pairs are neighbours of one drive; half a batch of strangers keeps "close" honest.
    """
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        first, last = drives.neighbours(batch, generator)
        stranger = torch.randint(len(latent), (batch // 2,), generator=generator)
        guess, close = model.relation(latent[first], latent[last])
        _, far = model.relation(latent[first[: batch // 2]], latent[stranger])
        target = displacement(drives.pose[first], drives.pose[last])
        error = functional.smooth_l1_loss(guess, target, beta=DISPLACEMENT_BETA)
        logits = torch.cat([close, far])
        label = torch.cat([torch.ones_like(close), torch.zeros_like(far)])
        return error + 0.1 * functional.binary_cross_entropy_with_logits(logits, label)

    _fit(model.relation_net, 5e-4, steps, loss, "relation head")


def train_distance(
    model: WorldModel,
    drives: Drives,
    latent: Tensor,
    teacher: Teacher,
    motion: Motion,
    steps: int,
    batch: int = 1024,
    seed: int = 0,
) -> None:
    """Fit the distance head to the teacher on frozen latents.

    Half of the pairs come from the graph, balanced over near and far; half are neighbours, whose
    time follows from odometry directly. Latent noise makes the head tolerate predicted latents.
    """
    generator = torch.Generator().manual_seed(seed)
    spread = latent.std(0)
    by_distance = teacher.seconds.argsort(1)
    reach = torch.isfinite(teacher.seconds).sum(1)

    def loss() -> Tensor:
        far = _graph_pairs(teacher, by_distance, reach, batch // 2, generator)
        near = _near_pairs(drives, motion, batch // 2, generator)
        start, end, target = (torch.cat(parts) for parts in zip(far, near, strict=True))
        noise = 0.25 * spread * torch.rand(batch, 1, generator=generator)
        a = latent[start] + noise * torch.randn(batch, len(spread), generator=generator)
        energy = model.distance_energy(a, latent[end])
        return functional.smooth_l1_loss(energy, torch.log1p(target), beta=0.1)

    _fit(model.distance_net, 1e-3, steps, loss, "distance head")


def train_policy(
    model: WorldModel, drives: Drives, latent: Tensor, steps: int, batch: int = 1024, seed: int = 0
) -> None:
    """Fit the policy on frozen latents: what the robot did here that led there, 0.5 to 10 s later.

    Goal-conditioned behaviour cloning with goals in hindsight (Ghosh et al. 2021); the baseline
    that a planner has to beat.
    """
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        now = torch.randint(len(drives), (batch,), generator=generator)
        then = now + torch.randint(5, 100, (batch,), generator=generator)
        then = then.clamp(max=len(drives) - 1)
        same = drives.episode[now] == drives.episode[then]
        guess = model.policy(latent[now[same]], latent[then[same]])
        gap = (guess - drives.action[now[same]]) / model.predictor.action_scale
        return functional.smooth_l1_loss(gap, torch.zeros_like(gap))

    _fit(model.policy, 1e-3, steps, loss, "behaviour cloning")


def _fit(head: nn.Module, rate: float, steps: int, loss: Callable[[], Tensor], title: str) -> None:
    """Minimise `loss`, drawn anew for every step, over the weights of one head; cosine to 2%."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, 0.02 * rate)
    for _ in track(range(steps), title):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        schedule.step()


def _graph_pairs(
    teacher: Teacher, by_distance: Tensor, reach: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(start frame, goal frame, seconds), drawn log-uniformly in distance rank and uniformly."""
    goal = torch.randint(len(teacher.goals), (count,), generator=generator)
    u = torch.rand(count, generator=generator)
    limit = reach[goal].double()
    log_rank = torch.exp(u * torch.log(limit)) - 1
    rank = torch.where(torch.rand(count, generator=generator) < 0.5, log_rank, u * (limit - 1))
    node = by_distance[goal, rank.long()]
    return teacher.nodes[node], teacher.goals[goal], teacher.seconds[goal, node]


def _near_pairs(
    drives: Drives, motion: Motion, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(start frame, end frame, seconds) within NEAR_M of each other, in both orders."""
    first, last = drives.neighbours(count, generator, NEAR_M)
    swap = torch.rand(count, generator=generator) < 0.5
    start, end = torch.where(swap, last, first), torch.where(swap, first, last)
    return start, end, motion.seconds(displacement(drives.pose[start], drives.pose[end]))

"""The networks and what they are trained on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from foresight.world_model.losses import Windows, displacement, world_model_loss
from foresight.world_model.networks import LATENT, ConvEncoder, PairNetwork, Predictor, WorldModel
from passthrough import BODY

STEPS = 3


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    torch.manual_seed(0)


def windows(batch: int) -> Windows:
    """Random views along random drives."""
    frames = STEPS + 1
    return Windows(
        image=torch.randint(0, 256, (batch, frames, 60, 80, 3), dtype=torch.uint8),
        proprioception=torch.cat([torch.randn(batch, frames, 2), torch.zeros(batch, frames, 1)], 2),
        action=torch.randn(batch, STEPS, 2),
        bump=(torch.rand(batch, STEPS) < 0.3).float(),
        pose=torch.randn(batch, frames, 3),
        pair_image=torch.randint(0, 256, (batch, 2, 60, 80, 3), dtype=torch.uint8),
        pair_pose=torch.randn(batch, 2, 3),
    )


class Fixed(nn.Module):
    """An encoder that gives these latents (N, D), whatever it is shown."""

    def __init__(self, latent: Tensor) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, image: Tensor) -> Tensor:
        return self.latent[: len(image)]


def parts_with(latent: Tensor, batch: int) -> dict[str, float]:
    """Parts of the loss for latents (batch * (STEPS + 3), D)."""
    model = WorldModel(BODY)
    model.encoder = Fixed(latent)
    return world_model_loss(model, windows(batch))[1]


# ----- networks


def test_encoder_maps_camera_bytes_to_latents() -> None:
    latent = ConvEncoder().eval()(torch.randint(0, 256, (2, 60, 80, 3), dtype=torch.uint8))
    assert latent.shape == (2, LATENT) and latent.dtype == torch.float32


def test_encoder_sees_where_things_are() -> None:
    """The same patch on the left and on the right gives different latents (no global pooling)."""
    image = torch.zeros(2, 60, 80, 3, dtype=torch.uint8)
    image[0, 20:40, 8:24] = image[1, 20:40, 56:72] = 255
    left, right = ConvEncoder().eval()(image)
    assert (left - right).abs().max() > 1e-3


def test_latents_do_not_depend_on_their_neighbours_in_the_batch() -> None:
    encoder = ConvEncoder().eval()
    image = torch.randint(0, 256, (3, 60, 80, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image)[:1], encoder(image[:1]), atol=1e-5, rtol=1e-4)


def test_untrained_predictor_expects_no_change_but_the_commanded_twist() -> None:
    latent, body, action = torch.randn(4, LATENT), torch.randn(4, 3), torch.randn(4, 2)
    step = Predictor(BODY.typical_action)(latent, body, action)
    torch.testing.assert_close(step.latent, latent)
    torch.testing.assert_close(step.proprioception[:, :2], action)
    torch.testing.assert_close(step.proprioception[:, 2], torch.sigmoid(step.bump_logit))


def test_prediction_depends_on_the_action() -> None:
    predictor = Predictor(BODY.typical_action)
    for parameter in predictor.parameters():
        nn.init.normal_(parameter, std=0.1)
    latent, body = torch.randn(1, LATENT), torch.zeros(1, 3)
    ahead = predictor(latent, body, torch.tensor([[0.5, 0.0]])).latent
    turning = predictor(latent, body, torch.tensor([[0.0, 1.0]])).latent
    assert (ahead - turning).abs().max() > 1e-3


def test_one_latent_compares_with_many() -> None:
    network, many, one = PairNetwork(3), torch.randn(5, 7, LATENT), torch.randn(LATENT)
    found = network(many, one)
    assert found.shape == (5, 7, 3)
    torch.testing.assert_close(found[2, 3], network(many[2, 3], one))


def test_learned_distance_is_never_negative() -> None:
    model = WorldModel(BODY)
    energy = model.distance_energy(100 * torch.randn(50, LATENT), 100 * torch.randn(50, LATENT))
    assert energy.shape == (50,) and (energy >= 0).all()


# ----- displacement

coordinate = st.floats(-10, 10)
angle = st.floats(-math.pi, math.pi)
pose = st.tuples(coordinate, coordinate, angle).map(lambda p: torch.tensor(p, dtype=torch.float64))


def seen_from(a: Tensor, there: Tensor) -> Tensor:
    """The pose (3,) that lies `there` (4,) from pose a (3,)."""
    cos, sin = a[2].cos(), a[2].sin()
    x = a[0] + cos * there[0] - sin * there[1]
    y = a[1] + sin * there[0] + cos * there[1]
    return torch.stack([x, y, a[2] + torch.atan2(there[2], there[3])])


def test_displacement_in_the_robots_frame() -> None:
    """Facing +y, what lies at +y is ahead and what lies at -x is to the left."""
    a = torch.tensor([1.0, 1.0, math.pi / 2])
    b = torch.tensor([0.0, 3.0, math.pi])
    torch.testing.assert_close(displacement(a, b), torch.tensor([2.0, 1.0, 1.0, 0.0]))


@given(pose)
def test_displacement_to_itself_is_none(a: Tensor) -> None:
    expected = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)
    torch.testing.assert_close(displacement(a, a), expected)


@given(pose, pose)
def test_going_there_and_back_ends_at_the_start(a: Tensor, b: Tensor) -> None:
    arrived = seen_from(a, displacement(a, b))
    torch.testing.assert_close(arrived[:2], b[:2])
    back = seen_from(arrived, displacement(b, a))
    torch.testing.assert_close(back[:2], a[:2])
    torch.testing.assert_close((back[2] - a[2]).cos(), torch.ones((), dtype=torch.float64))


@given(pose, pose, angle)
def test_displacement_does_not_depend_on_where_odometry_began(
    a: Tensor, b: Tensor, turn: float
) -> None:
    """Moving and turning the odometry frame leaves it as it is: drift of the frame is harmless."""
    frame = torch.tensor([3.0, -2.0, turn], dtype=torch.float64)
    moved = [seen_from(frame, torch.stack([p[0], p[1], p[2].sin(), p[2].cos()])) for p in (a, b)]
    torch.testing.assert_close(displacement(*moved), displacement(a, b), atol=1e-9, rtol=1e-6)


# ----- losses


def test_collapsed_latents_cost_variance() -> None:
    batch = 40
    rows = batch * (STEPS + 3)
    assert parts_with(torch.full((rows, LATENT), 0.3), batch)["variance"] > 0.9
    assert parts_with(2.0 * torch.randn(rows, LATENT), batch)["variance"] < 0.01


def test_latents_that_repeat_each_other_cost_covariance() -> None:
    batch = 40
    rows = batch * (STEPS + 3)
    repeated = torch.randn(rows, 1).expand(-1, LATENT)
    independent = torch.randn(rows, LATENT)
    assert (
        parts_with(repeated, batch)["covariance"]
        > 10 * parts_with(independent, batch)["covariance"]
    )


def test_standing_still_is_predicted_for_free() -> None:
    """The untrained predictor expects no change: right for equal views, wrong for changing ones."""
    batch = 4
    per_drive = torch.randn(batch, 1, LATENT).expand(-1, STEPS + 3, -1)
    still = parts_with(per_drive.flatten(0, 1), batch)
    moving = parts_with(torch.randn(batch * (STEPS + 3), LATENT), batch)
    assert still["prediction"] == pytest.approx(0.0, abs=1e-9)
    assert moving["prediction"] > 1.0


def test_foreseen_bumps_cost_less_than_unforeseen_ones() -> None:
    drives = windows(8)
    model = WorldModel(BODY)
    model.encoder = Fixed(torch.randn(8 * (STEPS + 3), LATENT))
    drives.bump[:] = 1.0
    losses = {}
    for bias in (-3.0, 3.0):
        with torch.no_grad():
            model.predictor.exit.bias[-2] = bias
        losses[bias] = world_model_loss(model, drives)[1]["bump"]
    assert losses[3.0] < 0.1 * losses[-3.0]


def test_total_is_the_sum_of_its_parts() -> None:
    total, parts = world_model_loss(WorldModel(BODY), windows(3))
    assert float(total.detach()) == pytest.approx(sum(parts.values()), rel=1e-5)


def test_everything_but_distance_and_policy_learns_from_it() -> None:
    """These two are fitted on frozen latents."""
    model = WorldModel(BODY)
    world_model_loss(model, windows(3))[0].backward()
    untouched = {name for name, p in model.named_parameters() if p.grad is None}
    later = ("distance_net.", "policy.")
    assert untouched == {n for n, _ in model.named_parameters() if n.startswith(later)}


def test_prediction_shapes_the_latents_it_aims_at() -> None:
    """No stop-gradient: the target moves as well, and variance keeps it from collapsing."""
    latent = torch.randn(3 * (STEPS + 3), LATENT, requires_grad=True)
    model = WorldModel(BODY)
    model.encoder = Fixed(latent)
    world_model_loss(model, windows(3))[0].backward()
    last_frames = latent.grad.view(3, STEPS + 3, LATENT)[:, STEPS]
    assert (last_frames.abs().sum(1) > 0).all()


def test_updates_lower_the_loss() -> None:
    model, drives = WorldModel(BODY), windows(4)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss, _ = world_model_loss(model, drives)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert min(losses[-3:]) < 0.8 * losses[0]

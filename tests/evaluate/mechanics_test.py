"""What is read off a body's path is what made it."""

import numpy as np
import pytest

from sorajax.evaluate import mechanics
from sorajax.evaluate.track import Track

FPS = 12.0


def track(place: np.ndarray) -> Track:
  frames = len(place)
  return Track(
    np.ones(frames, bool), place, np.full(frames, 0.03), np.full(frames, 0.1), np.ones(frames, bool)
  )


def bouncing(gravity: float, restitution: float, noise: float = 0.0, seed: int = 0):
  """A body dropped from 0.8 above the floor that drifts to the right; when it bounces."""
  hits, speed, now = [], np.sqrt(2 * gravity * 0.8), np.sqrt(2 * 0.8 / gravity)
  t = np.arange(49) / FPS
  y = 0.8 - gravity * t**2 / 2
  while now < 4.0:
    hits.append(now)
    speed *= restitution
    late = t >= now
    y[late] = speed * (t[late] - now) - gravity * (t[late] - now) ** 2 / 2
    now += 2 * speed / gravity
  place = np.stack([0.2 + 0.1 * t, y + 0.1], axis=-1)
  return track(place + noise * np.random.default_rng(seed).standard_normal(place.shape)), hits


@pytest.mark.parametrize('gravity', [1.2, 2.0, 3.0])
def test_exact_paths_tell_gravity_restitution_and_times_exactly(gravity):
  seen, hits = bouncing(gravity, 0.8)
  found = mechanics.impacts(seen, FPS)
  assert len(found) == len(hits)
  np.testing.assert_allclose([i.time_s for i in found], hits, atol=0.2 / FPS)
  flights = mechanics.flights(seen, FPS)
  assert mechanics.gravity(flights) == pytest.approx(gravity, rel=1e-6)
  bounces = mechanics.restitution(flights, found)
  assert bounces and np.median(bounces) == pytest.approx(0.8, abs=0.03)


def test_a_fifth_of_a_pixel_of_noise_leaves_gravity_within_a_twentieth():
  """The largest of 20 errors; a twentieth is some four deviations."""
  found = [
    mechanics.gravity(mechanics.flights(bouncing(2.0, 0.8, 0.2 / 64, seed)[0], FPS))
    for seed in range(20)
  ]
  assert np.abs(np.array(found) / 2.0 - 1).max() < 0.05


def test_a_wall_turns_a_body_around():
  t = np.arange(30) / FPS
  x = np.where(t < 1.02, 0.2 + 0.6 * t, 0.2 + 0.6 * 1.02 - 0.3 * (t - 1.02))
  (hit,) = mechanics.impacts(track(np.stack([x, 0 * t + 0.2], axis=-1)), FPS)
  assert hit.time_s == pytest.approx(1.02, abs=0.02)
  np.testing.assert_allclose(hit.change, (-0.9, 0.0), atol=0.02)


def test_a_body_at_rest_or_that_slides_to_a_halt_hits_nothing():
  t = np.arange(49) / FPS
  slide = 0.2 + 0.5 * t - 0.3 * t**2 / 2
  slide[t > 0.5 / 0.3] = slide[t <= 0.5 / 0.3][-1]
  for x in (0 * t + 0.5, slide):
    seen = track(np.stack([x, 0 * t + 0.2], axis=-1))
    assert not mechanics.impacts(seen, FPS)
    assert np.isnan(mechanics.gravity(mechanics.flights(seen, FPS)))


def test_a_body_somewhere_else_a_frame_later_has_jumped():
  seen, _ = bouncing(2.0, 0.8)
  assert mechanics.jumps(seen) == 0
  place = seen.place.copy()
  place[20:, 0] += 0.4
  assert mechanics.jumps(track(place)) == 1


def test_frames_that_do_not_show_a_body_tell_nothing():
  never, nowhere = np.zeros(49, bool), np.full((49, 2), np.nan)
  hidden = Track(never, nowhere, np.zeros(49), np.zeros(49), never)
  assert not mechanics.impacts(hidden, FPS) and not mechanics.flights(hidden, FPS)
  assert mechanics.jumps(hidden) == 0

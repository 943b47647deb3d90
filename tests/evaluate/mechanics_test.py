"""What is read off a body's path is what made it."""

import dataclasses
from collections.abc import Sequence

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


def without(whole: Track, frames: Sequence[int]) -> Track:
  """The same, missed in some frames."""
  seen = ~np.isin(np.arange(len(whole.seen)), frames)
  place = np.where(seen[:, None], whole.place, np.nan)
  return dataclasses.replace(whole, seen=seen, place=place, whole=seen)


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
  bounces = mechanics.restitution(flights, found, 0.1)
  assert bounces and np.median(bounces) == pytest.approx(0.8, abs=0.03)


def test_a_bounce_off_what_lies_on_the_floor_tells_no_restitution():
  seen, _ = bouncing(2.0, 0.8)
  found = mechanics.flights(seen, FPS), mechanics.impacts(seen, FPS)
  assert not mechanics.restitution(*found, 0.1 - 2 * 0.08)


@pytest.mark.parametrize('missed', [(5,), (5, 8), (5, 6), (9, 12), (5, 6, 7), range(13, 16)])
def test_a_fall_that_is_not_always_seen_is_no_impact(missed):
  t = np.arange(20) / FPS
  fall = track(np.stack([0.2 + 0.1 * t, 0.2 + 1.6 * t - 2.0 * t**2 / 2], axis=-1))
  assert not mechanics.impacts(without(fall, missed), FPS)


def test_an_impact_is_found_beside_a_frame_that_misses_the_body():
  whole, hits = bouncing(2.0, 0.8)
  for beside in (-1, 0, 1, 2):
    found = mechanics.impacts(without(whole, [int(hits[0] * FPS) + beside]), FPS)
    assert len(found) == len(hits)
    assert found[0].time_s == pytest.approx(hits[0], abs=1 / FPS)


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
  assert mechanics.jumps(seen, FPS) == 0
  place = seen.place.copy()
  place[20:, 0] += 0.4
  assert mechanics.jumps(track(place), FPS) == 1


def test_a_body_unseen_as_it_jumps_has_jumped_and_one_that_goes_on_meanwhile_has_not():
  whole, _ = bouncing(2.0, 0.8)
  place = whole.place.copy()
  place[20:, 0] += 0.5
  for missed in ([20], [20, 21], [4, 5, 19, 20]):
    assert mechanics.jumps(without(track(place), missed), FPS) == 1
    assert mechanics.jumps(without(whole, missed), FPS) == 0
  assert mechanics.jumps(without(whole, range(4, 9)), FPS) == 0


def test_frames_that_do_not_show_a_body_tell_nothing():
  never, nowhere = np.zeros(49, bool), np.full((49, 2), np.nan)
  hidden = Track(never, nowhere, np.zeros(49), np.zeros(49), never)
  assert not mechanics.impacts(hidden, FPS) and not mechanics.flights(hidden, FPS)
  assert mechanics.jumps(hidden, FPS) == 0

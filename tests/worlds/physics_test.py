"""Laws of mechanics, to rounding."""

import dataclasses
import itertools

import numpy as np
import pytest

from sorajax.worlds import draw, physics, scene
from sorajax.worlds.physics import FLOOR, LEFT, RIGHT, Mover, Room, TooManyEvents, follow

ROOM = Room(gravity=2.0, floor=0.1, left=0.0, right=1.5)
BALL = Mover(0.1, 1.0, 0.7, 0.03, (0.7, 0.9), (0.0, 0.0))


def energy(movers, room, position, velocity) -> float:
  mass = np.array([m.mass for m in movers])
  return float((mass * (room.gravity * position[:, 1] + (velocity**2).sum(axis=1) / 2)).sum())


def drawn(seed: int, most: int = 4):
  """Movers, room and motion of a drawn scene of four seconds."""
  rng = np.random.default_rng(seed)
  cast = draw.cast(rng, most=most, kind='room')
  found, motion = draw.shot(rng, cast, seconds=4.0, width=1.5)
  return [scene.mover(body) for body in found.bodies], found.room, motion


def test_a_ball_falls_and_bounces_as_the_textbook_says():
  motion = follow([BALL], ROOM, 4.0)
  height = 0.9 - 0.1 - 0.1
  first = np.sqrt(2 * height / 2.0)
  speed = np.sqrt(2 * 2.0 * height)
  hits = [first]
  while len(hits) < 4:
    hits.append(hits[-1] + 2 * 0.7 ** len(hits) * speed / 2.0)
  bounces = [c for c in motion.contacts if c.other == FLOOR][:4]
  np.testing.assert_allclose([c.time_s for c in bounces], hits, rtol=1e-12)
  np.testing.assert_allclose([c.speed for c in bounces], speed * 0.7 ** np.arange(4), rtol=1e-12)
  np.testing.assert_allclose(bounces[0].impulse, 1.7 * speed, rtol=1e-12)


@pytest.mark.parametrize('seed', range(8))
def test_without_friction_energy_does_not_drift_between_contacts(seed):
  movers, room, _ = drawn(seed)
  movers = [dataclasses.replace(m, friction=0.0) for m in movers]
  motion = follow(movers, room, 4.0)
  edges = [0.0, *(c.time_s for c in motion.contacts), 4.0]
  spans = [(a, b) for a, b in itertools.pairwise(edges) if b - a > 1e-6]
  assert len(spans) >= 3
  for begin, end in spans:
    states = [motion.at(t) for t in np.linspace(begin, end, 7)[1:-1]]
    assert np.ptp([energy(movers, room, p, v) for p, v, _ in states]) <= 1e-9


@pytest.mark.parametrize('seed', range(8))
def test_nothing_leaves_the_room_or_enters_another_body(seed):
  movers, room, motion = drawn(seed)
  radius = np.array([m.radius for m in movers])
  for t in np.linspace(0, 4, 400):
    p, _, _ = motion.at(t)
    assert (p[:, 1] - radius >= room.floor - 1e-9).all()
    assert (p[:, 0] - radius >= room.left - 1e-9).all()
    assert (p[:, 0] + radius <= room.right + 1e-9).all()
    for a, b in itertools.permutations(range(len(movers)), 2):
      assert depth(movers[b], p[a] + outline(movers[a]) - p[b]).max() <= 1e-7


def outline(mover: Mover) -> np.ndarray:
  """Points around a body, its corners among them, [N, 2] from its centre."""
  if not mover.corners:
    turn = np.linspace(0, 2 * np.pi, 100)
    return mover.radius * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
  ends = np.array(mover.corners)
  share = np.linspace(0, 1, 25)[:, None, None]
  return (ends * (1 - share) + np.roll(ends, 1, axis=0) * share).reshape(-1, 2)


def depth(mover: Mover, points: np.ndarray) -> np.ndarray:
  """How deep points [N, 2], seen from its centre, are in a body; below 0 outside."""
  across, up = np.abs(points).T
  if not mover.corners:
    return mover.radius - np.hypot(across, up)
  diamond = any(not x for x, _ in mover.corners)
  return mover.radius - (across + up if diamond else np.maximum(across, up))


def test_two_bodies_keep_their_momentum_and_part_by_the_smaller_restitution():
  still = dataclasses.replace(BALL, position=(0.9, 0.5), mass=2.0, restitution=0.5)
  fast = dataclasses.replace(BALL, position=(0.3, 0.5), velocity=(1.5, 0.0))
  motion = follow([fast, still], ROOM, 1.0)
  contact = next(c for c in motion.contacts if c.other == 1)
  assert contact.time_s == pytest.approx(0.4 / 1.5, rel=1e-9)
  (_, before, _), (_, after, _) = (motion.at(contact.time_s + d) for d in (-1e-7, 1e-7))
  mass = np.array([[1.0], [2.0]])
  np.testing.assert_allclose((mass * before).sum(axis=0), (mass * after).sum(axis=0), atol=1e-5)
  assert after[1, 0] - after[0, 0] == pytest.approx(0.5 * (before[0, 0] - before[1, 0]), rel=1e-5)


def corners_of(shape: str, r: float) -> tuple[tuple[float, float], ...]:
  return scene.mover(scene.Body(shape, 'red', 'wood', r, (0, 0), (0, 0))).corners


@pytest.mark.parametrize(
  ('one', 'two', 'offset', 'distance', 'normal'),
  [
    ('ball', 'ball', 0.0, 0.2, (1, 0)),
    ('ball', 'ball', 0.12, 0.16, (0.8, 0.6)),
    ('box', 'box', 0.1, 0.2, (1, 0)),
    ('ball', 'box', 0.05, 0.2, (1, 0)),  # a side of the box
    ('ball', 'box', 0.16, 0.18, (0.8, 0.6)),  # its corner
    ('diamond', 'diamond', 0.05, 0.15, (0.5**0.5, 0.5**0.5)),
    ('box', 'diamond', 0.05, 0.2, (1, 0)),  # a tip against a side
  ],
)
def test_bodies_touch_where_their_outlines_do(one, two, offset, distance, normal):
  """One flies at another `offset` below it; their centres are `distance` apart when they meet."""
  flying = dataclasses.replace(
    BALL, position=(0.2, 0.6), velocity=(1.0, 0.0), corners=corners_of(one, 0.1)
  )
  still = dataclasses.replace(BALL, position=(0.8, 0.6 + offset), corners=corners_of(two, 0.1))
  motion = follow([flying, still], ROOM, 2.0)
  hit = next(c for c in motion.contacts if c.other == 1)
  assert hit.time_s == pytest.approx(0.6 - distance, rel=1e-9)
  (_, before, _), (_, after, _) = (motion.at(hit.time_s + d) for d in (-1e-9, 1e-9))
  push = after[1] - before[1]
  np.testing.assert_allclose(push / np.linalg.norm(push), normal, atol=1e-6)
  assert hit.speed == pytest.approx(normal[0], rel=1e-9)


def test_a_box_stands_on_another():
  low = dataclasses.replace(BALL, position=(0.5, 0.2), corners=corners_of('box', 0.1))
  high = dataclasses.replace(low, position=(0.55, 0.5))
  motion = follow([low, high], ROOM, 4.0)
  (p, v, _) = motion.at(3.9)
  assert p[1, 1] - p[0, 1] == pytest.approx(0.2, abs=2e-3) and np.abs(v).max() < 0.06


def test_a_mirrored_world_moves_in_the_mirror():
  movers, room, motion = drawn(3)
  flipped = [
    dataclasses.replace(
      m, position=(room.right - m.position[0], m.position[1]),
      velocity=(-m.velocity[0], m.velocity[1]),
    )
    for m in movers
  ]  # fmt: skip
  mirrored = follow(flipped, room, 4.0)
  for t in (0.5, 1.0, 1.5):
    (p, _, _), (q, _, _) = motion.at(t), mirrored.at(t)
    np.testing.assert_allclose(q, [room.right, 0] + p * [-1, 1], atol=1e-7)
  names = {LEFT: RIGHT, RIGHT: LEFT}
  sides = [names.get(c.other, c.other) for c in motion.contacts[:6]]
  assert sides == [c.other for c in mirrored.contacts[:6]]


def test_a_body_on_the_floor_slides_to_a_halt_and_stays():
  box = dataclasses.replace(
    BALL, position=(0.3, 0.2), velocity=(0.6, 0.0), friction=0.3, spins=False
  )
  motion = follow([box], ROOM, 4.0)
  deceleration = 0.3 * 2.0
  (p, v, _), (q, _, _) = motion.at(1.0), motion.at(3.0)
  assert p[0, 0] == pytest.approx(0.3 + 0.6**2 / (2 * deceleration), rel=1e-12)
  assert not v.any() and (p == q).all()


@pytest.mark.parametrize('friction', [0.0, 0.03, 0.4])
def test_a_ball_on_the_floor_turns_as_far_as_it_rolls(friction):
  ball = dataclasses.replace(BALL, position=(0.3, 0.2), velocity=(0.5, 0.0), friction=friction)
  (p, _, a), (q, _, b) = (follow([ball], ROOM, 1.0).at(t) for t in (0.2, 0.9))
  assert (b - a)[0] == pytest.approx(-(q - p)[0, 0] / ball.radius, rel=1e-9)


def test_bodies_that_meet_without_end_are_refused(monkeypatch):
  monkeypatch.setattr(physics, 'MOST_EVENTS', 2)
  with pytest.raises(TooManyEvents):
    follow([BALL], ROOM, 4.0)

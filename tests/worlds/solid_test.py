"""Laws of solid bodies in a room with depth, of how they look and of how they sound."""

import dataclasses
import hashlib
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('mujoco', reason="needs pip install 'sorajax[mujoco]'")

from sorajax.data.sources import clip_of, open_source
from sorajax.worlds import draw, picture, rays, sound
from sorajax.worlds.scene import (
  COLOURS,
  FLOOR,
  GRAVITY,
  MATERIALS,
  SHAPES,
  SOLID,
  Body,
  Camera,
  Scene,
  held_out,
  held_out_look,
)
from sorajax.worlds.solid import AROUND, BACK, STEP_S, Hall, Pose, Solid, Space, damping, tumble
from sorajax.worlds.truth import Truth
from sorajax.worlds.world import SPLITS, WorldConfig, generate

CONFIG = WorldConfig(25, 12.0, 32, 32, 8000, kind=SOLID)
HALL = Hall(GRAVITY, FLOOR, 1.0, draw.DEPTH)
UPRIGHT, STILL = (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
MASS = 0.002
DEEPEST = 0.008  # that a body enters a floor or a wall while it bounces: half a pixel of 64
HASHED = """
import hashlib
from sorajax.worlds.world import WorldConfig, generate
clip, caption, truth = generate(WorldConfig(25, 12.0, 32, 32, 8000, kind='solid'), 'train', 0, 1)
made = clip.video.tobytes() + clip.audio.tobytes() + (caption + truth.to_json()).encode()
print(hashlib.sha256(made).hexdigest())
"""
each_shape = pytest.mark.parametrize('shape', SHAPES)


@pytest.fixture(scope='module')
def made():
  return [generate(CONFIG, 'train', 0, number) for number in range(12)]


def solid(shape='ball', place=(0.5, 0.6, 0.45), velocity=STILL, *, spin=STILL, restitution=0.6):
  return Solid(shape, 0.1, MASS, restitution, place, velocity, UPRIGHT, spin)


def alone(body: Body, z: float = 0.45, turn=UPRIGHT, **parts) -> Scene:
  space = Space(draw.DEPTH, (0.5, *draw.EYE), (Pose(z, 0.0, turn, STILL),))
  return Scene((body,), (20, 20, 60), (70, 90, 70), Camera(), 2.0, 1.0, space=space, **parts)


def test_another_process_makes_the_same_bytes_and_another_number_others(made):
  clip, caption, truth = made[1]
  bytes_ = clip.video.tobytes() + clip.audio.tobytes() + (caption + truth.to_json()).encode()
  done = subprocess.run(
    [sys.executable, '-c', HASHED], capture_output=True, text=True, timeout=120, check=True
  )
  assert done.stdout.strip() == hashlib.sha256(bytes_).hexdigest()
  assert (clip.video != made[2][0].video).any()


def test_splits_share_no_clip(made):
  others = [generate(CONFIG, split, 0, 1) for split in SPLITS[1:]]
  assert all((made[1][0].video != other.video).any() for other, _, _ in others)


def test_clips_have_the_form_that_was_asked_for():
  config = WorldConfig(9, 8.0, 24, 40, 8000, 2, kind=SOLID)
  clip, _, truth = generate(config, 'train', 0, 0)
  assert clip.video.shape == (9, 24, 40, 3) and clip.video.dtype == np.uint8
  assert clip.audio.shape == (9000, 2) and np.abs(clip.audio).max() <= 1
  assert Truth.from_json(truth.to_json()) == truth


def test_the_source_of_worlds_makes_them():
  source = open_source('world:20,frames=9,height=16,width=16,kind=solid', 'validation')
  config = WorldConfig(9, height=16, width=16, kind=SOLID)
  clip, caption, truth = generate(config, 'validation', 0, 1)
  np.testing.assert_array_equal(clip_of(source[1]).video, clip.video)
  assert (source[1].caption, source[1].truth) == (caption, truth.to_json())


def test_held_out_combinations_are_shown_in_their_split_alone():
  for split in ('train', 'novel'):
    for number in range(6):
      _, _, truth = generate(dataclasses.replace(CONFIG, frames=5), split, 0, number)
      drawn = truth.shots[0].scene
      assert all(held_out(Body(**b)) == (truth.novel == 'triple') for b in drawn['bodies'])
      look = dataclasses.replace(
        alone(Body(**drawn['bodies'][0])), camera=Camera(**drawn['camera']), style=drawn['style']
      )
      assert held_out_look(look) == (truth.novel == 'look')
      assert (truth.novel in draw.NOVELTIES) == (split == 'novel')


@each_shape
def test_free_flight_is_a_parabola(shape):
  motion = tumble([solid(shape, (0.3, 0.75, 0.4), (0.4, 0.3, 0.1), spin=(1, 2, 3))], HALL, 0.5)
  times = np.arange(0, 0.5, 20 * STEP_S)
  assert not motion.contacts
  places = np.array([motion.at(t)[0][0] for t in times])
  bend = np.diff(places, 2, axis=0) / (20 * STEP_S) ** 2
  np.testing.assert_allclose(bend, np.broadcast_to((0, -GRAVITY, 0), bend.shape), atol=1e-6)
  turns = np.array([motion.at(t)[2][0] for t in times])
  np.testing.assert_allclose(np.linalg.norm(turns, axis=-1), 1, atol=1e-12)


@pytest.mark.parametrize('drop', [0.15, 0.3, 0.6])
def test_a_contact_comes_when_the_parabola_meets_the_floor(drop):
  motion = tumble([solid(place=(0.5, FLOOR + 0.1 + drop, 0.45))], HALL, 1.0)
  first = motion.contacts[0]
  assert first.time_s == pytest.approx((2 * drop / GRAVITY) ** 0.5, abs=0.0005)
  assert first.speed == pytest.approx((2 * drop * GRAVITY) ** 0.5, rel=0.002)
  assert (first.body, first.other) == (0, 'floor')
  np.testing.assert_allclose(first.place, (0.5, FLOOR, 0.45), atol=0.001)


@pytest.mark.parametrize('name', MATERIALS)
def test_restitution_is_near_the_material_s(name):
  """The bound is what the module says it measured."""
  wanted = MATERIALS[name].restitution
  for drop in (0.1, 0.3, 0.7):
    place = (0.5, FLOOR + 0.1 + drop, 0.45)
    motion = tumble([solid(place=place, restitution=wanted)], HALL, 3.0)
    before, after = (contact.speed for contact in motion.contacts[:2])
    assert -0.03 < after / before - wanted < 0.015


def test_damping_is_what_a_spring_that_only_pushes_needs():
  for wanted in (0.3, 0.6, 0.9):
    place, speed, step, ratio = 0.0, -1.0, 1e-5, damping(wanted)
    while (push := -place - 2 * ratio * speed) > 0 or place > -step:
      speed += push * step
      place += speed * step
    assert speed == pytest.approx(wanted, abs=0.001)


def test_an_impulse_is_the_change_of_momentum():
  motion = tumble([solid(velocity=(0.2, 0.0, 0.0))], HALL, 1.0)
  (contact,) = motion.contacts[:1]
  before, after = (motion.at(contact.time_s + d)[1][0, 1] for d in (-0.002, 0.018))
  assert contact.impulse == pytest.approx(MASS * (after - before + GRAVITY * 0.02), rel=0.01)


def test_bodies_that_meet_keep_their_momentum_and_are_told_of_once():
  pair = [solid(place=(0.25, 0.8, 0.4), velocity=(0.6, 0, 0)), solid(place=(0.7, 0.8, 0.4))]
  motion = tumble(pair, HALL, 0.5)
  assert [(c.body, c.other) for c in motion.contacts] == [(0, 1)]
  across = motion.at(0.49)[1][:, 0]
  assert across.sum() == pytest.approx(0.6, abs=1e-4)
  assert across[1] - across[0] == pytest.approx(0.6 * 0.6, abs=0.01)


def test_a_box_that_lands_flat_is_heard_once():
  motion = tumble([solid('box', (0.5, 0.5, 0.45), restitution=0.3)], HALL, 0.8)
  assert len(motion.contacts) == 1


def test_a_wall_is_named():
  motion = tumble([solid(place=(0.5, 0.8, 0.3), velocity=(0, 0, -0.7))], HALL, 0.4)
  assert [contact.other for contact in motion.contacts] == [BACK]


@each_shape
def test_nobody_leaves_the_room(shape):
  """Corners, tips and rims stay above the floor and between the walls while bodies tumble."""
  corners = {
    'ball': np.zeros((1, 3)),
    'box': np.stack(np.meshgrid(*[(-1, 1)] * 3), axis=-1).reshape(-1, 3),
    'diamond': np.concatenate([np.eye(3), -np.eye(3)]),
  }[shape]
  margin = 0.1 if shape == 'ball' else 0.0
  thrown = [
    solid(shape, (0.3, 0.7, 0.3), (0.7, 0.5, -0.5), spin=(4, 1, 2)),
    solid(shape, (0.7, 0.4, 0.6), (-0.7, -0.3, 0.5), spin=(-3, 2, 4)),
  ]
  motion = tumble(thrown, HALL, 4.0)
  for time_s in np.arange(0, 4, 0.01):
    place, _, turns = motion.at(time_s)
    for centre, turn in zip(place, turns):
      points = centre + 0.1 * corners @ rays.axes_of(turn).T
      assert points[:, 1].min() - margin > FLOOR - DEEPEST
      for axis, far in ((0, HALL.width), (2, HALL.depth)):
        assert points[:, axis].min() - margin > -DEEPEST
        assert points[:, axis].max() + margin < far + DEEPEST


@pytest.mark.parametrize('rate_hz', [8000, 16_000])
def test_sound_begins_at_the_contact(rate_hz):
  for drop in (0.2, 0.45):
    body = Body('ball', 'red', 'metal', 0.1, (0.5, FLOOR + 0.1 + drop), (0.0, 0.0))
    shown = alone(body)
    audio = sound.render(
      shown, shown.motion(), np.random.default_rng(0), samples=2 * rate_hz, rate_hz=rate_hz,
      channels=1,
    )[:, 0]  # fmt: skip
    loud = np.flatnonzero(np.abs(audio) > 20 * sound.HISS)[0] / rate_hz
    assert abs(loud - (2 * drop / GRAVITY) ** 0.5) < 0.001


def test_every_heard_contact_is_an_onset(made):
  for _, _, truth in made:
    for shot in truth.shots:
      loud = [c['time_s'] for c in shot.contacts if c['speed'] >= sound.HEARD]
      assert [onset['time_s'] for onset in shot.onsets] == loud == sorted(loud)
      assert all(c['impulse'] > 0 for c in shot.contacts)


@pytest.mark.parametrize('z', [0.2, 0.7])
def test_a_body_is_painted_where_it_is_seen(z):
  """The middle of what has its hue is where its centre shows, to a pixel and a half."""
  shown = alone(Body('ball', 'red', 'rubber', 0.12, (0.6, 0.55), (0.0, 0.0)), z)
  (frame,) = picture.render(shown, shown.motion(), np.array([0.0]), 64, 64)
  red = frame[..., 0].astype(int) - frame[..., 2] > 40
  rows, columns = np.nonzero(red)
  x, y = shown.space.seen(np.array([0.6, 0.55, z]))
  assert abs((columns.mean() + 0.5) / 64 - x) < 1.5 / 64
  assert abs(1 - (rows.mean() + 0.5) / 64 - y) < 1.5 / 64
  nearness = (draw.EYE[1] - draw.DEPTH) / (draw.EYE[1] - z)
  assert red.sum() == pytest.approx(np.pi * (0.12 * 64 * nearness) ** 2, rel=0.15)


@each_shape
def test_rays_meet_a_body_on_its_surface_and_from_outside(shape):
  rng = np.random.default_rng(0)
  turn = np.array([0.5, 0.5, 0.1, 0.7]) / np.linalg.norm([0.5, 0.5, 0.1, 0.7])
  body = Body(shape, 'red', 'wood', 0.1, (0.0, 0.0), (0.0, 0.0))
  thing = rays.Thing(body, np.array([0.4, 0.5, 0.3]), rays.axes_of(turn))
  start, way = np.array([0.5, 0.8, 2.9]), rng.uniform((-0.2, -0.2, -2), (0.1, 0, -2), (4000, 3))
  met = rays.meet(thing, start, way)
  own = (start + met.far[:, None] * way[met.rays] - thing.place) @ thing.axes / 0.1
  size = {'ball': np.linalg.norm, 'box': np.max, 'diamond': np.sum}[shape]
  np.testing.assert_allclose(size(np.abs(own), axis=-1), 1, atol=1e-9)
  assert (rays.dot(met.normal, way[met.rays]) < 0).all() and 100 < len(met.rays) < 4000
  np.testing.assert_allclose(np.linalg.norm(met.normal, axis=-1), 1, atol=1e-12)
  assert (np.linalg.norm(own, axis=-1) <= AROUND[shape] + 1e-9).all()


def test_a_shadow_lies_where_the_light_goes_through_the_body():
  pictures = []
  for x in (0.5, 0.15):
    shown = alone(Body('ball', 'white', 'rubber', 0.1, (x, 0.4), (0.0, 0.0)), style='flat')
    pictures.append(picture.render(shown, shown.motion(), np.array([0.0]), 64, 64)[0].astype(float))
  place = np.array([0.5, 0.4, 0.45]) - rays.LIGHT * (0.4 - FLOOR) / rays.LIGHT[1]
  x, y = shown.space.seen(place)
  shaded, lit = (shot[int(64 - 64 * y), int(64 * x)] for shot in pictures)
  np.testing.assert_allclose(shaded, rays.SHADED * lit, atol=1)


def test_captions_name_every_body(made):
  for _, caption, truth in made:
    for shot in truth.shots:
      assert shot.caption in caption
      for body in shot.scene['bodies']:
        assert f'{body["colour"]} {body["material"]} {body["shape"]}' in shot.caption


def test_truth_tells_places_in_three_dimensions_and_what_is_seen(made):
  for _, _, truth in made:
    for shot in truth.shots:
      shape = len(shot.times_s), len(shot.scene['bodies'])
      assert np.shape(shot.position) == np.shape(shot.velocity) == (*shape, 3)
      assert np.shape(shot.angle) == (*shape, 4) and np.shape(shot.visible) == shape


def test_colours_of_bodies_are_kept():
  for colour in COLOURS:
    shown = alone(Body('ball', colour, 'rubber', 0.13, (0.5, 0.5), (0.0, 0.0)), style='flat')
    (frame,) = picture.render(shown, shown.motion(), np.array([0.0]), 64, 64)
    x, y = shown.space.seen(np.array([0.47, 0.53, 0.45]))
    np.testing.assert_allclose(frame[int(64 - 64 * y), int(64 * x)], COLOURS[colour], atol=1)

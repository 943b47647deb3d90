"""What the generated world shows, sounds like and says is what is true of it."""

import dataclasses

import numpy as np
import pytest

from sorajax.worlds import picture, scene, sound
from sorajax.worlds.scene import COLOURS, Body, Camera, Scene
from sorajax.worlds.truth import Truth
from sorajax.worlds.world import SPLITS, WorldConfig, generate

CONFIG = WorldConfig()
SEEDS = range(6)


@pytest.fixture(scope='module')
def made():
  return [generate(CONFIG, 'train', 0, number) for number in SEEDS]


def test_a_seed_gives_the_same_bytes_and_another_others(made):
  clip, caption, truth = generate(CONFIG, 'train', 0, 1)
  np.testing.assert_array_equal(clip.video, made[1][0].video)
  np.testing.assert_array_equal(clip.audio, made[1][0].audio)
  assert (caption, truth) == made[1][1:]
  others = [generate(CONFIG, split, 0, 1) for split in SPLITS[1:]] + [made[2]]
  assert all((clip.video != other.video).any() for other, _, _ in others)


def test_truth_survives_json(made):
  truth = made[0][2]
  assert Truth.from_json(truth.to_json()) == truth


def test_clips_have_the_form_that_was_asked_for():
  config = WorldConfig(9, 8.0, 32, 48, 8000, 2)
  clip, _, truth = generate(config, 'train', 0, 0)
  assert clip.video.shape == (9, 32, 48, 3) and clip.video.dtype == np.uint8
  assert clip.audio.shape == (9000, 2) and np.abs(clip.audio).max() <= 1
  assert len(truth.times_s) == 9


@pytest.mark.parametrize('number', SEEDS)
def test_a_body_is_painted_where_it_is(made, number):
  """The middle of what has a body's hue is its centre, to a pixel, unless another hides it."""
  body = Body('ball', 'red', 'rubber', 0.12, (0.3 + 0.08 * number, 0.8), (0.3, 0.0))
  shown = Scene((body,), (20, 20, 60), (70, 90, 70), Camera(), 2.0, 1.0)
  motion = shown.motion()
  for t in (0.0, 0.4, 0.9):
    (frame,) = picture.render(shown, motion, np.array([t]), 64, 64)
    red = frame[..., 0].astype(int) - frame[..., 2] > 60
    rows, columns = np.nonzero(red)
    x, y = motion.at(t)[0][0]
    assert abs((columns.mean() + 0.5) / 64 - x) < 1 / 64
    assert abs(1 - (rows.mean() + 0.5) / 64 - y) < 1 / 64
    assert red.sum() == pytest.approx(np.pi * (0.12 * 64) ** 2, rel=0.1)


def test_a_zoom_enlarges_and_keeps_the_floor_below():
  body = Body('box', 'white', 'rubber', 0.1, (0.5, 0.5), (0.0, 0.0))
  areas = []
  for kind in ('static', 'zoom_out'):
    shown = Scene((body,), (10, 10, 10), (60, 60, 60), Camera(kind, 1.5), 2.0, 1.0)
    (frame,) = picture.render(shown, shown.motion(), np.array([0.0]), 64, 64)
    areas.append((frame.min(axis=-1) > 200).sum())
    assert frame[-1].mean() > 2 * frame[5].mean()
  assert areas[1] == pytest.approx(1.5**2 * areas[0], rel=0.15)


@pytest.mark.parametrize('number', SEEDS)
def test_every_heard_contact_raises_the_sound_at_its_sample(number):
  shown, motion = scene.draw(np.random.default_rng(number), seconds=4.0, most=1)
  render = lambda channels: sound.render(
    shown, motion, np.random.default_rng(0), samples=64_000, rate_hz=16_000, channels=channels
  )
  audio = render(1)[:, 0]
  contacts = sound.heard(motion)
  assert contacts and not np.abs(audio[: round(contacts[0].time_s * 16_000) - 1]).max() > 0.004
  for contact in contacts:
    at = round(contact.time_s * 16_000)
    fresh = sound.strike(shown.bodies[contact.body], contact.speed, 16_000)[:160]
    change = audio[at : at + 160] - np.median(audio[max(at - 20, 0) : at])
    assert np.abs(change).max() > 0.3 * np.abs(np.tanh(fresh)).max()
  assert render(2).shape == (64_000, 2)


def test_what_is_on_the_left_is_loud_on_the_left():
  for x, louder in ((0.15, 0), (0.85, 1)):
    body = Body('ball', 'red', 'metal', 0.1, (x, 0.6), (0.0, 0.0))
    shown = Scene((body,), (20, 20, 60), (70, 90, 70), Camera(), 2.0, 1.0)
    audio = sound.render(
      shown, shown.motion(), np.random.default_rng(0), samples=16_000, rate_hz=16_000, channels=2
    )
    power = np.square(audio).mean(axis=0)
    assert power[louder] > 4 * power[1 - louder]


def test_captions_name_every_body(made):
  for _, caption, truth in made:
    for body in truth.scene['bodies']:
      assert f'{body["colour"]} {body["material"]} {body["shape"]}' in caption


def test_captions_seldom_repeat():
  captions = {generate(CONFIG, 'train', 0, number)[1] for number in range(60)}
  assert len(captions) >= 58


def test_held_out_combinations_are_shown_in_their_split_alone():
  bodies = lambda split: [
    Body(**body) for n in range(30) for body in generate(CONFIG, split, 0, n)[2].scene['bodies']
  ]
  for split in ('train', 'validation', 'test'):
    assert not any(map(scene.held_out, bodies(split)))
  assert all(map(scene.held_out, bodies('novel')))
  every = [
    Body(shape, colour, material, 0.1, (0, 0), (0, 0))
    for shape in scene.SHAPES for colour in COLOURS for material in scene.MATERIALS
  ]  # fmt: skip
  assert (sum(map(scene.held_out, every)), len(every)) == (9, 96)
  for part in ('shape', 'colour', 'material'):  # each part of a held-out triple is trained on
    assert len({getattr(b, part) for b in every if not scene.held_out(b)}) == len(
      {getattr(b, part) for b in every}
    )


def test_truth_tells_where_bodies_are_and_whether_they_are_seen(made):
  for clip, _, truth in made:
    position, view = np.array(truth.position), np.array(truth.view)
    assert position.shape == (len(clip.video), len(truth.scene['bodies']), 2)
    off = np.abs(position - view[:, None, :2]) * view[:, None, 2:]
    np.testing.assert_array_equal(truth.visible, (off <= 0.5).all(axis=-1))
    onsets = [onset['time_s'] for onset in truth.onsets]
    assert onsets == sorted(onsets) and {c['time_s'] for c in truth.contacts} >= set(onsets)


def test_more_bodies_come_when_more_may(made):
  counts = [
    len(generate(dataclasses.replace(CONFIG, most=4), 'train', 0, n)[2].scene['bodies'])
    for n in range(24)
  ]
  assert max(counts) == 4 and min(counts) == 1

import dataclasses

import numpy as np
import pytest
import tiny

from sorajax.clip import MODALITIES
from sorajax.data.rows import Placed, assemble
from sorajax.data.schedule import Bucket

BUCKET = Bucket(rows=3, video=50, audio=130, text=5, clips=2)
ROWS = ([0, 2], [1], [])
SOURCE = tiny.Source(frames=(3, 5, 7))


def placed(number: int) -> Placed:
  latents, caption = SOURCE[number]
  rng = np.random.default_rng([number, 9])
  given = {m: rng.random(getattr(latents, m).shape[:-1]) < 0.4 for m in MODALITIES}
  return Placed(latents, given, np.array([ord(c) for c in caption][: 3 + 2 * number], np.int32))


@pytest.fixture(scope='module')
def batch():
  rows = [[placed(n) for n in row] for row in ROWS]
  return assemble(rows, BUCKET, SOURCE.codec.geometry, pad_id=-1)


def inside(batch, m: str, row: int, segment: int) -> dict[str, np.ndarray]:
  t = batch.tokens[m]
  where = t.segment[row] == segment
  return {
    name: getattr(t, name)[row][where] for name in ('latent', 'position', 'sigma', 'loss_mask')
  }


@pytest.mark.parametrize('m', MODALITIES)
def test_rows_hold_the_latents_of_their_clips_and_their_places(batch, m):
  for row, numbers in enumerate(ROWS):
    for segment, number in enumerate(numbers, start=1):
      clip, found = placed(number), inside(batch, m, row, segment)
      latent = getattr(clip.latents, m)
      np.testing.assert_array_equal(found['latent'], latent.reshape(-1, latent.shape[-1]))
      position = SOURCE.codec.geometry.positions(clip.latents)[m]
      np.testing.assert_array_equal(found['position'], position)


@pytest.mark.parametrize('m', MODALITIES)
def test_given_tokens_are_clean_and_do_not_count(batch, m):
  for row, numbers in enumerate(ROWS):
    for segment, number in enumerate(numbers, start=1):
      found, given = inside(batch, m, row, segment), placed(number).given[m].reshape(-1)
      np.testing.assert_array_equal(found['sigma'], ~given)
      np.testing.assert_array_equal(found['loss_mask'], ~given)


def test_frames_that_stand_alone_come_after_the_picture_where_they_are_given():
  clip, geometry = placed(1), SOURCE.codec.geometry
  h, w = clip.latents.video.shape[1:3]
  alone = np.random.default_rng(0).standard_normal((3, h, w, 8)).astype(np.float32)
  latents = dataclasses.replace(clip.latents, keyframes=alone, keyframe_at=(1, 2, 4))
  shown = np.array([True, False, True])
  clip = dataclasses.replace(clip, latents=latents, given={**clip.given, 'keyframes': shown})
  made = assemble([[placed(0), clip], [], []], dataclasses.replace(BUCKET, video=60), geometry)
  plain = assemble([[placed(0), placed(1)], [], []], BUCKET, geometry)
  found, without = (inside(b, 'video', 0, 2) for b in (made, plain))
  for name, value in without.items():
    np.testing.assert_array_equal(found[name][: len(value)], value)
  there = {name: value[len(without[name]) :] for name, value in found.items()}
  np.testing.assert_array_equal(there['latent'], alone[shown].reshape(-1, 8))
  assert not there['sigma'].any() and not there['loss_mask'].any()
  moments = (np.array([1, 4]) + 0.5) / latents.fps
  np.testing.assert_allclose(there['position'][:, 0], moments.repeat(h * w), rtol=1e-6)
  first = inside(plain, 'video', 0, 2)['position'][: h * w, 1:]
  np.testing.assert_array_equal(there['position'][:, 1:], np.tile(first, (2, 1)))
  hidden = dataclasses.replace(clip, given=placed(1).given)
  without = assemble([[placed(0), hidden], [], []], BUCKET, geometry)
  for name, value in inside(plain, 'video', 0, 2).items():
    np.testing.assert_array_equal(inside(without, 'video', 0, 2)[name], value)


def test_a_reference_comes_after_the_picture_and_is_given():
  clip, after = placed(1), np.random.default_rng(0).standard_normal((2, 1, 3, 8))
  latents = dataclasses.replace(clip.latents, reference=after.astype(np.float32))
  rows = [[placed(0), dataclasses.replace(clip, latents=latents)], [], []]
  made = assemble(rows, dataclasses.replace(BUCKET, video=60), SOURCE.codec.geometry)
  plain = assemble([[placed(0), clip], [], []], BUCKET, SOURCE.codec.geometry)
  found, without = (inside(b, 'video', 0, 2) for b in (made, plain))
  for name, value in without.items():
    np.testing.assert_array_equal(found[name][: len(value)], value)
  np.testing.assert_array_equal(found['latent'][-6:], latents.reference.reshape(6, 8))
  assert not found['sigma'][-6:].any() and not found['loss_mask'][-6:].any()
  assert len(found['latent']) == latents.video_tokens == len(without['latent']) + 6
  for name, value in inside(plain, 'audio', 0, 2).items():
    np.testing.assert_array_equal(inside(made, 'audio', 0, 2)[name], value)


def test_what_is_held_loosely_has_a_share_of_the_noise_and_a_reference_none():
  clip, rng = placed(1), np.random.default_rng(0)
  h, w = clip.latents.video.shape[1:3]
  beside = (rng.standard_normal((n, h, w, 8)).astype(np.float32) for n in (1, 2))
  latents = dataclasses.replace(
    clip.latents, **dict(zip(('reference', 'keyframes'), beside)), keyframe_at=(1, 2)
  )
  given = {**clip.given, 'keyframes': np.ones(2, bool)}
  row = [Placed(latents, given, clip.ids, hold=0.75)]
  made = assemble([row, [], []], dataclasses.replace(BUCKET, video=60), SOURCE.codec.geometry)
  video, audio = (np.where(given[m].reshape(-1), 0.25, 1.0) for m in ('video', 'audio'))
  video = np.concatenate([video, np.zeros(h * w), np.full(2 * h * w, 0.25)])
  for m, wanted in {'video': video, 'audio': audio}.items():
    np.testing.assert_array_equal(inside(made, m, 0, 1)['sigma'], wanted)


@pytest.mark.parametrize('m', MODALITIES)
def test_the_rest_is_padding(batch, m):
  t = batch.tokens[m]
  assert t.latent.shape[:2] == (3, getattr(BUCKET, m))
  padding = t.segment == 0
  assert padding[2].all() and padding[:, -1].all()
  for field in (t.latent, t.position, t.sigma, t.loss_mask, t.shot):
    assert not np.asarray(field)[padding].any()
  assert (np.diff(padding.astype(int), axis=1) >= 0).all()  # clips lie side by side, from the left
  counts = [[int((t.segment[row] == s).sum()) for s in (1, 2)] for row in range(3)]
  sizes = [getattr(placed(n).latents, m)[..., 0].size for n in range(3)]
  assert counts == [[sizes[0], sizes[2]], [sizes[1], 0], [0, 0]]


def test_prompts_are_cut_and_numbered_as_their_clips(batch):
  text = batch.text
  assert text.ids.shape == (3, 10)
  for row, numbers in enumerate(ROWS):
    for segment, number in enumerate(numbers, start=1):
      found = text.ids[row][text.segment[row] == segment]
      np.testing.assert_array_equal(found, placed(number).ids[:5])
  assert (text.ids[text.segment == 0] == -1).all() and (text.segment[2] == 0).all()


def test_types_are_those_that_devices_take(batch):
  for t in batch.tokens.values():
    for field in (t.latent, t.position, t.sigma, t.loss_mask):
      assert field.dtype == np.float32
    assert t.segment.dtype == t.shot.dtype == np.int32
  assert batch.text.ids.dtype == batch.text.segment.dtype == batch.text.shot.dtype == np.int32

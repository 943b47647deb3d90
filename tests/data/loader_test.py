import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest
import tiny
from absl import flags
from tiny import refused

from sorajax import sharding
from sorajax.clip import MODALITIES
from sorajax.data.loader import Loader, LoaderConfig, Reading, token_loader
from sorajax.data.schedule import Bucket
from sorajax.tasks import capabilities
from sorajax.text.small import SmallEncoder

FRAMES = (3, 5, 3, 7, 3, 5, 9, 3, 5, 3, 7)
BUCKETS = {
  'short': Bucket(rows=2, video=40, audio=110, text=8, clips=3),
  'long': Bucket(rows=2, video=70, audio=120, text=8, clips=1),
}
CONFIG = LoaderConfig(path='', buckets=BUCKETS)
MIXTURE = {'text_to_clip': 1.0, 'extend': 1.0, 'video_to_audio': 1.0}
STEPS = 5


def draw(rng, layout):
  return capabilities.draw(rng, MIXTURE, layout)


def one_device() -> jax.sharding.Mesh:
  return sharding.make_mesh(sharding.MeshConfig())


def loader(config: LoaderConfig = CONFIG, seed: int = 0, **changes) -> Loader:
  return token_loader(
    config, tiny.Source(FRAMES), tokenize=SmallEncoder(32, 1, 8).tokenize, draw_given=draw,
    mesh=one_device(), seed=seed, **changes,
  )  # fmt: skip


def local(made: Loader, steps: int = STEPS) -> list:
  return list(itertools.islice(made.local(), steps))


@functools.cache
def plain() -> list:
  return local(loader())


def assert_same(a, b) -> None:
  (batch, info), (other, wanted) = a, b
  assert info == wanted
  jax.tree.map(np.testing.assert_array_equal, batch, other)


def test_batches_hold_the_clips_that_they_name():
  source = tiny.Source(FRAMES)
  for batch, info in plain():
    held = {m: batch.tokens[m] for m in MODALITIES}
    wanted = sum(source[clip][0].audio.shape[0] for clip in info['clips'])
    assert (held['audio'].segment > 0).sum() == wanted
    for clip in info['clips']:
      latent = source[clip][0].audio
      assert any(
        (held['audio'].latent[0, row, i : i + len(latent)] == latent).all()
        for row in range(2)
        for i in range(held['audio'].latent.shape[2] - len(latent) + 1)
      )


def test_workers_change_nothing():
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Grain's workers read them
  for a, b in zip(
    local(loader(dataclasses.replace(CONFIG, reading=Reading(workers=2))), 3), plain()
  ):
    assert_same(a, b)


@pytest.mark.parametrize('threads, ahead', [(1, 1), (4, 8)])
def test_reading_ahead_changes_nothing(threads, ahead):
  config = dataclasses.replace(CONFIG, reading=Reading(threads=threads, ahead=ahead))
  for a, b in zip(local(loader(config)), plain()):
    assert_same(a, b)


@pytest.mark.parametrize('step', [1, 4])
def test_a_resumed_loader_goes_on_as_if_never_stopped(step):
  again = loader(place=loader().place(step))
  for a, b in zip(local(again, STEPS - step), plain()[step:]):
    assert_same(a, b)


def test_another_seed_gives_other_batches():
  assert [info for _, info in local(loader(seed=1))] != [info for _, info in plain()]


def test_micro_batches_hold_the_same_rows():
  for (batch, info), (whole, wanted) in zip(local(loader(micro_batches=2)), plain()):
    assert info == wanted
    flat = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), batch)
    jax.tree.map(np.testing.assert_array_equal, flat, whole)
    assert batch.text.ids.shape[:2] == (2, 1)


def test_arrays_of_the_mesh_are_the_rows_of_this_process():
  for a, b in zip(itertools.islice(loader(), 2), plain()):
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(a[0]))
    assert_same(a, b)


def test_buckets_are_tried_smallest_first():
  assert CONFIG.in_order() == (BUCKETS['short'], BUCKETS['long'])


@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
def test_captions_are_dropped_by_their_share(share):
  """Within 5 standard errors: fails by chance less than once in a million, were it not seeded."""
  made = loader(dataclasses.replace(CONFIG, caption_dropout=share))
  lengths = []
  for step in range(150):
    batch, _info = made.feed(step)
    for row in range(2):
      segment = batch.text.segment[0, row]
      lengths += [int((segment == s).sum()) for s in range(1, segment.max() + 1)]
  dropped = np.mean([length == 1 for length in lengths])  # the mark at the beginning alone
  assert dropped == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / len(lengths)))


def test_a_clip_is_shown_otherwise_in_each_epoch():
  """What is given and which captions are dropped is drawn anew."""
  made = loader()
  masks = {}
  for step in range(60):
    batch, _info = made.feed(step)
    for row in range(2):
      t = jax.tree.map(lambda x, row=row: x[0, row], batch.tokens['audio'])
      one = (t.segment == 1) & (t.segment.max() == 1)
      if one.any():
        key = t.latent[one].tobytes()
        masks.setdefault(key, set()).add(t.sigma[one].tobytes())
  assert max(len(seen) for seen in masks.values()) > 1


def test_rows_that_do_not_divide_are_refused():
  with refused('2 rows do not divide into 3 micro-batches; try 3'):
    loader(micro_batches=3)
  with refused('none of 11 clips fits'):
    loader(dataclasses.replace(CONFIG, buckets={'tiny': Bucket(rows=2, video=4, audio=4)}))

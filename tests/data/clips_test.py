import dataclasses

import numpy as np
import pytest
import tiny
from tiny import refused

from sorajax import sharding
from sorajax.clip import Clip
from sorajax.data import clips
from sorajax.data.clips import ClipLoaderConfig, clip_loader, cut
from sorajax.data.schedule import Place
from sorajax.geometry import samples_of

CONFIG = ClipLoaderConfig(path='', rows=4, frames=5, size=(6, 8))
FRAMES = (9, 5, 3, 7, 5, 9, 5)


def whole(number: int = 0, frames: int = 9) -> Clip:
  """Every frame, row and column has a colour of its own; the sound counts its samples."""
  t, y, x = np.meshgrid(np.arange(frames), np.arange(8), np.arange(12), indexing='ij')
  video = np.stack([t + 20 * number, y, x], axis=-1).astype(np.uint8)
  count = samples_of(frames, tiny.FPS, tiny.RATE_HZ)
  return Clip(video, np.arange(count, dtype=np.float32)[:, None], tiny.FPS, tiny.RATE_HZ)


@pytest.fixture
def source(monkeypatch):
  monkeypatch.setattr(clips, 'clip_of', lambda number: whole(number, FRAMES[number]))
  made = tiny.Source(FRAMES)
  monkeypatch.setattr(type(made), '__getitem__', lambda self, number: number)
  return made


def loader(source, place: Place = Place(), micro_batches: int = 1, **changes):
  config = dataclasses.replace(CONFIG, **changes)
  mesh = sharding.make_mesh(sharding.MeshConfig())
  return clip_loader(config, source, mesh=mesh, seed=1, micro_batches=micro_batches, place=place)


def test_a_cut_is_a_piece_of_the_clip_with_its_own_sound():
  for seed in range(20):
    piece = cut(whole(), CONFIG, np.random.default_rng(seed))
    assert piece.video.shape == (5, 6, 8, 3)
    t, y, x = (piece.video[..., i].astype(int) for i in range(3))
    assert (np.diff(t, axis=0) == 1).all() and (np.diff(y, axis=1) == 1).all()
    across = np.diff(x, axis=2)
    assert (across == 1).all() or (across == -1).all()
    first = samples_of(int(t.min()), tiny.FPS, tiny.RATE_HZ)
    np.testing.assert_array_equal(piece.audio[:, 0], np.arange(first, first + len(piece.audio)))
    assert len(piece.audio) == samples_of(5, tiny.FPS, tiny.RATE_HZ)


def test_cuts_come_from_everywhere_and_both_ways_round():
  rng = np.random.default_rng(0)
  pieces = [cut(whole(), CONFIG, rng).video for _ in range(200)]
  assert {int(p[0, 0, 0, 0]) for p in pieces} == set(range(5))
  assert {int(p[0, 0, 0, 1]) for p in pieces} == set(range(3))
  assert {int(p[0, 0, :, 2].min()) for p in pieces} == set(range(5))
  assert {bool(p[0, 0, 0, 2] > p[0, 0, 1, 2]) for p in pieces} == {False, True}


def test_a_shrunk_cut_is_the_mean_of_squares_of_every_so_many_frames():
  config = dataclasses.replace(CONFIG, frames=3, size=(4, 6), shrinks=(1, 2), flip=False)
  piece = cut(whole(), config, None)
  assert piece.video.shape == (3, 4, 6, 3) and piece.fps == tiny.FPS / 2
  assert piece.video[:, 0, 0, 0].tolist() == [0, 2, 4]
  assert piece.video[0, :, 0, 1].tolist() == [round(0.5 + 2 * n) for n in range(4)]
  rng, found = np.random.default_rng(0), set()
  for _ in range(20):
    video = cut(whole(), config, rng).video
    found.add(int(video[1, 0, 0, 0]) - int(video[0, 0, 0, 0]))
  assert found == {1, 2}


def test_turned_cuts_come_upside_down_and_backwards():
  config, rng = dataclasses.replace(CONFIG, turn=True), np.random.default_rng(0)
  videos = [cut(whole(), config, rng).video.astype(int) for _ in range(50)]
  ways = {tuple(np.sign(v[-1, -1, -1] - v[0, 0, 0]).tolist()) for v in videos}
  assert len(ways) == 8


def test_without_chance_a_cut_is_the_start_and_middle():
  a, b = (cut(whole(), CONFIG, None) for _ in range(2))
  np.testing.assert_array_equal(a.video, b.video)
  assert a.video[0, 0, 0].tolist() == [0, 1, 2]


def test_an_epoch_shows_every_clip_that_is_long_enough_once(source):
  feed = loader(source).feed
  shown = [clip for step in range(2) for clip in feed(step)[1]['clips']]
  assert sorted(shown) == [0, 1, 3, 4, 5, 6]
  assert all(feed(step)[0]['video'].shape == (1, 4, 5, 6, 8, 3) for step in range(2))


def test_micro_batches_and_resumption_change_nothing(source):
  straight = loader(source)
  split = loader(source, micro_batches=2)
  later = loader(source, place=straight.place(3))
  for step in (3, 4):
    batch, info = straight.feed(step)
    for other in (later.feed(step), split.feed(step)):
      assert other[1] == info
      np.testing.assert_array_equal(other[0]['video'].reshape(batch['video'].shape), batch['video'])


def test_clips_that_will_not_do_are_refused(source):
  with refused('none of 7 clips is 9×12×16 or larger'):
    loader(source, shrinks=(1, 2))
  with pytest.raises(ValueError, match='shrinks is'):
    dataclasses.replace(CONFIG, shrinks=())
  with refused('none of 7 clips is 11×6×8 or larger, the largest 9×8×12'):
    loader(source, frames=11)
  with refused('5 rows do not divide into 2 micro-batches; try 6'):
    loader(source, rows=5, micro_batches=2)

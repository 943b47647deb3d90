"""Batches of clips as they are, for what learns from pixels and samples: the codecs."""

import dataclasses
from typing import Any

import jax
import numpy as np

from sorajax import sharding
from sorajax.clip import Clip
from sorajax.data.loader import READING, Loader, Reading, check_rows
from sorajax.data.schedule import Bucket, Place, Schedule
from sorajax.data.sources import Source, clip_of
from sorajax.errors import UserError
from sorajax.geometry import samples_of

Clips = dict[str, np.ndarray]  # video: uint8 [..., F, H, W, 3]; audio: float32 [..., S, A]


@dataclasses.dataclass(frozen=True)
class ClipLoaderConfig:
  """How training batches of clips are made.

  Attributes:
    path: a folder that launch/prepare.py wrote.
    rows: clips in a batch.
    frames: of a clip; longer ones are cut at a random place, shorter ones are left out.
    size: (height, width) of a clip, cut out at a random place.
    flip: whether half of the clips are seen in a mirror.
    turn: whether half of the clips are seen upside down, and half of them backwards.
    shrinks: by how much a clip is made smaller before it is cut, in frames and in pixels alike; one
      of these is drawn, and held-out clips take the last.
    reading: how far ahead.
  """

  path: str
  rows: int
  frames: int
  size: tuple[int, int]
  flip: bool = True
  turn: bool = False
  shrinks: tuple[int, ...] = (1,)
  reading: Reading = READING

  def __post_init__(self) -> None:
    if not self.shrinks or min(self.shrinks) < 1:
      raise ValueError(f'shrinks is {self.shrinks}; give whole numbers from 1')
    if self.rows < 1:
      raise ValueError(f'rows are {self.rows}; give 1 or more')


@dataclasses.dataclass(frozen=True)
class ClipFeed:
  """step → this process's clips of the batch: a pure function that travels to worker processes."""

  config: ClipLoaderConfig
  source: Source
  schedule: Schedule
  rows: tuple[int, ...]
  micro_batches: int
  modalities: tuple[str, ...]

  def __call__(self, step: int) -> tuple[Clips, dict[str, Any]]:
    """Arrays [A, rows, ...] of A micro-batches, and what is in them."""
    _, rows = self.schedule[step]
    each = len(rows) // self.micro_batches
    here = [a * each + r for a in range(self.micro_batches) for r in self.rows]
    # The last batch of an epoch is filled up with its own clips, cut elsewhere.
    full = [rows[r] if rows[r] else rows[r % sum(map(bool, rows))] for r in here]
    cuts = [self._cut(step, r, clip) for r, (clip,) in zip(here, full)]
    shape = (self.micro_batches, len(self.rows))
    parts = {m: np.stack([getattr(c, m) for c in cuts]) for m in self.modalities}
    batch = {m: x.reshape(*shape, *x.shape[1:]) for m, x in parts.items()}
    return batch, {'step': step, 'bucket': 0, 'clips': [clip for (clip,) in filter(None, rows)]}

  def _cut(self, step: int, row: int, number: int) -> Clip:
    rng = np.random.default_rng([self.schedule.seed, step, row])
    return cut(clip_of(self.source[number]), self.config, rng)


def cut(clip: Clip, config: ClipLoaderConfig, rng: np.random.Generator | None) -> Clip:
  """A piece of the config's size out of a clip, at a random place, or its start and middle."""
  by = config.shrinks[-1] if rng is None else int(rng.choice(config.shrinks))
  whole = [n * by for n in config.size]
  room = np.subtract(clip.video.shape[:3], ((config.frames - 1) * by + 1, *whole))
  t, y, x = (0, *(room[1:] // 2)) if rng is None else rng.integers(0, room + 1)
  video = clip.video[t : t + (config.frames - 1) * by + 1 : by, y : y + whole[0], x : x + whole[1]]
  if rng is not None:
    for wanted, axis in ((config.flip, 2), (config.turn, 1), (config.turn, 0)):
      if wanted and rng.random() < 0.5:
        video = np.flip(video, axis)
  fps, rate = clip.fps / by, clip.sample_rate_hz
  first, samples = samples_of(int(t), clip.fps, rate), samples_of(config.frames, fps, rate)
  audio = clip.audio[first : first + samples]
  audio = np.pad(audio, ((0, samples - len(audio)), (0, 0)))
  return Clip(_shrunk(video, by), audio, fps, rate)


def _shrunk(video: np.ndarray, by: int) -> np.ndarray:
  """uint8 [F, H·by, W·by, 3] → the means of its squares, uint8 [F, H, W, 3]."""
  if by == 1:
    return np.ascontiguousarray(video)
  F, H, W, C = video.shape
  squares = video.reshape(F, H // by, by, W // by, by, C)
  return np.rint(squares.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)


def usable(source: Source, config: ClipLoaderConfig) -> np.ndarray:
  """Which clips are long and large enough; `UserError` where none is."""
  by = max(config.shrinks)
  wanted = ((config.frames - 1) * by + 1, *(n * by for n in config.size))
  sizes = np.array([(r.frames, r.height, r.width) for r in source.rows])
  found = np.flatnonzero((sizes >= wanted).all(axis=1))
  if not len(found):
    size = '×'.join(map(str, wanted))
    largest = '×'.join(map(str, sizes.max(axis=0)))
    raise UserError(f'none of {len(sizes)} clips is {size} or larger, the largest {largest}')
  return found


def clip_loader(
  config: ClipLoaderConfig, source: Source, *, mesh: jax.sharding.Mesh, seed: int,
  micro_batches: int, place: Place, modalities: tuple[str, ...] = ('video', 'audio'),
) -> Loader:  # fmt: skip
  """Batches of clips from `place` on; `UserError` where rows do not divide or no clip will do."""
  check_rows(config.rows, micro_batches, mesh)
  sizes = np.full((len(source), 2), 2)
  sizes[usable(source, config)] = 1  # what is 2 fits no bucket
  schedule = Schedule(sizes, (Bucket(config.rows, 1, 1),), seed, place)
  rows = sharding.rows_here(mesh, config.rows // micro_batches)
  feed = ClipFeed(config, source, schedule, rows, micro_batches, modalities)
  return Loader(schedule, feed, config.reading, mesh, micro_batches)

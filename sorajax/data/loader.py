"""Batches for a training run: read ahead by Grain, laid over the mesh, resumable anywhere."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import grain
import jax
import numpy as np

from sorajax import sharding
from sorajax.clip import Batch
from sorajax.data.latents import LatentSource, Thinned, token_sizes
from sorajax.data.rows import Placed, assemble
from sorajax.data.schedule import Bucket, Place, Schedule
from sorajax.errors import UserError
from sorajax.geometry import Layout

LAST_STEP = 2**31 - 1
BEGINNING = Place()

Tokenize = Callable[[str], np.ndarray]
DrawGiven = Callable[[np.random.Generator, Layout], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Reading:
  """How far batches are read ahead.

  Attributes:
    workers: processes that read ahead; 0 reads in threads of this one.
    threads: threads that read ahead, in each process.
    ahead: batches held ready, in each process.
  """

  workers: int = 0
  threads: int = 2
  ahead: int = 4


READING = Reading()


@dataclasses.dataclass(frozen=True)
class LoaderConfig:
  """How training batches are made.

  Attributes:
    path: a folder of latents.
    buckets: name → shape of batch; a clip takes the smallest that holds it.
    limit: use so many clips alone, evenly spaced; 0 uses all.
    caption_dropout: share of the clips that are shown without their caption, for guidance.
    reading: how far ahead.
  """

  path: str
  buckets: dict[str, Bucket]
  limit: int = 0
  caption_dropout: float = 0.1
  reading: Reading = READING

  def in_order(self) -> tuple[Bucket, ...]:
    """The buckets, smallest first."""
    return tuple(sorted(self.buckets.values(), key=lambda b: (b.video + b.audio, b.rows)))


@dataclasses.dataclass(frozen=True)
class Feed:
  """step → this process's rows of the batch: a pure function that travels to worker processes.

  Attributes:
    source: latents and captions.
    schedule: which clips ride where.
    tokenize: caption → int32 [L].
    draw_given: decides what of a clip is given.
    caption_dropout: share of clips without caption.
    rows: for each bucket, which of its rows this process holds; a micro-batch's, where
      gradients are accumulated.
    micro_batches: into how many the rows of a batch are split.
  """

  source: LatentSource
  schedule: Schedule
  tokenize: Tokenize
  draw_given: DrawGiven
  caption_dropout: float
  rows: tuple[tuple[int, ...], ...]
  micro_batches: int

  def __call__(self, step: int) -> tuple[Batch, dict[str, Any]]:
    """A batch of arrays [A, rows, T, ...] for A micro-batches, and what is in it."""
    bucket_index, rows = self.schedule[step]
    bucket = self.schedule.buckets[bucket_index]
    each = bucket.rows // self.micro_batches
    here = [a * each + r for a in range(self.micro_batches) for r in self.rows[bucket_index]]
    placed = [self._row(step, r, rows[r]) for r in here]
    batch = assemble(placed, bucket, self.source.codec.geometry)
    shape = (self.micro_batches, len(self.rows[bucket_index]))
    batch = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), batch)
    clips = [clip for row in rows for clip in row]
    return batch, {'step': step, 'bucket': bucket_index, 'clips': clips}

  def _row(self, step: int, row: int, clips: tuple[int, ...]) -> list[Placed]:
    out = []
    for slot, clip in enumerate(clips):
      rng = np.random.default_rng([self.schedule.seed, step, row, slot])
      latents, caption = self.source[clip]
      shown = '' if rng.random() < self.caption_dropout else caption
      given = self.draw_given(rng, self.source.codec.geometry.layout(latents))
      out.append(Placed(latents, given, self.tokenize(shown)))
    return out


class Loader:
  """An iterator of (batch of global arrays, what is in it), read ahead.

  Attributes:
    schedule: which clips ride where.
    feed: step → this process's rows and what is in them; a pure function that travels.
  """

  def __init__(
    self, schedule: Schedule, feed: Callable[[int], tuple[Any, dict[str, Any]]], reading: Reading,
    mesh: jax.sharding.Mesh, micro_batches: int = 1, inner: str | None = None,
  ):  # fmt: skip
    """Begins where the schedule does.

    Args:
      schedule: which clips ride where.
      feed: gives arrays [A, rows, ...] of A micro-batches.
      reading: how far ahead.
      mesh: to lay them over.
      micro_batches: A.
      inner: the logical axis after the rows, if the arrays have one.
    """
    self.schedule, self.feed = schedule, feed
    self._reading, self._mesh, self._inner = reading, mesh, inner
    self._totals = [b.rows // micro_batches for b in schedule.buckets]
    self._here = [sharding.rows_here(mesh, total) for total in self._totals]

  def place(self, step: int) -> Place:
    """What a checkpoint keeps so that `step` is the next one."""
    return self.schedule.place(step)

  def local(self) -> Iterator[tuple[Any, dict[str, Any]]]:
    """This process's rows as numpy arrays, read ahead."""
    r = self._reading
    steps = grain.MapDataset.range(self.schedule.start.step, LAST_STEP).map(self.feed)
    options = grain.ReadOptions(num_threads=r.threads, prefetch_buffer_size=r.ahead)
    batches = steps.to_iter_dataset(options)
    if r.workers:
      batches = batches.mp_prefetch(grain.MultiprocessingOptions(r.workers, r.ahead))
    return iter(batches)

  def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
    for batch, info in self.local():
      rows, total = self._here[info['bucket']], self._totals[info['bucket']]
      place = functools.partial(
        sharding.place_rows, self._mesh, rows=rows, total=total, batch_dim=1, inner=self._inner
      )
      yield jax.tree.map(place, batch), info


def token_loader(
  config: LoaderConfig, source: LatentSource, *, tokenize: Tokenize, draw_given: DrawGiven,
  mesh: jax.sharding.Mesh, seed: int, micro_batches: int = 1, place: Place = BEGINNING,
) -> Loader:  # fmt: skip
  """Batches of tokens from `place` on; `UserError` where rows do not divide or no clip fits."""
  buckets = config.in_order()
  for b in buckets:
    check_batch(b, micro_batches, mesh)
  source = Thinned(source, config.limit)
  sizes = token_sizes(source.rows, source.codec.geometry, source.beside)
  schedule = Schedule(sizes, buckets, seed, place)
  rows = tuple(sharding.rows_here(mesh, b.rows // micro_batches) for b in buckets)
  feed = Feed(source, schedule, tokenize, draw_given, config.caption_dropout, rows, micro_batches)
  return Loader(schedule, feed, config.reading, mesh, micro_batches, inner='tokens')


def check_batch(bucket: Bucket, micro_batches: int, mesh: sharding.Mesh) -> None:
  """Raises unless batches of the bucket's shape divide over the mesh."""
  check_rows(bucket.rows, micro_batches, mesh)
  sizes = {'video': bucket.video, 'audio': bucket.audio, 'text': bucket.text * bucket.clips}
  for what, size in sizes.items():
    sharding.check_divides(mesh, f'a bucket of {what} tokens', size, 'tokens')


def check_rows(rows: int, micro_batches: int, mesh: sharding.Mesh) -> None:
  """Raises unless a batch divides into micro-batches, and each over the mesh."""
  if rows % micro_batches:
    raise UserError(
      f'{rows} rows do not divide into {micro_batches} micro-batches; '
      f'try {-(-rows // micro_batches) * micro_batches}'
    )
  sharding.check_divides(mesh, 'micro-batch of', rows // micro_batches, 'batch')

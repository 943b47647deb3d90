"""Which clips ride in which row of which batch: a pure function of (sizes, seed, step).

Nothing here depends on processes or devices, so a run that resumes on other ones sees the very
batches that it would have seen. An epoch visits every clip once; clips share a row where they fit
(first fit, Johnson 1973), and rows of one bucket fill a batch. The last batch of a bucket is filled
up with empty rows, which no loss counts.
"""

import bisect
import dataclasses
import threading

import numpy as np

from sorajax.errors import UserError

OPEN_ROWS = 32  # rows kept open for first fit; more fill fuller and plan slower

Row = tuple[int, ...]  # clips, by their index in the source

_PLANNING = threading.RLock()  # of the module, so that a schedule can travel to other processes


@dataclasses.dataclass(frozen=True)
class Bucket:
  """One shape of batch.

  Attributes:
    rows: rows of the whole batch, over all processes.
    video: picture tokens of a row.
    audio: sound tokens of a row.
    text: text tokens of each clip in the row; longer captions are cut.
    clips: most clips in a row.
  """

  rows: int
  video: int
  audio: int
  text: int = 64
  clips: int = 1

  def __post_init__(self) -> None:
    if min(dataclasses.astuple(self)) < 1:
      raise ValueError('rows, video, audio, text and clips must be above 0')


@dataclasses.dataclass(frozen=True)
class Place:
  """The state of the schedule: where a step lies. It is all that a checkpoint keeps of the data."""

  step: int = 0
  epoch: int = 0
  epoch_first_step: int = 0


class Schedule:
  """step → (bucket, rows)."""

  def __init__(self, sizes: np.ndarray, buckets: tuple[Bucket, ...], seed: int, start: Place):
    """Plans from `start` on.

    Args:
      sizes: int [N, 2], the picture and sound tokens of every clip.
      buckets: shapes of batches, tried in order.
      seed: of the shuffles.
      start: where to begin; earlier steps cannot be asked for.

    Raises:
      UserError: no clip fits any bucket.
    """
    self.sizes, self.buckets, self.seed, self.start = sizes, buckets, seed, start
    fits = np.stack([(sizes <= [b.video, b.audio]).all(axis=1) for b in buckets], axis=1)
    self.bucket_of = np.where(fits.any(axis=1), fits.argmax(axis=1), -1)
    self.left_out = int((self.bucket_of < 0).sum())
    if self.left_out == len(sizes):
      big = sizes.min(axis=0) if len(sizes) else [0, 0]
      shapes = ', '.join(f'{b.video} + {b.audio}' for b in buckets)
      raise UserError(
        f'none of {len(sizes)} clips fits a bucket: the smallest needs {big[0]} picture + {big[1]} '
        f'sound tokens and data.buckets hold {shapes}; enlarge one'
      )
    self._first_steps = [start.epoch_first_step]
    self._epochs: dict[int, list[tuple[int, list[Row]]]] = {}

  def place(self, step: int) -> Place:
    """The state from which step `step` is next."""
    with _PLANNING:
      while self._first_steps[-1] <= step:
        epoch = self.start.epoch + len(self._first_steps) - 1
        self._first_steps.append(self._first_steps[-1] + len(self._epoch(epoch)))
    i = bisect.bisect_right(self._first_steps, step) - 1
    return Place(step, self.start.epoch + i, self._first_steps[i])

  def __getitem__(self, step: int) -> tuple[int, list[Row]]:
    """The index of the bucket, and its rows."""
    at = self.place(step)
    return self._epoch(at.epoch)[step - at.epoch_first_step]

  def _epoch(self, epoch: int) -> list[tuple[int, list[Row]]]:
    with _PLANNING:
      if epoch not in self._epochs:
        if len(self._epochs) > 2:
          self._epochs.pop(min(self._epochs))
        self._epochs[epoch] = self._plan(epoch)
      return self._epochs[epoch]

  def _plan(self, epoch: int) -> list[tuple[int, list[Row]]]:
    rng = np.random.default_rng([self.seed, epoch])
    order = rng.permutation(len(self.sizes))
    batches: list[tuple[int, list[Row]]] = []
    for i, bucket in enumerate(self.buckets):
      rows = _pack(order[self.bucket_of[order] == i], self.sizes, bucket)
      for start in range(0, len(rows), bucket.rows):
        chosen = rows[start : start + bucket.rows]
        batches.append((i, chosen + [()] * (bucket.rows - len(chosen))))
    return [batches[i] for i in rng.permutation(len(batches))]


def _pack(clips: np.ndarray, sizes: np.ndarray, bucket: Bucket) -> list[Row]:
  """Clips in their order → rows, each holding at most what the bucket holds."""
  if bucket.clips == 1:
    return [(int(c),) for c in clips]
  done: list[Row] = []
  open_rows: list[tuple[list[int], np.ndarray]] = []
  for clip in clips:
    for row, room in open_rows:
      if len(row) < bucket.clips and (sizes[clip] <= room).all():
        row.append(int(clip))
        room -= sizes[clip]
        break
    else:
      if len(open_rows) == OPEN_ROWS:
        fullest = min(range(OPEN_ROWS), key=lambda i: open_rows[i][1].sum())
        done.append(tuple(open_rows.pop(fullest)[0]))
      open_rows.append(([int(clip)], np.array([bucket.video, bucket.audio]) - sizes[clip]))
  return done + [tuple(row) for row, _ in open_rows]

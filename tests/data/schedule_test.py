import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny import refused

from sorajax.data.schedule import Bucket, Place, Schedule

BUCKETS = (Bucket(rows=3, video=40, audio=20, clips=4), Bucket(rows=2, video=100, audio=60))


def random_sizes(count: int = 200, seed: int = 0) -> np.ndarray:
  """Most fit the first bucket, some the second, every tenth none."""
  rng = np.random.default_rng(seed)
  sizes = rng.integers([1, 1], [41, 21], (count, 2))
  sizes[::5] = rng.integers([41, 21], [101, 61], (len(sizes[::5]), 2))
  sizes[::10] = [101, 10]
  return sizes


def schedule(sizes=None, buckets=BUCKETS, seed: int = 0, start: Place = Place()) -> Schedule:
  return Schedule(random_sizes() if sizes is None else sizes, buckets, seed, start)


def epoch_of(plan: Schedule, epoch: int) -> list:
  steps, step = [], plan.start.step
  while plan.place(step).epoch <= epoch:
    if plan.place(step).epoch == epoch:
      steps.append(plan[step])
    step += 1
  return steps


@pytest.mark.parametrize('epoch', [0, 1, 4])
def test_an_epoch_visits_every_clip_that_fits_once(epoch):
  plan, sizes = schedule(), random_sizes()
  seen = Counter(clip for _, rows in epoch_of(plan, epoch) for row in rows for clip in row)
  fits = {i for i, size in enumerate(sizes) if (size <= [100, 60]).all()}
  assert set(seen) == fits and set(seen.values()) == {1}
  assert plan.left_out == len(sizes) - len(fits) == 20


def test_rows_hold_what_their_bucket_holds():
  plan, sizes = schedule(), random_sizes()
  for index, rows in epoch_of(plan, 0):
    bucket = BUCKETS[index]
    assert len(rows) == bucket.rows
    for row in rows:
      total = sizes[list(row)].sum(axis=0) if row else np.zeros(2)
      assert (total <= [bucket.video, bucket.audio]).all() and len(row) <= bucket.clips


def test_a_clip_rides_in_the_first_bucket_that_holds_it():
  sizes = random_sizes()
  for index, rows in epoch_of(schedule(), 0):
    for row in rows:
      assert all(index == (0 if (sizes[clip] <= [40, 20]).all() else 1) for clip in row)


def test_only_the_last_batch_of_a_bucket_has_empty_rows():
  batches = epoch_of(schedule(), 0)
  for index in range(2):
    partly = [rows for i, rows in batches if i == index and () in rows]
    assert len(partly) <= 1
    assert all(any(rows) for i, rows in batches if i == index)


def test_epochs_and_seeds_are_shuffled_anew():
  clips = lambda plan, epoch: [row for _, rows in epoch_of(plan, epoch) for row in rows]
  orders = [clips(schedule(), 0), clips(schedule(), 1), clips(schedule(seed=1), 0)]
  assert orders[0] != orders[1] and orders[0] != orders[2]
  assert orders[0] == clips(schedule(), 0)


@pytest.mark.parametrize('step', [0, 1, 7, 60, 61, 200, 333])
def test_a_schedule_from_any_place_goes_on_as_the_whole(step):
  whole = schedule()
  again = schedule(start=whole.place(step))
  for later in (step, step + 1, step + 50, step + 150):
    assert again[later] == whole[later] and again.place(later) == whole.place(later)


def test_steps_may_be_asked_for_in_any_order():
  """Loader threads do, and an epoch that was put away is planned again the same."""
  whole, other = schedule(), schedule()
  order = [250, 3, 120, 0, 60, 180, 2]
  wanted = {step: whole[step] for step in sorted(order)}
  assert {step: other[step] for step in order} == wanted


def test_threads_that_ask_at_once_are_told_the_same():
  """Short epochs, so that many are planned while other threads plan them too."""
  sizes = random_sizes(6)
  wanted = [schedule(sizes)[step] for step in range(300)]
  interval = sys.getswitchinterval()
  sys.setswitchinterval(1e-6)
  try:
    for _ in range(20):
      plan = schedule(sizes)
      with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(plan.__getitem__, range(300))) == wanted
  finally:
    sys.setswitchinterval(interval)


def test_rows_are_filled_well():
  sizes = np.random.default_rng(0).integers(4, 40, (500, 1)) * [2, 1]
  bucket = Bucket(rows=4, video=160, audio=80, clips=16)
  rows = [row for _, rows in epoch_of(schedule(sizes, (bucket,)), 0) for row in rows if row]
  fill = [sizes[list(row)].sum(axis=0) / [160, 80] for row in rows]
  assert np.mean(fill) > 0.8


def test_a_row_of_one_clip_is_that_clip():
  plan = schedule(buckets=(Bucket(rows=2, video=100, audio=60),))
  assert all(len(row) <= 1 for _, rows in epoch_of(plan, 0) for row in rows)


def test_clips_that_fit_nowhere_are_refused_with_the_sizes():
  with refused(
    r'none of 3 clips fits a bucket: the smallest needs 200 picture \+ 90 sound tokens and '
    r'data.buckets hold 40 \+ 20, 100 \+ 60; enlarge one'
  ):
    schedule(np.array([[200, 95], [210, 90], [300, 99]]))
  with refused('none of 0 clips'):
    schedule(np.zeros((0, 2), int))

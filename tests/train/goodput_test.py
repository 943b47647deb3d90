"""Where a run's time goes, by a clock that is turned by hand."""

import itertools

import pytest

from sorajax.train import metrics
from sorajax.train.goodput import FILE, Times, shares, told


class Clock:
  """Time passes when it is told to."""

  def __init__(self):
    self.now = 1000.0

  def passes(self, seconds: float) -> None:
    self.now += seconds

  def __call__(self) -> float:
    return self.now


def start(folder, clock: Clock, first: int, steps: int, written: int) -> None:
  """A start that takes 10 s and 7 for the first step; each other takes 2, with 1 for reading."""
  times = Times(folder, first, clock.now, True, clock)
  clock.passes(10)
  for step in range(first + 1, first + steps + 1):
    with times.spent('reading'):
      clock.passes(1)
    clock.passes(7 if step == first + 1 else 2)
    times.step_done()
    if (step - first) % written == 0:
      with times.spent('saving'):
        clock.passes(4)
      times.write(step)


def test_a_run_left_alone_spends_all_its_time_on_something(tmp_path):
  clock = Clock()
  start(tmp_path, clock, first=0, steps=6, written=3)
  found = shares(metrics.read(tmp_path, FILE))
  whole = clock.now - 1000
  assert {what: share * whole for what, share in found.items() if share} == pytest.approx(
    {'starting': 17, 'reading': 6, 'steps': 10, 'saving': 8}
  )
  assert sum(found.values()) == pytest.approx(1)


def test_steps_that_are_done_again_were_lost_and_time_between_starts_is_down(tmp_path):
  """Killed 2 s after step 6 was told of, started again a minute later from step 4."""
  clock = Clock()
  start(tmp_path, clock, first=0, steps=6, written=3)
  clock.passes(62)
  with (tmp_path / FILE).open('a') as file:
    file.write('{"first": 6, "st')
  start(tmp_path, clock, first=4, steps=4, written=2)
  lines = metrics.read(tmp_path, FILE)
  assert [line['step'] for line in lines] == [3, 6, 6, 8]
  found, whole = shares(lines), clock.now - 1000
  assert found['down'] * whole == pytest.approx(62)
  assert found['lost'] * whole == pytest.approx(4)  # steps 5 and 6, 2 s each
  assert found['steps'] * whole == pytest.approx(10 - 4 + 6)
  assert sum(found.values()) == pytest.approx(1)
  assert told(tmp_path).startswith(
    f'{found["steps"]:.0%} of the time went to steps that count; down'
  )


def test_a_line_that_is_written_within_a_step_does_not_cut_it(tmp_path):
  clock = Clock()
  times = Times(tmp_path, 0, clock.now, True, clock)
  for _ in range(3):  # 5 s each, of which 2 come after the line is written
    clock.passes(3)
    found = times.write(0)
    clock.passes(2)
    times.step_done()
  assert found == pytest.approx({'step_s_p50': 5, 'step_s_p95': 5, 'step_s_longest': 5})
  spent = shares(metrics.read(tmp_path, FILE))
  assert spent['steps'] * (clock.now - 1000 - 2) == pytest.approx(5)


def test_steps_are_told_by_their_quantiles(tmp_path):
  clock = Clock()
  times = Times(tmp_path, 0, clock.now, True, clock)
  for seconds in itertools.chain([100], range(1, 102)):  # the first one compiles
    clock.passes(seconds)
    times.step_done()
  found = times.write(102)
  assert found == pytest.approx({'step_s_p50': 51, 'step_s_p95': 96, 'step_s_longest': 101})
  assert times.write(102) == {}

"""Programs are timed each in a process of its own, in turn."""

import os
import time

from sorajax.evaluate.apart import RUNS, Process, medians, timed


def prepare(name: str, seconds: float) -> int:
  RUNS[name] = timed(lambda: time.sleep(seconds))
  return os.getpid()


def test_each_runs_in_its_own_process_and_the_slower_takes_longer():
  quick, slow = Process(), Process()
  pids = {quick.call(prepare, 'it', 0.0), slow.call(prepare, 'it', 0.1), os.getpid()}
  assert len(pids) == 3 and 'it' not in RUNS
  found = medians({'quick': quick, 'slow': slow}, ['it'], rounds=2)
  assert found['it', 'slow'] > 0.1 > found['it', 'quick']


def test_a_run_in_a_row_counts_as_one_of_its_kind():
  calls = []

  began = time.perf_counter()
  seconds = timed(lambda: calls.append(time.sleep(0.02)), 3)()
  assert len(calls) == 3
  assert 0.02 <= seconds <= (time.perf_counter() - began) / 3

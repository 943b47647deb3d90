"""Programs beside each other: each in a process of its own, as in use, and all of them in turn."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sorajax import workers

RUNS: dict[str, Callable[[], float]] = {}  # of this process: name → runs it; seconds that it took


class Process:
  """A process that lives until this one ends and computes what it is told."""

  def __init__(self):
    self._pool = workers.executor(1)

  def call(self, function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns there; both ways things travel pickled."""
    return self._pool.submit(function, *args).result()


def medians(
  processes: Mapping[str, Process], names: Iterable[str], rounds: int
) -> dict[tuple[str, str], float]:
  """(name, who) → seconds, of `RUNS` as each process has filled it.

  Everything is run once beforehand. In a round each process runs each thing once, one process after
  the other, so that whatever else the machine does hits all alike.
  """
  turns = [(name, who) for name in names for who in processes]
  found: dict[tuple[str, str], list[float]] = {turn: [] for turn in turns}
  for _ in range(rounds + 1):
    for name, who in turns:
      found[name, who].append(processes[who].call(_run, name))
  return {turn: statistics.median(seconds[1:]) for turn, seconds in found.items()}


def timed(function: Callable[[], Any], times: int = 1) -> Callable[[], float]:
  """Runs a function some times in a row and returns the seconds of one, for `RUNS`."""

  def run() -> float:
    began = time.perf_counter()
    for _ in range(times):
      function()
    return (time.perf_counter() - began) / times

  return run


def _run(name: str) -> float:
  return RUNS[name]()

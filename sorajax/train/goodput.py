"""Where the time of a run goes, over all its starts: to steps that count, and to what else.

`times.jsonl` in the workdir has a line for every few steps; what lies between the lines of two
starts was lost to a kill, or the run was down.
"""

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sorajax.media.atomic import write_text
from sorajax.train import metrics

STEPS, STARTING, LOST, DOWN = 'steps', 'starting', 'lost', 'down'
FILE = 'times.jsonl'


class Times:
  """The clock of one start of a run; it writes on one process alone."""

  def __init__(
    self, workdir: Path, first_step: int, began: float, speaks: bool,
    now: Callable[[], float] = time.time,
  ):  # fmt: skip
    """Counts from the time `began`; its first step comes after `first_step`."""
    self._path, self._speaks, self._now = workdir / FILE, speaks, now
    self._step, self._began, self._mark = first_step, began, began
    self._spent = defaultdict[str, float](float)
    self._steps_s: list[float] = []
    self._started = False
    if speaks:
      write_text(
        self._path, ''.join(json.dumps(line) + '\n' for line in metrics.read(workdir, FILE))
      )

  @contextlib.contextmanager
  def spent(self, what: str) -> Iterator[None]:
    """Counts what happens within as `what`, and not as part of a step."""
    self._turn()
    try:
      yield
    finally:
      self._turn(what)

  def step_done(self) -> None:
    """A step ended; the first one of a start compiles, and counts as starting."""
    self._turn()
    seconds = self._spent.pop(STEPS)
    if self._started:
      self._steps_s.append(seconds)
    else:
      self._spent[STARTING] += seconds
    self._started = True

  def write(self, step: int) -> dict[str, float]:
    """Adds a line for the steps since the last one; returns what is worth plotting.

    A step that is not done yet goes whole into the next line.
    """
    self._turn()
    begun_s, self._spent[STEPS] = self._spent[STEPS], sum(self._steps_s)
    line: dict[str, Any] = {
      'first': self._step, 'step': step, 'began': self._began, 'ended': self._mark,
      'seconds': dict(self._spent),
    }  # fmt: skip
    told = {}
    if self._steps_s:
      at = np.quantile(self._steps_s, (0.5, 0.95, 1.0))
      told = {f'step_s_{name}': float(x) for name, x in zip(('p50', 'p95', 'longest'), at)}
    self._step, self._began, self._steps_s = step, self._mark, []
    self._spent = defaultdict(float, {STEPS: begun_s})
    if self._speaks:
      with self._path.open('a', encoding='utf-8') as file:
        file.write(json.dumps({**line, **told}) + '\n')
    return told

  def _turn(self, what: str = STEPS) -> None:
    now = self._now()
    self._spent[what] += now - self._mark
    self._mark = now


def shares(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
  """What all time from the first line to the last went to → share of it; `steps` is the goodput.

  Steps that a later start did again were lost.
  """
  spent = defaultdict[str, float](float)
  again = float('inf')  # a step from which on a later start went on
  for line in reversed(lines):
    count, seconds = line['step'] - line['first'], line['seconds']
    lost = min(max(line['step'] - max(again, line['first']), 0) / count, 1) if count else 0.0
    for what, passed in seconds.items():
      gone = lost * passed if what == STEPS else 0.0
      spent[what] += passed - gone
      spent[LOST] += gone
    again = min(again, line['first'])
  whole = lines[-1]['ended'] - lines[0]['began'] if lines else 0.0
  spent[DOWN] = max(whole - sum(spent.values()), 0.0)
  return {what: seconds / whole for what, seconds in spent.items()} if whole > 0 else {}


def told(workdir: Path) -> str:
  """The shares of a run's time in words."""
  found = shares(metrics.read(workdir, FILE))
  others = sorted((-share, what) for what, share in found.items() if what != STEPS)
  rest = ', '.join(f'{what} {-share:.0%}' for share, what in others if -share >= 0.005)
  good = f'{found.get(STEPS, 0.0):.0%} of the time went to steps that count'
  return f'{good}; {rest}' if rest else good

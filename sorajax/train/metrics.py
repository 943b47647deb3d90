"""What a run writes of itself: a line a step, TensorBoard, and a picture of its curves."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from sorajax.media.atomic import write_text

Scalars = dict[str, float]


class Log:
  """`metrics.jsonl`, TensorBoard and lines on the terminal; silent on all but one process."""

  def __init__(self, workdir: Path, first_step: int, last_step: int, speaks: bool):
    """Begins after `first_step`; what an interrupted run wrote beyond it is taken back.

    So is what it measured on held-out clips at that very step, since that is measured again.
    """
    self._path, self._last_step, self._speaks = workdir / 'metrics.jsonl', last_step, speaks
    self._clock, self._clips, self._step = time.monotonic(), 0, first_step
    if speaks:
      kept = [
        line for line in read(workdir) if line['step'] + (line['kind'] != 'train') <= first_step
      ]
      write_text(self._path, ''.join(json.dumps(line) + '\n' for line in kept))
      # TensorBoard leaves out what earlier starts wrote from `purge_step` on.
      self._events = SummaryWriter(os.fspath(workdir / 'tensorboard'), purge_step=first_step + 1)

  def write(self, step: int, kind: str, scalars: Scalars) -> None:
    """Keeps scalars of `kind` ('train', 'held_out') at a step."""
    if not self._speaks:
      return
    line = {'step': step, 'kind': kind, **scalars}
    with self._path.open('a', encoding='utf-8') as file:
      file.write(json.dumps(line) + '\n')
    self.plot(step, kind, scalars)

  def plot(self, step: int, kind: str, scalars: Scalars) -> None:
    """Shows scalars in TensorBoard."""
    if self._speaks:
      for name, value in scalars.items():
        if math.isfinite(value):
          self._events.add_scalar(f'{kind}/{name}', value, step)

  def count(self, clips: int) -> None:
    """Adds clips that were trained on, for the rate."""
    self._clips += clips

  def say(self, step: int, scalars: Scalars) -> None:
    """A line with loss, rate and time left."""
    if not self._speaks:
      return
    passed = max(time.monotonic() - self._clock, 1e-9)
    left_s = passed / max(step - self._step, 1) * (self._last_step - step)
    parts = ' '.join(f'{k} {v:.4f}' for k, v in scalars.items() if k.startswith('loss'))
    rate = f'{self._clips / passed:.1f} clips/s'
    print(f'step {step}/{self._last_step} {parts} {rate} {clock(left_s)} left', flush=True)
    self._clock, self._clips, self._step = time.monotonic(), 0, step

  def note(self, text: str) -> None:
    """A line of its own."""
    if self._speaks:
      print(text, flush=True)

  def close(self) -> None:
    if self._speaks:
      self._events.close()


def read(workdir: Path, file: str = 'metrics.jsonl') -> list[dict[str, Any]]:
  """The lines of a file of json; one that a kill cut short is left out."""
  path, lines = workdir / file, []
  if path.is_file():
    for text in path.read_text(encoding='utf-8').splitlines():
      try:
        lines.append(json.loads(text))
      except ValueError:
        break
  return lines


def clock(seconds: float) -> str:
  """Seconds as h:mm:ss."""
  whole = int(seconds)
  return f'{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}'


def draw_curves(workdir: Path) -> Path:
  """Writes `curves.png`: losses by step, and what was measured on held-out clips."""
  import matplotlib

  matplotlib.use('agg')
  import matplotlib.pyplot as plt

  lines = read(workdir)
  train = [line for line in lines if line['kind'] == 'train']
  held = [line for line in lines if line['kind'] == 'held_out']
  figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout='constrained')
  for key in sorted({k for line in train for k in line if k.startswith('loss')}):
    points = [(line['step'], line[key]) for line in train if math.isfinite(line.get(key, math.nan))]
    left.plot(*zip(*points), label=f'train {key}', linewidth=1, alpha=0.5)
  for key, name in (('loss', 'held out'), ('mean_loss', 'predicting the mean')):
    points = [(line['step'], line[key]) for line in held if key in line]
    if points:
      left.plot(*zip(*points), label=name, linewidth=2)
  left.set(xlabel='step', ylabel='loss', title='Loss', ylim=(0, None))
  if any(key.startswith('loss_at_') for line in held for key in line):
    _draw_levels(right, held)
  else:
    _draw_fidelity(right, held)
  for axes in (left, right):
    if axes.get_legend_handles_labels()[0]:
      axes.legend()
    axes.grid(alpha=0.3)
  path = workdir / 'curves.png'
  figure.savefig(path, dpi=110)
  plt.close(figure)
  return path


def _draw_levels(axes: Any, held: list[dict[str, Any]]) -> None:
  """Held-out loss of each stream by noise level, the later the darker."""
  names = {key.rpartition('_at_')[0] for line in held for key in line if '_at_' in key}
  names = names - {'loss'} or names  # of all streams together where none is told alone
  for name, style in zip(sorted(names), ('-', '--', ':')):
    start = f'{name}_at_'
    told = [line for line in held if any(key.startswith(start) for key in line)]
    for i, line in enumerate(told):
      by_level = sorted(
        (float(k.removeprefix(start)), v) for k, v in line.items() if k.startswith(start)
      )
      shade = f'{0.8 * (1 - (i + 1) / len(told)):.3f}'
      label = f'{name}, step {line["step"]}' if i in (0, len(told) - 1) else None
      axes.plot(*zip(*by_level), style, color=shade, marker='.', label=label)
  axes.set(xlabel='noise level', ylabel='held-out loss', title='By noise level', ylim=(0, None))


def _draw_fidelity(axes: Any, held: list[dict[str, Any]]) -> None:
  """What is measured in dB, by step."""
  for key in sorted({key for line in held for key in line if key.endswith('_db')}):
    points = [(line['step'], line[key]) for line in held if key in line]
    axes.plot(*zip(*points), marker='.', label=key.removesuffix('_db').upper())
  axes.set(xlabel='step', ylabel='dB', title='Held-out clips')

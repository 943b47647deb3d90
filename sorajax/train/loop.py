"""The training run: restore; then evaluate, save, read, step and log until the last step."""

import json
import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_collections
from jax.experimental import multihost_utils

from sorajax import build, checkpoint, sharding
from sorajax.checkpoint import Checkpoints
from sorajax.cluster import peers
from sorajax.data.schedule import Place
from sorajax.errors import Stopped, UserError
from sorajax.media.atomic import make_folder
from sorajax.train import goodput, metrics
from sorajax.train.guard import diagnose
from sorajax.train.objective import Objective
from sorajax.train.state import initial_state, make_step


def run(
  make: Callable[[jax.sharding.Mesh], Objective],
  mesh_config: sharding.MeshConfig,
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike[str],
) -> None:
  """Minimises to the last step, or goes on from the newest checkpoint of `workdir`.

  Raises:
    UserError: what `make` raises; a workdir of another config, of other data or of more steps; loss
      or gradient that stay non-finite, with what broke.
    Stopped: SIGTERM came.
  """
  mesh = sharding.make_mesh(mesh_config)
  folder = Path(workdir).absolute()
  with jax.set_mesh(mesh):
    objective = make(mesh)
    if jax.process_index() == 0:
      _check_workdir(folder, config)
    going = _Run(objective, mesh, folder)
    going.restore()  # a checkpoint that is refused leaves the workdir as it was
    if jax.process_index() == 0:
      checkpoint.write_config(folder, json.loads(config.to_json()))
      objective.keep(folder)
    going.go()


class _Run:
  """What the loop holds in its hands."""

  def __init__(self, objective: Objective, mesh: jax.sharding.Mesh, workdir: Path):
    self.began, self.speaks = time.time(), jax.process_index() == 0
    self.objective, self.mesh, self.workdir = objective, mesh, workdir
    self.settings, self.fingerprint = objective.settings.train, objective.source.fingerprint
    self.checkpoints = Checkpoints(workdir / 'checkpoints', self.settings.keep)
    latest = self.checkpoints.latest
    if latest is not None and latest > self.settings.steps:
      raise UserError(
        f'the run in {workdir} has made {latest} steps and config.train.steps is '
        f'{self.settings.steps}; give {latest} or more, or another --workdir'
      )
    place = Place() if latest is None else self.checkpoints.place(latest, self.fingerprint)
    self.loader, self.first = objective.loader(place), place.step
    self.evaluate = objective.evaluator() if self.settings.evaluate_every else None
    self.bad, self.stop = 0, _StopSignal()

  def restore(self) -> None:
    """Takes up the newest checkpoint, or begins."""
    latest, init = self.checkpoints.latest, initial_state(self.objective)
    abstract = jax.eval_shape(init)
    layout = sharding.shardings(self.mesh, abstract)
    if latest is None:
      with warnings.catch_warnings():  # what is begun with in 16 bits is given up, not taken over
        warnings.filterwarnings('ignore', 'Some donated buffers were not usable')
        state = jax.jit(init, out_shardings=layout, donate_argnums=0)(self.objective.begun())
    else:
      target = jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, layout
      )
      state = self.checkpoints.restore(latest, target)
    self.state, self.frozen = state, sharding.everywhere(self.objective.frozen())
    self.step_fn = make_step(self.objective, self.mesh, layout)

  def go(self) -> None:
    """The loop."""
    self.log = metrics.Log(self.workdir, self.first, self.settings.steps, self.speaks)
    self.times = goodput.Times(self.workdir, self.first, self.began, self.speaks)
    last, previous = self.settings.steps, None
    if self.loader.schedule.left_out:
      self.log.note(f'{self.loader.schedule.left_out} clips fit no bucket and are left out')
    batches = iter(self.loader)
    for step in range(self.first, last):
      if step % self.settings.save_every == 0:  # a saved step has been told of
        self._log(previous)
        previous = None
      self._evaluate_if_due(step)
      self._save_if_due(step)
      self._sample_if_due(step)
      if self.stop.reached(step):
        break
      peers.reached(f'step {step}')
      with self.times.spent('reading'):
        batch, info = next(batches)
      self.state, now = self.step_fn(self.state, self.frozen, batch)
      self._log(previous)
      previous = (step, now, batch, info)
      self.times.step_done()
    else:
      step = last
    if previous is not None:
      self._log(previous)
      self.times.step_done()
    self._save(step)
    if step == last:
      self._evaluate(last)
      self._show(self.objective.finish, last)
    else:
      self.log.note(f'stopped by a signal at step {step}; the same command goes on from there')
    self.checkpoints.close()
    self._time(step)
    self.log.close()
    if step < last:
      raise Stopped(step)

  def _save_if_due(self, step: int) -> None:
    if step > self.first and step % self.settings.save_every == 0:
      self._save(step)

  def _save(self, step: int) -> None:
    if self.checkpoints.latest != step:
      peers.reached(f'saving step {step}')
      data = checkpoint.data_state(self.loader.place(step), self.fingerprint)
      with self.times.spent('saving'):
        self.checkpoints.save(step, self.state, data)

  def _evaluate_if_due(self, step: int) -> None:
    every = self.settings.evaluate_every
    if every and step % every == 0:
      self._evaluate(step)

  def _sample_if_due(self, step: int) -> None:
    """Once the step is saved, so that what fails here is not met again by the next start."""
    every = self.settings.sample_every
    if every and step % every == 0 and step > self.first:
      self._save(step)
      with self.times.spent('saving'):
        self.checkpoints.wait()
      self._show(self.objective.sample, step)

  def _evaluate(self, step: int) -> None:
    if self.evaluate is None:
      return
    peers.reached(f'evaluation at step {step}')
    with self.times.spent('evaluating'):
      held = self.evaluate(self.state['ema'], self.frozen)
    self.log.write(step, 'held_out', held)
    shown = ', '.join(f'{k.replace("_", " ")} {v:.4f}' for k, v in held.items() if '_at_' not in k)
    self.log.note(f'held out at step {step}: {shown}')
    if jax.process_index() == 0:
      metrics.draw_curves(self.workdir)

  def _show(self, show: Callable[[Any, Path, int], None], step: int) -> None:
    peers.reached(f'samples of step {step}')
    with self.times.spent('sampling'):
      show({**self.state['ema'], **self.frozen}, self.workdir, step)

  def _log(self, previous) -> None:
    if previous is None:
      return
    step, now, batch, info = previous
    scalars = {name: float(value) for name, value in jax.device_get(now).items()}
    self.bad = 0 if scalars['finite'] else self.bad + 1
    if self.bad:
      self._report_bad(step, batch)
    self.log.count(len(info['clips']))
    if (step + 1) % self.settings.log_every == 0:
      self.log.write(step + 1, 'train', scalars)
      self.log.say(step + 1, scalars)
      self.log.plot(step + 1, 'times', self.times.write(step + 1))

  def _time(self, step: int) -> None:
    """Tells where the time of all starts of the run went."""
    self.times.write(step)
    if self.speaks:
      self.log.note(goodput.told(self.workdir))

  def _report_bad(self, step: int, batch) -> None:
    place = diagnose(self.objective, self.state['params'], self.frozen, batch, step)
    what = f'step {step} is not finite: {place}'
    if self.bad > self.settings.bad_steps:
      raise UserError(f'{what}; {self.bad} steps in a row, lower optimizer.learning_rate')
    self.log.note(f'{what}; the step is skipped')


class _StopSignal:
  """SIGTERM asks a run to save and end, at the same step on every process."""

  def __init__(self) -> None:
    self._asked = False
    if jax.process_count() == 1:
      signal.signal(signal.SIGTERM, self._ask)

  def _ask(self, *_: Any) -> None:
    self._asked = True

  def reached(self, step: int) -> bool:
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._asked


def _check_workdir(folder: Path, config: ml_collections.ConfigDict) -> None:
  """Makes the workdir, or checks that it is of this config."""
  before = checkpoint.read_config(make_folder(folder))
  if before is not None:
    now = json.loads(config.to_json())
    build.check_same(before, now, f'the run in {folder}', build.RESUMED)

"""The training run: restore; then evaluate, save, read, step and log until the last step."""

import functools
import json
import os
import signal
from pathlib import Path
from typing import Any

import jax
import ml_collections
from jax.experimental import multihost_utils

from sorajax import build, checkpoint, sharding
from sorajax.checkpoint import Checkpoints
from sorajax.data.latents import LatentSource, open_latents
from sorajax.data.loader import Loader
from sorajax.data.schedule import Place
from sorajax.errors import UserError
from sorajax.generate.output import write_clips
from sorajax.generate.request import Request
from sorajax.generate.sampler import Sampler
from sorajax.media.atomic import make_folder
from sorajax.network import Network
from sorajax.settings import Settings
from sorajax.tasks import capabilities
from sorajax.train import metrics
from sorajax.train.guard import diagnose
from sorajax.train.held_out import HeldOut
from sorajax.train.state import initial_state, make_step


def train(config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]) -> None:
  """Trains to the last step, or goes on from the newest checkpoint of `workdir`.

  Raises:
    UserError: a config that contradicts itself, the data or the workdir; loss or gradient that stay
      non-finite, with what broke.
  """
  settings = build.settings(config)
  mesh = sharding.make_mesh(settings.mesh)
  if not settings.data.path:
    raise UserError('config.data.path is empty; add --config.data.path=LATENTS')
  source = open_latents(settings.data.path, 'train')
  network = build.network(settings, source.codec)
  folder = Path(workdir).absolute()
  with jax.set_mesh(mesh):
    if jax.process_index() == 0:
      _check_workdir(folder, config)
    run = _Run(settings, network, mesh, source, folder)
    if jax.process_index() == 0:
      checkpoint.write_config(folder, json.loads(config.to_json()))
      source.codec.save(folder / 'codec')
    run.go()


class _Run:
  """What the loop holds in its hands."""

  def __init__(
    self, settings: Settings, network: Network, mesh, source: LatentSource, workdir: Path
  ):
    self.settings, self.network, self.mesh, self.workdir = settings, network, mesh, workdir
    self.checkpoints = Checkpoints(workdir / 'checkpoints', settings.train.keep)
    latest, fingerprint = self.checkpoints.latest, source.fingerprint
    place = Place() if latest is None else self.checkpoints.place(latest, fingerprint)
    mixture = functools.partial(_draw, dict(settings.train.tasks))
    self.loader = Loader(
      settings.data, source, tokenize=network.text.tokenize, draw_given=mixture, mesh=mesh,
      seed=settings.train.seed, micro_batches=settings.train.micro_batches, place=place,
    )  # fmt: skip
    self.first, self.fingerprint = place.step, fingerprint
    self.held_out = None
    if settings.train.evaluate_every:
      held = open_latents(settings.data.path, 'validation')
      self.held_out = HeldOut(settings, network, held, mesh)
    prompts = settings.train.sample_prompts
    self.sampler = Sampler(settings, network, source.codec, batch=len(prompts) or 1)
    self.bad, self.stop = 0, _StopSignal()

  def go(self) -> None:
    """The loop."""
    self.state, self.frozen, self.step_fn = self._restore()
    self.log = metrics.Log(
      self.workdir, self.first, self.settings.train.steps, jax.process_index() == 0
    )
    last, previous = self.settings.train.steps, None
    if self.loader.schedule.left_out:
      self.log.note(f'{self.loader.schedule.left_out} clips fit no bucket and are left out')
    batches = iter(self.loader)
    for step in range(self.first, last):
      self._evaluate_if_due(step)
      self._save_if_due(step)
      if self.stop.reached(step):
        break
      batch, info = next(batches)
      self.state, now = self.step_fn(self.state, self.frozen, batch)
      self._log(previous)
      previous = (step, now, batch, info)
    else:
      step = last
    self._log(previous)
    self._save(step)
    if step == last:
      self._evaluate(last)
      self._sample(last)
    else:
      self.log.note(f'stopped by a signal at step {step}; the same command goes on from there')
    self.checkpoints.close()
    self.log.close()

  def _restore(self):
    settings, network, latest = self.settings, self.network, self.checkpoints.latest
    init = initial_state(settings, network)
    abstract = jax.eval_shape(init)
    layout = sharding.shardings(self.mesh, abstract)
    if latest is None:
      state = jax.jit(init, out_shardings=layout)()
    else:
      target = jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, layout
      )
      state = self.checkpoints.restore(latest, target)
    frozen = jax.device_put(network.frozen(), jax.NamedSharding(self.mesh, sharding.P()))
    return state, frozen, make_step(settings, network, self.mesh, layout)

  def _save_if_due(self, step: int) -> None:
    if step > self.first and step % self.settings.train.save_every == 0:
      self._save(step)

  def _save(self, step: int) -> None:
    if self.checkpoints.latest != step:
      data = checkpoint.data_state(self.loader.place(step), self.fingerprint)
      self.checkpoints.save(step, self.state, data)

  def _evaluate_if_due(self, step: int) -> None:
    every = self.settings.train.evaluate_every
    if every and step % every == 0:
      self._evaluate(step)
    every = self.settings.train.sample_every
    if every and step % every == 0 and step > self.first:
      self._sample(step)

  def _evaluate(self, step: int) -> None:
    if self.held_out is None:
      return
    held = self.held_out(self.state['ema'], self.frozen)
    self.log.write(step, 'held_out', held)
    self.log.note(
      f'held out at step {step}: loss {held["loss"]:.4f} (predicting the mean '
      f'{held["mean_loss"]:.4f})'
    )
    if jax.process_index() == 0:
      metrics.draw_curves(self.workdir)

  def _sample(self, step: int) -> None:
    prompts = self.settings.train.sample_prompts
    if not prompts:
      return
    s = self.settings.sample
    requests = [
      Request(p, seed, seconds=s.seconds, fps=s.fps, height=s.height, width=s.width)
      for seed, p in enumerate(prompts)
    ]
    variables = {**self.state['ema'], **self.frozen}
    made = self.sampler(variables, requests)
    if jax.process_index() == 0:
      write_clips(self.workdir / 'samples' / f'{step:08d}', made, {'checkpoint_step': step})

  def _log(self, previous) -> None:
    if previous is None:
      return
    step, now, batch, info = previous
    scalars = {name: float(value) for name, value in jax.device_get(now).items()}
    self.bad = 0 if scalars['finite'] else self.bad + 1
    if self.bad:
      self._report_bad(step, batch)
    self.log.count(len(info['clips']))
    if (step + 1) % self.settings.train.log_every == 0:
      self.log.write(step + 1, 'train', scalars)
      self.log.say(step + 1, scalars)

  def _report_bad(self, step: int, batch) -> None:
    place = diagnose(self.settings, self.network, self.state['params'], self.frozen, batch, step)
    what = f'step {step} is not finite: {place}'
    if self.bad > self.settings.train.bad_steps:
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


def _draw(mixture: dict[str, float], rng, layout):
  return capabilities.draw(rng, mixture, layout)


def _check_workdir(folder: Path, config: ml_collections.ConfigDict) -> None:
  """Makes the workdir, or checks that it is of this config."""
  before = checkpoint.read_config(make_folder(folder))
  if before is not None:
    build.check_same(before, json.loads(config.to_json()), f'the run in {folder}')

"""Training the transformer: the velocity of latents, on tokens that carry their own noise level."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from sorajax import build, sharding
from sorajax.clip import Batch
from sorajax.data.latents import LatentSource, filled, open_latents
from sorajax.data.loader import Loader, token_loader
from sorajax.data.schedule import Place
from sorajax.errors import UserError
from sorajax.flow import loss as flow_loss
from sorajax.generate import service
from sorajax.generate.output import write_clips
from sorajax.generate.request import Request
from sorajax.generate.sampler import Sampler
from sorajax.generate.sampling import rows_over
from sorajax.network import Network
from sorajax.settings import Settings
from sorajax.tasks import capabilities
from sorajax.train import loop
from sorajax.train.held_out import HeldOut


def train(config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]) -> None:
  """Trains to the last step, or goes on from the newest checkpoint of `workdir`.

  Raises:
    UserError: a config that contradicts itself, the data, the workdir or the run to start from;
      loss or gradient that stay non-finite, with what broke.
  """
  settings = build.settings(config)
  _check_samples(settings)
  config = ml_collections.ConfigDict({**config, 'start': findable(settings.start)})

  def make(mesh: jax.sharding.Mesh) -> VelocityObjective:
    if not settings.data.path:
      raise UserError('config.data.path is empty; add --config.data.path=LATENTS')
    build.check_mesh(settings, mesh)
    source = open_latents(settings.data.path, 'train')
    if settings.train.tasks.get('keyframes') and not source.beside.keyframes:
      raise UserError(
        f'{settings.data.path} has no frames coded alone, for config.train.tasks.keyframes; '
        'encode it again with --keyframes=4'
      )
    load = lambda: service.load(settings.start, config).params
    network, changed = build.network(settings, source.codec), bool(settings.lora.rank)
    return VelocityObjective(
      settings, network, source, mesh, base=load() if changed else None,
      start=load if settings.start and not changed else None,
    )  # fmt: skip

  loop.run(make, settings.mesh, config, workdir)


@dataclasses.dataclass(frozen=True)
class VelocityObjective:
  """The flow-matching loss of a network on stored latents; a `train.objective.Objective`.

  Attributes:
    settings: of the run.
    network: the velocity.
    source: latents and captions.
    mesh: of the devices.
    base: parameters that changes are learned of, on the mesh; None where all are trained.
    start: loads parameters to begin with; None to draw them.
  """

  settings: Settings
  network: Network
  source: LatentSource
  mesh: jax.sharding.Mesh
  base: Any = None
  start: Callable[[], Any] | None = None

  @property
  def batch_spec(self) -> jax.sharding.PartitionSpec:
    return sharding.spec('batch', 'tokens')

  def init(self, key: jax.Array) -> Any:
    return self.network.init(key)

  def begun(self) -> Any:
    if self.start is None:
      return None
    names = jax.eval_shape(self.network.init, jax.random.key(0))
    return {name: part for name, part in self.start().items() if name in names}

  def frozen(self) -> Any:
    return self.base if self.network.lora.rank else self.network.frozen()

  def counts(self, batch: Batch) -> dict[str, jax.Array]:
    return {m: t.loss_mask.sum() for m, t in batch.tokens.items()}

  def values(self, batch: Batch) -> dict[str, jax.Array]:
    return {f'latents of {m}': t.latent for m, t in batch.tokens.items()}

  def loss(self, params, frozen, batch: Batch, key, counts):
    flow, buckets = self.settings.flow, self.settings.data.buckets.values()
    key_levels, key_noise = jax.random.split(key)
    levels = flow_loss.draw_levels(
      key_levels, batch.tokens, max(b.clips for b in buckets), build.level_sampler(flow),
      flow.together,
    )  # fmt: skip
    noise = flow_loss.draw_noise(key_noise, batch.tokens)
    variables = {**params, **frozen}
    text = self.network.read(variables, batch.text)
    velocity = lambda tokens: self.network.velocity(variables, tokens, text)
    errors = flow_loss.squared_errors(velocity, batch.tokens, noise, levels)
    parts = {m: total / jnp.maximum(counts[m], 1.0) for m, (total, _) in errors.items()}
    return sum(flow.weight[m] * part for m, part in parts.items()), parts

  def loader(self, place: Place) -> Loader:
    train = self.settings.train
    mixture = functools.partial(_draw, dict(train.tasks))
    return token_loader(
      self.settings.data, self.source, tokenize=self.network.text.tokenize, draw_given=mixture,
      mesh=self.mesh, seed=train.seed, micro_batches=train.micro_batches, place=place,
    )  # fmt: skip

  def evaluator(self) -> HeldOut:
    path = self.settings.data.path
    if 'validation' not in filled(path):
      raise UserError(
        f'{path} has no held-out clips; prepare more, or add --config.train.evaluate_every=0'
      )
    return HeldOut(self.settings, self.network, open_latents(path, 'validation'), self.mesh)

  def keep(self, workdir: Path) -> None:
    self.source.codec.save(workdir / 'codec')

  def sample(self, params: Any, workdir: Path, step: int) -> None:
    """Clips of the config's prompts, under `samples/STEP`."""
    prompts, s = self.settings.train.sample_prompts, self.settings.sample
    if not prompts:
      return
    requests = [
      Request(p, seed, seconds=s.seconds, fps=s.fps, height=s.height, width=s.width)
      for seed, p in enumerate(prompts)
    ]
    rows = rows_over(self.mesh, len(prompts))
    sampler = Sampler(self.settings, self.network, self.source.codec, batch=rows)
    made = sampler(params, requests)
    if jax.process_index() == 0:
      write_clips(workdir / 'samples' / f'{step:08d}', made, {'checkpoint_step': step})
    else:
      list(made)  # computes along and writes nothing

  def finish(self, params: Any, workdir: Path, step: int) -> None:
    """A last sample, where any are asked for; the checkpoints are what the run was for."""
    if self.settings.train.sample_every:
      self.sample(params, workdir, step)


def findable(start: str) -> str:
  """The name of a run to start from, by which it is found from any folder."""
  if not start or service.find(start)[0].parent == service.TRAINED:
    return start
  return os.path.abspath(start)


def _check_samples(settings: Settings) -> None:
  """Raises where clips of prompts are to be sampled, and are never learned."""
  train = settings.train
  sampled = train.sample_every and train.sample_prompts
  if sampled and not train.tasks.get('text_to_clip'):
    raise UserError(
      'config.train.sample_prompts are sampled by the task text_to_clip, which is not learned; '
      'give config.train.tasks.text_to_clip a weight, or no prompts'
    )


def _draw(mixture: dict[str, float], rng, layout):
  return capabilities.draw(rng, mixture, layout)

"""Plans → clips: the one place where network, guidance, solver and codec meet."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sorajax import sharding
from sorajax.clip import Batch, Clip, Latents, Tokens
from sorajax.cluster import peers
from sorajax.codec.codec import Codec
from sorajax.data.rows import Placed, assemble
from sorajax.data.schedule import Bucket
from sorajax.flow import guidance, levels, path, solver
from sorajax.flow.sample import sample
from sorajax.generate import refine
from sorajax.generate.refine import Refiner
from sorajax.generate.request import Plan, Request, finish, plan
from sorajax.network import Network
from sorajax.settings import SampleConfig, Settings

STREAM_KEYS = {'audio': 0, 'video': 1}
Stages = tuple[Plan, ...]  # of one request


@dataclasses.dataclass(frozen=True)
class Made:
  """A finished clip and how it came to be.

  Attributes:
    request: what was asked for.
    clip: the answer.
    batch: how many clips were sampled together.
    row: which of them this is.
  """

  request: Request
  clip: Clip
  batch: int
  row: int


@dataclasses.dataclass(frozen=True)
class Sampler:
  """(parameters, requests) → clips, for one network and codec.

  Attributes:
    settings: of the run that trained the network.
    network: the velocity.
    codec: of its latents.
    batch: clips sampled at once.
    joined: whether audio and video hear each other.
    refiner: makes clips small first and then large; None makes them at once.
  """

  settings: Settings
  network: Network
  codec: Codec
  batch: int = 1
  joined: bool = True
  refiner: Refiner | None = None

  def __call__(self, params: Any, requests: Sequence[Request]) -> Iterator[Made]:
    """Samples requests in batches of equal layout, in their order within each layout.

    Args:
      params: trainable and frozen parameters in one dict.
      requests: any number, of any sizes and tasks.

    Returns:
      clips as they are finished; every request is checked before the first is made.
    """
    groups: dict[tuple, list[Stages]] = {}
    for request in requests:
      stages = self._stages(request)
      latents = stages[-1].latents
      groups.setdefault((latents.video.shape, latents.audio.shape), []).append(stages)
    return self._run(params, list(groups.values()))

  def again(self, params: Any, request: Request, row: int) -> Made:
    """Makes one clip in the very row of a batch in which it was made."""
    made = self._batch(params, [self._stages(request)] * (row + 1))
    return Made(request, made[row], self.batch, row)

  def _stages(self, request: Request) -> Stages:
    """The plans of a request: of the small clip first, where there is one."""
    known = tuple(t for t, w in self.settings.train.tasks.items() if w > 0)
    last = plan(request, self.codec, known)
    if self.refiner is None:
      return (last,)
    return plan(self.refiner.first(last, self.codec.geometry.video), self.codec, known), last

  def _run(self, params: Any, groups: list[list[Stages]]) -> Iterator[Made]:
    size = self.batch
    for group in groups:
      for start in range(0, len(group), size):
        rows = group[start : start + size]
        requests = [stages[-1].request for stages in rows]
        peers.reached(f'the batch of seed {requests[0].seed}')
        for row, clip in enumerate(self._batch(params, rows)):
          yield Made(requests[row], clip, size, row)

  def _batch(self, params: Any, rows: list[Stages]) -> list[Clip]:
    """Samples up to a batch of one layout; rows that are left over repeat the last."""
    filled = rows + [rows[-1]] * (self.batch - len(rows))
    config, plans = self.settings.sample, [stages[0] for stages in filled]
    made = self._latents(params, plans, config)
    if self.refiner is not None:
      plans = self.refiner.second([stages[-1] for stages in filled], made)
      own = params if self.refiner.params is None else self.refiner.params
      made = self._latents(own, plans, refine.sampling(config))
    return [finish(p, self.codec.decode(latents)) for p, latents in zip(plans[: len(rows)], made)]

  def _latents(self, params: Any, plans: list[Plan], config: SampleConfig) -> list[Latents]:
    """One pass of the solver over a whole batch."""
    batch = self.tokens(plans)
    seeds = np.array([p.request.seed for p in plans], np.uint32)
    shift = self._shift(math.prod(plans[0].latents.video.shape[:3]))
    run = _sampling(self.network, config, shift, self.joined)
    latents = jax.device_get(run(params, *_placed(batch, self.tokens(plans, blank=True)), seeds))
    return [_shaped(p, {m: x[row] for m, x in latents.items()}) for row, p in enumerate(plans)]

  def _shift(self, tokens: int) -> float:
    """By how much levels move towards noise for so many tokens of picture."""
    line = self.settings.sample.shift
    if not line:
      return self.settings.flow.shift
    return levels.shift_of_length(tokens, (line[0], line[1]), (line[2], line[3]))

  def tokens(self, plans: list[Plan], blank: bool = False) -> Batch:
    """A batch with one plan a row; `blank` leaves out the prompts, for guidance."""
    context = 1
    if not jax.sharding.get_abstract_mesh().empty:
      context = jax.sharding.get_abstract_mesh().shape['context']
    up = lambda n: -(-n // context) * context
    first, text = plans[0].latents, self.network.text
    bucket = Bucket(
      rows=len(plans),
      video=up(int(np.prod(first.video.shape[:3]))),
      audio=up(len(first.audio)),
      text=up(text.max_tokens),
    )
    rows = [
      [Placed(p.latents, p.given, text.tokenize('' if blank else p.request.prompt))] for p in plans
    ]
    return assemble(rows, bucket, self.codec.geometry)


def _shaped(plan: Plan, tokens: dict[str, np.ndarray]) -> Latents:
  """A row's tokens [T, C] by modality → the latents of its plan."""
  video = tokens['video'][: plan.given['video'].size].reshape(plan.latents.video.shape)
  audio = tokens['audio'][: plan.given['audio'].size]
  return dataclasses.replace(plan.latents, video=video, audio=audio)


def _placed(batch: Batch, blank: Batch) -> tuple[dict[str, Tokens], Any, Any]:
  """Tokens and both texts on the mesh, whole on every process."""
  mesh = jax.sharding.get_mesh()
  rows = batch.text.ids.shape[0]
  if mesh.empty:
    return batch.tokens, batch.text, blank.text
  sharding.check_divides(mesh, 'config.sample.batch', rows, 'batch')
  here = sharding.rows_here(mesh, rows)
  put = lambda x: sharding.place_rows(mesh, x[list(here)], here, rows)
  return jax.tree.map(put, (batch.tokens, batch.text, blank.text))


@functools.cache
def _sampling(
  network: Network, config: SampleConfig, shift: float, joined: bool
) -> Callable[..., dict[str, jax.Array]]:
  """The jitted (params, tokens, text, blank text, seeds) → latents of every token."""
  times = _times(config, shift)
  first, stage = jnp.float32(times[0]), int(times[0] < 1)

  def run(params, tokens: dict[str, Tokens], text, blank, seeds):
    noise = {m: _noise(seeds, m, t.latent, stage) for m, t in tokens.items()}
    asked = {m: (t.sigma > 0)[..., None] for m, t in tokens.items()}
    begun = {m: path.interpolate(t.latent, noise[m], first) for m, t in tokens.items()}
    start = {m: jnp.where(asked[m], begun[m], t.latent) for m, t in tokens.items()}

    def with_text(read, joined=joined, skip_layers=()):
      def velocity(x, t):
        level = jnp.full((len(seeds), 1), t)
        now = {
          m: k.replace(latent=x[m], sigma=t * k.sigma, levels=level) for m, k in tokens.items()
        }
        v = network.velocity(params, now, read, joined=joined, skip_layers=skip_layers)
        return {m: jnp.where(asked[m], v[m], 0.0) for m in v}

      return velocity

    read = network.read(params, text)
    velocity = plain = with_text(read)
    weaker = []
    if any(scale != 1 for scale in config.guidance.values()):
      weaker.append((with_text(network.read(params, blank)), _beyond_one(config.guidance)))
    if joined and any(scale != 1 for scale in config.modality_guidance.values()):
      weaker.append((with_text(read, joined=False), _beyond_one(config.modality_guidance)))
    if any(config.skip_guidance.values()):
      skipping = with_text(read, skip_layers=config.skip_layers)
      weaker.append((skipping, config.skip_guidance))
    if weaker:
      velocity = guidance.guided(plain, weaker, config.rescale)
      if config.interval != (0.0, 1.0):
        velocity = guidance.in_interval(velocity, plain, *config.interval)
    made = sample(velocity, start, jnp.asarray(times), solver.SOLVERS[config.solver])
    return {m: sharding.reshard(x, None, None, None) for m, x in made.items()}

  return jax.jit(run)


def _times(config: SampleConfig, shift: float) -> np.ndarray:
  """The noise levels of a run of the solver, falling to 0."""
  if config.levels:
    return np.asarray(config.levels, np.float32)
  return levels.times(config.steps, shift, last=config.last)


def _beyond_one(scale: Mapping[str, float]) -> dict[str, float]:
  return {m: s - 1 for m, s in scale.items()}


def _noise(seeds: jax.Array, modality: str, like: jax.Array, stage: int = 0) -> jax.Array:
  """Noise [B, T, C] in which a token depends on its row's seed and its own number alone.

  Every stage has noise of its own.
  """
  tokens = jnp.arange(like.shape[1])

  def of_row(seed):
    key = jax.random.fold_in(jax.random.key(seed), STREAM_KEYS[modality] + 2 * stage)
    one = lambda token: jax.random.normal(jax.random.fold_in(key, token), like.shape[2:])
    return jax.vmap(one)(tokens)

  return sharding.reshard(jax.vmap(of_row)(seeds), 'batch', 'tokens', None)

"""The program that samples a batch of clips: all steps of the solver and all passes of guidance.

Whoever runs it and whoever plans it build it here.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sorajax import sharding
from sorajax.clip import Latents, Tokens
from sorajax.data.schedule import Bucket
from sorajax.flow import guidance, levels, path, solver
from sorajax.flow.sample import sample
from sorajax.network import Network
from sorajax.settings import SampleConfig, Settings

STREAM_KEYS = {'audio': 0, 'video': 1}

Levels = dict[str, np.ndarray]
Begins = tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class Pass:
  """One way in which a step asks the network for v.

  Attributes:
    away_from: what guidance pushes away from by it; '' for the plain pass, with all there is.
    prompted: whether it reads the prompt.
    joined: whether audio and video attend to each other.
    skip_layers: whose self-attention is skipped.
    push: modality → how far guidance pushes away from it, as pairs.
  """

  away_from: str = ''
  prompted: bool = True
  joined: bool = True
  skip_layers: tuple[int, ...] = ()
  push: tuple[tuple[str, float], ...] = ()


def passes(config: SampleConfig, joined: bool = True) -> list[Pass]:
  """The plain pass, and those that guidance adds within its interval of levels."""
  found = [Pass(joined=joined)]
  pushed = lambda scales, less=0.0: tuple((m, s - less) for m, s in scales.items())
  if any(scale != 1 for scale in config.guidance.values()):
    push = pushed(config.guidance, 1)
    found.append(Pass('no prompt', prompted=False, joined=joined, push=push))
  if joined and any(scale != 1 for scale in config.modality_guidance.values()):
    push = pushed(config.modality_guidance, 1)
    found.append(Pass('streams apart', joined=False, push=push))
  if any(config.skip_guidance.values()):
    push, skipped = pushed(config.skip_guidance), config.skip_layers
    found.append(Pass('skipped layers', joined=joined, skip_layers=skipped, push=push))
  return found


@functools.cache
def evaluations(
  config: SampleConfig, shift: float, joined: bool = True
) -> tuple[tuple[Pass, int], ...]:
  """How often a run asks the network, in each of its `passes`."""
  asked: list[Levels] = []

  def velocity(x: Levels, t: Levels) -> Levels:
    asked.append(t)
    return x

  run, step = times(config, shift), solver.SOLVERS[config.solver]
  at = [{m: t[n] for m, t in run.items()} for n in range(len(run['video']))]
  memory = solver.first_memory(at[0], at[0])
  for t, t_next in itertools.pairwise(at):
    _, memory = step(velocity, t, t, t_next, memory)
  low, high = config.interval
  guided = sum(any(low <= of_one <= high for of_one in t.values()) for t in asked)
  plain, *weaker = passes(config, joined)
  return (plain, len(asked)), *((one, guided) for one in weaker)


def times(config: SampleConfig, shift: float, begins: Begins = ()) -> Levels:
  """The noise levels of a run of the solver, modality → float32 [N + 1], from pure noise to 0.

  Streams go through the same levels; one that waits is at the first of them for so many steps more,
  and one that begins with less noise waits until the others have no more.

  Args:
    config: which levels, and for how long streams wait.
    shift: by how much levels move towards noise.
    begins: modality and level, of streams that do not begin with pure noise.
  """
  found = np.asarray(config.levels, np.float32)
  if not config.levels:
    found = levels.times(config.steps, shift, last=config.last)
  own = dict.fromkeys(config.wait, found)
  for m, level in begins:
    own[m] = np.append(np.float32(level), found[found < np.float32(level)])
  longest, most = max(map(len, own.values())), max(config.wait.values())
  return {
    m: np.pad(own[m], (wait + longest - len(own[m]), most - wait), 'edge')
    for m, wait in config.wait.items()
  }


def without(config: SampleConfig, given: Collection[str]) -> SampleConfig:
  """The same where streams are given as a whole: none waits for them, nothing guides them."""
  if not given:
    return config
  none = lambda scales, value: {m: value if m in given else s for m, s in scales.items()}
  return dataclasses.replace(
    config,
    guidance=none(config.guidance, 1.0),
    modality_guidance=none(config.modality_guidance, 1.0),
    skip_guidance=none(config.skip_guidance, 0.0),
    wait=dict.fromkeys(config.wait, 0),
  )


def shift_of(settings: Settings, tokens: int) -> float:
  """By how much levels move towards noise for so many tokens of picture."""
  line = settings.sample.shift
  if not line:
    return settings.flow.shift
  return levels.shift_of_length(tokens, (line[0], line[1]), (line[2], line[3]))


def rows_over(mesh: sharding.Mesh, wanted: int) -> int:
  """The least number of clips at once that holds `wanted` and divides over the mesh."""
  shards = sharding.shards_of(mesh, 'batch')
  return -(-wanted // shards) * shards


def bucket_of(first: Latents, rows: int, text_tokens: int, shards: int) -> Bucket:
  """The shape of a batch of such clips, one a row, whose tokens divide over `shards`."""
  up = lambda n: -(-n // shards) * shards
  return Bucket(
    rows=rows, video=up(first.video_tokens), audio=up(len(first.audio)), text=up(text_tokens)
  )


@functools.cache
def sampling(
  network: Network, config: SampleConfig, shift: float, joined: bool = True, begins: Begins = (),
  held: bool = False,
) -> jax.stages.Wrapped:  # fmt: skip
  """The jitted (params, tokens, text, blank text, seeds) → latents of every token.

  Args:
    network: the velocity.
    config: how it is solved and guided.
    shift: by how much levels move towards noise.
    joined: whether audio and video attend to each other.
    begins: as in `times`.
    held: whether tokens may have a share of their clip's noise, and not only all of it or none.
  """
  run_times = times(config, shift, begins)
  first = {m: float(of_one[0]) for m, of_one in run_times.items()}

  def run(
    params: Any, tokens: dict[str, Tokens], text: Any, blank: Any, seeds: jax.Array
  ) -> dict[str, jax.Array]:
    start, share = begin(tokens, seeds, first), {m: k.sigma[..., None] for m, k in tokens.items()}
    own = lambda v: {m: share[m] * v[m] for m in v}  # what is given stays still
    read = functools.cache(lambda prompted: network.read(params, text if prompted else blank))

    def velocity_of(one: Pass) -> solver.Velocity:
      words = read(one.prompted)

      def velocity(x, t):
        level = {m: jnp.full((len(seeds), 1), t[m]) for m in tokens}
        now = {
          m: k.replace(latent=x[m], sigma=t[m] * k.sigma, levels=None if held else level[m])
          for m, k in tokens.items()
        }
        v = network.velocity(params, now, words, joined=one.joined, skip_layers=one.skip_layers)
        return own(v)

      return velocity

    real = {m: (k.segment > 0)[..., None] for m, k in tokens.items()}
    velocity = _guided(config, passes(config, joined), velocity_of, real)

    def moved(x, t):
      v = own(velocity(x, t))  # guidance may have moved all
      return {m: v[m] + _pull(x[m] - k.latent, v[m], t[m], share[m]) for m, k in tokens.items()}

    made = sample(moved, start, run_times, solver.SOLVERS[config.solver])
    return {m: sharding.reshard(x, None, None, None) for m, x in made.items()}

  return jax.jit(run)


def _guided(
  config: SampleConfig,
  ways: Sequence[Pass],
  velocity_of: Callable[[Pass], solver.Velocity],
  counted: Mapping[str, jax.Array],
) -> solver.Velocity:
  plain = velocity_of(ways[0])
  weaker: list[tuple[solver.Velocity, Mapping[str, float]]] = [
    (velocity_of(one), dict(one.push)) for one in ways[1:]
  ]
  if not weaker:
    return plain
  velocity = guidance.guided(plain, weaker, config.rescale, counted)
  if config.interval != (0.0, 1.0):
    velocity = guidance.in_interval(velocity, plain, *config.interval)
  return velocity


def _pull(away: jax.Array, v: jax.Array, t: jax.Array, share: jax.Array) -> jax.Array:
  """What draws tokens that have a share of the noise back to what is given (Lightricks 2026).

  At every step the clean tokens that v leads to are mixed with 1 − share of those that are given.

  Args:
    away: [B, T, C], how far tokens are from what is given; 0 where that is wholly so.
    v: [B, T, C], by which tokens would move.
    t: the level of those that have all of the noise.
    share: [B, T, 1], 0 for what is given and 1 for what is asked for.
  """
  home = jnp.where(t > 0, away / jnp.where(t > 0, t, 1.0), v)
  return (1 - share) * home


def begin(
  tokens: dict[str, Tokens], seeds: jax.Array, levels: Mapping[str, float] = MappingProxyType({})
) -> dict[str, jax.Array]:
  """What a run begins with, modality → [B, T, C]: tokens that are asked for at a noise level.

  Args:
    tokens: with what is given, and what noise is added to.
    seeds: of each row.
    levels: modality → its noise level; 1 for others.
  """
  made = {}
  for m, t in tokens.items():
    level = levels.get(m, 1.0)
    noise = _noise(seeds, m, t.latent, stage=int(level < 1))
    made[m] = path.interpolate(t.latent, noise, jnp.float32(level) * t.sigma)
  return made


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

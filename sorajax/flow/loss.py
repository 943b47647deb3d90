"""The flow-matching loss over tokens that carry their own noise level."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sorajax import sharding
from sorajax.clip import Tokens
from sorajax.flow import path
from sorajax.flow.levels import LevelSampler

Streams = dict[str, Tokens]
TokenVelocity = Callable[[Streams], dict[str, jax.Array]]


def draw_levels(
  key: jax.Array, streams: Streams, clips: int, sampler: LevelSampler, together: float
) -> dict[str, jax.Array]:
  """One level a clip and stream.

  Args:
    key: of this step.
    streams: modality → clean Tokens with sigma 1 where noise is asked for.
    clips: most clips that a row holds.
    sampler: draws levels.
    together: share of the clips whose streams have the same level, as in joint sampling.

  Returns:
    modality → float32 [B, clips].
  """
  key_shared, key_own, key_choice = jax.random.split(key, 3)
  rows = next(iter(streams.values())).segment.shape[0]
  shared = sampler(key_shared, (rows, clips))
  joint = jax.random.uniform(key_choice, (rows, clips)) < together
  levels = {}
  for i, m in enumerate(sorted(streams)):
    own = sampler(jax.random.fold_in(key_own, i), (rows, clips))
    levels[m] = jnp.where(joint, shared, own)
  return levels


def spread(by_clip: jax.Array, segment: jax.Array) -> jax.Array:
  """A value a clip [B, N] → its value at every token [B, T], 0 at padding."""
  clip = jnp.arange(1, by_clip.shape[1] + 1)
  return jnp.where(segment[..., None] == clip, by_clip[:, None, :], 0.0).sum(axis=-1)


def draw_noise(key: jax.Array, streams: Streams) -> dict[str, jax.Array]:
  """Standard normal noise for every latent, modality → [B, T, C], each device its own part."""
  draw = lambda i, like: jax.random.normal(
    jax.random.fold_in(key, i), like.shape, out_sharding=sharding.layout(like)
  )
  return {m: draw(i, t.latent) for i, (m, t) in enumerate(sorted(streams.items()))}


def noised(streams: Streams, noise: dict[str, jax.Array], levels: dict[str, jax.Array]) -> Streams:
  """Clean tokens moved along the path to the levels of their clips [B, N], but for given ones."""
  out = {}
  for m, t in streams.items():
    sigma = t.sigma * spread(levels[m], t.segment)
    latent = path.interpolate(t.latent, noise[m], sigma)
    out[m] = t.replace(latent=latent, sigma=sigma, levels=levels[m])
  return out


def squared_errors(
  velocity: TokenVelocity, streams: Streams, noise: dict, levels: dict
) -> dict[str, tuple[jax.Array, jax.Array]]:
  """The masked sum of squared errors of v, and the mask's sum, for every stream.

  Sums rather than means, so that micro-batches add up to exactly the whole batch. Noise is as
  `draw_noise`, levels are as `draw_levels` give them.

  Returns:
    modality → (sum over masked tokens of the mean over channels, number of masked tokens).
  """
  predicted = velocity(noised(streams, noise, levels))
  out = {}
  for m, t in streams.items():
    error = jnp.square(predicted[m] - path.velocity(t.latent, noise[m])).mean(axis=-1)
    out[m] = ((error * t.loss_mask).sum(), t.loss_mask.sum())
  return out

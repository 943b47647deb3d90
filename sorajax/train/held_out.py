"""The loss on clips that are never trained on, at fixed noise and by noise level."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sorajax.clip import Batch
from sorajax.data.latents import LatentSource
from sorajax.data.loader import token_loader
from sorajax.data.schedule import Place
from sorajax.flow import loss as flow_loss
from sorajax.flow import path
from sorajax.network import Network
from sorajax.settings import Settings
from sorajax.tasks import capabilities

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
SEED = 20_000


class HeldOut:
  """A fixed set of batches with fixed noise, so that two steps can be compared."""

  def __init__(
    self, settings: Settings, network: Network, source: LatentSource, mesh: jax.sharding.Mesh
  ):
    self._weight = settings.flow.weight
    loader = token_loader(
      settings.data, source, tokenize=network.text.tokenize,
      draw_given=lambda rng, layout: capabilities.text_to_clip(layout, 0.0),
      mesh=mesh, seed=SEED, place=Place(),
    )  # fmt: skip
    self._batches: list[Batch] = []
    for batch, info in loader:
      if loader.place(info['step']).epoch or len(self._batches) == settings.train.evaluate_batches:
        break
      self._batches.append(jax.tree.map(lambda x: x[0], batch))
    clips = max(b.clips for b in settings.data.buckets.values())
    self._errors = jax.jit(_errors_of(network, clips))

  def __call__(self, params: Any, frozen: Any) -> dict[str, float]:
    """Losses: `loss` over all levels, `loss_at_0.5` at one, `mean_loss` of the best constant.

    Each also of a stream alone, without its weight: `loss_video`, `loss_video_at_0.5` and so on.
    """
    totals: dict[str, tuple[float, float]] = {}
    for i, batch in enumerate(self._batches):
      for j, level in enumerate(LEVELS):
        key = jax.random.fold_in(jax.random.key(SEED), i * len(LEVELS) + j)
        for name, (total, count) in self._errors({**params, **frozen}, batch, key, level).items():
          for at in (name, f'{name}_at_{level}'):
            old = totals.get(at, (0.0, 0.0))
            totals[at] = (old[0] + float(total), old[1] + float(count))
    means = {name: total / max(count, 1.0) for name, (total, count) in totals.items()}
    out: dict[str, float] = {}
    for suffix in ('', *(f'_at_{level}' for level in LEVELS)):
      alone = {m: means[f'{m}{suffix}'] for m in self._weight}
      out |= {f'loss_{m}{suffix}': mean for m, mean in alone.items()}
      out[f'loss{suffix}'] = sum(w * alone[m] for m, w in self._weight.items())
    for m in self._weight:
      out[f'mean_loss_{m}'] = means[f'mean_{m}']
    out['mean_loss'] = sum(w * means[f'mean_{m}'] for m, w in self._weight.items())
    return out


def _errors_of(network: Network, clips: int) -> Callable:
  """(params, batch, key, level) → name → (sum, count), of the network and of the best constant.

  Rows of the batch hold so many clips at most.
  """

  def errors(params, batch: Batch, key, level):
    noise = flow_loss.draw_noise(key, batch.tokens)
    levels = {m: jnp.full((len(t.sigma), clips), level) for m, t in batch.tokens.items()}
    text = network.read(params, batch.text)
    velocity = lambda tokens: network.velocity(params, tokens, text)
    out = flow_loss.squared_errors(velocity, batch.tokens, noise, levels)
    for m, t in batch.tokens.items():
      target, mask = path.velocity(t.latent, noise[m]), t.loss_mask[..., None]
      mean = (target * mask).sum((0, 1)) / jnp.maximum(mask.sum((0, 1)), 1.0)
      error = (jnp.square(target - mean).mean(axis=-1) * t.loss_mask).sum()
      out[f'mean_{m}'] = (error, t.loss_mask.sum())
    return out

  return errors

"""What a training run carries from step to step, and one step of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sorajax import build, optim, sharding
from sorajax.clip import Batch
from sorajax.flow import loss as flow_loss
from sorajax.network import Network
from sorajax.settings import Settings

State = dict[str, Any]  # step, params, ema, optimizer
Metrics = dict[str, jax.Array]


def initial_state(settings: Settings, network: Network) -> Callable[[], State]:
  """A function that makes the first state; run it through `sharding.jit_init`."""
  transform = optim.optimizer(settings.optimizer, settings.train.steps)

  def init() -> State:
    params = network.init(jax.random.key(settings.train.seed))
    return {
      'step': jnp.zeros((), jnp.int32),
      'params': params,
      'ema': jax.tree.map(jnp.copy, params),
      'optimizer': transform.init(params),
    }

  return init


def loss_of(settings: Settings, network: Network):
  """(params, frozen, micro-batch, key, tokens in the whole batch) → (loss, loss of each stream)."""
  sampler = build.level_sampler(settings.flow)
  flow, buckets = settings.flow, settings.data.buckets.values()
  clips = max(b.clips for b in buckets)

  def loss(params, frozen, batch: Batch, key, counts):
    key_levels, key_noise = jax.random.split(key)
    levels = flow_loss.draw_levels(key_levels, batch.tokens, clips, sampler, flow.together)
    noise = flow_loss.draw_noise(key_noise, batch.tokens)
    variables = {**params, **frozen}
    text = network.read(variables, batch.text)
    velocity = lambda tokens: network.velocity(variables, tokens, text)
    errors = flow_loss.squared_errors(velocity, batch.tokens, noise, levels)
    parts = {m: total / jnp.maximum(counts[m], 1.0) for m, (total, _) in errors.items()}
    return sum(flow.weight[m] * part for m, part in parts.items()), parts

  return loss


def make_step(
  settings: Settings, network: Network, mesh: jax.sharding.Mesh, layout: Any
) -> Callable[[State, Any, Batch], tuple[State, Metrics]]:
  """The jitted (state, frozen, batch) → (state, metrics); the state given in is used up.

  A batch is [A, B, T, ...] with A micro-batches, whose gradients add up to exactly the whole
  batch's. A step whose loss or gradient is not finite changes nothing but the step's number.
  """
  transform = optim.optimizer(settings.optimizer, settings.train.steps)
  rate = optim.schedule(settings.optimizer, settings.train.steps)
  gradient = jax.value_and_grad(loss_of(settings, network), has_aux=True)
  base_key = settings.train.seed

  def step(state: State, frozen: Any, batch: Batch) -> tuple[State, Metrics]:
    key = jax.random.fold_in(jax.random.key(base_key), state['step'])
    params = state['params']
    counts = {m: t.loss_mask.sum() for m, t in batch.tokens.items()}
    (loss, parts), grads = _accumulate(gradient, params, frozen, batch, key, counts)
    norm = optax.global_norm(grads)
    fine = jnp.isfinite(loss) & jnp.isfinite(norm)
    updates, moments = transform.update(grads, state['optimizer'], params)
    moved = optax.apply_updates(params, updates)
    ema = optim.average(state['ema'], moved, state['step'], settings.optimizer.ema)
    new = {'params': moved, 'ema': ema, 'optimizer': moments}
    old = {name: state[name] for name in new}
    kept = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)
    metrics = {
      'loss': loss,
      **{f'loss_{m}': part for m, part in parts.items()},
      'gradient_norm': norm,
      'learning_rate': jnp.asarray(rate(state['step']), jnp.float32),
      'finite': fine,
      **{f'tokens_{m}': counts[m] for m in parts},
    }
    return {'step': state['step'] + 1, **kept}, metrics

  batches = jax.NamedSharding(mesh, sharding.P(None, *sharding.spec('batch', 'tokens')))
  replicated = jax.NamedSharding(mesh, sharding.P())
  return jax.jit(
    step,
    in_shardings=(layout, replicated, batches),
    out_shardings=(layout, replicated),
    donate_argnums=0,
  )


def _accumulate(gradient, params, frozen, batch: Batch, key, counts):
  """Loss and gradient summed over micro-batches."""
  count = batch.text.ids.shape[0]

  def one(i, micro):
    return gradient(params, frozen, micro, jax.random.fold_in(key, i), counts)

  pick = lambda i: jax.tree.map(lambda x: x[i], batch)
  total = one(0, pick(0))
  for i in range(1, count):
    total = jax.tree.map(jnp.add, total, one(i, pick(i)))
  return total

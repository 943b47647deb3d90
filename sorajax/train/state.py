"""What a training run carries from step to step, and one step of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sorajax import optim, sharding
from sorajax.train.objective import Objective

State = dict[str, Any]  # step, params, ema, optimizer
Metrics = dict[str, jax.Array]


def initial_state(objective: Objective) -> Callable[..., State]:
  """A function that makes the first state; run it through `sharding.jit_init`.

  It may be given what `objective.begun` gives, whose numbers then take the place of those drawn, in
  the types of these: weights of 16 bits are trained in 32.
  """
  settings = objective.settings
  transform = optim.optimizer(settings.optimizer, settings.train.steps)

  def init(begun: Any = None) -> State:
    params = objective.init(jax.random.key(settings.train.seed))
    if begun is not None:
      params = jax.tree.map(lambda drawn, x: x.astype(drawn.dtype), params, begun)
    return {
      'step': jnp.zeros((), jnp.int32),
      'params': params,
      'ema': jax.tree.map(jnp.copy, params),
      'optimizer': transform.init(params),
    }

  return init


def make_step(objective: Objective, mesh: jax.sharding.Mesh, layout: Any) -> jax.stages.Wrapped:
  """The jitted (state, frozen, batch) → (state, metrics); the state given in is used up.

  A batch is [A, B, ...] with A micro-batches, whose gradients add up to exactly the whole
  batch's. A step whose loss or gradient is not finite changes nothing but the step's number.
  """
  settings, train = objective.settings.optimizer, objective.settings.train
  transform, rate = optim.optimizer(settings, train.steps), optim.schedule(settings, train.steps)
  gradient = jax.value_and_grad(objective.loss, has_aux=True)

  def step(state: State, frozen: Any, batch: Any) -> tuple[State, Metrics]:
    key = jax.random.fold_in(jax.random.key(train.seed), state['step'])
    params = state['params']
    counts = objective.counts(batch)
    (loss, parts), grads = _accumulate(gradient, params, frozen, batch, key, counts)
    norm = optax.global_norm(grads)
    fine = jnp.isfinite(loss) & jnp.isfinite(norm)
    updates, moments = transform.update(grads, state['optimizer'], params)
    moved = optax.apply_updates(params, updates)
    ema = optim.average(state['ema'], moved, state['step'], settings.ema)
    new = {'params': moved, 'ema': ema, 'optimizer': moments}
    old = {name: state[name] for name in new}
    kept = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)
    metrics = {
      'loss': loss,
      **{f'loss_{m}': part for m, part in parts.items()},
      'gradient_norm': norm,
      'learning_rate': jnp.asarray(rate(state['step']), jnp.float32),
      'finite': fine,
      **{f'count_{name}': count for name, count in counts.items()},
    }
    return {'step': state['step'] + 1, **kept}, metrics

  batches = jax.NamedSharding(mesh, sharding.P(None, *objective.batch_spec))
  replicated = jax.NamedSharding(mesh, sharding.P())
  return jax.jit(
    step,
    in_shardings=(layout, None, batches),
    out_shardings=(layout, replicated),
    donate_argnums=0,
  )


def _accumulate(gradient, params, frozen, batch, key, counts):
  """Loss and gradient summed over micro-batches."""
  count = jax.tree.leaves(batch)[0].shape[0]

  def one(i, micro):
    return gradient(params, frozen, micro, jax.random.fold_in(key, i), counts)

  pick = lambda i: jax.tree.map(lambda x: x[i], batch)
  total = one(0, pick(0))
  for i in range(1, count):
    total = jax.tree.map(jnp.add, total, one(i, pick(i)))
  return total

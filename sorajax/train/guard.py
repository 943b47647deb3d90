"""When a step is not finite: what broke, and where."""

from typing import Any

import jax
import jax.numpy as jnp

from sorajax.train.objective import Objective


def diagnose(objective: Objective, params: Any, frozen: Any, batch: Any, step: int) -> str:
  """One line that names the first thing that is not finite: data, weights, loss or gradient.

  The weights may be those that the step after this one left, if that was finite.
  """
  place = _first_bad(objective.values(batch))
  if place:
    return f'the batch: its{place}'
  place = _first_bad(params)
  if place:
    return f'the parameter{place}'
  counts = objective.counts(batch)
  gradient = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
  for i in range(jax.tree.leaves(batch)[0].shape[0]):
    micro = jax.tree.map(lambda x, i=i: x[i], batch)
    key = jax.random.fold_in(jax.random.key(objective.settings.train.seed), step)
    (_, parts), grads = gradient(params, frozen, micro, jax.random.fold_in(key, i), counts)
    place = _first_bad(parts)
    if place:
      return f'the loss of{place}'
    place = _first_bad(grads)
    if place:
      return f'the gradient of{place}'
  return 'nothing when the step is repeated: it passed, or lay in weights that have moved on since'


def _first_bad(tree: Any) -> str:
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if not bool(jnp.isfinite(leaf).all()):
      return ' ' + jax.tree_util.keystr(path, simple=True, separator='/')
  return ''

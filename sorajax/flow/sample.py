"""Sampling is one scan over times."""

from typing import Any

import jax
import jax.numpy as jnp

from sorajax.flow.solver import Solver, Velocity, euler, first_memory


def sample(velocity: Velocity, noise: Any, times: Any, solver: Solver = euler) -> Any:
  """Carries x from times[0] to times[-1] along dx/dt = velocity(x, t).

  Args:
    velocity: (x, t) → v, of the structure of x.
    noise: x at times[0], any pytree.
    times: float32 [N + 1], falling, or a pytree of such for the branches of x: one that does not
      fall in a step leaves its branch where it is.
    solver: one of `sorajax.flow.solver`.

  Returns:
    x at times[-1].
  """
  times = jax.tree.map(jnp.asarray, times)
  spans = jax.tree.map(lambda t: t[:-1], times), jax.tree.map(lambda t: t[1:], times)

  def step(carry: Any, span: tuple[Any, Any]) -> tuple[Any, None]:
    x, memory = carry
    return solver(velocity, x, *span, memory), None

  start = jax.tree.map(lambda t: t[0], times)
  (x, _), _ = jax.lax.scan(step, (noise, first_memory(noise, start)), spans)
  return x

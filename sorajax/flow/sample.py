"""Sampling is one scan over times."""

from typing import Any

import jax
import jax.numpy as jnp

from sorajax.flow.solver import Solver, Velocity, euler, first_memory


def sample(velocity: Velocity, noise: Any, times: jax.Array, solver: Solver = euler) -> Any:
  """Carries x from times[0] to times[-1] along dx/dt = velocity(x, t).

  Args:
    velocity: (x, t) → v, of the structure of x.
    noise: x at times[0], any pytree.
    times: float32 [N + 1], falling.
    solver: one of `sorajax.flow.solver`.

  Returns:
    x at times[-1].
  """
  times = jnp.asarray(times)

  def step(carry: Any, span: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
    x, memory = carry
    return solver(velocity, x, *span, memory), None

  (x, _), _ = jax.lax.scan(step, (noise, first_memory(noise)), (times[:-1], times[1:]))
  return x

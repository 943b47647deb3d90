"""The path between data and noise, stated once for the whole project.

t = 0 is data and t = 1 is noise; a token's noise level sigma is its t.

  x_t = (1 − t)·data + t·noise          (Liu et al. 2022, rectified flow; Lipman et al. 2022)
  v   = dx/dt = noise − data
"""

import jax
import jax.numpy as jnp


def interpolate(data: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
  """x_t for data and noise [..., C] and t [...]."""
  t = t[..., None]
  return (1 - t) * data + t * noise


def velocity(data: jax.Array, noise: jax.Array) -> jax.Array:
  """v of the straight path."""
  return noise - data


def linear_guess(t: jax.Array, spread: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What is known of v before anything is learned, from the spread of the data alone.

  For data of mean 0 and standard deviation s in a channel, x_t has variance
  q = (1 − t)²s² + t², the best linear guess of v is (t − (1 − t)s²)/q · x_t, and what it misses has
  standard deviation s/√q. This is the preconditioning of Karras et al. 2022 (section 5, table 1),
  channel by channel, on the straight path.

  Args:
    t: [...].
    spread: s, [C].

  Returns:
    1/√q, the slope of the guess, and the spread of what it misses, each [..., C].
  """
  t, s2 = t[..., None], jnp.square(spread)
  q = jnp.square(1 - t) * s2 + jnp.square(t) + 1e-8
  return jax.lax.rsqrt(q), (t - (1 - t) * s2) / q, spread * jax.lax.rsqrt(q)


def data_from_velocity(x: jax.Array, v: jax.Array, t: jax.Array) -> jax.Array:
  """Where the straight line through x_t with velocity v ends: x_t − t·v."""
  return x - t[..., None] * v

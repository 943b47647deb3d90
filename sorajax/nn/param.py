"""Parameters that name their axes, and the one einsum that multiplies by them."""

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax import sharding


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple, *, scale: float) -> nnx.Param:
  """A float32 parameter drawn from N(0, scale²), laid over the mesh along its logical `axes`."""
  value = scale * jax.random.normal(rngs.params(), shape, jnp.float32)
  return nnx.Param(sharding.reshard(value, *axes))


def zeros(shape: tuple[int, ...], axes: tuple) -> nnx.Param:
  """A float32 parameter of zeros."""
  return nnx.Param(sharding.reshard(jnp.zeros(shape, jnp.float32), *axes))


def ones(shape: tuple[int, ...], axes: tuple) -> nnx.Param:
  """A float32 parameter of ones."""
  return nnx.Param(sharding.reshard(jnp.ones(shape, jnp.float32), *axes))


def einsum(equation: str, x: jax.Array, w: nnx.Param | jax.Array, *axes: str | None) -> jax.Array:
  """`jnp.einsum` of activations and a parameter in the activations' type.

  Args:
    equation: with the letters B T D H K F L C.
    x: activations, in the compute type.
    w: a parameter, cast to the type of `x`.
    *axes: the logical axes of the result.
  """
  out = None if jax.sharding.get_abstract_mesh().empty else sharding.spec(*axes)
  return jnp.einsum(equation, x, w[...].astype(x.dtype), out_sharding=out)

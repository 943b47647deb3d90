"""Parameters that name their axes, and the one einsum that multiplies by them."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax import sharding
from sorajax.nn.changed import Changed


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple, *, scale: float) -> nnx.Param:
  """A float32 parameter drawn from N(0, scale²), laid over the mesh along its logical `axes`."""
  value = scale * jax.random.normal(rngs.params(), shape, jnp.float32)
  return nnx.Param(sharding.reshard(value, *axes))


def zeros(shape: tuple[int, ...], axes: tuple) -> nnx.Param:
  """A float32 parameter of zeros."""
  return full(shape, axes, 0.0)


def full(shape: tuple[int, ...], axes: tuple, value: float) -> nnx.Param:
  """A float32 parameter that begins as one value everywhere."""
  return nnx.Param(sharding.reshard(jnp.full(shape, value, jnp.float32), *axes))


def ones(shape: tuple[int, ...], axes: tuple) -> nnx.Param:
  """A float32 parameter of ones."""
  return full(shape, axes, 1.0)


def einsum(equation: str, x: jax.Array, w: nnx.Param | jax.Array, *axes: str | None) -> jax.Array:
  """`jnp.einsum` of activations and a parameter in the activations' type.

  Where parameters are split over `fsdp`, each device gathers what it multiplies by, and the
  gradients are summed and split again in one go (`reduce-scatter`), in the activations' type. Left
  to itself, XLA sums all gradients everywhere before it splits them, which is twice the
  communication. Copies of parameters sum the parts that are left: on the way back everything goes
  in the other order.

  Args:
    equation: such as `btd,dhk->bthk`, with the letters B T D H K F L C.
    x: activations, in the compute type.
    w: a parameter, a matrix of 8 bits or one with its change, cast to the type of `x`.
    *axes: the logical axes of the result.
  """
  matrix: Any = w[...]
  if isinstance(matrix, Changed):
    return _by_changed(equation, x, matrix, *axes)
  if sharding.alone() and _is_product(equation):
    if in_16_bits(x):
      weight = w[...] if isinstance(w[...], jax.Array) else w[...].astype(x.dtype)
      return sharding.reshard(rounded(equation, x, weight), *axes)
    if len(x) == 1:
      return sharding.reshard(_product(jnp.matmul, equation, x, w[...].astype(x.dtype)), *axes)
  kernel = w[...].astype(x.dtype)
  if not sharding.is_laid():
    return jnp.einsum(equation, x, kernel)
  layout, out = jax.typeof(kernel).sharding.spec, sharding.spec(*axes)
  gathered = [i for i, axis in enumerate(layout) if axis == sharding.RULES['embed']]
  if not gathered or sharding.shards('embed') == 1:
    return jnp.einsum(equation, x, kernel, out_sharding=out)
  of_x, of_w, of_out = _letters(equation)
  over = [layout[of_w.index(letter)] for letter in of_x if letter in of_w]
  summed = tuple(axis for axis in over if axis not in (None, sharding.RULES['embed']))

  def local(x, w):
    w = jax.lax.pcast(w, copied, to='varying') if copied else w
    for dim in gathered:
      w = jax.lax.all_gather(w, sharding.RULES['embed'], axis=dim, tiled=True)
    y = jnp.einsum(equation, x, w)
    return jax.lax.psum(y, summed) if summed else y

  placed = dict(zip(of_out, out))
  known = {letter: axis for letter, axis in zip(of_w, layout) if axis in summed}
  where = jax.P(*((placed | known).get(letter) for letter in of_x))
  copied = tuple(sorted(_named(where) - _named(layout)))  # along these all multiply by the same
  run = jax.shard_map(local, in_specs=(where, layout), out_specs=out)
  return run(jax.reshard(x, where), kernel)


def _by_changed(equation: str, x: jax.Array, w: Changed, *axes: str | None) -> jax.Array:
  """`einsum` by a matrix and, beside it, by its change, which lies as the matrix does but whole
  along `fsdp`."""
  of_x, of_w, of_out = _letters(equation)
  ins, outs = of_w[: _summed(equation)], of_w[_summed(equation) :]
  rows = of_x.removesuffix(ins)
  down, up = w.down, w.up
  if sharding.is_laid():
    laid = dict(zip(of_w, jax.typeof(w.base).sharding.spec))
    whole = {n: None if axis == sharding.RULES['embed'] else axis for n, axis in laid.items()}
    down = jax.reshard(down, jax.P(*(whole[n] for n in ins), None))
    up = jax.reshard(up, jax.P(None, *(whole[n] for n in outs)))
  named = dict(zip(of_out, axes))
  narrow = (named.get(n) for n in rows)
  low = einsum(f'{of_x},{ins}r->{rows}r', x, down, *narrow, None)
  return einsum(equation, x, w.base, *axes) + einsum(f'{rows}r,r{outs}->{of_out}', low, up, *axes)


def _letters(equation: str) -> list[str]:
  """Those of x, of w and of what is made of them."""
  return equation.replace('->', ',').split(',')


def _summed(equation: str) -> int:
  """How many letters are summed over."""
  of_x, of_w, _ = _letters(equation)
  return sum(letter in of_x for letter in of_w)


def _is_product(equation: str) -> bool:
  """Whether the last axes of x meet the first of w, so that it is a product of two matrices."""
  of_x, of_w, of_out = _letters(equation)
  n = _summed(equation)
  return of_x.endswith(of_w[:n]) and of_out == of_x[:-n] + of_w[n:]


def _product(multiply: Callable, equation: str, x: jax.Array, w: jax.Array) -> jax.Array:
  """`jnp.einsum` as one product of two matrices.

  So the gradients of a long row's need no matrix transposed, which XLA does slowly on a CPU; of
  many short rows it is no faster.
  """
  n = _summed(equation)
  x, w = sharding.whole(x), sharding.whole(w)
  inner = math.prod(w.shape[:n])
  y = multiply(x.reshape(-1, inner), w.reshape(inner, -1))
  return y.reshape(*x.shape[:-n], *w.shape[n:])


def in_16_bits(x: jax.Array) -> bool:
  """Whether x is multiplied in 16 bits on a CPU: it is of such, or JAX's precision asks for them.

  There XLA multiplies such twice as fast as those of 32 bits where it may give the sums in 32,
  turns them into 32 first where it may not, and looks at no precision.
  """
  precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
  asked = x.dtype == jnp.float32 and precision == 'bfloat16'
  return (x.dtype == jnp.bfloat16 or asked) and sharding.platform() == 'cpu'


def rounded(equation: str, x: jax.Array, w: jax.Array) -> jax.Array:
  """`jnp.einsum`, a product of two matrices on one device, of factors rounded to bfloat16."""
  return _product(_rounded, equation, x, w)


@jax.custom_vjp
def _rounded(x, w):
  """[M, K] · [K, N], both rounded to bfloat16, summed in float32 → [M, N] in the type of x."""
  return _rounded_forwards(x, w)[0]


def _rounded_forwards(x, w):
  return _sums('mk,kn->mn', x, w).astype(x.dtype), (x, w)


def _rounded_backwards(saved, cotangent):
  x, w = saved
  # The narrower of the two is transposed. XLA computes what it is made of where it reads down its
  # columns, which takes up to ten times as long as row after row.
  if x.shape[1] > cotangent.shape[1]:
    of_w = _transposed(_sums('nm,mk->nk', _transposed(cotangent), x))
  else:
    of_w = _sums('km,mn->kn', _transposed(x), cotangent)
  return _sums('mn,kn->mk', cotangent, w).astype(x.dtype), of_w.astype(w.dtype)


_rounded.defvjp(_rounded_forwards, _rounded_backwards)


def _sums(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
  a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
  return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


def _transposed(x: jax.Array) -> jax.Array:
  """[M, K] → [K, M], so that XLA makes it no part of a product: such it has for 32 bits alone."""
  pair = math.gcd(x.shape[1], 2)
  return x.reshape(-1, x.shape[1] // pair, pair).transpose(1, 2, 0).reshape(x.shape[::-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _spread(x, shape):
  return jnp.broadcast_to(x, shape)


def _spread_forwards(x, shape):
  return _spread(x, shape), x


def _spread_backwards(shape, x, cotangent):
  cotangent = sharding.whole(cotangent).reshape(-1, x.size)
  total = jnp.ones((1, len(cotangent)), cotangent.dtype) @ cotangent
  return (sharding.like(total.reshape(x.shape), x),)


_spread.defvjp(_spread_forwards, _spread_backwards)


def spread(x: jax.Array, like: jax.Array) -> jax.Array:
  """x, [...] or [B, 1, ...], as it broadcasts to the tokens [B, T, ...] of `like`.

  Of a single row, on a device alone, its gradient is a matrix product with ones: XLA's sums over
  the tokens of one row take ten times as long on a CPU, and of two no longer than that product.
  """
  if x.shape == like.shape or len(like) > 1 or not sharding.alone():
    return x
  return sharding.like(_spread(sharding.whole(x), like.shape), like)


def _named(layout: jax.sharding.PartitionSpec) -> set[str]:
  """All mesh axes that a layout names."""
  axes = (axis if isinstance(axis, tuple) else (axis,) for axis in layout)
  return {axis for several in axes for axis in several if axis is not None}

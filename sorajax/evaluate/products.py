"""The matrix products that a function is made of, and how long they take alone.

A step can never be faster than its own matrix products, so they are the limit that its time is held
against. They are read from the function's jaxpr and not counted by hand;
of a branch, every side counts.
"""

import collections
import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@dataclasses.dataclass(frozen=True)
class Product:
  """One `dot_general`: operand shapes, the dimensions contracted and batched, both types."""

  lhs: tuple[int, ...]
  rhs: tuple[int, ...]
  dimensions: tuple
  dtype: str
  sums: str

  @property
  def flops(self) -> int:
    """Multiplications and additions."""
    (contracted, _), (batched, _) = self.dimensions
    shared = math.prod(self.lhs[i] for i in (*contracted, *batched))
    return 2 * math.prod(self.lhs) * math.prod(self.rhs) // shared


def matrix_products(function: Callable, *args: Any) -> dict[Product, int]:
  """How often each product occurs when `function(*args)` runs; loops count every turn.

  Args:
    function: traced, not run.
    args: arrays or ShapeDtypeStructs.

  Raises:
    ValueError: a loop whose number of turns is not known beforehand.
  """
  found: collections.Counter[Product] = collections.Counter()
  _collect(jax.make_jaxpr(function)(*args).jaxpr, 1, found)
  return dict(found)


def seconds_alone(products: dict[Product, int], repeats: int) -> float:
  """Seconds that the products take one after the other: the median of `repeats` for each."""
  return sum(count * _time(product, repeats) for product, count in products.items())


def _collect(jaxpr: Any, times: int, found: collections.Counter[Product]) -> None:
  for equation in jaxpr.eqns:
    name, params = equation.primitive.name, equation.params
    if name == 'dot_general':
      lhs, rhs = (v.aval for v in equation.invars)
      types = str(lhs.dtype), str(equation.outvars[0].aval.dtype)
      found[Product(lhs.shape, rhs.shape, params['dimension_numbers'], *types)] += times
    inner = list(_inner(params))
    if inner and name == 'while':
      raise ValueError('a while loop does not say how often it turns')
    turns = params['length'] if name == 'scan' else 1
    for part in inner:
      _collect(part, times * turns, found)


def _inner(params: dict[str, Any]) -> Iterator[Any]:
  """The jaxprs within an equation."""
  for value in params.values():
    for part in value if isinstance(value, (tuple, list)) else (value,):
      part = getattr(part, 'jaxpr', part)
      if hasattr(part, 'eqns'):
        yield part


def _time(product: Product, repeats: int) -> float:
  keys = jax.random.split(jax.random.key(0))
  lhs, rhs = (
    jax.random.normal(key, shape, jnp.float32).astype(product.dtype)
    for key, shape in zip(keys, (product.lhs, product.rhs))
  )
  multiply = jax.jit(
    functools.partial(
      lax.dot_general, dimension_numbers=product.dimensions, preferred_element_type=product.sums
    )
  )
  jax.block_until_ready(multiply(lhs, rhs))
  seconds = []
  for _ in range(repeats):
    began = time.perf_counter()
    jax.block_until_ready(multiply(lhs, rhs))
    seconds.append(time.perf_counter() - began)
  return statistics.median(seconds)

"""Solvers of dx/dt = v(x, t), each a pure step from t to t_next.

A solver has the form `step(velocity, x, t, t_next, memory) → (x, memory)`; x is any pytree and
`memory` is what a multistep method remembers, empty at first (`first_memory`).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Velocity = Callable[[Any, jax.Array], Any]  # (x, t) → v, of the structure of x
Solver = Callable[[Velocity, Any, jax.Array, jax.Array, Any], tuple[Any, Any]]


def first_memory(x: Any) -> Any:
  """The memory before the first step: no slope, and a last step of no length."""
  return jax.tree.map(jnp.zeros_like, x), jnp.zeros(())


def euler(velocity: Velocity, x: Any, t: jax.Array, t_next: jax.Array, memory: Any):
  """x + h·v(x, t)."""
  return _move(x, velocity(x, t), t_next - t), memory


def heun(velocity: Velocity, x: Any, t: jax.Array, t_next: jax.Array, memory: Any):
  """Trapezoid rule with an Euler predictor (Heun 1900; Karras et al. 2022, algorithm 1)."""
  first = velocity(x, t)
  second = velocity(_move(x, first, t_next - t), t_next)
  mean = jax.tree.map(lambda a, b: (a + b) / 2, first, second)
  return _move(x, mean, t_next - t), memory


def adams_bashforth(velocity: Velocity, x: Any, t: jax.Array, t_next: jax.Array, memory: Any):
  """Two-step Adams–Bashforth with varying step: second order at one evaluation a step.

  x + h·((1 + r/2)·v − r/2·v_last) with r = h/h_last (Hairer et al. 1993, section III.5); the first
  step has no last slope and is Euler's.
  """
  last, last_h = memory
  h, v = t_next - t, velocity(x, t)
  r = jnp.where(last_h == 0, 0.0, h / jnp.where(last_h == 0, 1.0, last_h))
  slope = jax.tree.map(lambda a, b: (1 + r / 2) * a - r / 2 * b, v, last)
  return _move(x, slope, h), (v, h)


SOLVERS: dict[str, Solver] = {
  'euler': euler, 'heun': heun, 'adams_bashforth': adams_bashforth,
}  # fmt: skip


def _move(x: Any, v: Any, h: jax.Array) -> Any:
  return jax.tree.map(lambda a, b: a + h * b, x, v)

"""Solvers of dx/dt = v(x, t), each a pure step from t to t_next.

A solver has the form `step(velocity, x, t, t_next, memory) → (x, memory)`; x is any pytree, t one
time for all of it or a pytree of times for its branches, and `memory` is what a multistep method
remembers, empty at first (`first_memory`).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Velocity = Callable[[Any, Any], Any]  # (x, t) → v, of the structure of x
Solver = Callable[[Velocity, Any, Any, Any, Any], tuple[Any, Any]]


def first_memory(x: Any, t: Any) -> Any:
  """The memory before the first step: no slope, and last steps of no length."""
  return jax.tree.map(jnp.zeros_like, x), jax.tree.map(jnp.zeros_like, t)


def euler(velocity: Velocity, x: Any, t: Any, t_next: Any, memory: Any):
  """x + h·v(x, t)."""
  return _move(x, velocity(x, t), _lengths(t, t_next)), memory


def heun(velocity: Velocity, x: Any, t: Any, t_next: Any, memory: Any):
  """Trapezoid rule with an Euler predictor (Heun 1900; Karras et al. 2022, algorithm 1)."""
  first, h = velocity(x, t), _lengths(t, t_next)
  second = velocity(_move(x, first, h), t_next)
  mean = jax.tree.map(lambda a, b: (a + b) / 2, first, second)
  return _move(x, mean, h), memory


def adams_bashforth(velocity: Velocity, x: Any, t: Any, t_next: Any, memory: Any):
  """Two-step Adams–Bashforth with varying step: second order at one evaluation a step.

  x + h·((1 + r/2)·v − r/2·v_last) with r = h/h_last (Hairer et al. 1993, section III.5); a branch's
  first step, before which it did not move, has no last slope and is Euler's.
  """
  last, last_h = memory
  h, v = _lengths(t, t_next), velocity(x, t)
  ratio = lambda h, before: jnp.where(before == 0, 0.0, h / jnp.where(before == 0, 1.0, before))
  slope = _over(lambda r, v, last: (1 + r / 2) * v - r / 2 * last)
  return _move(x, slope(jax.tree.map(ratio, h, last_h), v, last), h), (v, h)


SOLVERS: dict[str, Solver] = {
  'euler': euler, 'heun': heun, 'adams_bashforth': adams_bashforth,
}  # fmt: skip


def _lengths(t: Any, t_next: Any) -> Any:
  return jax.tree.map(lambda a, b: b - a, t, t_next)


def _move(x: Any, v: Any, h: Any) -> Any:
  return _over(lambda h, x, v: x + h * v)(h, x, v)


def _over(rule: Callable) -> Callable:
  """(h, *trees) → rule(h of its branch, *leaves) at every leaf of the trees."""
  branch = lambda h, *trees: jax.tree.map(lambda *leaves: rule(h, *leaves), *trees)
  return lambda h, *trees: jax.tree.map(branch, h, *trees)

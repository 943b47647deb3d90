"""The optimiser, its schedule, and the moving average of the weights."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

MOMENTUM, ROUNDS, TINY = 0.95, 5, 1e-8  # of Muon
FITTED = 'straight'  # in the names of parameters that begin as a fitted linear codec
UNDECAYED = ('bias', 'norm', 'table')  # endings of the names of parameters that do not decay


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW, and Muon for matrices if wanted, with warm-up, a flat part and a decay.

  Attributes:
    learning_rate: of the flat part.
    warmup_steps: over which it rises from 0.
    matrix_rate: the same for matrices and kernels of convolutions in three dimensions, which Muon
      then moves (Jordan et al. 2024); 0 leaves them to Adam, which always moves kernels in one or
      two, what takes a transformer's tokens in and out, the noise level, and the gates of heads.
    matmul_precision: what Muon's products round their factors to: to 16 bits, as its authors
      do, or as JAX does by default, which on a CPU is not at all. Steps of rounded products differ
      by a hundredth from one mesh to another.
    decay_share: last share of the run over which it falls.
    decay: the form of the fall: a line to 0, or half a cosine.
    betas: of Adam's moments (Kingma & Ba 2015).
    weight_decay: decoupled (Loshchilov & Hutter 2019); not of biases, norms and tables.
    fitted_share: of the learning rate, by which parameters move that were fitted; each is one of
      thousands in a sum, and at the full rate they forget what they were fitted to.
    clip_norm: largest global norm of a gradient (Pascanu et al. 2013).
    ema: decay of the moving average of the weights; it rises to this over the first steps.
  """

  learning_rate: float = 1e-3
  warmup_steps: int = 100
  matrix_rate: float = 0.0
  matmul_precision: Literal['default', 'bfloat16'] = 'default'
  decay_share: float = 0.4
  decay: Literal['linear', 'cosine'] = 'linear'
  betas: tuple[float, float] = (0.9, 0.99)
  weight_decay: float = 0.0
  fitted_share: float = 1.0
  clip_norm: float = 1.0
  ema: float = 0.999


def schedule(config: OptimizerConfig, steps: int, rate: float | None = None) -> optax.Schedule:
  """step → learning rate, or another `rate` in its place, for a run of `steps`."""
  fall = max(int(steps * config.decay_share), 1)
  if steps > config.warmup_steps:  # else the warm-up gives way
    fall = min(fall, steps - config.warmup_steps)
  warmup = min(config.warmup_steps, max(steps - fall, 0))
  lr = config.learning_rate if rate is None else rate
  down = (
    optax.linear_schedule(lr, 0.0, fall)
    if config.decay == 'linear'
    else optax.cosine_decay_schedule(lr, fall)
  )
  parts = [optax.linear_schedule(0.0, lr, max(warmup, 1)), optax.constant_schedule(lr), down]
  return optax.join_schedules(parts, [warmup, steps - fall])


def optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
  """The gradient transformation of a run of `steps`."""

  def decays(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: _decays(path), params)

  def slowed(updates: Any) -> Any:
    share = lambda path: config.fitted_share if FITTED in jax.tree_util.keystr(path) else 1.0
    return jax.tree_util.tree_map_with_path(lambda path, u: share(path) * u, updates)

  rate = schedule(config, steps)
  adam = optax.adamw(rate, *config.betas, weight_decay=config.weight_decay, mask=decays)
  if config.matrix_rate:
    rotated = _muon(config, schedule(config, steps, config.matrix_rate))
    adam = optax.partition({True: _over_any_mesh(rotated), False: adam}, _matrices)
  parts = [optax.clip_by_global_norm(config.clip_norm), adam]
  if config.fitted_share != 1:
    parts.append(optax.stateless(lambda updates, params: slowed(updates)))
  return optax.chain(*parts)


def _muon(config: OptimizerConfig, rate: optax.Schedule) -> optax.GradientTransformation:
  """Steps along momentum in which every direction of a matrix counts alike (Jordan et al. 2024).

  Optax has the same with products in float32 alone.
  """
  rounded = config.matmul_precision == 'bfloat16'

  def turned(path: Any, x: jax.Array) -> jax.Array:
    into, out = _sides(path, x)
    stack = x.shape[: _stacked(_names(path))]
    y = orthogonal(x.reshape(*stack, into, out), rounded)
    return max(1.0, out / into) ** 0.5 * y.reshape(x.shape)

  return optax.chain(
    optax.trace(MOMENTUM, nesterov=True),
    optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(turned, updates)),
    optax.add_decayed_weights(config.weight_decay),
    optax.scale_by_learning_rate(rate),
  )


def _sides(path: Any, x: jax.Array) -> tuple[int, int]:
  """How much goes into a matrix and comes out: of query, key and value [D, H, K] the last two."""
  names = _names(path)
  end = -2 if names[-1] in ('query', 'key', 'value') else -1
  return math.prod(x.shape[_stacked(names) : end]), math.prod(x.shape[end:])


def orthogonal(x: jax.Array, rounded: bool = False) -> jax.Array:
  """Matrices [..., N, M] → the like, most of whose singular values lie between 0.7 and 1.2.

  Five rounds of Newton and Schulz's iteration with the coefficients of Jordan et al. (2024).

  Args:
    x: the matrices.
    rounded: whether factors are rounded to bfloat16; sums have 32 bits.
  """
  a, b, c = 3.4445, -4.7750, 2.0315
  wide, kind = x.shape[-2] <= x.shape[-1], jnp.bfloat16 if rounded else x.dtype

  def multiplied(equation: str, left: jax.Array, right: jax.Array) -> jax.Array:
    left, right = left.astype(kind), right.astype(kind)
    return jnp.einsum(equation, left, right, preferred_element_type=x.dtype)

  def closer(_: Any, x: jax.Array) -> jax.Array:
    square = multiplied('...ik,...jk->...ij', x, x)
    fourth = multiplied('...ik,...jk->...ij', square, square)
    return a * x + multiplied('...ij,...jk->...ik', b * square + c * fourth, x)

  y = x if wide else x.mT
  norm = jnp.linalg.norm(y, axis=(-2, -1), keepdims=True)
  y = jax.lax.fori_loop(0, ROUNDS, closer, y / jnp.maximum(norm, TINY))
  return y if wide else y.mT


def _decays(path: Any) -> bool:
  return not jax.tree_util.keystr(path[-1:], simple=True).endswith(UNDECAYED)


def _matrices(params: Any) -> Any:
  """Which parameters Muon moves, of those that were not fitted."""

  def is_matrix(path: Any, param: jax.Array) -> bool:
    names = _names(path)
    if not _decays(path) or FITTED in jax.tree_util.keystr(path):
      return False
    if _stacked(names):
      return param.ndim > 2 and 'gate' not in names
    return param.ndim in (2, 5) and names[0] not in ('transformer', 'text')

  return jax.tree_util.tree_map_with_path(is_matrix, params)


def _over_any_mesh(transform: optax.GradientTransformation) -> optax.GradientTransformation:
  """The same where arrays are laid over a mesh: the compiler chooses how its products run."""

  def update(updates: Any, state: Any, params: Any) -> Any:
    if jax.sharding.get_abstract_mesh().empty:
      return transform.update(updates, state, params)
    specs = jax.tree.map(lambda a: jax.typeof(a).sharding.spec, (updates, state))
    return jax.sharding.auto_axes(transform.update, out_sharding=specs)(updates, state, params)

  return optax.GradientTransformation(transform.init, update)


def _stacked(names: tuple[str, ...]) -> bool:
  """Whether the first axis counts the layers of a transformer."""
  return names[:2] in (('transformer', 'blocks'), ('text', 'layers'))


def _names(path: Any) -> tuple[str, ...]:
  return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def average(ema: Any, params: Any, step: jax.Array, decay: float) -> Any:
  """The moving average after one more step; early on it forgets faster."""
  now = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda e, p: now * e + (1 - now) * p, ema, params)

"""Gemma 3 as a text encoder: the hidden states of all its layers (Gemma Team 2025, section 2).

Of every six layers five are local, and attend to the last `window` tokens, and the sixth is global.
Queries and keys are normed a head at a time, and both halves of a layer are normed before and
after.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax import sharding
from sorajax.nn import layers, param, rope

EPS = 1e-6
BROAD = -1e30  # a score that no key has


@dataclasses.dataclass(frozen=True)
class GemmaConfig:
  """Its size; these are the 12 billion parameters that LTX-2 reads prompts with.

  Attributes:
    vocabulary: rows of the table of tokens.
    width: D.
    layers: how many.
    heads: of queries.
    key_heads: of keys and values; each serves heads ÷ key_heads of the queries.
    head_dim: K.
    hidden: units of the MLP.
    window: tokens that a local layer attends to, its own among them.
    every: each so many'th layer is global, and attends to all.
    theta: rotary base of the global layers.
    stretch: by which their positions are divided.
    local_theta: rotary base of the others.
    query_scale: scores are divided by its root.
  """

  vocabulary: int = 262_208
  width: int = 3840
  layers: int = 48
  heads: int = 16
  key_heads: int = 8
  head_dim: int = 256
  hidden: int = 15_360
  window: int = 1024
  every: int = 6
  theta: float = 1e6
  stretch: float = 8.0
  local_theta: float = 1e4
  query_scale: float = 256.0

  def __post_init__(self) -> None:
    if self.heads % self.key_heads:
      raise ValueError(f'{self.heads} heads do not divide over {self.key_heads} of keys')


class _Layer(nnx.Module):
  def __init__(self, c: GemmaConfig, *, rngs: nnx.Rngs):
    D, H, G, K, F = c.width, c.heads, c.key_heads, c.head_dim, c.hidden
    into, scale = ('embed', 'heads', None), D**-0.5
    self.query = param.normal(rngs, (D, H, K), into, scale=scale)
    self.key = param.normal(rngs, (D, G, K), into, scale=scale)
    self.value = param.normal(rngs, (D, G, K), into, scale=scale)
    self.out = param.normal(rngs, (H, K, D), ('heads', None, 'embed'), scale=(H * K) ** -0.5)
    self.query_norm, self.key_norm = (param.zeros((K,), (None,)) for _ in range(2))
    self.gate = param.normal(rngs, (D, F), ('embed', 'mlp'), scale=scale)
    self.up = param.normal(rngs, (D, F), ('embed', 'mlp'), scale=scale)
    self.down = param.normal(rngs, (F, D), ('mlp', 'embed'), scale=F**-0.5)
    norms = [param.zeros((D,), (None,)) for _ in range(4)]
    self.attention_norm, self.attended_norm, self.mlp_norm, self.fed_norm = norms

  def __call__(self, c: GemmaConfig, x: jax.Array, allowed: jax.Array, turn: rope.Rope):
    """x [B, L, D] → the same after attention where `allowed` [B, L, L], and the MLP."""
    y = _norm(x, self.attention_norm)
    project = lambda w: param.einsum('btd,dhk->bthk', y, w, 'batch', None, 'heads', None)
    q = rope.rotate(_norm(project(self.query), self.query_norm), turn)
    k = rope.rotate(_norm(project(self.key), self.key_norm), turn)
    attended = attend(q, k, project(self.value), allowed, c.query_scale**-0.5)
    attended = param.einsum('bthk,hkd->btd', attended, self.out, 'batch', None, None)
    x = x + _norm(attended, self.attended_norm)
    fed = feed(_norm(x, self.mlp_norm), self.gate, self.up, self.down)
    return x + _norm(fed, self.fed_norm)


class Gemma(nnx.Module):
  """Token ids → hidden states."""

  def __init__(self, config: GemmaConfig, *, rngs: nnx.Rngs):
    self.config = config
    shape = (config.vocabulary, config.width)
    self.table = param.normal(rngs, shape, (None, 'embed'), scale=config.width**-0.5)
    keys = jax.random.split(rngs.params(), config.layers)
    self.layers = jax.vmap(lambda key: _Layer(config, rngs=nnx.Rngs(key)))(keys)
    self.norm = param.zeros((config.width,), (None,))

  def __call__(self, ids: jax.Array, valid: jax.Array) -> jax.Array:
    """What every layer reads, and what the last one gives after a norm.

    Args:
      ids: int32 [B, L], prompts padded at their ends.
      valid: bool [B, L]; false where padding is, to which nothing attends.

    Returns:
      [layers + 1, B, L, D] in the type of the parameters.
    """
    c = self.config
    x = embed(self.table, ids)
    allowed, near = masks(valid, c.window)
    length = ids.shape[1]
    far_turn = turning(frequencies(c.head_dim, c.theta) / c.stretch, length)
    near_turn = turning(frequencies(c.head_dim, c.local_theta), length)
    far = (np.arange(c.layers) + 1) % c.every == 0

    def layer(x, this):
      block, is_global = this
      pick = lambda a, b: jnp.where(is_global, a, b)
      return block(c, x, pick(allowed, near), jax.tree.map(pick, far_turn, near_turn)), x

    last, read = jax.lax.scan(layer, x, (self.layers, far))
    return jnp.concatenate([read, _norm(last, self.norm)[None]])


def _norm(x: jax.Array, scale: nnx.Param) -> jax.Array:
  return rms(x, 1 + scale[...].astype(jnp.float32))


def embed(table: nnx.Param, ids: jax.Array) -> jax.Array:
  """Rows of a table [V, D] at ids [B, L], times √D, in the type of the table → [B, L, D]."""
  whole = sharding.reshard(table[...], None, None)
  return layers.look_up(whole, ids) * jnp.asarray(whole.shape[1] ** 0.5, whole.dtype)


def masks(valid: jax.Array, window: int) -> tuple[jax.Array, jax.Array]:
  """Which tokens of `valid` [B, L] attend to which, bool [B, L, L]: in global and local layers."""
  index = jnp.arange(valid.shape[1])
  back = index[:, None] - index
  allowed = (back >= 0) & valid[:, None, :]
  return allowed, allowed & (back < window)


def attend(q: jax.Array, k: jax.Array, v: jax.Array, allowed: jax.Array, scale: float) -> jax.Array:
  """Attention, with its softmax in float32.

  Args:
    q: [B, L, H, K].
    k: [B, L, G, K]; each head of keys serves H ÷ G of the queries.
    v: [B, L, G, K].
    allowed: bool [B, L, L].
    scale: of scores.

  Returns:
    [B, L, H, K].
  """
  layout = sharding.spec('batch', None, 'heads', None) if sharding.is_laid() else None
  share = q.shape[2] // k.shape[2]
  k, v = (jnp.repeat(x, share, axis=2, out_sharding=layout) for x in (k, v))
  score = jnp.einsum('bthk,bshk->bhts', q, k).astype(jnp.float32) * scale
  score = jnp.where(allowed[:, None], score, BROAD)
  return jnp.einsum('bhts,bshk->bthk', jax.nn.softmax(score, axis=-1).astype(v.dtype), v)


def feed(x: jax.Array, gate: nnx.Param, up: nnx.Param, down: nnx.Param) -> jax.Array:
  """The MLP with a gate: x [B, L, D] → [B, L, D]."""
  hidden = lambda w: param.einsum('btd,df->btf', x, w, 'batch', None, 'mlp')
  y = jax.nn.gelu(hidden(gate), approximate=True) * hidden(up)
  return param.einsum('btf,fd->btd', y, down, 'batch', None, None)


def rms(x: jax.Array, scale: jax.Array | float) -> jax.Array:
  """x ÷ its root mean square along the last axis, times a scale; within, in float32."""
  y = x.astype(jnp.float32)
  y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + EPS)
  return (y * scale).astype(x.dtype)


def frequencies(head_dim: int, theta: float) -> np.ndarray:
  """Of plain rotary positions, float64 [K/2] (Su et al. 2021)."""
  return theta ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)


def turning(frequency: np.ndarray, length: int) -> rope.Rope:
  """The rotation of places 0 … L − 1, of [1, L, 1, K]."""
  index = jnp.arange(length, dtype=jnp.float32)[None, :, None, None]
  return rope.by(index * frequency.astype(np.float32))

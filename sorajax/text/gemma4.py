"""Gemma 4 of 12 billion parameters as a text encoder: the hidden states of all its layers.

Beside Gemma 3 (`text.gemma`): global layers have heads of their own size, fewer keys, and keys that
are values too; of a head there, positions turn a quarter. Values are normed as queries and keys
are, scores are not divided, and a layer's result is scaled by a number of its own.
The public description is transformers' `gemma4_unified`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax import sharding
from sorajax.nn import param, rope
from sorajax.text.gemma import attend, embed, feed, frequencies, masks, rms, turning


@dataclasses.dataclass(frozen=True)
class HeadsConfig:
  """The heads of layers of one kind.

  Attributes:
    key_heads: of keys and values.
    head_dim: K.
    theta: rotary base.
    turned: share of a head that positions turn.
    stretch: by which positions are divided.
    shared: whether values are the keys, before these are normed and turned.
  """

  key_heads: int
  head_dim: int
  theta: float
  turned: float = 1.0
  stretch: float = 1.0
  shared: bool = False

  def turning(self, length: int) -> rope.Rope:
    """Of [1, L, 1, K]; those that stay have a frequency of 0."""
    turned = np.arange(self.head_dim // 2) < int(self.turned * self.head_dim // 2)
    return turning(turned * frequencies(self.head_dim, self.theta) / self.stretch, length)


@dataclasses.dataclass(frozen=True)
class Gemma4Config:
  """Its size; these are the 12 billion parameters that LTX-2.5 reads prompts with.

  Attributes:
    vocabulary: rows of the table of tokens.
    width: D.
    layers: how many, a multiple of `every`.
    heads: of queries.
    hidden: units of the MLP.
    window: tokens that a local layer attends to, its own among them.
    every: each so many'th layer is global, and attends to all.
    near: of local layers.
    far: of the others.
    holes: ids that stand for a picture, a film or a sound, of which none is ever given.
    padding: the id that is read in their place.
  """

  vocabulary: int = 262_144
  width: int = 3840
  layers: int = 48
  heads: int = 16
  hidden: int = 15_360
  window: int = 1024
  every: int = 6
  near: HeadsConfig = HeadsConfig(key_heads=8, head_dim=256, theta=1e4)
  far: HeadsConfig = HeadsConfig(key_heads=1, head_dim=512, theta=1e6, turned=0.25, shared=True)
  holes: tuple[int, ...] = (258_880, 258_881, 258_884)
  padding: int = 0

  def __post_init__(self) -> None:
    for own in (self.near, self.far):
      if self.heads % own.key_heads:
        raise ValueError(f'{self.heads} heads do not divide over {own.key_heads} of keys')
    if self.every < 2 or self.layers % self.every:
      raise ValueError(f'{self.layers} layers do not come in turns of {self.every}, at least 2')

  @property
  def turns(self) -> int:
    """How often local layers are followed by a global one."""
    return self.layers // self.every


class _Layer(nnx.Module):
  def __init__(self, c: Gemma4Config, own: HeadsConfig, *, rngs: nnx.Rngs):
    D, H, G, K, F = c.width, c.heads, own.key_heads, own.head_dim, c.hidden
    scale, split = D**-0.5, 'heads' if G > 1 else None
    self.query = param.normal(rngs, (D, H, K), ('embed', 'heads', None), scale=scale)
    keys = lambda: param.normal(rngs, (D, G, K), ('embed', split, None), scale=scale)
    self.key, self.value = keys(), None if own.shared else keys()
    self.out = param.normal(rngs, (H, K, D), ('heads', None, 'embed'), scale=(H * K) ** -0.5)
    self.query_norm, self.key_norm = (param.ones((K,), (None,)) for _ in range(2))
    self.gate = param.normal(rngs, (D, F), ('embed', 'mlp'), scale=scale)
    self.up = param.normal(rngs, (D, F), ('embed', 'mlp'), scale=scale)
    self.down = param.normal(rngs, (F, D), ('mlp', 'embed'), scale=F**-0.5)
    norms = [param.ones((D,), (None,)) for _ in range(4)]
    self.attention_norm, self.attended_norm, self.mlp_norm, self.fed_norm = norms
    self.size = param.ones((1,), (None,))

  def __call__(self, x: jax.Array, allowed: jax.Array, turn: rope.Rope) -> jax.Array:
    """x [B, L, D] → the same after attention where `allowed` [B, L, L], and the MLP."""
    y = _norm(x, self.attention_norm)
    split = 'heads' if self.key.shape[-2] > 1 else None  # one head of keys is whole everywhere
    project = lambda w, axis: param.einsum('btd,dhk->bthk', y, w, 'batch', None, axis, None)
    q, k = project(self.query, 'heads'), project(self.key, split)
    v = k if self.value is None else project(self.value, split)
    q, k = (rope.rotate(_norm(*pair), turn) for pair in ((q, self.query_norm), (k, self.key_norm)))
    attended = attend(q, k, rms(v, 1.0), allowed, scale=1.0)
    attended = param.einsum('bthk,hkd->btd', attended, self.out, 'batch', None, None)
    x = x + _norm(attended, self.attended_norm)
    fed = feed(_norm(x, self.mlp_norm), self.gate, self.up, self.down)
    return (x + _norm(fed, self.fed_norm)) * self.size[...].astype(x.dtype)


class Gemma4(nnx.Module):
  """Token ids → hidden states."""

  def __init__(self, config: Gemma4Config, *, rngs: nnx.Rngs):
    self.config = c = config
    self.table = param.normal(rngs, (c.vocabulary, c.width), (None, 'embed'), scale=c.width**-0.5)
    stack = lambda own, count: jax.vmap(lambda key: _Layer(c, own, rngs=nnx.Rngs(key)))(
      jax.random.split(rngs.params(), count)
    )
    self.near = stack(c.near, c.layers - c.turns)
    self.far = stack(c.far, c.turns)
    self.norm = param.ones((c.width,), (None,))

  def __call__(self, ids: jax.Array, valid: jax.Array) -> jax.Array:
    """What every layer reads, and what the last one gives after a norm.

    Args:
      ids: int32 [B, L], prompts padded at their ends.
      valid: bool [B, L]; false where padding is, to which nothing attends.

    Returns:
      [layers + 1, B, L, D] in the type of the parameters.
    """
    c = self.config
    for hole in c.holes:
      ids = jnp.where(ids == hole, c.padding, ids)
    allowed, close = masks(valid, c.window)
    near_turn, far_turn = (own.turning(ids.shape[1]) for own in (c.near, c.far))

    def local(x, block):
      return block(x, close, near_turn), x

    def turn(x, blocks):
      near, far = blocks
      x, read = jax.lax.scan(local, x, near)
      return far(x, allowed, far_turn), jnp.concatenate([read, x[None]])

    near = jax.tree.map(lambda w: _in_turns(w, c.turns), self.near)
    last, read = jax.lax.scan(turn, embed(self.table, ids), (near, self.far))
    read = read.reshape(c.layers, *read.shape[2:])
    return jnp.concatenate([read, _norm(last, self.norm)[None]])


def _in_turns(w: jax.Array, turns: int) -> jax.Array:
  """Stacked parameters [turns · N, …] → [turns, N, …], laid over the mesh as before."""
  shape = (turns, w.shape[0] // turns, *w.shape[1:])
  layout = sharding.P(None, *jax.typeof(w).sharding.spec) if sharding.is_laid() else None
  return jax.lax.reshape(w, shape, out_sharding=layout)


def _norm(x: jax.Array, scale: nnx.Param) -> jax.Array:
  return rms(x, scale[...].astype(jnp.float32))

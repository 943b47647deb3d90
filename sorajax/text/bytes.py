"""A small text encoder over UTF-8 bytes, trained along with the transformer."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax.clip import MAX_SHOTS, Text
from sorajax.nn import layers, param, rope
from sorajax.nn.attention import Attention

BEGIN, FIRST_BYTE = 1, 2  # 0 is padding
VOCABULARY = FIRST_BYTE + 256
HEAD_DIM = 32
LONGEST = 512.0  # rotary positions are fractions of this many bytes


@dataclasses.dataclass(frozen=True)
class ByteEncoder:
  """Bytes through a few layers of self-attention.

  Attributes:
    width: D of the output.
    depth: layers.
    max_tokens: longer prompts are cut.
  """

  width: int = 128
  depth: int = 2
  max_tokens: int = 96
  trainable = True

  def tokenize(self, prompt: str) -> np.ndarray:
    """A prompt as int32 [L]: a begin mark, then its bytes; at least 1 and at most max_tokens."""
    data = prompt.encode('utf-8', errors='replace')[: self.max_tokens - 1]
    return np.array([BEGIN, *(FIRST_BYTE + b for b in data)], np.int32)

  def initial_params(self, key: jax.Array) -> dict[str, Any]:
    """Parameters, as a plain dict."""
    return nnx.to_pure_dict(nnx.state(_Bytes(self, rngs=nnx.Rngs(key)), nnx.Param))

  def encode(self, params: dict[str, Any], text: Text) -> jax.Array:
    """float32 [B, L, width]; each prompt sees itself alone."""
    return nnx.merge(_graphdef(self), params)(text)


@functools.cache
def _graphdef(config: ByteEncoder) -> nnx.GraphDef:
  abstract_mesh = jax.sharding.AbstractMesh((), ())
  with jax.sharding.use_abstract_mesh(abstract_mesh):
    return nnx.graphdef(nnx.eval_shape(lambda: _Bytes(config, rngs=nnx.Rngs(0))))


class _Layer(nnx.Module):
  def __init__(self, width: int, heads: int, head_dim: int, *, rngs: nnx.Rngs):
    self.attention = Attention(width, width, heads, head_dim, gated=False, rngs=rngs)
    self.mlp = layers.Mlp(width, 4 * width, rngs=rngs)

  def __call__(self, x: jax.Array, prompt: jax.Array, turn: rope.Rope) -> jax.Array:
    y = layers.layer_norm(x)
    x = x + self.attention(y, y, (prompt, prompt), (turn, turn))
    return x + self.mlp(layers.layer_norm(x))


class _Bytes(nnx.Module):
  def __init__(self, c: ByteEncoder, *, rngs: nnx.Rngs):
    self.size = (max(c.width // HEAD_DIM, 1), HEAD_DIM)
    self.table = param.normal(rngs, (VOCABULARY, c.width), (None, 'embed'), scale=1.0)
    keys = jax.random.split(rngs.params(), c.depth)
    self.layers = jax.vmap(lambda key: _Layer(c.width, *self.size, rngs=nnx.Rngs(key)))(keys)

  def __call__(self, text: Text) -> jax.Array:
    prompt = jnp.where(text.segment > 0, text.segment * MAX_SHOTS + text.shot, 0)
    index = jnp.arange(prompt.shape[1], dtype=jnp.float32)[None, :, None]
    turn = rope.table(index, *self.size, (LONGEST,), 1000.0)
    one_hot = jax.nn.one_hot(text.ids, VOCABULARY)
    x = param.einsum('blv,vd->bld', one_hot, self.table, 'batch', 'tokens', None)
    x, _ = jax.lax.scan(lambda x, layer: (layer(x, prompt, turn), None), x, self.layers)
    return layers.layer_norm(x)

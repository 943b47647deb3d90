"""A small text encoder over UTF-8 bytes or over words, trained along with the transformer."""

import dataclasses
import functools
import re
import zlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax.clip import MAX_SHOTS, Text
from sorajax.nn import layers, param, rope
from sorajax.nn.attention import Attention

BEGIN, FIRST = 1, 2  # 0 is padding
BYTES = FIRST + 256
SIDE = 1024  # a word is a row of each of two tables of this size
HEAD_DIM = 32
LONGEST = 512.0  # rotary positions are fractions of this many pieces
WORD = re.compile(r'[^\W\d_]+|\S')


@dataclasses.dataclass(frozen=True)
class SmallEncoder:
  """Bytes or words through a few layers of self-attention.

  Any word is known: it is the sum of two rows that its hash names, so that no two of a vocabulary
  of thousands are likely to be the same (Serrà & Karatzoglou 2017). A prompt has some five times
  fewer words than bytes; bytes know how words are spelt.

  Attributes:
    width: D of the output.
    depth: layers.
    max_tokens: longer prompts are cut.
    pieces: what a token is.
  """

  width: int = 128
  depth: int = 2
  max_tokens: int = 96
  pieces: Literal['bytes', 'words'] = 'bytes'
  trainable = True

  @property
  def heads(self) -> int:
    return max(self.width // HEAD_DIM, 1)

  def tokenize(self, prompt: str) -> np.ndarray:
    """A prompt as int32 [L]: a begin mark, then its pieces; at least 1 and at most max_tokens."""
    found = _words(prompt) if self.pieces == 'words' else prompt.encode('utf-8', errors='replace')
    return np.array([BEGIN, *(FIRST + piece for piece in found[: self.max_tokens - 1])], np.int32)

  def initial_params(self, key: jax.Array) -> dict[str, Any]:
    """Parameters, as a plain dict."""
    return nnx.to_pure_dict(nnx.state(_Encoder(self, rngs=nnx.Rngs(key)), nnx.Param))

  def encode(self, params: dict[str, Any], text: Text) -> jax.Array:
    """float32 [B, L, width]; each prompt sees itself alone."""
    return nnx.merge(_graphdef(self), params)(text)


@functools.cache
def _graphdef(config: SmallEncoder) -> nnx.GraphDef:
  abstract_mesh = jax.sharding.AbstractMesh((), ())
  with jax.sharding.use_abstract_mesh(abstract_mesh):
    return nnx.graphdef(nnx.eval_shape(lambda: _Encoder(config, rngs=nnx.Rngs(0))))


class _Layer(nnx.Module):
  def __init__(self, width: int, heads: int, head_dim: int, *, rngs: nnx.Rngs):
    self.attention = Attention(width, width, heads, head_dim, gated=False, rngs=rngs)
    self.mlp = layers.Mlp(width, 4 * width, rngs=rngs)

  def __call__(self, x: jax.Array, prompt: jax.Array, turn: rope.Rope) -> jax.Array:
    y = layers.layer_norm(x)
    x = x + self.attention(y, y, (prompt, prompt), (turn, turn))
    return x + self.mlp(layers.layer_norm(x))


class _Encoder(nnx.Module):
  def __init__(self, c: SmallEncoder, *, rngs: nnx.Rngs):
    self.size = (c.heads, HEAD_DIM)
    rows = BYTES if c.pieces == 'bytes' else 2 * SIDE
    self.table = param.normal(rngs, (rows, c.width), (None, 'embed'), scale=1.0)
    self.pieces = c.pieces
    keys = jax.random.split(rngs.params(), c.depth)
    self.layers = jax.vmap(lambda key: _Layer(c.width, *self.size, rngs=nnx.Rngs(key)))(keys)

  def __call__(self, text: Text) -> jax.Array:
    prompt = jnp.where(text.segment > 0, text.segment * MAX_SHOTS + text.shot, 0)
    index = jnp.arange(prompt.shape[1], dtype=jnp.float32)[None, :, None]
    turn = rope.table(index, *self.size, (LONGEST,), 1000.0)
    rows = jax.nn.one_hot(text.ids, BYTES) if self.pieces == 'bytes' else _two_hot(text.ids)
    x = param.einsum('blv,vd->bld', rows, self.table, 'batch', 'tokens', None)
    x, _ = jax.lax.scan(lambda x, layer: (layer(x, prompt, turn), None), x, self.layers)
    return layers.layer_norm(x)


def _words(prompt: str) -> list[int]:
  """A number below SIDE² for each word or mark."""
  return [
    zlib.crc32(word.encode('utf-8', 'replace')) % SIDE**2 for word in WORD.findall(prompt.lower())
  ]


def _two_hot(ids: jax.Array) -> jax.Array:
  """The two rows of each id: [B, L] → [B, L, 2·SIDE]."""
  return jnp.concatenate(
    [jax.nn.one_hot(ids % SIDE, SIDE), jax.nn.one_hot(ids // SIDE % SIDE, SIDE)], axis=-1
  )

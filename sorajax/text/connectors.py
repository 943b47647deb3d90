"""LTX-2's connectors: the hidden states of a language model → the text that each stream reads.

All layers' states of a token are normed, put one behind the other and projected; a short
transformer then mixes the prompt with learned registers, which stand where padding was.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax.nn import layers, param, rope
from sorajax.nn.attention import Attention
from sorajax.sharding import reshard

EPS = 1e-6
RANGE = 8.0  # of normed states of 2.0, over a prompt


@dataclasses.dataclass(frozen=True)
class ConnectorConfig:
  """The mixing transformer of one stream.

  Attributes:
    heads: of its attention.
    head_dim: K; its width is heads · K.
    layers: how many.
    gated: whether its heads are.
    registers: R; prompts are padded to a multiple of it.
  """

  heads: int = 32
  head_dim: int = 128
  layers: int = 8
  gated: bool = True
  registers: int = 128

  @property
  def width(self) -> int:
    return self.heads * self.head_dim


@dataclasses.dataclass(frozen=True)
class ConnectorsConfig:
  """Those of all streams; by default the ones of LTX-2.3.

  Attributes:
    audio: of the sound's stream.
    video: of the picture's stream.
    width: D of the hidden states.
    states: S of them a token.
    norm: `token`, the root mean square of a token in a state, or `prompt`, mean and range of a
      state over a prompt (2.0).
    shared: whether one projection serves all streams, which then must be equally wide (2.0).
    bias: whether projections have one.
    longest: rotary positions are fractions of it.
    theta: ratio of the highest to the lowest frequency.
    rope_pairs: as in `TransformerConfig`.
  """

  audio: ConnectorConfig = ConnectorConfig(head_dim=64)
  video: ConnectorConfig = ConnectorConfig()
  width: int = 3840
  states: int = 49
  norm: Literal['token', 'prompt'] = 'token'
  shared: bool = False
  bias: bool = True
  longest: float = 4096.0
  theta: float = 10_000.0
  rope_pairs: rope.Pairs = 'split'

  def __post_init__(self) -> None:
    widths = {stream.width for stream in self.streams.values()}
    if self.shared and len(widths) > 1:
      raise ValueError(f'one projection cannot serve streams of widths {sorted(widths)}')

  @property
  def streams(self) -> dict[str, ConnectorConfig]:
    """Modality → its own, by the order of their names."""
    return {'audio': self.audio, 'video': self.video}

  @property
  def projections(self) -> dict[str, int]:
    """Name of a projection → K of its result: one for each stream, or `all` for all."""
    widths = {m: stream.width for m, stream in self.streams.items()}
    return {'all': next(iter(widths.values()))} if self.shared else widths

  @property
  def text_width(self) -> int:
    """Channels of the result: those of all streams, by their names' order."""
    return sum(stream.width for stream in self.streams.values())


class _Layer(nnx.Module):
  def __init__(self, c: ConnectorConfig, *, rngs: nnx.Rngs):
    self.attention = Attention(c.width, c.width, c.heads, c.head_dim, gated=c.gated, rngs=rngs)
    self.mlp = layers.Mlp(c.width, 4 * c.width, rngs=rngs)

  def __call__(self, x: jax.Array, segment: jax.Array, turn: rope.Rope) -> jax.Array:
    y = layers.rms_norm(x)
    x = x + self.attention(y, y, (segment, segment), (turn, turn))
    return x + self.mlp(layers.rms_norm(x))


class _Connector(nnx.Module):
  """One stream's."""

  def __init__(self, c: ConnectorConfig, *, rngs: nnx.Rngs):
    self.registers = param.normal(rngs, (c.registers, c.width), (None, None), scale=0.5)
    keys = jax.random.split(rngs.params(), c.layers)
    self.layers = jax.vmap(lambda key: _Layer(c, rngs=nnx.Rngs(key)))(keys)

  def __call__(self, x: jax.Array, valid: jax.Array, turn: rope.Rope) -> jax.Array:
    registers = jnp.tile(self.registers[...].astype(x.dtype), (x.shape[1] // self.count, 1))
    x = jnp.where(valid[..., None], x, registers)
    segment = jnp.zeros_like(valid, jnp.int32)  # registers are attended to as words are
    x, _ = jax.lax.scan(lambda x, layer: (layer(x, segment, turn), None), x, self.layers)
    return layers.rms_norm(x)

  @property
  def count(self) -> int:
    return self.registers.shape[0]


class Mixers(nnx.Module):
  """Projected prompts → the text of all streams: what connectors are without their projections."""

  def __init__(self, config: ConnectorsConfig, *, rngs: nnx.Rngs):
    self.config, c = config, config
    self.streams = nnx.Dict({m: _Connector(c.streams[m], rngs=rngs) for m in c.streams})

  def mix(self, projected: dict[str, jax.Array], valid: jax.Array) -> jax.Array:
    """What the streams read of prompts.

    Args:
      projected: [B, L, K] of every projection by its name, prompts padded at their ends, L a
        multiple of all streams' registers.
      valid: bool [B, L]; false where padding is.

    Returns:
      [B, L, text_width] in the type of `projected`; none of it is padding any more.
    """
    c, made = self.config, []
    index = jnp.arange(valid.shape[1], dtype=jnp.float32)[None, :, None]
    for m, stream in c.streams.items():
      x = projected['all' if c.shared else m]
      size = stream.heads, stream.head_dim
      turn = rope.table(index, *size, (c.longest,), c.theta, c.rope_pairs)
      made.append(self.streams[m](reshard(x, 'batch', 'tokens', None), valid, turn))
    return jnp.concatenate(made, axis=-1)


class Connectors(Mixers):
  """Hidden states → the text of all streams."""

  def __init__(self, config: ConnectorsConfig, *, rngs: nnx.Rngs):
    c, zeros = config, lambda K: param.zeros((K,), (None,))
    scale, axes = (c.width * c.states) ** -0.5, ('embed', None, None)
    self.projections = nnx.Dict(
      {
        name: param.normal(rngs, (c.width, c.states, K), axes, scale=scale)
        for name, K in c.projections.items()
      }
    )
    biases = {name: zeros(K) for name, K in c.projections.items()}
    self.biases = nnx.Dict(biases) if c.bias else None
    super().__init__(config, rngs=rngs)

  def __call__(self, states: jax.Array, valid: jax.Array) -> jax.Array:
    """What the streams read of prompts.

    Args:
      states: [S, B, L, D], prompts padded at their ends, L a multiple of all streams' registers.
      valid: bool [B, L]; false where padding is.

    Returns:
      [B, L, text_width] in the type of `states`; none of it is padding any more.
    """
    return self.mix(self.project(states, valid), valid)

  def project(self, states: jax.Array, valid: jax.Array) -> dict[str, jax.Array]:
    """[S, B, L, D] → [B, L, K] of every projection, by its name."""
    c, made = self.config, {}
    norm = _by_token if c.norm == 'token' else _by_prompt
    normed = jnp.where(valid[None, :, :, None], norm(states, valid), 0).astype(states.dtype)
    for name, width in c.projections.items():
      wide = (width / c.width) ** 0.5 if c.norm == 'token' else 1.0
      w = self.projections[name]
      made[name] = param.einsum('sbld,dsk->blk', wide * normed, w, 'batch', None, None)
      if self.biases is not None:
        made[name] = made[name] + self.biases[name][...].astype(states.dtype)
    return made


def _by_token(states: jax.Array, valid: jax.Array) -> jax.Array:
  """Each token of each state [S, B, L, D] ÷ the root of its mean square."""
  x = states.astype(jnp.float32)
  return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPS)


def _by_prompt(states: jax.Array, valid: jax.Array) -> jax.Array:
  """Each state [S, B, L, D] less its mean over a prompt, in parts of an eighth of its range."""
  x, here = states.astype(jnp.float32), valid[None, :, :, None]
  count = valid.sum(axis=1)[None, :, None, None] * x.shape[-1]
  mean = jnp.where(here, x, 0).sum((2, 3), keepdims=True) / (count + EPS)
  low = jnp.where(here, x, jnp.inf).min((2, 3), keepdims=True)
  high = jnp.where(here, x, -jnp.inf).max((2, 3), keepdims=True)
  return RANGE * (x - mean) / (high - low + EPS)

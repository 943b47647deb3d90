"""How long a clip of a prompt should be, as LTX-2.5 finds it from the text of its connectors."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from sorajax.nn import layers, param
from sorajax.text.gemma import attend

SHORTEST, LONGEST = 1.0, 20.0  # seconds


@dataclasses.dataclass(frozen=True)
class DurationConfig:
  """Its size, by default that of LTX-2.5.

  Attributes:
    audio: channels of the sound's text.
    video: channels of the picture's text.
    width: D that both are mapped to.
    queries: learned ones, that attend to all of a prompt.
    heads: of their attention.
    hidden: units of the last map but one.
  """

  audio: int = 2048
  video: int = 4096
  width: int = 256
  queries: int = 1
  heads: int = 4
  hidden: int = 256

  def __post_init__(self) -> None:
    if self.width % self.heads:
      raise ValueError(f'{self.width} channels do not divide over {self.heads} heads')

  @property
  def streams(self) -> dict[str, int]:
    """Modality → channels of its text, by the order of their names."""
    return {'audio': self.audio, 'video': self.video}


class Duration(nnx.Module):
  """The text of both streams → seconds, of which the network gives the logarithm."""

  def __init__(self, config: DurationConfig, *, rngs: nnx.Rngs):
    self.config = c = config
    D, linear = c.width, lambda inputs, outputs: layers.Linear(inputs, outputs, rngs=rngs)
    drawn = lambda *shape: param.normal(rngs, shape, (None,) * len(shape), scale=0.02)
    self.inputs = nnx.Dict({m: linear(width, D) for m, width in c.streams.items()})
    self.marks = nnx.Dict({m: drawn(D) for m in c.streams})
    self.queries = drawn(c.queries, D)
    self.query, self.key, self.value, self.out = (linear(D, D) for _ in range(4))
    self.hidden, self.last = linear(c.queries * D, c.hidden), linear(c.hidden, 1)

  def __call__(self, text: jax.Array) -> jax.Array:
    """Seconds [B] for what connectors gave, [B, L, audio + video]; none of it is padding."""
    c, B = self.config, len(text)
    parts = zip(c.streams, jnp.split(text, [c.audio], axis=-1))
    tokens = [self.inputs[m](x) + self.marks[m][...].astype(x.dtype) for m, x in parts]
    read = jnp.concatenate(tokens, axis=1)
    asked = jnp.broadcast_to(self.queries[...].astype(text.dtype), (B, c.queries, c.width))
    split = lambda x: x.reshape(*x.shape[:2], c.heads, c.width // c.heads)
    q, k, v = split(self.query(asked)), split(self.key(read)), split(self.value(read))
    allowed = jnp.ones((B, c.queries, read.shape[1]), bool)
    pooled = attend(q, k, v, allowed, scale=(c.width // c.heads) ** -0.5)
    pooled = self.out(pooled.reshape(B, c.queries, c.width)).reshape(B, 1, -1)
    hidden = jax.nn.gelu(self.hidden(pooled), approximate=True)
    return jnp.exp(self.last(hidden)[:, 0, 0])


def frames_of(
  seconds: float, fps: float, stride: int, shortest: float = SHORTEST, longest: float = LONGEST
) -> int:
  """Seconds → the frames of a clip, one more than a multiple of a codec's `stride`.

  They are within the bounds, in seconds, where such a number is; else it is the nearest.
  """
  least, most = max(1, round(shortest * fps)), round(longest * fps)
  wanted = max(least, round(min(seconds, longest) * fps))
  below = (wanted - 1) // stride * stride + 1
  above = below + stride
  if below >= least:
    return below
  return above if above <= most or above - wanted < wanted - below else below

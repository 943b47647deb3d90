"""How many floating-point operations networks take, by formula: 2 for each multiplication."""

import dataclasses
import math

import jax

from sorajax.codec import video
from sorajax.codec.video_config import VideoConfig
from sorajax.data.schedule import Bucket
from sorajax.model.config import StreamConfig, TransformerConfig

LEVEL_WAVES = 256  # sinusoids of a noise level


@dataclasses.dataclass(frozen=True)
class Flops:
  """By what they are spent on.

  Attributes:
    narrow: of matmuls by weights, in the layers, whose results are no wider than their tokens.
    wide: of those whose results are wider.
    own: of attention in a stream: of queries by keys and of weights by values; padding counts.
    other: of attention to text and to the other stream.
    ends: outside the layers: embeddings, noise levels, the way out.
  """

  narrow: float
  wide: float
  own: float
  other: float
  ends: float

  @property
  def matmuls(self) -> float:
    return self.narrow + self.wide

  @property
  def attention(self) -> float:
    return self.own + self.other

  @property
  def total(self) -> float:
    return self.matmuls + self.attention + self.ends

  def of_training(self, remat: str, frozen: bool = False) -> 'Flops':
    """Forwards and backwards, and what `remat` computes again, with attention by splash.

    Args:
      remat: as `TransformerConfig` has it.
      frozen: whether weights get no gradients; low-rank changes, which do, are left out.
    """
    few = {
      'none': (0, 0, 0, 0), 'dots': (0, 0, 0, 1), 'narrow': (0, 1, 0, 1), 'attention': (1, 1, 0, 1),
    }  # fmt: skip
    narrow, wide, own, other = few.get(remat, (1, 1, 1, 1))
    weights = 2 if frozen else 3
    return self._each(weights + narrow, weights + wide, 3 + own, 3 + other, weights)

  def times(self, count: float) -> 'Flops':
    """Of so many such rows."""
    return self._each(*(count,) * 5)

  def _each(self, *times: float) -> 'Flops':
    return Flops(*(n * own for n, own in zip(times, dataclasses.astuple(self), strict=True)))


def forwards(c: TransformerConfig, bucket: Bucket, joined: bool = True) -> Flops:
  """Of one row of a bucket through the transformer, whose streams hear each other or not."""
  length = {'audio': bucket.audio, 'video': bucket.video}
  text = bucket.text * bucket.clips
  spent = dict.fromkeys(('narrow', 'wide', 'own', 'other', 'ends'), 0.0)
  for m, own in c.streams.items():
    (other,) = (o for o in c.streams if o != m) if len(c.streams) > 1 else (m,)
    T, S = length[m], length[other]
    D, F, inner = own.width, own.hidden, own.heads * own.head_dim
    read, cross = c.read_width(own), c.cross_heads * c.cross_head_dim * joined
    gates = (2 * own.heads + c.cross_heads * joined) * c.gated
    for rows, before, after, count in (
      (T, D, inner, 3), (T, inner, D, 1),  # self-attention
      (T, D, F, 1), (T, F, D, 1),  # MLP
      (T, D, inner, 1), (T, inner, D, 1), (text, read, inner, 2),  # text
      (T, D, cross, 1), (T, cross, D, 1), (S, c.streams[other].width, cross, 2),  # other stream
      (T, D, gates, 1),
    ):  # fmt: skip
      kind = 'wide' if after > before else 'narrow'
      spent[kind] += c.layers * 2 * rows * before * after * count
    spent['own'] += c.layers * 4 * T * T * inner
    spent['other'] += c.layers * 4 * T * (text * inner + S * cross)
    spent['ends'] += _ends(c, own, T, text, bucket.clips, joined)
  return Flops(**spent)


def decoding(config: VideoConfig, latents: int) -> Flops:
  """Of a picture autoencoder's convolutions, for so many latents, those of all frames together."""
  half, shapes = config.decoder, video.shapes(config)['decoder']
  kernels = lambda tree: sum(math.prod(a.shape) for a in jax.tree.leaves(tree) if len(a.shape) == 5)
  total = latents * kernels([shapes.get(name) for name in ('stem', 'inner', 'straight')])
  for number, stage in enumerate(half.stages):
    own = dict(shapes['stages'][str(number)])
    finer = own.pop('blocks', {})
    total += latents * kernels(own)
    latents *= math.prod(stage.stride)
    total += latents * kernels(finer)
  return Flops(2 * (total + latents * kernels(shapes['out'])), 0, 0, 0, 0)


def _ends(
  c: TransformerConfig, own: StreamConfig, tokens: int, text: int, clips: int, joined: bool
) -> float:
  """Of one stream outside the layers; noise levels are those of clips, and 0."""
  D = own.width
  level = lambda width, rows: 2 * (LEVEL_WAVES * width + width * width * (1 + rows))
  of_cross, of_gate = (
    clips + 1 if whose == 'own' else clips for whose in (c.cross_level, c.cross_gate_level)
  )
  total = 4 * tokens * own.channels * D
  total += (clips + 1) * level(D, 9 if c.text_modulation else 6)
  total += joined * (of_cross * level(D, 4) + of_gate * level(D, 1))
  if c.text_levels:
    total += clips * level(c.read_width(own), 2)
  if c.caption_projection:
    total += 2 * text * (D * (own.text_width or c.text_width) + D * D)
  return total

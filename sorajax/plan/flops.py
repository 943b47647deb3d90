"""How many floating-point operations the network takes, by formula: 2 for each multiplication."""

import dataclasses

from sorajax.data.schedule import Bucket
from sorajax.model.config import StreamConfig, TransformerConfig

LEVEL_WAVES = 256  # sinusoids of a noise level


@dataclasses.dataclass(frozen=True)
class Flops:
  """By what they are spent on.

  Attributes:
    products: by weights, in the layers.
    attention: of queries by keys and of weights by values; tokens that are padding count.
    ends: outside the layers: embeddings, noise levels, the way out.
  """

  products: float
  attention: float
  ends: float

  @property
  def total(self) -> float:
    return self.products + self.attention + self.ends

  def of_training(self, remat: str) -> 'Flops':
    """Forwards and backwards, and what `remat` computes again."""
    again = {'none': (0, 0), 'dots': (0, 1)}.get(remat, (1, 1))
    return Flops((3 + again[0]) * self.products, (3 + again[1]) * self.attention, 3 * self.ends)

  def times(self, count: float) -> 'Flops':
    """Of so many such rows."""
    return Flops(count * self.products, count * self.attention, count * self.ends)


def forwards(c: TransformerConfig, bucket: Bucket, joined: bool = True) -> Flops:
  """Of one row of a bucket through the transformer, whose streams hear each other or not."""
  length = {'audio': bucket.audio, 'video': bucket.video}
  text = bucket.text * bucket.clips
  products = attention = ends = 0.0
  for m, own in c.streams.items():
    (other,) = (o for o in c.streams if o != m) if len(c.streams) > 1 else (m,)
    T, S = length[m], length[other]
    D, F, inner = own.width, own.hidden, own.heads * own.head_dim
    read, cross = c.read_width(own), c.cross_heads * c.cross_head_dim * joined
    products += 2 * T * (4 * D * inner + 2 * D * F)  # self-attention and MLP
    products += 2 * (2 * T * D * inner + 2 * text * read * inner)  # text
    products += 2 * (2 * T * D * cross + 2 * S * c.streams[other].width * cross)  # the other stream
    if c.gated:
      products += 2 * T * D * (2 * own.heads + c.cross_heads * joined)
    attention += 4 * T * (T * inner + text * inner + S * cross)
    ends += _ends(c, own, T, text, bucket.clips, joined)
  return Flops(c.layers * products, c.layers * attention, ends)


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

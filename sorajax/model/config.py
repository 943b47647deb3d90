"""The transformer's size and options, past the door of the config file."""

import dataclasses
from typing import Literal

from sorajax.nn.attention import AUTO, AttentionConfig
from sorajax.nn.rope import Pairs


@dataclasses.dataclass(frozen=True)
class StreamConfig:
  """One modality's half of the transformer.

  Attributes:
    channels: C of its latents.
    width: D.
    heads: H of self- and text attention.
    head_dim: K of self- and text attention.
    hidden: F of the MLP.
    rope_max: largest expected (seconds, y, x), in seconds and pixels; (seconds,) for sound.
    mlp_bias: whether the MLP has biases.
    text_width: width of the part of the text that this stream alone reads; 0 where it reads all.
    keyframes: whether there is a learned vector for tokens of a frame that stands alone, as LTX-2.5
      has it; it is added where `Tokens.keyframe` marks them, which no task does.
  """

  channels: int
  width: int
  heads: int
  head_dim: int
  hidden: int
  rope_max: tuple[float, ...]
  mlp_bias: bool = True
  text_width: int = 0
  keyframes: bool = False


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """The joint transformer.

  Attributes:
    streams: modality → its half.
    layers: L.
    text_width: width of the text encoder's output. Where the streams have widths of their own, it
      is their sum, and the channels are those of audio, then those of video.
    cross_heads: H of audio↔video attention, both ways.
    cross_head_dim: K of audio↔video attention, both ways.
    gated: whether every attention has a gate per head.
    text_modulation: whether text attention is modulated by the noise level and gated (nine rows
      of AdaLN instead of six).
    text_levels: whether text keys and values, too, depend on the noise level; if not, they are
      the same at every step of sampling.
    caption_projection: whether an MLP takes the text to each stream's width; if not, keys and
      values read the text encoder's output as it is.
    cross_level: whose noise level scales and shifts the tokens for audio↔video attention: that of
      each token, or the highest of its clip in the other stream.
    cross_gate_level: whose noise level sets the gate of audio↔video attention.
    cross_gate_scale: what the noise level is multiplied by where it sets that gate; 1000 elsewhere.
    rope_theta: ratio of the highest to the lowest rotary frequency.
    cross_rope_theta: the same for audio↔video attention; 0 takes `rope_theta`.
    aligned: what the biases of queries and keys of audio↔video attention begin as, its gates then
      at 1 and not at 0: above 0, tokens attend from the start to what is at their own moment.
    rope_pairs: which two channels of a head turn together: k and k + K/2, or 2k and 2k + 1.
    remat: what the backward pass recomputes: nothing; all but matrix products and attention by
      head or by splash (`dots`); those products too that widen (`narrow`); all but that attention
      (`attention`); or everything (`full`); with `offload` what layers hand on waits in the memory
      of the host.
    unroll: layers unrolled in each turn of the scan.
    compute: type of activations and matrix products.
    matmul_precision: what JAX may round the factors of float32 products to (`jax.lax.Precision`);
      sums stay float32. `default` leaves it to the device: a TPU then multiplies in bfloat16, a CPU
      in float32.
    attention: how it is computed.
  """

  streams: dict[str, StreamConfig]
  layers: int
  text_width: int
  cross_heads: int
  cross_head_dim: int
  gated: bool = True
  text_modulation: bool = True
  text_levels: bool = False
  caption_projection: bool = True
  cross_level: Literal['own', 'other'] = 'own'
  cross_gate_level: Literal['own', 'other'] = 'own'
  cross_gate_scale: float = 1000.0
  rope_theta: float = 10_000.0
  cross_rope_theta: float = 0.0
  aligned: float = 0.0
  rope_pairs: Pairs = 'split'
  remat: Literal['none', 'dots', 'narrow', 'attention', 'full', 'offload'] = 'none'
  unroll: int = 1
  compute: Literal['float32', 'bfloat16'] = 'float32'
  matmul_precision: Literal['default', 'bfloat16', 'highest'] = 'default'
  attention: AttentionConfig = AUTO

  def __hash__(self) -> int:
    return hash(repr(self))  # a dict of streams has no hash of its own

  def __post_init__(self) -> None:
    for name, stream in self.streams.items():
      if stream.head_dim % 2 or self.cross_head_dim % 2:
        raise ValueError(
          f'head_dim of {name} and cross_head_dim must be even, for rotary positions'
        )
    own = [s.text_width for s in self.streams.values()]
    if any(own) and (not all(own) or sum(own) != self.text_width):
      raise ValueError(f"text_width {self.text_width} is not the sum of the streams' {own}")
    if self.layers % self.unroll:
      raise ValueError(f'unroll {self.unroll} does not divide layers {self.layers}; try 1')

  def read_width(self, own: StreamConfig) -> int:
    """Width of the text as the layers of a stream read it."""
    return own.width if self.caption_projection else own.text_width or self.text_width

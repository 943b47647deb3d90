"""The transformer's size and options, past the door of the config file."""

import dataclasses
from typing import Literal


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
  """

  channels: int
  width: int
  heads: int
  head_dim: int
  hidden: int
  rope_max: tuple[float, ...]
  mlp_bias: bool = True


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """The joint transformer.

  Attributes:
    streams: modality → its half.
    layers: L.
    text_width: width of the text encoder's output.
    cross_heads: H of audio↔video attention, both ways.
    cross_head_dim: K of audio↔video attention, both ways.
    gated: whether every attention has a gate per head.
    text_modulation: whether text attention is modulated by the noise level and gated (nine rows
      of AdaLN instead of six).
    text_levels: whether text keys and values, too, depend on the noise level; if not, they are
      the same at every step of sampling.
    caption_projection: whether an MLP takes the text to each stream's width; if not, keys and
      values read the text encoder's output as it is.
    cross_gate_level: whose noise level sets the gate of audio↔video attention.
    rope_theta: ratio of the highest to the lowest rotary frequency.
    remat: what the backward pass recomputes: nothing, all but matrix products, or everything.
    unroll: layers unrolled in each turn of the scan.
    compute: type of activations and matrix products.
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
  cross_gate_level: Literal['own', 'other'] = 'own'
  rope_theta: float = 10_000.0
  remat: Literal['none', 'dots', 'full'] = 'none'
  unroll: int = 1
  compute: Literal['float32', 'bfloat16'] = 'float32'

  def __hash__(self) -> int:
    return hash(repr(self))  # a dict of streams has no hash of its own

  def __post_init__(self) -> None:
    for name, stream in self.streams.items():
      if stream.head_dim % 2 or self.cross_head_dim % 2:
        raise ValueError(
          f'head_dim of {name} and cross_head_dim must be even, for rotary positions'
        )
    if self.layers % self.unroll:
      raise ValueError(f'unroll {self.unroll} does not divide layers {self.layers}; try 1')

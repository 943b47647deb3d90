"""One layer: self-attention, text, audio↔video, MLP, for every stream alike."""

import dataclasses
import functools

import jax
from flax import nnx

from sorajax.model.config import StreamConfig, TransformerConfig
from sorajax.nn import layers, param
from sorajax.nn.attention import Attention
from sorajax.nn.layers import ByLevel
from sorajax.nn.rope import Rope


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Context:
  """What one stream's layers read beside its activations; the same for all layers.

  Attributes:
    segment: int32 [B, T].
    text_segment: int32 [B, T], segment and shot in one number, to match `text_key`.
    text_key: int32 [B, L].
    text: [B, L, D'].
    rows: R·D, the AdaLN rows of this stream's noise levels.
    cross_rows: 4·D: scale and shift as query, scale and shift as key.
    cross_gate: D.
    text_rows: 2·D' shift and scale of the text, for each of its tokens, or None.
    rope: of self-attention.
    cross_rope: of audio↔video attention, by time alone.
  """

  segment: jax.Array
  text_segment: jax.Array
  text_key: jax.Array
  text: jax.Array
  rows: ByLevel
  cross_rows: ByLevel
  cross_gate: ByLevel
  text_rows: ByLevel | None
  rope: Rope
  cross_rope: Rope


class Stream(nnx.Module):
  """One modality's weights in a layer."""

  def __init__(self, c: TransformerConfig, own: StreamConfig, other_width: int, *, rngs):
    D = own.width
    self_size, cross_size = (own.heads, own.head_dim), (c.cross_heads, c.cross_head_dim)
    text_width = c.read_width(own)
    attention = functools.partial(Attention, gated=c.gated, how=c.attention, rngs=rngs)
    self.self_attention = attention(D, D, *self_size)
    self.text_attention = attention(D, text_width, *self_size)
    self.cross_attention = attention(D, other_width, *cross_size, start=c.aligned)
    self.mlp = layers.Mlp(D, own.hidden, bias=own.mlp_bias, rngs=rngs)
    self.table = param.zeros((9 if c.text_modulation else 6, D), (None, None))
    self.cross_table = param.zeros((5, D), (None, None))
    if c.aligned:
      self.cross_table[...] = self.cross_table[...].at[4].set(1.0)  # the gate
    self.text_table = param.zeros((2, text_width), (None, None)) if c.text_modulation else None

  def rows(self, at: Context) -> list[jax.Array]:
    """The layer's AdaLN rows, each [B, T, D]: its own table added to the shared ones."""
    return at.rows.split(self.table[...])

  def cross_rows(self, at: Context) -> list[jax.Array]:
    return at.cross_rows.split(self.cross_table[:4])

  def attend_self(self, x, at: Context, rows, skip):
    y = layers.modulate(layers.rms_norm(x), rows[0], rows[1])
    y = self.self_attention(y, y, (at.segment,) * 2, (at.rope,) * 2, skip)
    return x + param.spread(rows[2], y) * y

  def attend_text(self, x, at: Context, rows):
    y, text, segments = layers.rms_norm(x), at.text, (at.text_segment, at.text_key)
    if self.text_table is None:
      return x + self.text_attention(y, text, segments)
    if at.text_rows is None:
      shift, scale = self.text_table[...].astype(text.dtype)
    else:
      shift, scale = at.text_rows.split(self.text_table[...])
    y = layers.modulate(y, rows[6], rows[7])
    y = self.text_attention(y, layers.modulate(text, shift, scale), segments)
    return x + param.spread(rows[8], y) * y

  def attend_other(self, x, y, at: Context, other, other_at: Context):
    """x plus what the modulated own tokens y read in the other stream's modulated tokens."""
    (gate,) = at.cross_gate.split(self.cross_table[4:])
    segments, ropes = (at.segment, other_at.segment), (at.cross_rope, other_at.cross_rope)
    y = self.cross_attention(y, other, segments, ropes)
    return x + param.spread(gate, y) * y

  def feed_forward(self, x, rows):
    y = self.mlp(layers.modulate(layers.rms_norm(x), rows[3], rows[4]))
    return x + param.spread(rows[5], y) * y


class Block(nnx.Module):
  """One layer of both streams."""

  def __init__(self, c: TransformerConfig, *, rngs: nnx.Rngs):
    self.streams = nnx.Dict(
      {
        name: Stream(c, own, c.streams[other_of(name, c.streams)].width, rngs=rngs)
        for name, own in c.streams.items()
      }
    )

  def __call__(
    self, xs: dict, at: dict[str, Context], *, joined: bool = True, skip: jax.Array | None = None
  ) -> dict:
    """One layer of xs, modality → [B, T, D].

    With `joined` false, the streams do not attend to each other; where `skip` is true,
    self-attention gives each token its own value alone.
    """
    rows = {m: self.streams[m].rows(at[m]) for m in xs}
    xs = {m: self.streams[m].attend_self(x, at[m], rows[m], skip) for m, x in xs.items()}
    xs = {m: self.streams[m].attend_text(x, at[m], rows[m]) for m, x in xs.items()}
    if joined and len(xs) == 2:
      xs = self._exchange(xs, at)
    return {m: self.streams[m].feed_forward(x, rows[m]) for m, x in xs.items()}

  def _exchange(self, xs: dict, at: dict[str, Context]) -> dict:
    """Both directions read the same snapshot of the other stream."""
    as_query, as_key = {}, {}
    for m, x in xs.items():
      scale_q, shift_q, scale_k, shift_k = self.streams[m].cross_rows(at[m])
      y = layers.rms_norm(x)
      as_query[m] = layers.modulate(y, shift_q, scale_q)
      as_key[m] = layers.modulate(y, shift_k, scale_k)
    out = {}
    for m, x in xs.items():
      o = other_of(m, xs)
      out[m] = self.streams[m].attend_other(x, as_query[m], at[m], as_key[o], at[o])
    return out


def other_of(name: str, streams) -> str:
  """The other of two streams; itself where it is alone."""
  return next((m for m in sorted(streams) if m != name), name)

"""The joint video-audio transformer: tokens and text in, one value per latent out.

Its block follows LTX-2 (Lightricks 2026), of which the released checkpoints are configs.
"""

import contextlib
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from sorajax.clip import MAX_SHOTS, Tokens
from sorajax.model.block import Block, Context, other_of
from sorajax.model.config import StreamConfig, TransformerConfig
from sorajax.nn import kernels, layers, param, rope
from sorajax.nn.layers import ByLevel
from sorajax.sharding import reshard

CARRIED = 'carried'  # name of what layers hand on


def _narrow(primitive, *avals, **how) -> bool:
  """Whether this is a product by weights whose result is no larger than what it is made of."""
  if not jax.checkpoint_policies.dots_with_no_batch_dims_saveable(primitive, *avals, **how):
    return False
  contracted = math.prod(avals[0].shape[axis] for axis in how['dimension_numbers'][0][0])
  return avals[0].size * avals[1].size <= contracted**2 * max(a.size for a in avals)


_ATTENTION = jax.checkpoint_policies.save_only_these_names(kernels.KEPT)
REMAT = {
  'dots': jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _ATTENTION
  ),
  'narrow': jax.checkpoint_policies.save_from_both_policies(_narrow, _ATTENTION),
  'attention': _ATTENTION,
  'full': jax.checkpoint_policies.nothing_saveable,
  'offload': jax.checkpoint_policies.save_and_offload_only_these_names(
    names_which_can_be_saved=[], names_which_can_be_offloaded=[CARRIED],
    offload_src='device', offload_dst='pinned_host',
  ),
}  # fmt: skip


class Ends(nnx.Module):
  """What one stream has outside its layers: the way in, the noise level, the text, the way out."""

  def __init__(self, c: TransformerConfig, own: StreamConfig, *, rngs: nnx.Rngs):
    D = own.width
    self.embed = layers.Linear(own.channels, D, axes=(None, 'embed'), rngs=rngs)
    self.level = layers.LevelModulation(D, 9 if c.text_modulation else 6, rngs=rngs)
    self.cross_level = layers.LevelModulation(D, 4, rngs=rngs)
    self.gate_level = layers.LevelModulation(D, 1, rngs=rngs)
    text_width = c.read_width(own)
    self.text_level = layers.LevelModulation(text_width, 2, rngs=rngs) if c.text_levels else None
    if c.caption_projection:
      given = own.text_width or c.text_width
      self.text_up = layers.Linear(given, D, axes=(None, 'embed'), rngs=rngs)
      self.text_out = layers.Linear(D, D, axes=(None, 'embed'), rngs=rngs)
    self.keyframe = param.zeros((D,), (None,)) if own.keyframes else None
    self.out_table = param.zeros((2, D), (None, None))
    self.out = layers.Linear(D, own.channels, axes=('embed', None), scale=0.0, rngs=rngs)

  def read_in(self, tokens: Tokens, dtype) -> jax.Array:
    """Latents [B, T, C] → [B, T, D] in `dtype`."""
    x = self.embed(tokens.latent.astype(dtype))
    if self.keyframe is None or tokens.keyframe is None:
      return x
    return x + jnp.where(tokens.keyframe[..., None], self.keyframe[...].astype(dtype), 0)

  def project_text(self, text: jax.Array) -> jax.Array:
    """[B, L, text_width] → [B, L, D]."""
    return self.text_out(jax.nn.gelu(self.text_up(text), approximate=True))

  def read_out(self, x: jax.Array, embedding: ByLevel) -> jax.Array:
    """[B, T, D] and the embedding of its levels → [B, T, C] in float32."""
    twice = ByLevel(jnp.concatenate([embedding.value] * 2, axis=-1), embedding.index)
    y = layers.modulate(layers.layer_norm(x), *twice.split(self.out_table[...]))
    return self.out(y.astype(jnp.float32))


class Transformer(nnx.Module):
  """Two streams through L layers."""

  def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
    self.config = config
    self.ends = nnx.Dict({m: Ends(config, s, rngs=rngs) for m, s in config.streams.items()})
    keys = jax.random.split(rngs.params(), config.layers)
    self.blocks = jax.vmap(lambda key: Block(config, rngs=nnx.Rngs(key)))(keys)

  def __call__(
    self, tokens: dict[str, Tokens], text: jax.Array, text_segment: jax.Array,
    text_shot: jax.Array, *, joined: bool = True, skip_layers: tuple[int, ...] = (),
  ) -> dict[str, jax.Array]:  # fmt: skip
    """The network's output for every token.

    Args:
      tokens: modality → Tokens.
      text: [B, L, text_width], the encoded captions.
      text_segment: int32 [B, L]; 0 is padding.
      text_shot: int32 [B, L].
      joined: whether audio and video attend to each other.
      skip_layers: those whose self-attention gives each token its own value alone (Hyung et al.
        2024, spatiotemporal skip guidance).

    Returns:
      modality → float32 [B, T, C].
    """
    c = self.config
    for m, stream in c.streams.items():
      chex.assert_shape(tokens[m].latent, (*tokens[m].segment.shape, stream.channels))
    chex.assert_shape(text, (*text_segment.shape, c.text_width))
    text_key = _text_key(text_segment, text_shot, padding=-1)
    with _precision(c.matmul_precision):
      return self._run(tokens, text, text_segment, text_key, joined, skip_layers)

  def _run(self, tokens, text, text_segment, text_key, joined, skip_layers):
    c, dtype = self.config, jnp.dtype(self.config.compute)
    at, embedding = {}, {}
    for m in sorted(c.streams):
      at[m], embedding[m] = self._context(m, tokens, text.astype(dtype), text_segment, text_key)
    xs = {m: self.ends[m].read_in(tokens[m], dtype) for m in sorted(c.streams)}

    def layer(xs, turn):
      block, skip = turn
      xs = checkpoint_name(xs, CARRIED)
      return block(xs, at, joined=joined, skip=skip), None

    if c.remat != 'none':
      layer = jax.checkpoint(layer, policy=REMAT[c.remat], prevent_cse=False)
    skip = np.isin(np.arange(c.layers), skip_layers) if skip_layers else None
    xs, _ = jax.lax.scan(layer, xs, (self.blocks, skip), unroll=c.unroll)
    return {m: self.ends[m].read_out(x, embedding[m]) for m, x in xs.items()}

  def _context(self, m, tokens, text, text_segment, text_key) -> tuple[Context, ByLevel]:
    c, own, ends = self.config, self.config.streams[m], self.ends[m]
    t, dtype = tokens[m], text.dtype
    rows, embedding = _by_level(ends.level, _own_levels(t), dtype)
    cross_rows, _ = _by_level(ends.cross_level, _levels(c.cross_level, m, tokens), dtype)
    gate = _levels(c.cross_gate_level, m, tokens)
    cross_gate, _ = _by_level(ends.gate_level, gate, dtype, c.cross_gate_scale)
    text_rows = None
    if ends.text_level is not None:
      text_rows, _ = _by_level(ends.text_level, _clip_levels(t, text_segment), dtype)
    text = _part_of(text, m, c)
    seconds = max(s.rope_max[0] for s in c.streams.values())
    theta = c.cross_rope_theta or c.rope_theta
    turn = functools.partial(rope.table, t.position, pairs=c.rope_pairs)
    context = Context(
      segment=t.segment,
      text_segment=_text_key(t.segment, t.shot, padding=-2),
      text_key=text_key,
      text=ends.project_text(text) if c.caption_projection else text,
      rows=rows,
      cross_rows=cross_rows,
      cross_gate=cross_gate,
      text_rows=text_rows,
      rope=turn(own.heads, own.head_dim, own.rope_max, c.rope_theta),
      cross_rope=turn(c.cross_heads, c.cross_head_dim, (seconds,), theta),
    )
    return context, embedding


def _precision(name: str) -> contextlib.AbstractContextManager:
  """JAX's precision of products within; `default` is that without."""
  return contextlib.nullcontext() if name == 'default' else jax.default_matmul_precision(name)


def clip_level(tokens: Tokens, segment: jax.Array) -> jax.Array:
  """The highest noise level that any token of a clip has, for each entry of `segment`.

  Args:
    tokens: one stream, whose sigma and segment are [B, S].
    segment: int32 [B, T].

  Returns:
    float32 [B, T]; 0 where the stream has no token of that segment.
  """
  sigma, other = (reshard(x, 'batch', None) for x in (tokens.sigma, tokens.segment))
  same = segment[:, :, None] == other[:, None, :]
  return jnp.where(same, sigma[:, None, :], 0.0).max(axis=-1)


Levels = tuple[jax.Array, jax.Array | None]  # (float32 [B, N], which of them a token has [B, T])


def _own_levels(t: Tokens) -> Levels:
  """The noise levels of a stream's tokens: 0 and those of its clips, or one for each token."""
  if t.levels is None:
    return t.sigma, None
  return jnp.pad(t.levels, ((0, 0), (1, 0))), jnp.where(t.sigma > 0, t.segment, 0)


def _clip_levels(t: Tokens, segment: jax.Array) -> Levels:
  """The highest level in a stream of the clip that each entry of `segment` [B, T] is of."""
  if t.levels is None:
    return clip_level(t, segment), None
  clips = jnp.broadcast_to(jnp.arange(1, t.levels.shape[1] + 1), t.levels.shape)
  return clip_level(t, clips), jnp.maximum(segment - 1, 0)  # whatever padding gets is not used


def _levels(whose: str, m: str, tokens: dict[str, Tokens]) -> Levels:
  """The noise levels of stream m's tokens, or those of their clips in the other stream."""
  if whose == 'own':
    return _own_levels(tokens[m])
  return _clip_levels(tokens[other_of(m, tokens)], tokens[m].segment)


def _by_level(
  modulation: layers.LevelModulation, levels: Levels, dtype, scale: float = 1000.0
) -> tuple[ByLevel, ByLevel]:
  """Rows and embedding of levels."""
  sigma, index = levels
  axes = ('batch', 'tokens' if index is None else None)
  rows, embedding = modulation(sigma, dtype, scale, axes)
  return ByLevel(rows, index), ByLevel(embedding, index)


def _part_of(text: jax.Array, m: str, c: TransformerConfig) -> jax.Array:
  """The channels of the text that stream m reads."""
  if not c.streams[m].text_width:
    return text
  before = sum(s.text_width for name, s in c.streams.items() if name < m)
  return text[..., before : before + c.streams[m].text_width]


def _text_key(segment: jax.Array, shot: jax.Array, padding: int) -> jax.Array:
  """Segment and shot in one number; padding gets one that nothing matches."""
  return jnp.where(segment > 0, segment * MAX_SHOTS + shot, padding)

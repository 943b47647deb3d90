"""What a program does, by formula: nothing is compiled, so it is known at once and less well.

It counts what grows with the network: the matmuls, the values of the layers that go to memory and
back, and the communication that the layout of `sharding.RULES` asks for. It knows of no scheduling,
padding or fusion, takes all communication as exposed, and takes attention to keep no scores.
Weights that are cut finer than a tile of the chip are taken to be summed whole, as XLA does with
some of them.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from sorajax import build, sharding
from sorajax.model import lora
from sorajax.model.config import StreamConfig
from sorajax.network import Network
from sorajax.nn.kernels import LANES
from sorajax.plan.hlo import Collective, Work, members
from sorajax.plan.memory import Memory
from sorajax.plan.work import Clips, Step, start_dtype
from sorajax.settings import Settings
from sorajax.text.small import SmallEncoder

LISTED = 'blocks'  # in the paths of parameters of layers
OF_LEVELS = ('level', "['table']", 'cross_table', 'out_table')  # the same of what noise levels tell


def shapes_of(settings: Settings) -> Any:
  """The network's parameters as shapes that know their logical layout."""
  network = Network(settings.transformer, build.text_encoder(settings.text))
  with jax.sharding.use_abstract_mesh(sharding.abstract_mesh((1, 1, 1, 1))):
    return jax.eval_shape(lambda: network.init(jax.random.key(0)))


@dataclasses.dataclass(frozen=True)
class Formula:
  """A program by formula, as one device of a mesh runs it; read as `hlo.Program` is.

  Attributes:
    of: what it is run for.
    sizes: axis → size of the mesh.
    shapes: of the parameters, as `shapes_of` gives them.
    weights: type of the transformer's where clips are sampled.
    tile: of the chip.
  """

  of: Step | Clips
  sizes: Mapping[str, int]
  shapes: Any
  weights: str = 'float32'
  tile: int = LANES

  def memory(self) -> Memory:
    """Bytes of one device: parameters and what goes with each exactly, all that comes and goes by
    the values of layers; the batch does not count.
    """
    c = self.of.settings.transformer
    carried, heard, dots, wide, values = self._values()
    layer = self._gathered() / c.layers
    if not isinstance(self.of, Step):
      own = self._held(self.shapes['transformer'])
      held = self._held() + own * (jnp.dtype(self.weights).itemsize / 4 - 1)
      return Memory({'weights': held}, held + values + 2 * layer)
    dots += carried
    keeps = {
      'none': values + layer, 'dots': dots, 'narrow': dots - wide, 'attention': carried + heard,
      'full': carried,
    }  # fmt: skip
    micro, own, trained = self.of.settings.train.micro_batches, 0.0, self._held()
    if self.of.settings.lora.rank:
      size = jnp.dtype(start_dtype(self.of.settings)).itemsize / 4
      own = self._held() + (size - 1) * self._held(self.shapes['transformer'])
      trained = self._changes()
    passing = trained + c.layers * keeps.get(c.remat, 0.0) / micro + 2 * values / micro + 2 * layer
    parts = {'weights': own + trained, 'moving average': trained, 'optimiser': 2 * trained}
    far = c.layers * carried / micro if c.remat == 'offload' else 0.0
    return Memory(parts, sum(parts.values()) + passing, far)

  def work(self) -> Iterator[Work]:
    """Products, attention, values on their way to memory and back, and the optimiser."""
    c, (forwards, backwards) = self.of.settings.transformer, self.of.turns
    flops, devices = self.of.flops(), math.prod(self.sizes.values())
    carried, *_, values = self._values()
    turns = forwards + 2 * backwards
    read = turns * self._gathered()
    yield Work('matmuls', '', (flops.matmuls + flops.ends) / devices, 0.0, read, 1.0)
    yield Work('attention', '', 0.0, flops.attention / devices, 0.0, 1.0)
    yield Work('values', '', 0.0, 0.0, 2 * c.layers * values, turns)
    if isinstance(self.of, Step):
      yield Work('optimiser', '', 0.0, 0.0, 2 * 5 * self._held(), 1.0)
      if c.remat == 'offload':
        yield Work('offloaded', '', 0.0, 0.0, 0.0, 2 * c.layers, carried)

  def collectives(self) -> Iterator[Collective]:
    """All communication between devices, none of it hidden."""
    c, (forwards, _) = self.of.settings.transformer, self.of.turns
    micro = self.of.settings.train.micro_batches if isinstance(self.of, Step) else 1
    once = micro if isinstance(self.of, Step) else forwards
    for kind, fine in (('all-gather', False), ('all-reduce', True)):
      yield from self._collective(kind, ('fsdp',), self._gathered(fine), micro * forwards)
      yield from self._collective(kind, ('fsdp',), self._gathered(fine, False), once)
    if isinstance(self.of, Step) and self.of.settings.lora.rank:
      yield from self._collective('all-reduce', ('data', 'fsdp', 'context'), self._changes(), micro)
    elif isinstance(self.of, Step):
      cut = (self._gathered() + self._gathered(listed=False)) / self.sizes['fsdp']
      yield from self._collective('reduce-scatter', ('fsdp',), cut, micro)
      yield from self._of_gradients(micro)
    tokens = sum(map(self._tokens, c.streams)) + self._texts()  # which clip each of them is of
    yield from self._collective(
      'all-gather', ('context',), 4 * self.sizes['context'] * tokens, micro
    )
    for m, own in c.streams.items():
      yield from self._of_tensor(m, own)
      yield from self._of_context(m, own)
    if isinstance(self.of, Step):
      yield from self._of_text()

  def _of_gradients(self, times: int) -> Iterator[Collective]:
    """Sums of gradients over rows, and over tokens: of what is split at once, of all else apart.

    What depends on noise levels alone is of rows, whose gradients are summed over tokens before.
    """
    c, levels = self.of.settings.transformer, self.of.bucket.clips + 1
    sums: dict[tuple[str, ...], float] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(self.shapes)[0]:
      name = jax.tree_util.keystr(path)
      rows: tuple[str, ...] = ('data', 'fsdp')
      if 'fsdp' in _axes(leaf):
        rows, size = ('data',), self._bytes_of(name, leaf) / self.sizes['fsdp']
      else:
        size = self._part(leaf)
      by_level = 'transformer' in name and any(part in name for part in OF_LEVELS)
      over = [(*rows, 'context')] if 'fsdp' in _axes(leaf) else [rows, ('context',)]
      for axes in [rows] if by_level else over:
        sums[axes] = sums.get(axes, 0.0) + size
    for axes, size in sums.items():
      yield from self._collective('all-reduce', axes, size, times)
    for own in c.streams.values():
      one = jnp.dtype(c.compute).itemsize * self._rows() * levels * own.width
      modulated = 14 if c.text_modulation else 11
      yield from self._collective('all-reduce', ('context',), one * modulated, c.layers)
      yield from self._collective('all-reduce', ('context',), one * 2, 1)

  def _of_tensor(self, m: str, own: StreamConfig) -> Iterator[Collective]:
    """Sums of what heads and hidden units give, of gradients of what they read, and of the squares
    over which queries and keys are normed; on the way back, gradients of gates from all heads.
    """
    c, (forwards, backwards) = self.of.settings.transformer, self.of.turns
    itemsize, local, texts = jnp.dtype(c.compute).itemsize, self._tokens(m), self._texts()
    sums = local * own.width * (4 * forwards + 8 * backwards)
    sums += 2 * texts * c.read_width(own) * backwards
    means = 4 * (5 * local + texts) * (forwards + backwards)
    yield from self._collective('all-reduce', ('tensor',), itemsize * sums + means, c.layers)
    if c.gated:
      gates = itemsize * local * (2 * own.heads + c.cross_heads)
      yield from self._collective('all-gather', ('tensor',), gates, backwards * c.layers)

  def _of_context(self, m: str, own: StreamConfig) -> Iterator[Collective]:
    """What attention sends where tokens are split; see `nn.attention`."""
    c, context = self.of.settings.transformer, self.sizes['context']
    inner, cross, texts = *self._inner(own), self._texts()
    local = self._tokens(m)
    itemsize = jnp.dtype(c.compute).itemsize
    swaps = own.heads % (context * self.sizes['tensor']) == 0 and c.attention.split != 'gather'
    turns = tuple(n * c.layers for n in self.of.turns)
    if swaps:
      sent = local * (4 * inner + 2 * inner + 4 * cross) + 2 * texts * inner
      yield from self._swaps(itemsize * sent, turns)
      shots = 4 * context * local  # of which every token is, to match the text's
      yield from self._collective('all-gather', ('context',), shots, 1)
    else:
      sent = 2 * local * (inner + cross) + 2 * texts * inner
      yield from self._gathers(itemsize * sent, turns)

  def _swaps(self, size: float, turns: tuple[int, ...]) -> Iterator[Collective]:
    yield from self._collective('all-to-all', ('context',), size, sum(turns))

  def _gathers(self, size: float, turns: tuple[int, ...]) -> Iterator[Collective]:
    """What is gathered along `context`; on the way back its gradients are summed and split."""
    forwards, backwards = turns
    yield from self._collective('all-gather', ('context',), self.sizes['context'] * size, forwards)
    yield from self._collective('reduce-scatter', ('context',), size, backwards)

  def _of_text(self) -> Iterator[Collective]:
    """What the layers of a small text encoder send, forwards and backwards."""
    encoder = build.text_encoder(self.of.settings.text)
    if isinstance(encoder, SmallEncoder):
      sums = 4 * self._texts() * (6 * encoder.width + 4)  # the last of squares, as in `_of_tensor`
      yield from self._collective('all-reduce', ('tensor',), sums, encoder.depth)
      clips = 4 * self.sizes['context'] * self._texts()
      yield from self._collective('all-gather', ('context',), clips, 1)
      one = 4 * self._texts() * encoder.width / self.sizes['tensor']
      turns = (encoder.depth, encoder.depth)
      swaps = encoder.heads % (self.sizes['context'] * self.sizes['tensor']) == 0
      yield from self._swaps(4 * one, turns) if swaps else self._gathers(2 * one, turns)

  def _collective(
    self, kind: str, axes: tuple[str, ...], size: float, times: float
  ) -> Iterator[Collective]:
    along = tuple(axis for axis in axes if self.sizes[axis] > 1)
    if along and times and size:
      yield Collective(kind, along, members(self.sizes, along), size, times, False, '')

  def _values(self) -> tuple[float, float, float, float, float]:
    """Bytes of a layer on one device: what it hands on, what attention in a stream makes, that with
    the results of matmuls, those that are wider than what they are made of, and all its values.
    """
    c = self.of.settings.transformer
    carried = heard = dots = wide = values = 0.0
    for m, own in c.streams.items():
      tokens, D, F = self._tokens(m), own.width, own.hidden / self.sizes['tensor']
      inner, cross = self._inner(own)
      matmuls = 4 * inner + 3 * cross + F + 4 * D
      carried += tokens * D
      heard += tokens * inner
      dots += tokens * (matmuls + inner)
      wide += tokens * (F * (own.hidden > D) + 4 * inner * (own.heads * own.head_dim > D))
      values += tokens * (matmuls + 8 * D + 5 * inner + cross + F)
    itemsize = jnp.dtype(c.compute).itemsize
    of = lambda count: itemsize * count
    return of(carried), of(heard), of(dots), of(wide), of(values)

  def _inner(self, own: StreamConfig) -> tuple[float, float]:
    c, tensor = self.of.settings.transformer, self.sizes['tensor']
    return own.heads * own.head_dim / tensor, c.cross_heads * c.cross_head_dim / tensor

  def _tokens(self, m: str) -> float:
    """Of one stream on one device."""
    return self._rows() * getattr(self.of.bucket, m) / self.sizes['context']

  def _rows(self) -> float:
    """Of a batch on one device."""
    return self.of.bucket.rows / (self.sizes['data'] * self.sizes['fsdp'])

  def _texts(self) -> float:
    """Tokens of prompts on one device."""
    b, s = self.of.bucket, self.sizes
    return b.rows * b.text * b.clips / (s['data'] * s['fsdp'] * s['context'])

  def _held(self, shapes: Any = None) -> float:
    """Bytes of parameters, or of all, on one device in float32."""
    return sum(self._part(leaf) for leaf in self._leaves(shapes))

  def _part(self, leaf: Any) -> float:
    return 4 * math.prod(leaf.shape) / math.prod(self.sizes[axis] for axis in _axes(leaf))

  def _leaves(self, shapes: Any = None) -> list[Any]:
    return jax.tree.leaves(shapes or self.shapes)

  def _changes(self) -> float:
    """Bytes of low-rank changes, which every device has whole."""
    of = lambda key: lora.init(self.of.settings.lora, self.shapes['transformer'], key)
    leaves = jax.tree.leaves(jax.eval_shape(of, jax.random.key(0)))
    return sum(4.0 * math.prod(leaf.shape) for leaf in leaves)

  def _gathered(self, fine: bool | None = None, listed: bool = True) -> float:
    """Bytes of matrices in the type of their matmuls, as these take them from `fsdp`.

    Args:
      fine: whether of those that are cut finer than a tile, or of the others; None for all.
      listed: whether of those of the layers, or of all others.
    """
    total = 0.0
    for path, leaf in jax.tree_util.tree_flatten_with_path(self.shapes)[0]:
      name = jax.tree_util.keystr(path)
      if (LISTED in name) == listed and 'fsdp' in _axes(leaf):
        cut = leaf.shape[list(leaf.sharding.spec).index('fsdp')] / self.sizes['fsdp']
        if fine is None or fine == (cut < self.tile):
          total += self._bytes_of(name, leaf)
    return total

  def _bytes_of(self, name: str, leaf: Any) -> float:
    """Bytes of a matrix, whole along `fsdp`, in the type of its matmuls."""
    compute = jnp.dtype(self.of.settings.transformer.compute).itemsize
    split = self.sizes['tensor'] if 'tensor' in _axes(leaf) else 1
    return (compute if 'transformer' in name else 4) * math.prod(leaf.shape) / split


def _axes(leaf: Any) -> list[str]:
  """The mesh axes over which a parameter is split."""
  return [axis for axis in leaf.sharding.spec if axis is not None]

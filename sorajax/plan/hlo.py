"""What a compiled program does, read from its HLO: matmuls, traffic to memory, collectives.

The text names every operation once; one in the body of a loop runs as often as the loop turns.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sorajax.plan.hlo_kernels import of_cudnn, of_splash
from sorajax.plan.hlo_text import (
  BYTES,
  OF_HOST,
  Operation,
  called,
  operation,
  replica_groups,
  source_of,
)

COLLECTIVES = ('all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all', 'collective-permute')
FREE = frozenset((
  'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'while', 'conditional', 'call',
  'after-all', 'partition-id', 'replica-id', 'opt-barrier', 'async-start', 'async-update',
  'async-done', 'copy-start', 'copy-done', 'iota', 'send', 'send-done', 'recv', 'recv-done',
))  # fmt: skip
# Communication between slices of TPUs goes by way of their hosts.
_BETWEEN_SLICES = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_RENDEZVOUS = re.compile(r'_xla_host_transfer_rendezvous="([^"]+)"')
_TARGETS = re.compile(r'_xla_megascale_target="\{([\d,:]+)\}')
_HEADER = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$')
_LINE = re.compile(r'^\s+(ROOT )?%?([\w.\-]+) = (.*)$')


@dataclasses.dataclass(frozen=True)
class Collective:
  """A collective: communication between devices.

  Attributes:
    kind: such as `all-gather`.
    axes: the mesh axes along which devices communicate.
    members: devices that communicate with one another, one group of them.
    bytes: of one device's result.
    times: how often in a run.
    overlapped: whether the program computes meanwhile.
    source: the operation of the model that it serves.
  """

  kind: str
  axes: tuple[str, ...]
  members: tuple[int, ...]
  bytes: float
  times: float
  overlapped: bool
  source: str

  @property
  def group(self) -> int:
    """How many devices communicate with one another."""
    return len(self.members)

  @property
  def sent(self) -> float:
    """Bytes that a device sends each time, at the least."""
    n = self.group
    share = {
      'all-gather': (n - 1) / n,
      'reduce-scatter': float(n - 1),
      'all-reduce': 2 * (n - 1) / n,
      'all-to-all': (n - 1) / n,
      'collective-permute': 1.0,
    }
    return share[self.kind] * self.bytes


@dataclasses.dataclass(frozen=True)
class Work:
  """What an operation asks of a device, each time.

  Attributes:
    name: of the operation.
    source: the operation of the model that it serves.
    flops: of matmuls, 2 for each multiplication.
    kernel_flops: of attention kernels.
    bytes: read from and written to memory.
    times: how often in a run.
    host_bytes: moved between a device and the memory of its host.
  """

  name: str
  source: str
  flops: float
  kernel_flops: float
  bytes: float
  times: float
  host_bytes: float = 0.0


class Program:
  """The text of a compiled program, one device's part."""

  def __init__(self, text: str, mesh: dict[str, int], second: float = 1.0):
    """Reads the text of a program.

    Args:
      text: of the compiled program.
      mesh: axis → size of the mesh for which it was compiled.
      second: share of the runs of a condition that take its second branch, which is the one that
        `jax.lax.cond` takes where its predicate is true.
    """
    self.text, self.mesh, self.second = text, mesh, second
    self.computations: dict[str, list[Operation]] = {}
    self.entry = ''
    here: list[Operation] = []
    for line in text.splitlines():
      header = _HEADER.match(line)
      if header:
        here = self.computations.setdefault(header.group(2), [])
        self.entry = header.group(2) if header.group(1) else self.entry
        continue
      found = _LINE.match(line)
      if found:
        here.append(operation(found.group(2), found.group(3)))
    self.by_name = {op.name: op for ops in self.computations.values() for op in ops}
    self.times, self.within = self._count()

  def _count(self) -> tuple[dict[str, float], dict[str, str]]:
    """How often each computation runs, and which run inside of another operation: its opcode."""
    times, within = dict.fromkeys(self._callers_first(), 0.0), {}
    times[self.entry] = 1.0
    for name in times:
      for op in self.computations[name]:
        inner = [c for c in called(op) if c in self.computations]
        for c, turns in zip(inner, self._runs(op, len(inner))):
          times[c] += turns * times[name]
          if op.opcode not in ('while', 'conditional', 'call'):
            within[c] = op.opcode
          elif name in within:
            within[c] = within[name]
    return times, within

  def _callers_first(self) -> list[str]:
    """All computations that run, each behind those that call it."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
      for inner in (c for op in self.computations[name] for c in called(op)):
        if inner in self.computations and inner not in done:
          visit(inner)
      done[name] = None

    visit(self.entry)
    return list(done)[::-1]

  def _runs(self, op: Operation, inner: int) -> list[float]:
    """How often an operation runs each of the computations that it calls."""
    if op.opcode == 'while':
      return [self._turns(op)] * inner
    if op.opcode == 'conditional' and inner == 2:
      shares = [1 - self.second, self.second]
      return shares[::-1] if 'true_computation' in op.rest else shares
    return [1.0] * inner

  def _turns(self, op: Operation) -> float:
    """How often a loop turns: the constant with which its condition compares."""
    known = re.search(r'known_trip_count[^\d]*(\d+)', op.rest)
    if known:
      return float(known.group(1))
    condition = self.computations.get(op.attribute('condition').lstrip('%'), [])
    numbers = [re.match(r'constant\((\d+)\)', o.rest) for o in condition if o.opcode == 'constant']
    limits = [int(n.group(1)) for n in numbers if n]
    return float(max(limits)) if limits else 1.0

  def collectives(self) -> Iterator[Collective]:
    """All communication between devices."""
    for name, ops in self.computations.items():
      if name not in self.times:
        continue
      for i, op in enumerate(ops):
        kind = op.opcode.removesuffix('-start')
        if op.opcode == 'send' and _BETWEEN_SLICES.search(op.rest):
          yield self._between_slices(op, ops[i + 1 :], self.times[name])
        if kind not in COLLECTIVES:
          continue
        axes, group = self._axes(op)
        apart = (
          (op.opcode.endswith('-start') and '"is_sync":true' not in op.rest)
          or 'async' in self.within.get(name, '')
          or ('async_collective' in name or 'async_collective' in op.rest)
        )
        if len(group) > 1:
          yield Collective(kind, axes, group, _made(op), self.times[name], apart, source_of(op))

  def _between_slices(self, op: Operation, after: list[Operation], times: float) -> Collective:
    """What each device sends to its like of other slices, which lie along the first axis."""
    kind, target, meeting = (
      found.group(1) if (found := pattern.search(op.rest)) else ''
      for pattern in (_BETWEEN_SLICES, _TARGETS, _RENDEZVOUS)
    )
    devices = math.prod(self.mesh.values())
    group = tuple(range(0, devices, devices // _count(target)))
    answers = (
      i for i, o in enumerate(after)
      if o.opcode == 'recv-done' and f'"{meeting}"' in self.by_name[o.operands[0]].rest
    )  # fmt: skip
    meanwhile = after[: next(answers, len(after))]
    apart = any(o.opcode not in FREE for o in meanwhile)
    kind = kind.lower().replace('_', '-')
    axis = next(iter(self.mesh))
    return Collective(kind, (axis,), group, _first(op), times, apart, source_of(op))

  def _axes(self, op: Operation) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Along which mesh axes an operation's groups of devices lie, and one of the groups."""
    pairs = re.search(r'source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}', op.rest)
    sizes = tuple(self.mesh.values())
    if pairs:
      ends = [tuple(map(int, p.split(','))) for p in re.findall(r'\{(\d+,\d+)\}', pairs.group(1))]
      groups = [list(end) for end in ends if end[0] != end[1]]
    else:
      groups = replica_groups(op.rest, math.prod(sizes))
    if not groups:
      return (), ()
    places = np.stack(np.unravel_index(np.array(groups[0]), sizes))
    moving = tuple(n for n, row in zip(self.mesh, places) if len(set(row.tolist())) > 1)
    return moving, members(self.mesh, moving) if pairs else tuple(groups[0])

  def work(self) -> Iterator[Work]:
    """What operations ask of a device, but for communication between devices."""
    for name, ops in self.computations.items():
      if name not in self.times or name in self.within:
        continue
      for op in ops:
        kind = op.opcode.removesuffix('-start').removesuffix('-done')
        if _is_of_host(op):
          yield Work(op.name, source_of(op), 0.0, 0.0, 0.0, self.times[name], op.bytes)
          continue
        if op.opcode in FREE or kind in COLLECTIVES:
          continue
        if op.opcode.endswith('-done') and _is_of_host(self.by_name[op.operands[0]]):
          continue
        flops, kernel = self._flops(op), self._kernel_flops(op)
        yield Work(op.name, source_of(op), flops, kernel, self._traffic(op), self.times[name])

  def _traffic(self, op: Operation) -> float:
    """Bytes read and written. A slice that is cut from an array, or written into it in place, does
    not move the rest of the array.
    """
    made = {shape[:2] for shape in op.shapes}
    written = op.bytes
    for part in self._inner(op):
      if part.opcode == 'dynamic-update-slice' and part.shapes[0][:2] in made:
        update = self.by_name[part.operands[1]].all_bytes
        written -= max(op.bytes and part.all_bytes - update, 0.0)
    return max(written, 0.0) + sum(self._read(op, i) for i in range(len(op.operands)))

  def _inner(self, op: Operation) -> Iterator[Operation]:
    """An operation and, of a fusion, all that it fuses."""
    yield op
    if op.opcode == 'fusion':
      for name in called(op):
        for part in self.computations.get(name, ()):
          yield from self._inner(part)

  def _read(self, op: Operation, position: int) -> float:
    """Bytes that an operation reads of one of its operands."""
    source = self.by_name.get(op.operands[position])
    if source is None:
      return 0.0
    if op.opcode == 'dynamic-slice' and not position:
      return min(source.bytes, op.all_bytes)
    if op.opcode == 'dynamic-update-slice' and not position:
      return 0.0
    if op.opcode != 'fusion':
      return source.bytes
    parts = [part for name in called(op) for part in self.computations.get(name, ())]
    own = [p.name for p in parts if p.rest.startswith(f'parameter({position})')]
    reads = [self._read(p, i) for p in parts for i, o in enumerate(p.operands) if o in own]
    return min(source.bytes, sum(reads))

  def _flops(self, op: Operation) -> float:
    if op.opcode == 'dot':
      left = self.by_name[op.operands[0]].shapes[0][1]
      over = [int(d) for d in op.attribute('lhs_contracting_dims').split(',') if d]
      return 2.0 * math.prod(op.shapes[0][1]) * math.prod(left[d] for d in over)
    if 'custom_call_target="__cublas$' in op.rest:
      return self._of_cublas(op)
    if op.opcode == 'convolution':
      return self._convolution(op)
    inner = [c for c in called(op) if op.opcode == 'fusion' and c in self.computations]
    return sum(self._flops(o) for c in inner for o in self.computations[c])

  def _of_cublas(self, op: Operation) -> float:
    over = re.search(r'"lhs_contracting_dimensions": ?\[([^\]]*)\]', op.rest)
    if not over:
      return 0.0
    left = self.by_name[op.operands[0]].shapes[0][1]
    shared = math.prod(left[int(d)] for d in re.findall(r'\d+', over.group(1)))
    return 2.0 * math.prod(op.shapes[0][1]) * shared

  def _convolution(self, op: Operation) -> float:
    """Products on TPU are convolutions, with window positions that may lie in padding."""
    labels = re.search(r'dim_labels=([\w?]+)_([\w?]+)->([\w?]+)', op.rest)
    if not labels:
      return 0.0
    left, right, _ = labels.groups()
    image, kernel = (self.by_name[o].shapes[0][1] for o in op.operands[:2])
    out = op.shapes[0][1]
    total = 2.0 * kernel[right.index('i')]
    window = _window(op.rest)
    for label, size in zip(labels.group(3), out):
      if not label.isdigit():
        total *= size
        continue
      d = int(label)
      total *= _pairs(image[left.index(label)], size, {k: v[d] for k, v in window.items()})
    return total

  def _kernel_flops(self, op: Operation) -> float:
    """Of attention kernels: JAX's splash and NVIDIA's cuDNN."""
    if op.opcode != 'custom-call':
      return 0.0
    if op.name.startswith('splash'):
      return of_splash(op)
    return of_cudnn(op) if 'custom_call_target="__cudnn$fmha' in op.rest else 0.0


def members(mesh: Mapping[str, int], axes: Sequence[str]) -> tuple[int, ...]:
  """The devices of a mesh along some of its axes, where they lie at 0 of all others."""
  ids = np.arange(math.prod(mesh.values())).reshape(tuple(mesh.values()))
  along = tuple(slice(None) if axis in axes else 0 for axis in mesh)
  return tuple(ids[along].ravel().tolist())


def _is_of_host(op: Operation) -> bool:
  """Whether an operation begins to move something to the memory of the host, or from there."""
  return op.opcode.endswith('-start') and any(memory == OF_HOST for *_, memory in op.shapes)


def _count(listed: str) -> int:
  """How many numbers `1,2,5:8` lists."""
  ends = [[int(n) for n in part.split(':')] for part in listed.split(',')]
  return sum(end[-1] - end[0] + 1 for end in ends)


def _first(op: Operation) -> float:
  """Bytes of the first result."""
  kind, dims, _ = op.shapes[0]
  return float(BYTES.get(kind, 4) * math.prod(dims))


def _made(op: Operation) -> float:
  """Bytes of the results of a collective; the start of one tells its operands before them."""
  sizes = [BYTES.get(t, 4) * math.prod(dims) for t, dims, _ in op.shapes]
  count = len(op.operands)
  told = op.opcode.endswith('-start') and len(sizes) >= 2 * count
  return float(sum(sizes[count : 2 * count] if told else sizes))


def _window(rest: str) -> dict[str, list[int]]:
  """size, stride, pad, lhs_dilate and rhs_dilate of a convolution's window, for each dimension."""
  text = re.search(r'window=\{([^}]*)\}', rest)
  found = dict(part.split('=') for part in text.group(1).split()) if text else {}
  size = [int(s) for s in found.get('size', '').split('x') if s]
  whole = lambda key: [int(s) for s in found[key].split('x')] if key in found else [1] * len(size)
  pad = (
    [int(p.split('_')[0]) for p in found['pad'].split('x')] if 'pad' in found else [0] * len(size)
  )
  return {
    'size': size, 'stride': whole('stride'), 'pad': pad, 'lhs': whole('lhs_dilate'),
    'rhs': whole('rhs_dilate'),
  }  # fmt: skip


def _pairs(image: int, out: int, window: dict[str, int]) -> int:
  """How many (output, kernel) positions along a dimension meet an input."""
  at = np.arange(out)[:, None] * window['stride'] + np.arange(window['size']) * window['rhs']
  at = at - window['pad']
  inside = (at >= 0) & (at < (image - 1) * window['lhs'] + 1) & (at % window['lhs'] == 0)
  return int(inside.sum())

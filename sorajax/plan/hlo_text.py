"""The text of a compiled program, read: computations of operations with their shapes."""

import dataclasses
import functools
import math
import re

import numpy as np

BYTES = {
  'pred': 1, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 's32': 4, 'u32': 4, 's64': 8, 'u64': 8,
  'bf16': 2, 'f16': 2, 'f32': 4, 'f64': 8, 's4': 0.5, 'u4': 0.5, 'f8e4m3fn': 1, 'f8e5m2': 1,
  'c64': 8, 'c128': 16,
}  # fmt: skip

MAIN, OF_HOST = 0, 5  # memories: a chip's large one, and that of its host

SHAPE = re.compile(r'\b([a-z]+\d*(?:e\dm\d(?:fn)?)?)\[([\d,]*)\](?:\{([^}]*)\})?')
_OPCODE = re.compile(r'([a-z][\w\-]*)\(')
_CALLED = re.compile(
  r'(?:calls|to_apply|body|branch_computations|(?:true|false)_computation)='
  r'(?:\{([^}]*)\}|%?([\w.\-]+))'
)


@dataclasses.dataclass(frozen=True)
class Operation:
  """One line of a computation.

  Attributes:
    name: unique in the program.
    opcode: such as `fusion`.
    shapes: (type, dimensions, number of its memory) of each array that it makes.
    operands: the names of what it reads.
    rest: its attributes, as text.
  """

  name: str
  opcode: str
  shapes: tuple[tuple[str, tuple[int, ...], int], ...]
  operands: tuple[str, ...]
  rest: str

  @functools.cached_property
  def bytes(self) -> float:
    """Of what it makes and lays in main memory."""
    return sum(BYTES.get(t, 4) * math.prod(dims) for t, dims, m in self.shapes if m == MAIN)

  @functools.cached_property
  def all_bytes(self) -> float:
    """Of what it makes, wherever that lies."""
    return sum(BYTES.get(t, 4) * math.prod(dims) for t, dims, _ in self.shapes)

  def attribute(self, name: str) -> str:
    """The value of an attribute that holds no comma outside braces; '' if it is not there."""
    found = re.search(rf'\b{name}=(\{{[^}}]*\}}|[^,\s]+)', self.rest)
    return found.group(1).strip('{}') if found else ''


def source_of(op: Operation) -> str:
  """The JAX operation from which an operation of the program stems; '' where it is unknown."""
  found = re.search(r'op_name="([^"]*)"', op.rest)
  return found.group(1) if found else ''


def replica_groups(rest: str, devices: int) -> list[list[int]]:
  """The groups of devices of a collective, in any of the forms in which HLO writes them."""
  listed = re.search(r'replica_groups=\{((?:\{[\d,]*\},?)+)\}', rest)
  if listed:
    return [[int(i) for i in g.split(',')] for g in re.findall(r'\{([\d,]+)\}', listed.group(1))]
  iota = re.search(r'replica_groups=(\[[\d,]+\])<=(\[[\d,]+\](?:T\([\d,]+\))?)', rest)
  if iota:
    return _device_ids(iota.group(2), devices).reshape(_numbers(iota.group(1))).tolist()
  meshes = re.search(
    r'replica_groups=mesh\[([^\]]*)\](?:, ?device_ids=\((.*?)\))? ?\{([^}]*)\}', rest
  )
  if meshes:
    sizes = {n: int(s) for n, s in re.findall(r"'([^']+)'=(\d+)", meshes.group(1))}
    chosen = re.findall(r"'([^']+)'", meshes.group(3))
    ids = _device_ids(meshes.group(2) or '', devices).reshape(tuple(sizes.values()))
    order = [i for i, n in enumerate(sizes) if n not in chosen]
    inner = [list(sizes).index(n) for n in chosen]
    return ids.transpose(*order, *inner).reshape(-1, math.prod(sizes[n] for n in chosen)).tolist()
  if 'replica_groups={}' in rest:
    return [list(range(devices))]
  return []


def _device_ids(text: str, devices: int) -> np.ndarray:
  """All devices by number, in the order of `[4,2]T(1,0)`: laid out, then transposed."""
  ids, turned = np.arange(devices), text.partition('T(')
  if turned[0].startswith('['):
    ids = ids.reshape(_numbers(turned[0]))
  return ids.transpose(_numbers(turned[2])) if turned[2] else ids


def _numbers(text: str) -> list[int]:
  return [int(x) for x in re.findall(r'\d+', text)]


def operation(name: str, text: str) -> Operation:
  """`f32[2]{0} add(%a, %b), metadata={…}` → an operation."""
  at = _end_of_shape(text)
  opcode = _OPCODE.match(text, at)
  shapes = tuple(
    (t, tuple(int(d) for d in dims.split(',') if d), _memory_of(layout))
    for t, dims, layout in SHAPE.findall(text[:at])
  )
  if not opcode:
    return Operation(name, text[at:].split('(')[0], shapes, (), text[at:])
  start, end = opcode.end(), _closing(text, opcode.end() - 1)
  operands = tuple(re.findall(r'%([\w.\-]+)', text[start:end]))
  rest = text[at:] if opcode.group(1) in ('constant', 'parameter') else text[end + 1 :]
  return Operation(name, opcode.group(1), shapes, operands, rest)


def _memory_of(layout: str) -> int:
  found = re.search(r'S\((\d+)\)', layout)
  return int(found.group(1)) if found else MAIN


def _end_of_shape(text: str) -> int:
  """Where the type at the beginning of a line ends and the opcode begins."""
  at = _closing(text, 0) + 1 if text.startswith('(') else text.index(' ')
  while at < len(text) and text[at] == ' ':
    at += 1
  return at


def _closing(text: str, start: int) -> int:
  """Where the parenthesis that opens at `start` closes."""
  depth = 0
  for i in range(start, len(text)):
    depth += (text[i] == '(') - (text[i] == ')')
    if depth == 0:
      return i
  return len(text)


def called(op: Operation) -> list[str]:
  """The names of the computations that an operation runs."""
  found = _CALLED.findall(op.rest)
  return [n.strip(' %') for listed, one in found for n in (listed or one).split(',')]

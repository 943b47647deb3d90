"""Products within attention kernels, by the shapes that a program tells of them."""

import math
import re

from sorajax.plan.hlo_text import SHAPE, Operation


def of_splash(op: Operation) -> float:
  """By the shapes of queries [..., H, T, K] and keys [..., H, S, K]."""
  shapes = op.rest.partition('operand_layout_constraints={')[2].partition('}, frontend')[0]
  arrays = [
    [int(d) for d in dims.split(',')]
    for kind, dims, _ in SHAPE.findall(shapes)
    if kind.startswith(('f', 'bf')) and dims.count(',') >= 2
  ]
  (*batch, heads, queries, width), keys = arrays[0], arrays[1][-2]
  matmuls = 5 if 'dkv' in op.name else 3 if 'dq' in op.name else 2
  return 2.0 * matmuls * math.prod(batch) * heads * queries * keys * width


def of_cudnn(op: Operation) -> float:
  """By the shapes of scores [B, H, T, S] and queries [B, T, H, K]."""
  scores = re.search(r'"intermediate_tensor_shape":.*?"dimensions": ?\[([^\]]*)\]', op.rest)
  queries = SHAPE.search(op.rest.partition('operand_layout_constraints={')[2])
  if not scores or not queries:
    return 0.0
  pairs = math.prod(int(d) for d in re.findall(r'\d+', scores.group(1)))
  width = int(queries.group(2).split(',')[-1])
  return 2.0 * (5 if 'Backward' in op.rest else 2) * pairs * width

"""A program for `attention_test`: attention on eight devices made of one CPU; prints json."""

import itertools
import json
import os
import sys
from pathlib import Path

os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=8'
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from sorajax import sharding
from sorajax.errors import UserError
from sorajax.nn.attention import AttentionConfig, attend

SHAPES = ((1, 2, 2, 2), (1, 1, 8, 1))
HOW = (
  ('reference', 'swap'), ('reference', 'gather'), ('reference', 'ring'), ('chunked', 'gather'),
  ('splash', 'swap'), ('splash', 'gather'),
)  # fmt: skip
rng = np.random.default_rng(0)
Q, K, V, WEIGHT = (rng.standard_normal((4, n, 4, 16)).astype(np.float32) for n in (64, 32, 32, 64))
# Packed rows: a clip's keys lie on several devices, and some queries have none.
Q_SEGMENT = np.sort(rng.integers(0, 4, (4, 64)), axis=1).astype(np.int32)
K_SEGMENT = np.sort(rng.integers(1, 4, (4, 32)), axis=1).astype(np.int32)


def both(how: AttentionConfig):
  """The answer, and the gradients of a sum of it."""
  placed = [
    sharding.reshard(jnp.asarray(x), 'batch', 'tokens', *axes)
    for x, *axes in (
      (Q, 'heads', None), (K, 'heads', None), (V, 'heads', None), (Q_SEGMENT,), (K_SEGMENT,)
    )
  ]  # fmt: skip

  def total(q, k, v, *segments):
    out = attend(q, k, v, *segments, how)
    return (
      sharding.reshard(jnp.asarray(WEIGHT), 'batch', 'tokens', 'heads', None) * out
    ).sum(), out

  (_, out), gradients = tiny.quick_jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(*placed)
  return jax.device_get((out, *gradients))


def main() -> None:
  wanted = both(AttentionConfig('reference'))
  found = []
  for shape, (kernel, split) in itertools.product(SHAPES, HOW):
    with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig(*shape))):
      try:
        made = both(AttentionConfig(kernel, split, 128))
      except UserError as error:
        found.append({'shape': shape, 'how': [kernel, split], 'refused': str(error)})
        continue
    apart = [float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(wanted, made)]
    found.append({'shape': shape, 'how': [kernel, split], 'apart': apart})
  print(json.dumps(found))


if __name__ == '__main__':
  main()

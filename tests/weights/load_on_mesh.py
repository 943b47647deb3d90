"""A program for `ltx2_transformer_test`: on four devices made of one CPU, prints json."""

import json
import os
import sys
from pathlib import Path

os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import jax
import numpy as np

from sorajax import sharding
from sorajax.nn import int8
from sorajax.weights import ltx2_transformer
from sorajax.weights.shards import Shards


def main(folder: str) -> None:
  saved = Shards(folder)
  config = ltx2_transformer.config_of(saved.config())
  wanted = ltx2_transformer.params_of(config, saved)
  mesh = sharding.make_mesh(sharding.MeshConfig(data=1, fsdp=2, tensor=2))
  params = ltx2_transformer.load(config, saved, mesh)
  same = jax.tree.map(
    lambda a, b: bool((np.asarray(a) == b.astype(np.float32)).all()), params, wanted
  )
  early = ltx2_transformer.load(config, saved, mesh, eight_bits=True)
  late = int8.tree(params)
  equal = jax.tree.map(
    lambda a, b: bool((np.asarray(a) == b).all()) and a.sharding.spec[1:] == b.sharding.spec[1:],
    early, late,
  )  # fmt: skip
  query = params['blocks']['streams']['video']['self_attention']['query']
  found = {
    'same': all(jax.tree.leaves(same)),
    'rounded': all(jax.tree.leaves(equal)),
    'whole': query.shape,
    'part': query.addressable_shards[0].data.shape,
    'types': sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)}),
  }
  print(json.dumps(found))


if __name__ == '__main__':
  main(sys.argv[1])

"""A program for `hlo_test`: compiles known work for eight devices made of one CPU; prints json."""

import dataclasses
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
from sorajax.data.schedule import Bucket
from sorajax.plan import flops
from sorajax.plan.hlo import Program

P = jax.P
MESH = sharding.MeshConfig(1, 2, 2, 2)
TALK = {  # of float32 [8, 16] on each device
  'all-gather': (lambda x: jax.lax.all_gather(x, 'tensor', tiled=True), 'tensor'),
  'all-reduce': (lambda x: jax.lax.psum(x, ('fsdp', 'context')), ('fsdp', 'context')),
  'reduce-scatter': (lambda x: jax.lax.psum_scatter(x, 'fsdp', tiled=True), 'fsdp'),
  'all-to-all': (lambda x: jax.lax.all_to_all(x, 'context', 1, 0, tiled=True), 'context'),
  'collective-permute': (lambda x: jax.lax.ppermute(x, 'tensor', [(0, 1), (1, 0)]), 'tensor'),
}
TURNS, ROWS, WIDTH = 7, 32, 64
OPTIONS = (
  {}, {'gated': False, 'text_modulation': False}, {'text_levels': True, 'cross_level': 'other'},
  {'cross_gate_level': 'other'},
)  # fmt: skip


def program(run, *shapes) -> Program:
  mesh = sharding.make_mesh(MESH)
  compiled = jax.jit(run).lower(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).compile()
  return Program(compiled.as_text(), dict(mesh.shape))


def talk(kind: str) -> list[dict]:
  run, _ = TALK[kind]
  mesh = sharding.make_mesh(MESH)

  def looped(x):
    out = jax.lax.scan(lambda c, _: (c + run(x + c).sum(), None), jnp.zeros(()), length=TURNS)[0]
    return out[None]

  with jax.set_mesh(mesh):
    apart = jax.shard_map(looped, in_specs=P(), out_specs=P(), check_vma=False)
    found = list(program(apart, (8, 16)).collectives())
  return [dataclasses.asdict(c) | {'sent': c.sent} for c in found]


def layers(x, weights):
  """A scan over layers, forwards and backwards."""
  body = lambda h, w: (jnp.tanh(h @ w), None)
  return jax.grad(lambda w: jax.lax.scan(body, x, w)[0].sum())(weights)


def forwards(config) -> dict:
  """FLOPs of a forward pass over two rows of two clips, counted in the program and by formula."""
  tokens, text = tiny.pack(([1, 2], [3, 4]), video=12, audio=10, text=10)
  tokens = {m: t.replace(levels=np.full((2, 2), 0.5, np.float32)) for m, t in tokens.items()}
  run = lambda p: tiny.apply(config, p, tokens, text)
  compiled = jax.jit(run).lower(tiny.parameters(config)).compile()
  work = Program(compiled.as_text(), {'data': 1}).work()
  bucket = Bucket(rows=2, video=12, audio=10, text=5, clips=2)
  formula = flops.forwards(config, bucket)
  return {'program': sum(w.flops * w.times for w in work), 'formula': 2 * formula.total}


def main() -> None:
  made = program(layers, (ROWS, WIDTH), (TURNS, WIDTH, WIDTH))
  work = list(made.work())
  found = {kind: talk(kind) for kind in TALK}
  counted = sum(w.flops * w.times for w in work)
  several = [forwards(tiny.transformer(layers=3, **more)) for more in OPTIONS]
  print(
    json.dumps(
      {
        'talk': found,
        'forwards': several,
        'flops': counted,
        'bytes': sum(w.bytes * w.times for w in work),
      }
    )
  )


if __name__ == '__main__':
  main()

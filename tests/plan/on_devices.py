"""A program for `hlo_test`: compiles known work for eight devices made of one CPU; prints json."""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import runpy
import sys
import types
from pathlib import Path
from typing import get_args
from unittest import mock

given = os.environ.get('XLA_FLAGS', '')
os.environ['XLA_FLAGS'] = f'{given} --xla_force_host_platform_device_count=8'
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from sorajax import build, sharding
from sorajax.codec import convolutional, video
from sorajax.codec.linear import linear_geometry
from sorajax.codec.video_config import HalfConfig, Stage, VideoConfig
from sorajax.data import rows
from sorajax.data.schedule import Bucket
from sorajax.flow.loss import draw_noise
from sorajax.generate import sampler
from sorajax.generate.request import Request
from sorajax.generate.sampling import sampling
from sorajax.network import Network
from sorajax.nn.attention import AttentionConfig
from sorajax.plan import flops, work
from sorajax.plan import program as planner
from sorajax.plan.formula import Formula, shapes_of
from sorajax.plan.hlo import Program
from sorajax.plan.search import Remat
from sorajax.settings import SampleConfig

P = jax.P
MESH = sharding.MeshConfig(1, 2, 2, 2)
COLLECTIVES = {  # of float32 [8, 16] on each device
  'all-gather': (lambda x: jax.lax.all_gather(x, 'tensor', tiled=True), 'tensor'),
  'all-reduce': (lambda x: jax.lax.psum(x, ('fsdp', 'context')), ('fsdp', 'context')),
  'reduce-scatter': (lambda x: jax.lax.psum_scatter(x, 'fsdp', tiled=True), 'fsdp'),
  'all-to-all': (lambda x: jax.lax.all_to_all(x, 'context', 1, 0, tiled=True), 'context'),
  'collective-permute': (lambda x: jax.lax.ppermute(x, 'tensor', [(0, 1), (1, 0)]), 'tensor'),
}
AUTOENCODER = VideoConfig(
  3, 2,
  HalfConfig(4, (Stage((2, 2, 2), 8, 0),), 0),
  HalfConfig(8, (Stage((2, 2, 2), 8, 1),), 1, causal=False, padding='reflect'),
)  # fmt: skip
TURNS, ROWS, WIDTH = 7, 32, 64
SAID = (2, 4, 1, 1), (2, 2, 2, 1), (2, 2, 1, 2), (1, 2, 2, 2), (1, 2, 4, 1)
OPTIONS = (
  {}, {'gated': False, 'text_modulation': False}, {'text_levels': True, 'cross_level': 'other'},
  {'cross_gate_level': 'other'},
)  # fmt: skip
BOTH = lambda scale: {'video': scale, 'audio': scale}
SAMPLE = functools.partial(
  SampleConfig, 1.0, 8.0, 8, 8, guidance=BOTH(1.0), solver='euler', steps=5
)  # fmt: skip
SAMPLING = (
  ({'text_levels': True}, SAMPLE(solver='heun')),
  ({'gated': False}, SAMPLE(guidance=BOTH(2.0), modality_guidance=BOTH(2.0),
                            skip_guidance=BOTH(1.0), skip_layers=(1,), interval=(0.3, 0.7))),
)  # fmt: skip
SETTINGS = lambda config, how: types.SimpleNamespace(transformer=config, sample=how)


def program(run, *shapes) -> Program:
  mesh = sharding.make_mesh(MESH)
  compiled = jax.jit(run).lower(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).compile()
  return Program(compiled.as_text(), dict(mesh.shape))


def communication(kind: str) -> list[dict]:
  run, _ = COLLECTIVES[kind]
  mesh = sharding.make_mesh(MESH)

  def looped(x):
    out = jax.lax.scan(lambda c, _: (c + run(x + c).sum(), None), jnp.zeros(()), length=TURNS)[0]
    return out[None]

  with jax.set_mesh(mesh):
    apart = jax.shard_map(looped, in_specs=P(), out_specs=P(), check_vma=False)
    found = list(program(apart, (8, 16)).collectives())
  return [dataclasses.asdict(c) | {'group': c.group, 'sent': c.sent} for c in found]


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


def recomputed() -> dict:
  """FLOPs of a gradient by what is computed twice, in the program, and those of wide matmuls."""
  tokens, text = tiny.pack(([1, 2], [3, 4]), video=12, audio=10, text=10)
  many = lambda x: np.repeat(x, 16, axis=0)  # tokens, more than channels
  tokens, text = jax.tree.map(many, (tokens, text))
  of_row = flops.forwards(tiny.transformer(), Bucket(32, 12, 10, 5, clips=2))
  by = {'wide': of_row.wide * 32, 'heard': of_row.attention * 32}
  for remat in get_args(Remat):
    config = tiny.transformer(remat=remat, attention=AttentionConfig('by_head'))
    loss = lambda p: sum(x.sum() for x in tiny.apply(config, p, tokens, text).values())
    compiled = jax.jit(jax.grad(loss)).lower(tiny.parameters(config)).compile()
    work = Program(compiled.as_text(), {'data': 1}).work()
    by[remat] = sum(w.flops * w.times for w in work)
  return by


class Given:
  """A text encoder without matmuls: every text is the same."""

  width, max_tokens, trainable = tiny.TEXT_WIDTH, 6, True

  def initial_params(self, key):
    return {}

  def encode(self, params, text):
    return jnp.ones((*text.ids.shape, self.width))


def sampled(layers: int, shape: dict, how: SampleConfig) -> dict:
  """FLOPs of sampling two clips, counted in the program and by formula."""
  config = tiny.transformer(layers=layers, **shape)
  clips = work.Clips(SETTINGS(config, how), Bucket(rows=2, video=12, audio=10, text=6), shift=0.5)
  network = Network(config, Given())
  params = {'transformer': tiny.parameters(config), 'text': {}}
  batch = rows.blank(2, clips.bucket, tiny.CHANNELS)
  args = params, batch.tokens, batch.text, batch.text, np.zeros(2, np.uint32)
  compiled = sampling(network, how, clips.shift).lower(*args).compile()
  done = Program(compiled.as_text(), {'data': 1}, clips.guided).work()
  each = [(flops.forwards(config, clips.bucket, one.joined), n) for one, n in clips.asked]
  return {
    'program': sum(w.flops * w.times for w in done),
    'formula': clips.flops().total,
    'layers': 2 * sum(n * (f.matmuls + f.attention) for f, n in each),
  }


def planned_and_run(sizes: tuple[int, ...]) -> tuple[str, str]:
  """The program of sampling as the planner lowers it and as the sampler does, on a mesh."""
  config = runpy.run_path(str(Path(__file__).parents[2] / 'configs' / 'tiny.py'))['get_config']()
  config.mesh.update(dict(zip(sharding.AXES, sizes)))
  config.text.width, config.flow.preconditioned = 64, False
  settings, lowered = build.settings(config), []
  mesh = sharding.make_mesh(settings.mesh)
  clips = work.clips_of(settings, 3, mesh)

  def stop(one, *_):
    lowered.append(one.as_text())
    raise StopIteration

  def instead(*args):
    return lambda *arrays: stop(sampling(*args).lower(*arrays))

  s, geometry = settings.sample, linear_geometry(settings.codec, 8_000, 1)
  network = Network(settings.transformer, build.text_encoder(settings.text))
  requests = [Request('a', n, s.seconds, s.fps, s.height, s.width) for n in range(3)]
  codec = types.SimpleNamespace(geometry=geometry, check_size=lambda latents: None)
  run = sampler.Sampler(settings, network, codec, clips.clips)
  with jax.set_mesh(mesh), mock.patch.object(sampler.sampling, 'sampling', instead):
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0)))
    params = jax.tree.map(planner._laid, shapes, sharding.shardings(mesh, shapes))
    with contextlib.suppress(StopIteration):
      run._batch(params, [run._stages(r) for r in requests])
  with mock.patch.object(planner, '_compile', stop), contextlib.suppress(StopIteration):
    planner.sampling_run(clips, mesh)
  return tuple(lowered)


def decoded(sizes: tuple[int, ...], rows: int) -> dict:
  """A run of a decoder on a mesh, as it is and as it is planned, and FLOPs of all devices."""
  sample, one = (
    dataclasses.replace(SAMPLE(), seconds=4.0, height=4 * rows, width=16),
    np.ones(3, np.float32),
  )
  params = tiny.noisy(lambda: video.init(AUTOENCODER, jax.random.key(0)))
  codec = convolutional.ConvCodec(AUTOENCODER, params, 0 * one, one, one, chunk=2)
  what = work.decoding_of(types.SimpleNamespace(sample=sample), codec, 1)
  mesh, real, ran = sharding.make_mesh(sharding.MeshConfig(*sizes)), convolutional.decode_next, []

  def watched(*args, **how):
    ran.append(real.lower(*args, **how).as_text())
    return real(*args, **how)

  with jax.set_mesh(mesh), mock.patch.object(convolutional, 'decode_next', watched):
    codec.decode(np.zeros((*what.size, 3), np.float32))
    planned = real.lower(*planner.decoding_arguments(what, mesh), last=False)
  counted = Program(planned.compile().as_text(), dict(mesh.shape)).work()
  return {
    'same': [ran[2], planned.as_text()],
    'program': 8 * sum(w.flops * w.times for w in counted),
    'formula': what.flops().total,
  }


def held(sizes: tuple[int, ...]) -> tuple[float, float]:
  """Bytes of parameters on a device of a mesh, by formula and as they are laid."""
  config = runpy.run_path(str(Path(__file__).parents[2] / 'configs' / 'tiny.py'))['get_config']()
  config.text.width, config.transformer.layers = 64, 3
  settings, mesh = build.settings(config), sharding.make_mesh(sharding.MeshConfig(*sizes))
  network = Network(settings.transformer, build.text_encoder(settings.text))
  with jax.set_mesh(mesh):
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0)))
  laid = jax.tree.map(planner._laid, shapes, sharding.shardings(mesh, shapes))
  clips = work.clips_of(settings, 4, mesh)
  formula = Formula(clips, dict(mesh.shape), shapes_of(settings))
  return formula.memory().held['weights'], planner._bytes(laid)


def changed(sizes: tuple[int, ...], preconditioned: bool) -> dict:
  """What a step of low-rank changes holds on a device of a mesh, by formula and as it is laid."""
  config = runpy.run_path(str(Path(__file__).parents[2] / 'configs' / 'tiny.py'))['get_config']()
  config.text.width, config.transformer.layers, config.start = 64, 3, 'RUN'
  config.mesh.update(dict(zip(sharding.AXES, sizes)))
  config.lora.rank, config.flow.preconditioned = 5, preconditioned
  config.transformer.compute = 'bfloat16'
  settings, mesh = build.settings(config), sharding.make_mesh(sharding.MeshConfig(*sizes))
  (bucket,) = settings.data.in_order()
  bucket = dataclasses.replace(bucket, rows=8)
  with jax.set_mesh(mesh):
    _, (state, start, _) = planner.training_program(settings, bucket, mesh)
  laid = {
    'weights': planner._bytes(state['params']) + planner._bytes(start),
    'moving average': planner._bytes(state['ema']),
  }
  step = work.Step(settings, bucket)
  formula = Formula(step, dict(mesh.shape), shapes_of(settings)).memory().held
  return {'laid': laid, 'formula': {name: formula[name] for name in laid}}


def said(sizes: tuple[int, ...]) -> dict:
  """Bytes of communication in a step on a mesh, in the program and by formula, by kind and axes."""
  config = runpy.run_path(str(Path(__file__).parents[2] / 'configs' / 'tiny.py'))['get_config']()
  config.text.width = 64
  config.mesh.update(dict(zip(sharding.AXES, sizes)))
  settings, mesh = build.settings(config), sharding.make_mesh(sharding.MeshConfig(*sizes))
  (bucket,) = settings.data.in_order()
  bucket = dataclasses.replace(bucket, rows=16)
  with jax.set_mesh(mesh):
    run, args = planner.training_program(settings, bucket, mesh)
    program = Program(run.lower(*args).compile().as_text(), dict(mesh.shape))
  formula = Formula(work.Step(settings, bucket), dict(mesh.shape), shapes_of(settings), tile=1)
  return {'program': volumes(program), 'formula': volumes(formula)}


def of_noise() -> list[list[int]]:
  """Shapes of what one device makes of noise for rows that are split over eight."""
  tokens, _ = tiny.pack(([1],) * ROWS, video=12, audio=10)
  mesh = sharding.make_mesh(sharding.MeshConfig(2, 4, 1, 1))
  with jax.set_mesh(mesh):
    split = jax.tree.map(lambda x: sharding.rows_sharding(mesh, x.ndim), tokens)
    tokens = jax.device_put(tokens, split)
    text = jax.jit(draw_noise).lower(jax.random.key(0), tokens).compile().as_text()
  ops = itertools.chain(*Program(text, dict(mesh.shape)).computations.values())
  return [dims for op in ops for _, dims, _ in op.shapes]


def volumes(does) -> dict[str, float]:
  found: dict[str, float] = {}
  for one in does.collectives():
    key = f'{one.kind} {" ".join(sorted(one.axes))}'
    found[key] = found.get(key, 0.0) + one.bytes * one.times
  return found


def main() -> None:
  made = program(layers, (ROWS, WIDTH), (TURNS, WIDTH, WIDTH))
  work = list(made.work())
  found = {kind: communication(kind) for kind in COLLECTIVES}
  counted = sum(w.flops * w.times for w in work)
  several = [forwards(tiny.transformer(layers=3, **more)) for more in OPTIONS]
  print(
    json.dumps(
      {
        'communication': found,
        'forwards': several,
        'recomputed': recomputed(),
        'sampling': [[sampled(n, *how) for n in (2, 3)] for how in SAMPLING],
        'held': [held(sizes) for sizes in ((8, 1, 1, 1), (1, 4, 1, 2), (1, 2, 2, 2))],
        'changed': [changed(s, p) for s in ((8, 1, 1, 1), (1, 2, 2, 2)) for p in (True, False)],
        'said': [said(sizes) for sizes in SAID],
        'same': [planned_and_run((1, 2, 2, 2))],
        'decoded': [decoded((2, 2, 2, 1), 16), decoded((2, 2, 2, 1), 6), decoded((8, 1, 1, 1), 6)],
        'noise': of_noise(),
        'flops': counted,
        'bytes': sum(w.bytes * w.times for w in work),
      }
    )
  )


if __name__ == '__main__':
  main()

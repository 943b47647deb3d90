"""A program for `video_test`: on eight devices made of one CPU, prints what it finds as json."""

import json
import os
import sys
from pathlib import Path

os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=8'
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import jax
import numpy as np
import tiny

from sorajax import optim, sharding
from sorajax.codec import video
from sorajax.codec.video_config import HalfConfig, Stage, VideoConfig

CONFIG = VideoConfig(
  4, 2,
  HalfConfig(8, (Stage((2, 2, 2), 8, 0),), 0),
  HalfConfig(8, (Stage((2, 2, 2), 8, 1),), 0, causal=False, padding='reflect'),
)  # fmt: skip
RATE = 0.01


def objective(params, pixels):
  mean, log_variance = video.encode(CONFIG, params, pixels)
  made = video.decode(CONFIG, params, mean)
  return ((made - pixels) ** 2).mean() + (log_variance**2).mean()


def moved(gradients, params):
  """What Muon and Adam make of the gradients on their first step."""
  config = optim.OptimizerConfig(RATE, warmup_steps=0, matrix_rate=RATE)
  transform = optim.optimizer(config, 1000)
  return transform.update(gradients, transform.init(params), params)[0]


def main() -> None:
  init = lambda: video.init(CONFIG, jax.random.key(0))
  params = tiny.noisy(init)
  pixels = np.random.default_rng(0).uniform(-1, 1, (8, 5, 8, 8, 3)).astype(np.float32)
  run = jax.value_and_grad(objective)
  wanted, gradient = jax.device_get(tiny.quick_jit(run)(params, pixels))
  mesh = sharding.make_mesh(sharding.MeshConfig(data=2, fsdp=4))
  with jax.set_mesh(mesh):
    placed = jax.device_put(params, sharding.shardings(mesh, jax.eval_shape(init)))
    rows = sharding.rows_here(mesh, 8)
    split = sharding.place_rows(mesh, pixels, rows, 8)
    value, placed_gradients = tiny.quick_jit(run)(placed, split)
    placed_moves = tiny.quick_jit(moved)(placed_gradients, placed)
    value, gradients, moves = jax.device_get((value, placed_gradients, placed_moves))
  largest = max(np.abs(g).max() for g in jax.tree.leaves(gradient))
  apart = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / largest), gradient, gradients)
  alone = jax.device_get(tiny.quick_jit(moved)(gradients, params))
  moved_apart = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / RATE), moves, alone)
  found = {
    'without': float(wanted),
    'loss': float(value),
    'moved_apart': max(jax.tree.leaves(moved_apart)),
    'gradient_apart': max(jax.tree.leaves(apart)),
    'split': split.addressable_shards[0].data.shape,
  }
  print(json.dumps(found))


if __name__ == '__main__':
  main()

"""How fast the transformer is, beside diffusers' on the same weights and the same cores.

  python tools/bench_peers.py

Needs the extra [parity]. LTX-2's transformer at an eighth of its width and a sixth of its depth:
216 million parameters, a clip of 1024 tokens of picture and 64 of sound, 64 tokens of text. Each
library has a process of its own and reads the weights from the same file; both compute in turn. So
do, in a third process, the matrix products that ours is made of, which are the limit of its speed.
"""

import dataclasses
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from sorajax import cli
from sorajax.errors import UserError
from sorajax.evaluate.apart import RUNS, Process, medians, timed
from sorajax.evaluate.products import matrix_products, seconds_alone

_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Times that everything is run.', lower_bound=1)
_TYPES = flags.DEFINE_list('types', ['float32'], 'Of weights and activations; also bfloat16.')

MEDIUM = {
  'num_layers': 8, 'rope_type': 'split', 'caption_channels': 1024,
  'num_attention_heads': 16, 'attention_head_dim': 64, 'cross_attention_dim': 1024,
  'audio_num_attention_heads': 16, 'audio_attention_head_dim': 32, 'audio_cross_attention_dim': 512,
}  # fmt: skip
VIDEO, SOUND, TEXT = (4, 16, 16), 64, 64  # latents of the picture, of the sound, tokens of text
FPS, LEVEL = 24.0, 0.7
MODALITIES = ('video', 'audio')
KINDS = ('forward', 'forward and backward')
ANSWER: list[Callable[[], list[np.ndarray]]] = []  # of this process


def main() -> None:
  with tempfile.TemporaryDirectory() as folder:
    Process().call(draw, folder)
    for dtype in _TYPES.value:
      compare(folder, dtype, _ROUNDS.value)


def compare(folder: str, dtype: str, rounds: int) -> None:
  """Prints the table of a type."""
  own, theirs, bare = Process(), Process(), Process()
  theirs.call(prepare_diffusers, folder, dtype)
  count = own.call(prepare_sorajax, folder, dtype)
  bare.call(prepare_products, folder, dtype)
  mine, wanted = (process.call(answer) for process in (own, theirs))
  apart = max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(mine, wanted))
  found = medians({'ours': own, 'theirs': theirs, 'products': bare}, KINDS, rounds)
  print(f'\n{count:,} parameters, {dtype}; outputs differ by {apart:.1e}\n')
  print('| | sorajax | diffusers | ratio | its matmuls alone | ratio |\n' + '|---' * 6 + '|')
  for kind in KINDS:
    a, b, c = (found[kind, who] for who in ('ours', 'theirs', 'products'))
    print(f'| {kind} | {a:.2f} s | {b:.2f} s | {a / b:.2f} | {c:.2f} s | {a / c:.2f} |')
  a, b = (process.call(peak_gb) for process in (own, theirs))
  print(f'| peak memory | {a:.2f} GB | {b:.2f} GB | {a / b:.2f} | | |')
  cache = str(Path(folder) / f'compiled_{dtype}')
  cold, warm = (Process().call(compile_seconds, folder, dtype, cache) for _ in range(2))
  print(f'| compilation, and from a cache | {cold:.1f} s, {warm:.1f} s | | | | |')


def draw(folder: str) -> None:
  """Saves random weights as diffusers does."""
  torch, transformer = libraries()
  torch.manual_seed(0)
  model = transformer(**MEDIUM)
  with torch.no_grad():
    for name, p in model.named_parameters():
      size = p.shape[1] ** -0.5 if name.endswith('weight') and p.ndim == 2 else 0.1
      p.copy_(size * torch.randn(p.shape) + float('norm' in name))
  model.save_pretrained(folder)


def libraries():
  try:
    import torch
    from diffusers import LTX2VideoTransformer3DModel
  except ImportError as error:
    raise UserError(f"{error.name} is missing: pip install '.[parity]'") from error
  return torch, LTX2VideoTransformer3DModel


def inputs() -> dict[str, np.ndarray]:
  """Latents and texts of both streams, and places of latents as both libraries count them."""
  from sorajax.geometry import AudioGeometry, VideoGeometry

  rng = np.random.default_rng(0)
  noise = lambda *shape: rng.standard_normal((1, *shape)).astype(np.float32)
  return {
    'video': noise(int(np.prod(VIDEO)), 128), 'audio': noise(SOUND, 128),
    'video_text': noise(TEXT, 1024), 'audio_text': noise(TEXT, 1024),
    'video_place': VideoGeometry((8, 32, 32), 1).positions(VIDEO, FPS),
    'audio_place': AudioGeometry(16_000, 2, 640, 1, lead_samples=480).positions(SOUND),
  }  # fmt: skip


def prepare_diffusers(folder: str, dtype: str) -> None:
  torch, transformer = libraries()
  kind = getattr(torch, dtype)
  model = transformer.from_pretrained(folder, torch_dtype=kind).eval()
  given = {name: torch.from_numpy(x) for name, x in inputs().items()}
  both_ends = lambda m: given[f'{m}_place'].T[None, :, :, None].expand(1, 3, -1, 2)
  spans = [both_ends(m) for m in MODALITIES]

  def forward():
    level = torch.full((1,), 1000 * LEVEL)  # one for the whole clip, as its pipeline has it
    return model(
      *(given[name].to(kind) for name in ('video', 'audio', 'video_text', 'audio_text')),
      timestep=level, audio_timestep=level,
      sigma=level, audio_sigma=level,
      video_coords=spans[0], audio_coords=spans[1][:, :1], return_dict=False,
    )  # fmt: skip

  def outputs() -> list[np.ndarray]:
    with torch.inference_mode():
      return [x.float().numpy() for x in forward()]

  def gradients() -> None:
    model.zero_grad(set_to_none=True)
    sum(x.float().square().mean() for x in forward()).backward()

  ANSWER.append(outputs)
  RUNS.update(zip(KINDS, (timed(outputs), timed(gradients))))


def prepare_sorajax(folder: str, dtype: str) -> int:
  """Returns the number of parameters."""
  import jax

  cli.collect_seldom()  # as every program of ours
  cli.give_back_after_compiling()
  programs, args, mesh = ours(folder, dtype)
  run = {kind: jax.jit(program) for kind, program in programs.items()}

  def compute(kind: str):
    with jax.set_mesh(mesh):
      return jax.block_until_ready(run[kind](*args))

  ANSWER.append(lambda: [np.asarray(compute(KINDS[0])[m]) for m in MODALITIES])
  RUNS.update({kind: timed(lambda kind=kind: compute(kind)) for kind in KINDS})
  return sum(p.size for p in jax.tree.leaves(args[0]))


def prepare_products(folder: str, dtype: str) -> None:
  """The matrix products of our programs, one after the other, of nothing that matters."""
  import jax

  programs, args, mesh = ours(folder, dtype)
  with jax.set_mesh(mesh):
    found = {kind: matrix_products(program, *args) for kind, program in programs.items()}
  RUNS.update(
    {k: lambda products=products: seconds_alone(products, 1) for k, products in found.items()}
  )


def ours(folder: str, dtype: str):
  """Our programs, what they are given, and the mesh on which it lies."""
  import jax
  import jax.numpy as jnp
  from flax import nnx

  from sorajax import sharding
  from sorajax.clip import Tokens
  from sorajax.model.transformer import Transformer
  from sorajax.weights import ltx2_transformer
  from sorajax.weights.shards import Shards

  shards = Shards(folder)
  config = ltx2_transformer.config_of(shards.config())
  config = dataclasses.replace(config, compute=dtype, remat='dots')
  mesh = sharding.make_mesh(sharding.MeshConfig())
  params = ltx2_transformer.load(config, shards, mesh, jnp.dtype(dtype))
  graph = nnx.graphdef(nnx.eval_shape(lambda: Transformer(config, rngs=nnx.Rngs(0))))
  given = inputs()
  tokens = {}
  for m in MODALITIES:
    ones = np.ones(given[m].shape[:2], np.int32)
    whole = ones.astype(np.float32)
    place = np.broadcast_to(given[f'{m}_place'], (*ones.shape, 3))
    level = np.full((1, 1), LEVEL, np.float32)
    tokens[m] = Tokens(given[m], place, LEVEL * whole, ones, 0 * ones, whole, levels=level)
  text = np.concatenate([given['audio_text'], given['video_text']], axis=-1)
  heard = np.ones(text.shape[:2], np.int32)

  def forward(params, tokens, text):
    return nnx.merge(graph, params)(tokens, *text)

  def loss(params, tokens, text):
    return sum(jnp.square(x).mean() for x in forward(params, tokens, text).values())

  with jax.set_mesh(mesh):
    args = sharding.everywhere((tokens, (text, heard, 0 * heard)))
  return dict(zip(KINDS, (forward, jax.grad(loss)))), (params, *args), mesh


def compile_seconds(folder: str, dtype: str, cache: str) -> float:
  """Seconds from our training program in Python to one that runs, in a process that has none."""
  import jax

  cli.collect_seldom()
  jax.config.update('jax_compilation_cache_dir', cache)
  programs, args, mesh = ours(folder, dtype)
  with jax.set_mesh(mesh):
    began = time.perf_counter()
    jax.jit(programs[KINDS[1]]).lower(*args).compile()
    return time.perf_counter() - began


def answer() -> list[np.ndarray]:
  return ANSWER[0]()


def peak_gb() -> float:
  """The most memory that this process has had."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == '__main__':
  cli.run(main)

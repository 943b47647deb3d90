"""The transformer against diffusers' LTX2VideoTransformer3DModel on the same random weights."""

import contextlib
import dataclasses
import functools
import math

import jax
import numpy as np
import pytest
import tiny
from released import PARAMETERS, VERSIONS

from sorajax.clip import MODALITIES, Tokens
from sorajax.geometry import AudioGeometry, VideoGeometry
from sorajax.nn import rope
from sorajax.weights import ltx2_transformer
from sorajax.weights.tensors import check

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
torch = pytest.importorskip('torch', reason=REASON)
ltx2 = pytest.importorskip('diffusers.models.transformers.transformer_ltx2', reason=REASON)

FORWARD, GRADIENT = 2e-6, 1e-4  # ‖ours − theirs‖ ÷ ‖theirs‖
# Theirs rounds the frequencies of a level's sinusoids, so that angles of up to 1000 are 2e-5 off.
ROUNDED = 1e-5
FLAGS = (
  'gated', 'modulated', 'split', 'own_gate', 'use_prompt_embeddings', 'use_prompt_adaln_single',
  'ff_bias', 'audio_ff_bias', 'use_keyframes_abs_pos_embedding',
)  # fmt: skip
CASES = [(version, seed) for version in VERSIONS for seed in range(3)]
CASES += [('any', seed) for seed in range(4)]
each_case = pytest.mark.parametrize('version, seed', CASES)


def skips(seed: int) -> tuple[int, ...]:
  """The layers whose self-attention is skipped."""
  return (0,) if seed == 2 else ()


def options(version: str, seed: int) -> dict:
  """A small transformer of a version's kind, or of any, whose sizes are drawn."""
  rng = np.random.default_rng([seed, *version.encode()])
  draw = lambda low, high: int(rng.integers(low, high + 1))
  made = dict(VERSIONS.get(version, {}))
  if version == 'any':  # each flag is on in two of four cases
    halves = [np.random.default_rng(i).permutation([True, False] * 2) for i in range(len(FLAGS))]
    gated, modulated, split, own_gate, *rest = (bool(half[seed]) for half in halves)
    made = dict(zip(FLAGS[4:], rest))
    made |= dict.fromkeys(('gated_attn', 'audio_gated_attn'), gated)
    made |= dict.fromkeys(('cross_attn_mod', 'audio_cross_attn_mod'), modulated)
    made['rope_type'] = 'split' if split else 'interleaved'
    made['cross_attn_timestep_scale_multiplier'] = 1 if own_gate else 1000
    made |= {'rope_theta': 100.0 * draw(1, 50), 'audio_pos_embed_max_pos': draw(2, 30)}
    made |= {'base_height': draw(100, 2048), 'base_width': draw(100, 2048)}
  heads = draw(1, 3)
  audio_heads = heads if made['rope_type'] == 'split' else draw(1, 3)
  size, audio_size = 2 * draw(3, 8), 2 * draw(3, 6)
  return {
    'in_channels': (channels := draw(3, 6)), 'out_channels': channels,
    'audio_in_channels': (sound := draw(2, 5)), 'audio_out_channels': sound,
    'num_attention_heads': heads, 'attention_head_dim': size, 'cross_attention_dim': heads * size,
    'audio_num_attention_heads': audio_heads, 'audio_attention_head_dim': audio_size,
    'audio_cross_attention_dim': audio_heads * audio_size,
    'num_layers': draw(1, 3), 'caption_channels': draw(5, 9), 'perturbed_attn': bool(skips(seed)),
    **made,
  }  # fmt: skip


@functools.cache
def both(version: str, seed: int):
  """The reference and (config, parameters) of the same transformer."""
  generator = torch.Generator().manual_seed(seed)
  reference = ltx2.LTX2VideoTransformer3DModel(**options(version, seed)).eval()
  with torch.no_grad():
    for name, p in reference.named_parameters():
      noise = torch.randn(p.shape, generator=generator)
      size = p.shape[1] ** -0.5 if name.endswith('weight') and p.ndim == 2 else 0.3
      p.copy_(size * noise + float('norm' in name))
  config = ltx2_transformer.config_of(reference.config)
  return reference, config, ltx2_transformer.params_of(config, tensors_of(reference))


def tensors_of(reference) -> dict[str, np.ndarray]:
  return {name: t.detach().numpy() for name, t in reference.state_dict().items()}


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What both are given: positions as midpoints, levels as sigma; the text of each stream."""

  latent: dict[str, np.ndarray]
  position: dict[str, np.ndarray]
  sigma: dict[str, np.ndarray]
  text: dict[str, np.ndarray]
  heard: np.ndarray
  keyframe: np.ndarray


def inputs(config, seed: int) -> Inputs:
  """Two clips of unequal levels, of whose pictures the first frame is given, and padded text."""
  rng = np.random.default_rng(seed)
  f, h, w, n, words = (int(rng.integers(low, low + 3)) for low in (2, 1, 2, 3, 4))
  fps = rng.uniform(8, 50)
  position = {
    'video': VideoGeometry((8, 32, 32), 1).positions((f, h, w), fps),
    'audio': AudioGeometry(16_000, 2, 640, 1, lead_samples=480).positions(n),
  }
  count = {m: len(p) for m, p in position.items()}
  draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
  sigma = {
    m: np.broadcast_to(rng.uniform(0.05, 1, (2, 1)), (2, count[m])).astype(np.float32)
    for m in MODALITIES
  }
  sigma = {m: s.copy() for m, s in sigma.items()}
  sigma['video'][:, : h * w] = 0
  if seed % 2:  # and another token half as noisy as the rest
    sigma['video'][:, -1] /= 2
    sigma['audio'][0, 0] = 0
  heard = np.ones((2, words), bool)
  heard[0, words - 1 - seed % 2 :] = False
  return Inputs(
    latent={m: draw(2, count[m], config.streams[m].channels) for m in MODALITIES},
    position=position,
    sigma=sigma,
    text={m: draw(2, words, config.streams[m].text_width) for m in MODALITIES},
    heard=heard,
    keyframe=np.broadcast_to(np.arange(count['video']) < h * w, (2, count['video'])),
  )


def ours(config, params, latent, text, given: Inputs, joined: bool, skip=()):
  """Our outputs for latents and texts."""
  tokens = {}
  for m in MODALITIES:
    shape = latent[m].shape[:2]
    ones = np.ones(shape, np.int32)
    tokens[m] = Tokens(
      latent[m], np.broadcast_to(given.position[m], (*shape, 3)), given.sigma[m], ones, 0 * ones,
      ones.astype(np.float32), given.keyframe if m == 'video' else None,
    )  # fmt: skip
  hidden = jax.numpy.concatenate([text[m] for m in MODALITIES], axis=-1)
  heard = given.heard.astype(np.int32)
  return tiny.apply(config, params, tokens, (hidden, heard, 0 * heard), joined, skip)


def theirs(reference, latent, text, given: Inputs, cross: bool, joined: bool, skip=()) -> dict:
  """The reference's outputs for latents and texts."""
  whole = lambda a: torch.from_numpy(np.ascontiguousarray(a))
  level = {m: whole(s) * 1000 for m, s in given.sigma.items()}
  # A position as an empty span, whose midpoint it is.
  ends = lambda p: whole(p.T[None, :, :, None].repeat(2, 0).repeat(2, 3))
  coords = {m: ends(p) for m, p in given.position.items()}
  made = reference(
    latent['video'], latent['audio'], text['video'], text['audio'],
    timestep=level['video'], audio_timestep=level['audio'],
    sigma=level['video'].amax(1), audio_sigma=level['audio'].amax(1),
    encoder_attention_mask=whole(given.heard), audio_encoder_attention_mask=whole(given.heard),
    video_coords=coords['video'], audio_coords=coords['audio'][:, :1],
    video_keyframes_mask=whole(given.keyframe)[..., None], use_cross_timestep=cross,
    isolate_modalities=not joined, spatio_temporal_guidance_blocks=list(skip), return_dict=False,
  )  # fmt: skip
  return dict(zip(('video', 'audio'), made))


@contextlib.contextmanager
def other_gates(reference, given: Inputs):
  """Within, the gates alone are given the other stream's level, as in Lightricks' own program."""
  scale = reference.config.cross_attn_timestep_scale_multiplier
  highest = {m: torch.from_numpy(s.max(1) * np.float32(scale)) for m, s in given.sigma.items()}
  gates = (
    (reference.av_cross_attn_video_a2v_gate, highest['audio']),
    (reference.av_cross_attn_audio_v2a_gate, highest['video']),
  )
  handles = [g.register_forward_pre_hook(lambda *_, level=level: (level,)) for g, level in gates]
  try:
    yield
  finally:
    for handle in handles:
      handle.remove()


def apart(a, b) -> float:
  a, b = (np.asarray(x, np.float64) for x in (a, b))
  assert a.shape == b.shape
  return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-12))


def exact_sinusoid(timesteps, embedding_dim, **_):
  """Stands in for the reference's, which rounds its frequencies more than once."""
  half = embedding_dim // 2
  frequency = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float64) / half)
  angle = timesteps[:, None] * frequency.float()
  return torch.cat([angle.cos(), angle.sin()], dim=-1)


@pytest.fixture
def exact(monkeypatch):
  """Calling it makes the reference's sinusoids exact."""
  from diffusers.models import embeddings

  return lambda: monkeypatch.setattr(embeddings, 'get_timestep_embedding', exact_sinusoid)


@pytest.mark.parametrize(
  'version, seed, level',
  [(*case, 'other') for case in CASES]
  + [(*case, level) for case in CASES if case[1] == 0 for level in ('own', 'mixed')],
)
def test_values_equal_the_reference(version, seed, level, exact):
  reference, config, params = both(version, seed)
  assert (config.cross_level, config.cross_gate_level) == ('other', 'other')
  own = {'cross_level': 'own', 'cross_gate_level': 'other' if level == 'mixed' else 'own'}
  config = config if level == 'other' else dataclasses.replace(config, **own)
  given = inputs(config, seed)
  joined, skip = seed != 1, skips(seed)
  run = tiny.quick_jit(lambda *a: ours(config, *a, given, joined, skip))
  made = run(params, given.latent, given.text)
  tensor = lambda tree: {m: torch.from_numpy(x) for m, x in tree.items()}
  fed = reference, tensor(given.latent), tensor(given.text), given, level == 'other', joined, skip
  gates = other_gates(reference, given) if level == 'mixed' else contextlib.nullcontext()
  with torch.no_grad(), gates:
    wanted = theirs(*fed)
    exact()
    nearer = theirs(*fed)
  for m in MODALITIES:
    errors = apart(made[m], wanted[m]), apart(made[m], nearer[m])
    print(f'{version} {seed} {level} {m} %.2e %.2e' % errors)
    assert errors[0] <= ROUNDED and errors[1] <= FORWARD


@each_case
def test_gradients_equal_the_reference(version, seed, exact):
  exact()
  reference, config, params = both(version, seed)
  given = inputs(config, seed)
  rng = np.random.default_rng(seed)
  weight = {m: rng.standard_normal(x.shape).astype(np.float32) for m, x in given.latent.items()}

  def objective(params, latent, text):
    made = ours(config, params, latent, text, given, True)
    return sum((made[m] * weight[m]).sum() for m in MODALITIES)

  gradients = tiny.quick_jit(jax.grad(objective, (0, 1, 2)))(params, given.latent, given.text)
  fed = [
    {m: torch.tensor(x[m], requires_grad=True) for m in MODALITIES}
    for x in (given.latent, given.text)
  ]
  reference.zero_grad()
  made = theirs(reference, *fed, given, True, True)
  sum((made[m] * torch.from_numpy(weight[m])).sum() for m in MODALITIES).backward()
  wanted = [{m: x.grad.numpy() for m, x in tree.items()} for tree in fed]
  for mine, other in zip(gradients[1:], wanted):
    for m in MODALITIES:
      error = apart(mine[m], other[m])
      print(f'{version} {seed} input {m} {error:.2e}')
      assert error <= GRADIENT
  mine = ltx2_transformer.saved_of(config, jax.device_get(gradients[0]))
  largest = 0.0
  for name, parameter in reference.named_parameters():
    slope = parameter.grad
    if slope is None or slope.abs().max() < 1e-5:  # softmax knows no bias of the keys
      assert np.abs(mine[name]).max() < 1e-5, name
      continue
    error = apart(mine[name], slope)
    largest = max(largest, error)
    assert error <= GRADIENT, name
  print(f'{version} {seed} parameters {largest:.2e}')


@pytest.mark.parametrize('kind', ['split', 'interleaved'])
@pytest.mark.parametrize('modality', MODALITIES)
@pytest.mark.parametrize('seed', range(4))
def test_positions_and_rotations_equal_the_reference(modality, kind, seed):
  """Angles from 0 to 15,708, in heads of odd and even numbers; a queries' and keys' product."""
  rng = np.random.default_rng(seed)
  heads, size, n = int(rng.integers(1, 5)), 2 * int(rng.integers(2, 9)), int(rng.integers(3, 40))
  f, h, w, fps = int(rng.integers(1, 5)), 3, 2, float(rng.uniform(8, 60))
  module = ltx2.LTX2AudioVideoRotaryPosEmbed(
    heads * size, modality=modality, rope_type=kind, num_attention_heads=heads,
    scale_factors=(8, 32, 32) if modality == 'video' else (4,),
  )  # fmt: skip
  if modality == 'video':
    position = VideoGeometry((8, 32, 32), 128).positions((f, h, w), fps)
    coords = module.prepare_coords(1, f, h, w, 'cpu', fps=fps)
    maximum: tuple[float, ...] = (20.0, 2048.0, 2048.0)
  else:
    position = AudioGeometry(16_000, 2, 640, 128, lead_samples=480).positions(n)
    coords = module.prepare_coords(1, n, 'cpu')
    maximum = (20.0,)
  middles = coords.numpy()[0].mean(-1).T
  np.testing.assert_allclose(position[:, : len(maximum)], middles, rtol=1e-6, atol=1e-6)
  exact = np.concatenate([middles, 0 * position[:, len(maximum) :]], axis=-1)
  x = rng.standard_normal((1, len(position), heads, size)).astype(np.float32)
  turned = rope.rotate(x, rope.table(exact[None], heads, size, maximum, 1e4, kind))
  flat = torch.from_numpy(x.reshape(1, len(position), -1))
  wanted = getattr(ltx2, f'apply_{kind}_rotary_emb')(flat, module(coords))
  error = apart(np.asarray(turned).reshape(flat.shape), wanted)
  print(f'{modality} {kind} {error:.2e}')
  assert error <= FORWARD


@pytest.mark.parametrize('version', VERSIONS)
def test_the_released_sizes_have_the_reference_s_parameters(version):
  with torch.device('meta'):
    reference = ltx2.LTX2VideoTransformer3DModel(**VERSIONS[version])
  config = ltx2_transformer.config_of(reference.config)
  where = ltx2_transformer.places(config)
  shapes = {name: tuple(p.shape) for name, p in reference.named_parameters()}
  check(where, shapes)
  made = jax.tree.leaves(ltx2_transformer.shapes(config))
  count = sum(math.prod(leaf.shape) for leaf in made)
  assert count == sum(math.prod(shape) for shape in shapes.values()) == PARAMETERS[version]

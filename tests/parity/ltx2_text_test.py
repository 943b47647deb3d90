"""Gemma 3 and 4 against transformers, LTX-2's connectors against diffusers, on equal weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sorajax import sharding
from sorajax.codec import plain
from sorajax.sharding import MeshConfig
from sorajax.text.connectors import Connectors, ConnectorsConfig
from sorajax.text.gemma import Gemma, GemmaConfig
from sorajax.text.gemma4 import Gemma4, Gemma4Config
from sorajax.weights import gemma, ltx2_connectors, tensors
from sorajax.weights.shards import Shards

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
torch = pytest.importorskip('torch', reason=REASON)
transformers = pytest.importorskip('transformers', reason=REASON)
theirs = pytest.importorskip('diffusers.pipelines.ltx2.connectors', reason=REASON)

FORWARD, GRADIENT = 1e-5, 1e-4  # ‖ours − theirs‖ ÷ ‖theirs‖
VOCABULARY = 50
each_seed = pytest.mark.parametrize('seed', range(4))


def relative(made, wanted) -> float:
  made, wanted = np.asarray(made, np.float64), np.asarray(wanted, np.float64)
  assert made.shape == wanted.shape
  return float(np.linalg.norm(made - wanted) / np.linalg.norm(wanted))


def tensors_of(model) -> dict[str, np.ndarray]:
  return {name: t.detach().numpy() for name, t in model.state_dict().items()}


def randomise(model, seed: int) -> None:
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for p in model.parameters():
      size = p.shape[-1] ** -0.5 if p.ndim > 1 else 0.3
      p.copy_(size * torch.randn(p.shape, generator=generator))


def gemma_options(seed: int) -> dict:
  """A small Gemma; windows are shorter than prompts in most."""
  rng = np.random.default_rng(seed)
  draw = lambda low, high: int(rng.integers(low, high + 1))
  groups, share, every = draw(1, 2), draw(1, 3), draw(2, 3)
  return {
    'vocab_size': VOCABULARY, 'hidden_size': groups * share * draw(3, 9),
    'intermediate_size': draw(9, 30),
    'num_hidden_layers': (layers := draw(3, 7)), 'num_attention_heads': groups * share,
    'num_key_value_heads': groups, 'head_dim': 2 * draw(2, 6), 'sliding_window': draw(2, 12),
    'query_pre_attn_scalar': draw(5, 300),
    'layer_types': [
      'sliding_attention' if (i + 1) % every else 'full_attention' for i in range(layers)
    ],
    'rope_parameters': {
      'full_attention': {'rope_type': 'linear', 'factor': 8.0, 'rope_theta': 1e6},
      'sliding_attention': {'rope_type': 'default', 'rope_theta': 1e4},
    },
  }  # fmt: skip


def prompts(seed: int, length: int) -> tuple[np.ndarray, np.ndarray]:
  """Ids [2, L] padded at their ends, and where they are."""
  rng = np.random.default_rng([seed, 1])
  ids = rng.integers(1, VOCABULARY, (2, length))
  valid = np.arange(length) < np.array([[length - 3], [length // 2]])
  return np.where(valid, ids, 0), valid


def padded_in_front(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
  """As their pipelines pad: every row moved to its end."""
  return np.stack([np.roll(row, (~v).sum(), axis=0) for row, v in zip(values, valid)])


@each_seed
def test_all_hidden_states_of_gemma(seed):
  model = transformers.Gemma3TextModel(transformers.Gemma3TextConfig(**gemma_options(seed))).eval()
  randomise(model, seed)
  config = gemma.config_of(model.config.to_dict())
  params = jax.tree.map(jnp.asarray, gemma.params_of(config, tensors_of(model)))
  ids, valid = prompts(seed, 19)
  given = [torch.from_numpy(padded_in_front(x, valid)) for x in (ids, valid.astype(np.int64))]
  with torch.no_grad():
    said = model(given[0], given[1], output_hidden_states=True)
  wanted = np.stack([state.numpy() for state in said.hidden_states])
  made = tiny.quick_jit(plain.joined(Gemma, config, params))(ids, valid)
  assert len(wanted) == config.layers + 1
  for state, theirs_state in zip(np.asarray(made), wanted):
    behind = padded_in_front(state, valid)
    heard = padded_in_front(valid, valid)
    assert relative(behind[heard], theirs_state[heard]) <= FORWARD


def test_gemma_is_read_with_its_eyes_beside_it_and_from_disk(tmp_path):
  text = gemma_options(1)
  eyes = {'hidden_size': 8, 'intermediate_size': 8, 'num_hidden_layers': 1, 'image_size': 28,
          'num_attention_heads': 1, 'patch_size': 14}  # fmt: skip
  whole = transformers.Gemma3Config(text_config=text, vision_config=eyes, mm_tokens_per_image=4)
  model = transformers.Gemma3ForConditionalGeneration(whole).eval()
  model.save_pretrained(tmp_path, max_shard_size='8KB')
  saved = Shards(tmp_path)
  config = gemma.config_of(saved.config())
  loaded = gemma.load(config, saved, sharding.make_mesh(MeshConfig()))
  params = jax.tree.map(jnp.asarray, jax.device_get(loaded))
  ids, valid = prompts(1, 12)
  with torch.no_grad():
    heard = {'attention_mask': torch.from_numpy(valid.astype(np.int64))}
    said = model(input_ids=torch.from_numpy(ids), output_hidden_states=True, **heard)
  made = tiny.quick_jit(plain.joined(Gemma, config, params))(ids, valid)
  wanted = np.stack([state.numpy() for state in said.hidden_states])
  assert relative(np.asarray(made)[:, valid], wanted[:, valid]) <= FORWARD


def test_a_full_gemma_holds_twelve_billion_parameters():
  with torch.device('meta'):
    text = {'hidden_size': 3840, 'intermediate_size': 15_360, 'num_hidden_layers': 48,
            'num_attention_heads': 16, 'num_key_value_heads': 8, 'head_dim': 256,
            'sliding_window': 1024,
            'rope_parameters': gemma_options(0)['rope_parameters']}  # fmt: skip
    model = transformers.Gemma3TextModel(transformers.Gemma3TextConfig(**text))
  config = gemma.config_of(model.config.to_dict())
  assert config == GemmaConfig()
  shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
  tensors.check(gemma.places(config), shapes)
  made = jax.tree.leaves(plain.shapes(Gemma, config))
  assert sum(math.prod(leaf.shape) for leaf in made) == sum(map(math.prod, shapes.values()))


EYES = {'patch_size': 2, 'pooling_kernel_size': 1, 'mm_embed_dim': 8, 'mm_posemb_size': 4,
        'output_proj_dims': 8}  # fmt: skip
HOLES = {'image_token_id': 7, 'audio_token_id': 8, 'video_token_id': 9}
FULL_4 = {  # of the release with 12 billion parameters
  'hidden_size': 3840, 'intermediate_size': 15_360, 'num_hidden_layers': 48,
  'num_attention_heads': 16, 'num_key_value_heads': 8, 'head_dim': 256, 'global_head_dim': 512,
  'num_global_key_value_heads': 1, 'attention_k_eq_v': True, 'sliding_window': 1024,
  'final_logit_softcapping': 30.0,
}  # fmt: skip


def gemma_4_options(seed: int) -> dict:
  """A small Gemma 4: of the released kind for even seeds, with values of their own for odd ones."""
  rng = np.random.default_rng([seed, 4])
  draw = lambda low, high: int(rng.integers(low, high + 1))
  groups, share, every = draw(1, 2), draw(1, 3), draw(2, 4)
  turns = draw(1, 3) + seed % 2
  far = {'rope_type': 'proportional', 'partial_rotary_factor': (0.25, 0.5, 1.0)[seed % 3],
         'rope_theta': 1e3 * draw(1, 1000)}  # fmt: skip
  if seed % 4 == 1:
    far['factor'] = 8.0
  return {
    'vocab_size': VOCABULARY, 'hidden_size': draw(9, 30), 'intermediate_size': draw(9, 30),
    'num_hidden_layers': turns * every, 'num_attention_heads': groups * share * draw(1, 2),
    'num_key_value_heads': groups, 'head_dim': 2 * draw(2, 6), 'global_head_dim': 8 * draw(1, 3),
    'num_global_key_value_heads': (None, 1, groups * share)[draw(0, 2)],
    'attention_k_eq_v': not seed % 2, 'sliding_window': draw(2, 12),
    'layer_types': [
      'sliding_attention' if (i + 1) % every else 'full_attention' for i in range(turns * every)
    ],
    'rope_parameters': {
      'full_attention': far,
      'sliding_attention': {'rope_type': 'default', 'rope_theta': 1e2 * draw(1, 100)},
    },
    'use_bidirectional_attention': ('vision', None)[draw(0, 1)],
  }  # fmt: skip


def randomise_4(model, seed: int):
  """All parameters drawn, and the scales of layers, which are no parameters.

  Norms of queries and keys hold the scale of scores, which would else tell roundings apart.
  """
  generator = torch.Generator().manual_seed(seed)
  drawn = dict(model.named_parameters())
  drawn |= {n: x for n, x in model.named_buffers() if n.endswith('layer_scalar')}
  with torch.no_grad():
    for name, p in drawn.items():
      if name.endswith('embed_tokens.weight') or p.ndim > 1:
        p.copy_(p.shape[-1] ** -0.5 * torch.randn(p.shape, generator=generator))
      else:
        near = p.numel() ** -0.25 if name.endswith(('q_norm.weight', 'k_norm.weight')) else 1.0
        p.copy_(near * (1 + 0.3 * torch.randn(p.shape, generator=generator)))
  return model.eval()


def check_states(made, model, ids, valid) -> None:
  """Every state of every token, of prompts padded as their pipelines pad."""
  given = [torch.from_numpy(padded_in_front(x, valid)) for x in (ids, valid.astype(np.int64))]
  with torch.no_grad():
    said = model(input_ids=given[0], attention_mask=given[1], output_hidden_states=True)
  assert len(made) == len(said.hidden_states)
  heard = padded_in_front(valid, valid)
  for state, theirs in zip(np.asarray(made), said.hidden_states):
    assert relative(padded_in_front(state, valid)[heard], theirs.numpy()[heard]) <= FORWARD


@each_seed
def test_all_hidden_states_of_gemma_4(seed):
  config = transformers.Gemma4UnifiedTextConfig(**gemma_4_options(seed))
  model = randomise_4(transformers.Gemma4UnifiedTextModel(config), seed)
  own = gemma.config_of(model.config.to_dict())
  assert own == gemma.config_of({'model_type': 'gemma4_unified_text', **gemma_4_options(seed)})
  params = jax.tree.map(jnp.asarray, gemma.params_of(own, tensors_of(model)))
  ids, valid = prompts(seed, 19)
  check_states(tiny.quick_jit(plain.joined(Gemma4, own, params))(ids, valid), model, ids, valid)


@each_seed
def test_gemma_4_is_read_with_its_eyes_and_ears_beside_it_and_from_disk(tmp_path, seed):
  whole = transformers.Gemma4UnifiedConfig(
    text_config=gemma_4_options(seed),
    vision_config=EYES,
    audio_config={'audio_embed_dim': 4},
    **HOLES,
  )
  model = randomise_4(transformers.Gemma4UnifiedForConditionalGeneration(whole), seed)
  model.save_pretrained(tmp_path, max_shard_size='8KB')
  assert len(list(tmp_path.glob('*.safetensors'))) > 1
  saved = Shards(tmp_path)
  config = gemma.config_of(saved.config())
  loaded = gemma.load(config, saved, sharding.make_mesh(MeshConfig()))
  params = jax.tree.map(jnp.asarray, jax.device_get(loaded))
  ids, valid = prompts(seed, 12)
  ids[:, 1:4] = 7, 8, 9
  check_states(tiny.quick_jit(plain.joined(Gemma4, config, params))(ids, valid), model, ids, valid)


def test_a_full_gemma_4_holds_twelve_billion_parameters():
  with torch.device('meta'):
    text = transformers.Gemma4UnifiedTextConfig(**FULL_4)
    model = transformers.Gemma4UnifiedTextModel(text)
  saved = {'model_type': 'gemma4_unified', 'text_config': model.config.to_dict()}
  config = gemma.config_of(saved)
  assert config == Gemma4Config()
  shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
  tensors.check(gemma.places(config), shapes)
  made = jax.tree.leaves(plain.shapes(Gemma4, config))
  count = sum(p.numel() for p in model.parameters()) + config.layers  # and a scale of each layer
  assert sum(math.prod(leaf.shape) for leaf in made) == count == 11_907_350_320


def connectors_options(seed: int) -> dict:
  """Small connectors: of 2.0's kind for even seeds, of 2.3's for odd ones."""
  rng = np.random.default_rng([seed, 2])
  draw = lambda low, high: int(rng.integers(low, high + 1))
  video, audio, size = draw(1, 3), draw(1, 3), 2 * draw(2, 5)
  made = {
    'text_proj_in_factor': draw(2, 4), 'rope_type': ('split', 'interleaved')[seed // 2 % 2],
    'connector_rope_base_seq_len': draw(20, 4096), 'rope_theta': 100.0 * draw(1, 100),
    'caption_channels': video * size, 'proj_bias': False,
  }  # fmt: skip
  if seed % 2:
    made |= {'caption_channels': draw(7, 15), 'per_modality_projections': True, 'proj_bias': True}
    made |= {'video_hidden_dim': video * size, 'audio_hidden_dim': audio * size}
  for m, heads in (('video', video), ('audio', audio if seed % 2 else video)):
    own = {'num_attention_heads': heads, 'attention_head_dim': size, 'num_layers': draw(1, 3)}
    own['num_learnable_registers'] = 4
    made |= {f'{m}_connector_{name}': value for name, value in own.items()}
    made[f'{m}_gated_attn'] = bool(seed % 2)
  return made


@each_seed
def test_connectors(seed):
  model = theirs.LTX2TextConnectors(**connectors_options(seed)).eval()
  randomise(model, seed)
  config = ltx2_connectors.config_of(model.config)
  params = ltx2_connectors.params_of(config, tensors_of(model))
  _, valid = prompts(seed, 12)
  rng = np.random.default_rng(seed)
  shape = (2, 12, config.width, config.states)
  states = rng.standard_normal(shape).astype(np.float32) * rng.uniform(0.5, 9, config.states)
  states = states.astype(np.float32)
  given = torch.from_numpy(padded_in_front(states, valid)).requires_grad_()
  heard = torch.from_numpy(padded_in_front(valid, valid).astype(np.int64))
  video, audio, mask = model(given, heard)
  assert mask.all()
  wanted = torch.cat([audio, video], dim=-1)
  probe = rng.standard_normal(wanted.shape).astype(np.float32)

  def ours(params, states):
    made = plain.joined(Connectors, config, params)(states, valid)
    return jnp.sum(made * probe), made

  run = tiny.quick_jit(jax.value_and_grad(ours, (0, 1), has_aux=True))
  (_, made), gradients = run(params, states.transpose(3, 0, 1, 2))
  assert relative(made, wanted.detach()) <= FORWARD
  (wanted * torch.from_numpy(probe)).sum().backward()
  behind = padded_in_front(np.asarray(gradients[1]).transpose(1, 2, 3, 0), valid)
  assert relative(behind, given.grad) <= GRADIENT
  where = ltx2_connectors.places(config)
  mine = tensors.saved_of(where, jax.device_get(gradients[0]))
  for name, p in model.named_parameters():
    assert relative(mine[name], p.grad) <= GRADIENT, name


RELEASED = {  # what 2.0 and 2.3 were released with
  '2.0': {'rope_type': 'split'},
  '2.3': {
    'rope_type': 'split', 'per_modality_projections': True, 'proj_bias': True,
    'video_hidden_dim': 4096, 'audio_hidden_dim': 2048, 'video_gated_attn': True,
    'audio_gated_attn': True, 'video_connector_num_attention_heads': 32,
    'audio_connector_num_attention_heads': 32, 'audio_connector_attention_head_dim': 64,
    'video_connector_num_layers': 8, 'audio_connector_num_layers': 8,
  },
}  # fmt: skip


@pytest.mark.parametrize('version', RELEASED)
def test_connectors_of_full_size_hold_as_many_parameters(version):
  with torch.device('meta'):
    model = theirs.LTX2TextConnectors(**RELEASED[version])
  config = ltx2_connectors.config_of(model.config)
  assert version == '2.0' or config == ConnectorsConfig()
  shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
  tensors.check(ltx2_connectors.places(config), shapes)

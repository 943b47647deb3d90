"""Gemma and connectors, from a folder that was made here."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import run
from tiny import refused

from sorajax import sharding
from sorajax.clip import Text
from sorajax.codec import plain
from sorajax.nn import int8
from sorajax.text.connectors import ConnectorConfig, Connectors, ConnectorsConfig
from sorajax.text.gemma import Gemma, GemmaConfig
from sorajax.text.gemma4 import Gemma4, Gemma4Config, HeadsConfig
from sorajax.weights import encoded as encoded_prompts
from sorajax.weights import gemma, ltx2_connectors, tensors
from sorajax.weights.encoded import EncodedText
from sorajax.weights.prompts import PADDING, ReleasedText
from sorajax.weights.shards import Shards

WORDS = ('<bos>', 'a', 'grey', 'rabbit', 'two', 'old', 'trees')
GEMMA = GemmaConfig(
  vocabulary=len(WORDS), width=16, layers=3, heads=8, key_heads=4, head_dim=4, hidden=12, window=2,
  every=2,
)  # fmt: skip
GEMMA_4 = Gemma4Config(
  vocabulary=len(WORDS), width=16, layers=4, heads=8, hidden=12, window=2, every=2,
  near=HeadsConfig(key_heads=4, head_dim=4, theta=1e4),
  far=HeadsConfig(key_heads=1, head_dim=8, theta=1e6, turned=0.25, shared=True),
)  # fmt: skip
OWN = ConnectorConfig(heads=4, head_dim=4, layers=1, registers=4)
CONNECTORS = ConnectorsConfig(
  audio=OWN, video=dataclasses.replace(OWN, heads=8), width=16, states=4
)
TEXT = {
  'model_type': 'gemma3_text', 'vocab_size': len(WORDS), 'hidden_size': 16, 'num_hidden_layers': 3,
  'num_attention_heads': 8, 'num_key_value_heads': 4, 'head_dim': 4, 'intermediate_size': 12,
  'sliding_window': 2, 'sliding_window_pattern': 2, 'rope_scaling': {'factor': 8.0},
}  # fmt: skip
TEXT_4 = {
  'model_type': 'gemma4_unified_text', 'vocab_size': len(WORDS), 'hidden_size': 16,
  'num_hidden_layers': 4, 'num_attention_heads': 8, 'num_key_value_heads': 4, 'head_dim': 4,
  'global_head_dim': 8, 'num_global_key_value_heads': 1, 'attention_k_eq_v': True,
  'intermediate_size': 12, 'sliding_window': 2, 'final_logit_softcapping': 30.0,
  'hidden_size_per_layer_input': 0, 'layer_types': ['sliding_attention', 'full_attention'] * 2,
}  # fmt: skip
WHOLE_4 = {'model_type': 'gemma4_unified', 'text_config': TEXT_4}
CONNECTING = {
  'caption_channels': 16, 'text_proj_in_factor': 4, 'rope_type': 'split', 'proj_bias': True,
  'per_modality_projections': True, 'video_hidden_dim': 32, 'audio_hidden_dim': 16,
  **{
    f'{m}_{name}': value
    for m, heads in (('audio', 4), ('video', 8))
    for name, value in {
      'connector_num_attention_heads': heads, 'connector_attention_head_dim': 4,
      'connector_num_layers': 1, 'connector_num_learnable_registers': 4, 'gated_attn': True,
    }.items()
  },
}  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return saved_in(tmp_path_factory.mktemp('released'), Gemma, GEMMA, TEXT)


@pytest.fixture(scope='module')
def folder_4(tmp_path_factory):
  return saved_in(tmp_path_factory.mktemp('released_4'), Gemma4, GEMMA_4, WHOLE_4)


LONG = functools.partial(pytest.param, marks=pytest.mark.long)


@pytest.fixture(params=[LONG('folder'), 'folder_4'])
def each_folder(request):
  return request.getfixturevalue(request.param)


def saved_in(where: Path, module, config, saved) -> Path:
  """A Gemma, connectors that fit it, and a tokenizer of whole words."""
  reason = "needs 'sorajax[ltx2]'"
  save = pytest.importorskip('safetensors.numpy', reason=reason).save_file
  tokenizers = pytest.importorskip('tokenizers', reason=reason)
  states = config.layers + 1
  connectors = dataclasses.replace(CONNECTORS, states=states)
  parts = {
    'text_encoder': (module, config, gemma.places(config), saved, 'model'),
    'connectors': (
      Connectors, connectors, ltx2_connectors.places(connectors),
      {**CONNECTING, 'text_proj_in_factor': states}, 'diffusion_pytorch_model',
    ),
  }  # fmt: skip
  for name, (module, config, places, saved, file) in parts.items():
    (where / name).mkdir()
    params = jax.device_get(plain.initial(module, config, jax.random.key(1)))
    save(tensors.saved_of(places, params), where / name / f'{file}.safetensors')
    (where / name / 'config.json').write_text(json.dumps(saved))
  (where / 'tokenizer').mkdir()
  words = tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token='a')
  made = tokenizers.Tokenizer(words)
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.post_processor = tokenizers.processors.TemplateProcessing(
    single='<bos> $A', special_tokens=[('<bos>', 0)]
  )
  made.save(str(where / 'tokenizer' / 'tokenizer.json'))
  return where


def encoded(encoder: ReleasedText | EncodedText, *prompts: str) -> np.ndarray:
  """What is read of prompts that lie in one row."""
  ids = np.concatenate([encoder.tokenize(prompt) for prompt in prompts])[None]
  text = Text(ids, np.ones_like(ids), np.zeros_like(ids))
  with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig())):
    return np.asarray(reader(encoder)(encoder.initial_params(), sharding.everywhere(text)))


@functools.cache
def reader(encoder: ReleasedText | EncodedText):
  return jax.jit(encoder.encode)


def test_configs_are_read(folder):
  assert gemma.config_of(TEXT) == GEMMA
  assert gemma.config_of(WHOLE_4) == GEMMA_4
  assert gemma.config_of(TEXT_4) == dataclasses.replace(GEMMA_4, holes=())
  assert ltx2_connectors.config_of(CONNECTING) == CONNECTORS
  assert ReleasedText(str(folder), 8).width == 16 + 32


def test_what_a_config_leaves_out_is_what_transformers_takes():
  """As the config.json of Google's Gemma 3 of 12 billion parameters does."""
  text = {
    'hidden_size': 3840, 'intermediate_size': 15_360, 'num_attention_heads': 16,
    'num_hidden_layers': 48, 'num_key_value_heads': 8, 'sliding_window': 1024,
    'rope_scaling': {'factor': 8.0, 'rope_type': 'linear'},
  }  # fmt: skip
  assert gemma.config_of({'model_type': 'gemma3', 'text_config': text}) == GemmaConfig()
  del text['rope_scaling']
  text |= {'num_global_key_value_heads': 1, 'attention_k_eq_v': True}
  assert gemma.config_of({'model_type': 'gemma4_unified', 'text_config': text}) == Gemma4Config()


def test_a_prompt_is_padded_and_cut(folder):
  short = ReleasedText(str(folder), 8).tokenize(' a grey rabbit ')
  assert short.tolist() == [0, 1, 2, 3] + [PADDING] * 4
  assert ReleasedText(str(folder), 4).tokenize('two old trees and more').tolist() == [0, 4, 5, 6]


def test_a_prompt_is_read_as_if_it_were_alone(each_folder):
  encoder = ReleasedText(str(each_folder), 8, 'float32')
  both = encoded(encoder, 'a grey rabbit', 'two old trees')
  for part, prompt in zip(np.split(both, 2, axis=1), ('a grey rabbit', 'two old trees')):
    np.testing.assert_allclose(part, encoded(encoder, prompt), atol=1e-5)


def test_every_word_and_its_place_matter_and_nothing_is_padding(each_folder):
  encoder = ReleasedText(str(each_folder), 8, 'float32')
  prompts = ('a grey rabbit', 'a rabbit grey', 'a grey rabbit trees', '')
  made = [encoded(encoder, prompt) for prompt in prompts]
  for i, one in enumerate(made):
    assert (np.abs(one).max(axis=-1) > 0.1).all()
    assert all(np.abs(one - other).max() > 0.05 for other in made[:i])


def test_of_8_bits_it_reads_nearly_the_same(each_folder):
  encoder = ReleasedText(str(each_folder), 8, 'float32')
  ids = encoder.tokenize('two old trees')[None]
  text = Text(ids, np.ones_like(ids), np.zeros_like(ids))
  with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig())):
    params, placed = encoder.initial_params(), sharding.everywhere(text)
    rounded = {**params, 'gemma': int8.tree(params['gemma'])}
    exact, made = (np.asarray(reader(encoder)(p, placed)) for p in (params, rounded))
  assert 1e-5 < np.linalg.norm(made - exact) / np.linalg.norm(exact) < 0.05


each_gemma = pytest.mark.parametrize('module, config', [(Gemma, GEMMA), (Gemma4, GEMMA_4)])


@each_gemma
def test_gemma_hears_the_past_alone_and_no_padding(module, config):
  params = plain.initial(module, config, jax.random.key(0))
  run = jax.jit(lambda ids, valid: plain.joined(module, config, params)(ids, valid))
  ids, valid = np.array([[0, 1, 2, 3, 4]]), np.ones((1, 5), bool)
  before = run(ids, valid)
  later = run(np.array([[0, 1, 2, 6, 5]]), valid)
  np.testing.assert_array_equal(before[:, :, :3], later[:, :, :3])
  assert np.abs(before - later)[1:, :, 3:].max() > 0.1
  cut = run(ids, valid & (np.arange(5) < 3))
  np.testing.assert_allclose(cut[:, :, :3], before[:, :, :3], atol=1e-6)


def test_a_local_layer_hears_its_window():
  config = dataclasses.replace(GEMMA, layers=1)  # of two: the first is local
  params = plain.initial(Gemma, config, jax.random.key(0))
  run = jax.jit(lambda ids: plain.joined(Gemma, config, params)(ids, jnp.ones(ids.shape, bool)))
  one, other = run(np.array([[1, 2, 3, 4]])), run(np.array([[5, 2, 3, 4]]))
  apart = np.abs(one - other)[-1, 0].max(axis=-1)
  assert (apart[:2] > 0.01).all() and (apart[2:] == 0).all()


def test_layers_of_gemma_4_hear_their_window_and_then_all():
  params = plain.initial(Gemma4, GEMMA_4, jax.random.key(0))
  run = jax.jit(lambda ids: plain.joined(Gemma4, GEMMA_4, params)(ids, jnp.ones(ids.shape, bool)))
  one, other = run(np.array([[1, 2, 3, 4]])), run(np.array([[5, 2, 3, 4]]))
  apart = np.abs(one - other)[:, 0].max(axis=-1)
  assert (apart[1, :2] > 0.01).all() and (apart[1, 2:] == 0).all()  # after a local layer
  assert (apart[2] > 1e-4).all()  # and after one that hears all


def test_a_picture_in_a_prompt_of_gemma_4_is_padding():
  config = dataclasses.replace(GEMMA_4, holes=(3, 5), padding=6)
  params = plain.initial(Gemma4, config, jax.random.key(0))
  run = jax.jit(lambda ids: plain.joined(Gemma4, config, params)(ids, jnp.ones(ids.shape, bool)))
  given, read = np.array([[1, 3, 2, 5]]), np.array([[1, 6, 2, 6]])
  np.testing.assert_array_equal(run(given), run(read))


@pytest.mark.parametrize(
  'name, stack, count', [LONG('folder', 'layers', 3), ('folder_4', 'near', 2)]
)
def test_all_meshes_read_the_same_now_and_beforehand(request, tmp_path, name, stack, count):
  program = str(Path(__file__).with_name('prompts_on_mesh.py'))
  folder = request.getfixturevalue(name)
  found = json.loads(run(program, str(folder), str(tmp_path / 'table'), stack))
  assert found['shape'] == [4, 8, 48] and len(found['apart']) == 6 and max(found['apart']) < 1e-5
  assert found['whole'] == [count, 16, 8, 4] and found['part'] == [count, 8, 4, 4]


def test_what_does_not_fit_is_refused(folder, tmp_path):
  with refused('config.text.max_tokens is 6 and the audio connector needs a multiple of 4'):
    ReleasedText(str(folder), 6)
  with refused('has no folder text_encoder; give one that diffusers saved LTX-2 in'):
    ReleasedText(str(tmp_path), 8)
  encoder = ReleasedText(str(folder), 8)
  ids = np.zeros((1, 12), np.int32)
  with refused('rows have 12 tokens of text and prompts 8; give a multiple'):
    encoder.encode({}, Text(ids, ids, ids))


PROMPTS = ('a grey rabbit', 'two old trees', 'grey', 'a rabbit', 'trees')


def stored(folder, table, prompts=PROMPTS, batch=2) -> EncodedText:
  model = ReleasedText(str(folder), 8, 'float32')
  with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig())):
    encoded_prompts.store(model, prompts, table, batch)
  return EncodedText(str(table), model)


def test_what_was_read_beforehand_is_what_is_read_now(folder, tmp_path, monkeypatch):
  monkeypatch.setattr(encoded_prompts, 'LENGTHS', 4)
  beforehand = stored(folder, tmp_path)
  for prompts in (('',), ('two old trees', 'grey'), (' a grey rabbit ', '')):
    read = encoded(beforehand, *prompts)
    np.testing.assert_allclose(read, encoded(beforehand.model, *prompts), atol=1e-5)
  with jax.set_mesh(sharding.make_mesh(sharding.MeshConfig())):
    weights = beforehand.initial_params()
  assert set(weights) == {'table', 'connectors'} and set(weights['connectors']) == {'streams'}


@pytest.mark.parametrize('batches', [LONG(0), 1, LONG(2)])
def test_killed_at_any_batch_the_table_is_the_same(folder, tmp_path, monkeypatch, batches):
  stored(folder, tmp_path / 'whole')
  left, append = [batches], encoded_prompts._append

  def dying(path, *rest):
    if left[0] == 0:
      (path / encoded_prompts.TABLE).open('ab').write(b'half of a row')
      (path / encoded_prompts.PROMPTS).open('a').write('{"prompt": "ha')
      raise KeyboardInterrupt
    left[0] -= 1
    append(path, *rest)

  with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
    during.setattr(encoded_prompts, '_append', dying)
    stored(folder, tmp_path / 'killed')
  stored(folder, tmp_path / 'killed')
  for name in (encoded_prompts.TABLE, encoded_prompts.PROMPTS):
    assert (tmp_path / 'killed' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()


def test_prompts_are_added_and_those_that_are_there_are_left(folder, tmp_path):
  before = (stored(folder, tmp_path, PROMPTS[:2]), (tmp_path / 'table.bin').read_bytes())[1]
  beforehand = stored(folder, tmp_path)
  after = (tmp_path / 'table.bin').read_bytes()
  assert after.startswith(before) and len(after) > len(before)
  read = encoded(beforehand, 'trees')
  np.testing.assert_allclose(read, encoded(beforehand.model, 'trees'), atol=1e-5)


def test_a_table_that_does_not_serve_is_refused(folder, tmp_path):
  beforehand = stored(folder, tmp_path / 'table')
  with refused("'two trees' is none of the 6 prompts of .*; add it by launch/encode_prompts.py"):
    beforehand.tokenize('two trees')
  with refused('holds prompts of other max_tokens than'):
    EncodedText(str(tmp_path / 'table'), ReleasedText(str(folder), 4, 'float32'))
  with refused('cannot read .*table.json'):
    EncodedText(str(tmp_path), beforehand.model)
  (tmp_path / 'table' / 'table.bin').write_bytes(b'short')
  with refused('cannot read .*table.bin'), jax.set_mesh(sharding.make_mesh(sharding.MeshConfig())):
    beforehand.initial_params()


@pytest.mark.parametrize(
  'change, message',
  [
    ({'model_type': 'gemma4_text'}, 'is a gemma4_text; only gemma3_text and gemma4_unified_text'),
    ({'attention_bias': True}, 'has attention_bias=True, which this project does not have'),
    ({'layer_types': ['full_attention', 'sliding_attention', 'sliding_attention']}, 'in turns'),
    ({'rope_scaling': {'rope_type': 'yarn'}}, 'has rope_type=yarn; only linear is known'),
  ],
)
def test_another_text_encoder_is_refused(change, message):
  with refused(message):
    gemma.config_of({**TEXT, **change})


@pytest.mark.parametrize(
  'change, message',
  [
    ({'num_kv_shared_layers': 2}, 'num_kv_shared_layers=2, which this project does not have'),
    ({'hidden_size_per_layer_input': 256}, 'has hidden_size_per_layer_input=256, which this'),
    ({'enable_moe_block': True}, 'has enable_moe_block=True, which this project'),
    ({'use_bidirectional_attention': 'all'}, 'has use_bidirectional_attention=all, which this'),
    ({'layer_types': ['full_attention'] * 4}, 'built here: 4 layers do not come in turns of 1'),
    (
      {'layer_types': ['sliding_attention'] * 4},
      'built here: 4 layers do not come in turns of 5',
    ),
    ({'per_layer_config': {'1': {'head_dim': 8}}}, 'per_layer_config that is not one for all'),
    ({'per_layer_config': {'1': {'hidden_size': 8}, '3': {'hidden_size': 8}}}, 'per_layer_config'),
    ({'num_key_value_heads': 3}, 'built here: 8 heads do not divide over 3 of keys'),
    ({'rope_parameters': {'sliding_attention': {'rope_type': 'yarn'}}}, 'has rope_type=yarn; only'),
    ({'rope_parameters': {'full_attention': {}}}, "lacks 'sliding_attention'; give that of its"),
  ],
)
def test_another_gemma_4_is_refused(change, message):
  with refused(message):
    gemma.config_of({**TEXT_4, **change})


def test_tensors_of_another_gemma_4_are_listed(folder_4, tmp_path):
  save = pytest.importorskip('safetensors.numpy').save_file
  params = jax.device_get(plain.initial(Gemma4, GEMMA_4, jax.random.key(1)))
  right = tensors.saved_of(gemma.places(GEMMA_4), params)
  mesh = sharding.make_mesh(sharding.MeshConfig())
  loaded = lambda: gemma.load(GEMMA_4, Shards(tmp_path), mesh)
  beside = {
    'lm_head.weight': np.zeros(1, np.float32),
    'model.embed_audio.x': np.zeros(1, np.float32),
  }
  below = {f'model.language_model.{name}': value for name, value in right.items()}
  save({**below, **beside}, tmp_path / 'model.safetensors')
  for name, leaf in plain.flat(loaded()).items():
    np.testing.assert_array_equal(leaf, plain.flat(params)[name])
  save({**below, 'model.moe.x': beside['lm_head.weight']}, tmp_path / 'model.safetensors')
  with refused('the text encoder holds model.moe.x, which is not known'):
    loaded()
  wrong = {**right, 'layers.1.self_attn.v_proj.weight': right['layers.0.self_attn.v_proj.weight']}
  wrong['layers.2.layer_scalar'] = np.ones(2, np.float32)
  del wrong['layers.3.mlp.up_proj.weight']
  save(wrong, tmp_path / 'model.safetensors')
  with refused('1 missing .layers.3.mlp.up_proj.*; 1 unknown .layers.1.self_attn.v_proj.*; 1 miss'):
    loaded()


@pytest.mark.parametrize(
  'change, message',
  [
    ({'video_hidden_dim': 31}, 'video_hidden_dim that is not their heads together'),
    ({'rope_double_precision': False}, 'rope_double_precision=False; only True is known'),
    ({'audio_connector_num_learnable_registers': None}, 'audio connector has no registers'),
    ({'per_modality_projections': False}, 'not as wide as caption_channels'),
  ],
)
def test_other_connectors_are_refused(change, message):
  with refused(message):
    ltx2_connectors.config_of({**CONNECTING, **change})

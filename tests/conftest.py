"""Makes `clips` and the programs of the checkout importable, and holds what several tests use."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

# Most of the tests' time is compilation. So it is done with little effort, for tests and for the
# programs that they start, and what one has compiled the others load.
QUICKLY = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
os.environ.update(
  JAX_PLATFORMS='cpu',
  XLA_FLAGS=f'{os.environ.get("XLA_FLAGS", "")} {QUICKLY}',
  JAX_COMPILATION_CACHE_DIR=str(HERE.parent / '.pytest_cache' / 'xla'),
  JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS='0.3',
  JAX_PERSISTENT_COMPILATION_CACHE_MIN_ENTRY_SIZE_BYTES='-1',
)
gc.set_threshold(100_000, 50, 50)  # tracing makes objects by the million, which last


# Each waits for minutes for a program of its own.
LONGEST = ('compiled_test.py', 'sharding_test.py')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """The longest files first, so that no worker is left alone with one at the end."""
  items.sort(key=lambda item: item.path.name not in LONGEST)


MOST_MAPS = 30_000  # of memory, of which Linux gives a process 65,530 and a program takes 3 to 17


@pytest.fixture(scope='module', autouse=True)
def _programs_forgotten() -> Iterator[None]:
  """Forgets what was compiled, thousands of programs in a worker, well before maps run out."""
  yield
  maps = Path('/proc/self/maps')
  if maps.exists() and maps.read_bytes().count(b'\n') > MOST_MAPS:
    import jax

    jax.clear_caches()


@pytest.fixture
def film(tmp_path: Path) -> Path:
  """A film of 40 frames at 24 fps, 64×96 pixels, stereo at 48 kHz."""
  from clips import make_clip

  from sorajax.media import writer

  path = tmp_path / 'film.mp4'
  writer.write(path, make_clip(40, size=(64, 96), fps=24.0, rate_hz=48_000, channels=2), crf=12)
  return path


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> None:
  """Decoders give their very floats."""
  import numpy as np

  from sorajax.codec.convolutional import ConvDecoder

  joined = lambda self, parts: np.concatenate([np.zeros((0, *self._size, 3), 'f4'), *parts])
  monkeypatch.setattr(ConvDecoder, '_joined', joined)

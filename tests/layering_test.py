"""The house: a file imports only from floors below it, and some things only in one place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = (
  ('errors', 'clip', 'geometry', 'sharding', 'cli', 'cluster', 'workers'),
  ('media', 'provenance', 'worlds', 'nn', 'flow'),
  ('model', 'codec', 'text'),
  ('tasks', 'data', 'weights', 'optim'),
  ('settings', 'network', 'build', 'checkpoint', 'generate'),
  ('train', 'evaluate'),
  ('plan',),
)
FLOOR_OF = {part: number for number, parts in enumerate(FLOORS) for part in parts}
ASSEMBLY = FLOORS[4]  # each may import the ones before it
# Beside those below: what a floor may import of its own.
BESIDE = {
  ('geometry', 'clip'),
  ('geometry', 'errors'),
  ('sharding', 'errors'),
  ('cli', 'errors'),
  ('cli', 'cluster'),
  ('cluster', 'errors'),
  ('workers', 'errors'),
}
READERS_OF_CONFIG = ('sorajax/build.py',)
LONGEST_FILE, LONGEST_LAUNCHER = 400, 80

FILES = sorted((ROOT / 'sorajax').rglob('*.py'))
LAUNCHERS = sorted((ROOT / 'launch').glob('*.py'))
name_of = lambda path: path.relative_to(ROOT).as_posix()
each_file = pytest.mark.parametrize('path', FILES, ids=name_of)


def imports(path: Path) -> Iterator[str]:
  """The full names of the modules that a file imports, wherever in it."""
  package = path.relative_to(ROOT).with_suffix('').parts[:-1]
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      above = package[: len(package) - node.level + 1] if node.level else ()
      module = '.'.join([*above, *([node.module] if node.module else [])])
      yield from (f'{module}.{alias.name}' for alias in node.names)


def part_of(path: Path) -> str:
  return path.relative_to(ROOT / 'sorajax').with_suffix('').parts[0]


def may_import(own: str, other: str) -> bool:
  if own == other or FLOOR_OF[other] < FLOOR_OF[own]:
    return True
  if own in ASSEMBLY and other in ASSEMBLY:
    return ASSEMBLY.index(other) < ASSEMBLY.index(own)
  return (own, other) in BESIDE


@each_file
def test_a_file_imports_only_from_floors_below(path):
  own = part_of(path)
  if own == '__init__':
    assert not list(imports(path))
    return
  assert own in FLOOR_OF, f'sorajax/{own} stands on no floor'
  others = {name.split('.')[1] for name in imports(path) if name.startswith('sorajax.')}
  assert not {other for other in others if other not in FLOOR_OF or not may_import(own, other)}


@each_file
def test_the_video_library_stands_behind_one_door(path):
  libraries = {name.split('.')[0] for name in imports(path)} & {'av', 'scenedetect'}
  assert not libraries or part_of(path) == 'media'


@each_file
def test_a_file_is_not_too_long(path):
  assert len(path.read_text(encoding='utf-8').splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize('path', LAUNCHERS, ids=name_of)
def test_a_launcher_is_thin(path):
  assert len(path.read_text(encoding='utf-8').splitlines()) < LONGEST_LAUNCHER


def configs_read(source: str) -> Iterator[str]:
  """What functions read of an argument that its annotation calls a ConfigDict."""
  for function in ast.walk(ast.parse(source)):
    if not isinstance(function, ast.FunctionDef):
      continue
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    configs = {
      a.arg for a in arguments if a.annotation and 'ConfigDict' in ast.unparse(a.annotation)
    }
    for node in ast.walk(function):
      read = isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.value, ast.Name)
      if read and node.value.id in configs and getattr(node, 'attr', '') != 'to_json':
        yield ast.unparse(node)


@pytest.mark.parametrize('path', [*FILES, *LAUNCHERS], ids=name_of)
def test_configs_stop_at_the_door(path):
  if name_of(path) not in READERS_OF_CONFIG:
    assert not list(configs_read(path.read_text(encoding='utf-8')))


def test_a_read_of_a_config_is_seen():
  source = "def f(c: ml.ConfigDict | None, x):\n  c.to_json()\n  return c.a, c['b'], x.c"
  assert sorted(configs_read(source)) == ['c.a', "c['b']"]

"""Every command of the README runs, on the tiny walk in place of real film."""

import re
import shlex
import shutil

import pytest
from programs import ROOT, run

README = (ROOT / 'README.md').read_text(encoding='utf-8')
LINES = [
  line.partition('  #')[0].strip()
  for block in re.findall(r'```sh\n(.*?)```', README, re.DOTALL)
  for line in block.replace('\\\n', '').splitlines()
  if line.strip()
]
PROGRAMS = [line for line in LINES if line.startswith('python ')]
# Trained for what they measure; on the tiny run they need only run.
TINY = (('configs/film.py', 'configs/tiny.py'), ('configs/flash.py', 'configs/tiny.py'))


@pytest.fixture(scope='module')
def names(walk, tmp_path_factory) -> dict[str, str]:
  """What stands for the README's placeholders; outputs go to copies and new folders."""
  folder = tmp_path_factory.mktemp('readme')
  shutil.copytree(walk / 'run', folder / 'run')
  return {
    'FILMS': f'{walk}/films', 'CLIPS': f'{walk}/clips', 'LATENTS': f'{walk}/latents',
    'RUN': f'{folder}/run', 'SAMPLES': f'{folder}/samples', 'FLASHES': f'{folder}/flashes',
  }  # fmt: skip


@pytest.mark.parametrize('line', PROGRAMS)
def test_a_command_of_the_readme_runs(line, names):
  for config, tiny in TINY:
    line = line.replace(config, tiny)
  for name, path in names.items():
    line = re.sub(rf'\b{name}\b', path, line)
  _, program, *flags = shlex.split(line)
  run(program, *flags)


def test_what_is_no_program_is_a_target_of_the_makefile_or_an_installation():
  targets = re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
  for line in LINES:
    words = re.sub(r'^(\w+=\S+ )+', '', line).split()
    assert words[0] in ('python', 'pip') or (words[0] == 'make' and words[1] in targets), line


def test_every_link_of_the_readme_leads_somewhere():
  links = re.findall(r'\]\((?!http)([^)#]+)', README)
  assert links and all((ROOT / link).exists() for link in links)

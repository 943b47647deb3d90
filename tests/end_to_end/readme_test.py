"""Every command of the README and of its pages runs, on the tiny walk in place of real film."""

import re
import runpy
import shlex
import shutil

import pytest
from programs import ROOT, run

PAGES = {
  path: path.read_text(encoding='utf-8')
  for path in (ROOT / 'README.md', *sorted(ROOT.glob('configs/*.md')), *ROOT.glob('launch/*.md'))
}
LINES = [
  line.partition('  #')[0].strip()
  for page in PAGES.values()
  for block in re.findall(r'```sh\n(.*?)```', page, re.DOTALL)
  for line in block.replace('\\\n', '').splitlines()
  if line.strip()
]
PROGRAMS = [line for line in LINES if line.startswith('python ')]
SMALLER = {
  'tools/make_flashes.py': ('--count=12',),
  'tools/make_worlds.py': ('--count=24',),
  'tools/measure_sync.py': ('--count=2',),
  'launch/evaluate.py': ('--count=2',),
  'tools/bench_judges.py': ('--count=2',),
  'tools/chaos.py': ('--kills=1', '--steps=12'),
  'tools/measure_codec.py': ('--dnsmos=0',),
  'tools/measure_tiles.py': ('--size=512x64', '--frames=1', '--tile=24', '--start=0'),
}
# Ten minutes of 1080p, of which a smaller one is tested below; the compiler for TPUs, which
# tests/plan/aot_test.py tests where it is installed; weights of LTX-2, of which
# tests/parity/ltx2_pipeline_test.py makes small ones.
APART = (
  'tools/measure_memory.py', 'launch/plan.py', 'tools/plan_ladder.py', 'LTX2', 'launch/lora.py',
  'launch/convert.py',
)  # fmt: skip
TINY = {
  'configs/codec.py': 'configs/tiny_codec.py',
  'configs/world_codec.py': 'configs/tiny_codec.py',
  'configs/sound_codec.py': 'configs/tiny_codec.py:sound',
  'configs/sound_codec.py:mel': 'configs/tiny_codec.py:mel',
  'configs/sounds.py': 'configs/tiny_codec.py',
}
TINY_WORLD = 'world:12,frames=9,fps=8,height=16,width=16,sample_rate_hz=8000'
MADE = (
  'SAMPLES', 'FLASHES', 'FLASH_LATENTS', 'FLASH_RUN', 'HEART_LATENTS', 'HEART', 'CODEC', 'LEARNED',
  'LARGE', 'LINEAR', 'LINEAR_RUN', 'SOUND_CLIPS', 'SOUNDING', 'FILM_LATENTS', 'AGAIN', 'TILES',
  'TUNED', 'WORLD', 'WORLD_CODEC', 'WORLD_LATENTS', 'WORLD_RUN', 'REPORT', 'WORLD_SHOWN',
  'AFTER', 'DRAWN', 'WAITED', 'SAMPLED', 'CHAOS', 'WORLD_SAMPLES', 'REPORT_GIVEN',
  'CHOSEN', 'REMIXED', 'MEL',
)  # fmt: skip
FOUND = ('RUN', 'FILMS', 'CLIPS', 'LATENTS', 'SOUNDS', 'FILM')  # of the walk
HERE = [line for line in PROGRAMS if not any(tool in line for tool in APART)]


@pytest.mark.slow
def test_the_programs_of_the_readme_run_in_their_order(walk, tmp_path):
  shutil.copytree(walk / 'run', tmp_path / 'RUN')
  names = {name: str(tmp_path / name) for name in ('RUN', *MADE)}
  names |= {name: f'{walk}/{name.lower()}' for name in ('FILMS', 'CLIPS', 'LATENTS')}
  names['SOUNDS'] = names['FILMS']
  names['FILM'] = str(next((walk / 'films').glob('*.mp4')).with_suffix(''))
  for line in HERE:
    line = re.sub(r'\b[A-Z_]+\b', lambda found: names.get(found[0], found[0]), _tiny(line))
    _, program, *flags = shlex.split(line)
    run(program, *flags, *SMALLER.get(program, ()))


def test_every_program_of_the_readme_has_a_tiny_config_and_folders():
  for line in HERE:
    for config in re.findall(r'configs/\w+\.py(?::\w+)?', _tiny(line)):
      path, *kind = config.split(':')
      assert runpy.run_path(str(ROOT / path))['get_config'](*kind), line
    folders = set(re.findall(r'(?<==)[A-Z_]+\b', line))
    assert '--dry_run' in line or folders <= {*MADE, *FOUND}, line


def _tiny(line: str) -> str:
  line = re.sub(r'world:\d+', TINY_WORLD, line)
  line = line.replace('--checkpoint=world --latents', '--checkpoint=WORLD_RUN --latents')
  tiny = lambda found: TINY.get(found[0], 'configs/tiny.py')
  return re.sub(r'configs/\w+\.py(?::\w+)?', tiny, line)


def test_what_is_no_program_is_a_target_of_the_makefile_or_an_installation():
  targets = re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
  for line in LINES:
    words = re.sub(r'^(\w+=\S+ )+', '', line).split()
    assert words[0] in ('python', 'pip') or (words[0] == 'make' and words[1] in targets), line


def test_every_link_leads_to_a_file_and_where_it_says_to_a_heading_of_it():
  for page, text in PAGES.items():
    links = re.findall(r'\]\((?!http)([^)#]+)(?:#([^)]+))?\)', text)
    for link, heading in links:
      target = (page.parent / link).resolve()
      assert target.exists(), (page, link)
      if heading:
        heads = re.findall(r'^#+ (.+)$', target.read_text(encoding='utf-8'), re.MULTILINE)
        assert heading in [head.lower().replace(' ', '-') for head in heads], (page, heading)


def test_every_page_is_linked_from_the_readme():
  first, *others = PAGES
  for page in others:
    assert f']({page.relative_to(ROOT).as_posix()}' in PAGES[first], page


@pytest.mark.slow
def test_memory_is_measured_and_drawn(tmp_path):
  small = ['--size=64x64', '--seconds=1', '--seconds=2']
  out = run('tools/measure_memory.py', '--codec=film', f'--out={tmp_path}', *small)
  assert out.count('GiB |') == 2 and (tmp_path / 'memory.png').is_file()

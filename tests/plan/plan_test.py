import dataclasses
import runpy
from pathlib import Path

import pytest
from tiny import refused

from sorajax import build
from sorajax.plan import chips, flops, report
from sorajax.plan.estimate import Assumptions, estimate
from sorajax.plan.hlo import Program
from sorajax.plan.program import Compiled, Memory

CONFIGS = Path(__file__).parents[2] / 'configs'
GIB = 2**30
SIDE = 8192
# A loop of three products of 8192 × 8192, after which the result is summed over all 16 devices.
LOOP = f"""HloModule step

%body (p: (s32[], bf16[{SIDE},{SIDE}])) -> (s32[], bf16[{SIDE},{SIDE}]) {{
  %p = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = bf16[{SIDE},{SIDE}]{{1,0}} get-tuple-element(%p), index=1
  %y = bf16[{SIDE},{SIDE}]{{1,0}} dot(%x, %x), lhs_contracting_dims={{1}}
  ROOT %t = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) tuple(%i, %y)
}}

%cond (p: (s32[], bf16[{SIDE},{SIDE}])) -> pred[] {{
  %p.1 = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) parameter(0)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  %three = s32[] constant(3)
  ROOT %less = pred[] compare(%i.1, %three), direction=LT
}}

ENTRY %main (a: bf16[{SIDE},{SIDE}]) -> bf16[{SIDE},{SIDE}] {{
  %a = bf16[{SIDE},{SIDE}]{{1,0}} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) tuple(%zero, %a)
  %loop = (s32[], bf16[{SIDE},{SIDE}]{{1,0}}) while(%start), condition=%cond, body=%body
  %out = bf16[{SIDE},{SIDE}]{{1,0}} get-tuple-element(%loop), index=1
  ROOT %sum = bf16[{SIDE},{SIDE}]{{1,0}} all-reduce(%out), replica_groups=[1,16]<=[16]
}}
"""
MESH = {'data': 1, 'fsdp': 16, 'context': 1, 'tensor': 1}
EXACT = Assumptions(products=1.0, kernels=1.0, memory=1.0, links=1.0, start_s=0.0)


def settings():
  config = runpy.run_path(str(CONFIGS / 'ltx2.py'))['get_config']('2.3')
  return build.settings(config)


def made(peak: float = 20 * GIB, price: float = 0.0) -> report.Plan:
  chosen = settings()
  program = Program(LOOP, MESH)
  memory = Memory(4.0 * GIB, 4.0 * GIB, 8.0 * GIB, 0.0, peak)
  compiled = Compiled(memory, program, MESH, 60.0, 19_000_000_000)
  (bucket,) = chosen.data.in_order()
  return report.Plan(
    'big', 'v6e:4x4', chips.CHIPS['v6e'], 16, chosen, bucket, 5.0, compiled,
    estimate(program, chips.CHIPS['v6e'], (4, 4), EXACT), EXACT, price,
  )  # fmt: skip


def test_a_step_takes_its_products_and_the_talk_after_them():
  chip = chips.CHIPS['v6e']
  found = estimate(Program(LOOP, MESH), chip, (4, 4), EXACT)
  assert found.flops == 3 * 2 * SIDE**3
  assert found.products == pytest.approx(3 * 2 * SIDE**3 / chip.flops)
  # Two lines of four chips each: a chip at their ends sends one way along either.
  sent = 2 * 15 / 16 * 2 * SIDE**2
  assert found.exposed == pytest.approx(sent / (2 * chip.link_speed))
  assert found.seconds == pytest.approx(found.products + found.exposed)


def test_rings_send_both_ways():
  closed = estimate(Program(LOOP, MESH), chips.CHIPS['v6e'], (16, 16), EXACT)
  open_ = estimate(Program(LOOP, MESH), chips.CHIPS['v6e'], (8, 8), EXACT)
  assert open_.exposed == pytest.approx(closed.exposed)  # one ring of 16, or lines both ways of 8
  cube = estimate(Program(LOOP, MESH), chips.CHIPS['v5p'], (4, 4, 4), EXACT)
  assert cube.exposed == pytest.approx(closed.exposed / 2)


def test_less_of_what_chips_can_do_takes_longer():
  exact = estimate(Program(LOOP, MESH), chips.CHIPS['v6e'], (4, 4), EXACT)
  half = dataclasses.replace(EXACT, products=0.5, links=0.5)
  slow = estimate(Program(LOOP, MESH), chips.CHIPS['v6e'], (4, 4), half)
  assert slow.seconds == pytest.approx(2 * exact.seconds)


def test_a_plan_says_whether_it_fits_what_binds_and_what_it_costs():
  text = report.text(made(price=2.5))
  assert 'big on v6e:4x4: 16 chips' in text and 'fsdp=16' in text
  assert 'of 32: fits with 38 % to spare' in text
  assert 'activations, gradients         4.00' in text
  assert 'all-reduce over fsdp' in text and '0.12' in text
  assert 'cost a day                        960 at 2.5 a chip-hour' in text
  assert 'which is tight' in report.text(made(peak=30 * GIB))


def test_utilisation_is_useful_work_by_what_chips_can_do():
  plan = made()
  work = 3 * flops.forwards(plan.settings.transformer, plan.bucket).total * plan.bucket.rows / 16
  assert plan.mfu == pytest.approx(work / (plan.estimate.seconds * plan.chip.flops))


def test_the_page_needs_nothing_else_and_lies_beside_the_program(tmp_path):
  page = report.write(made(), tmp_path / 'plans')
  assert page.name == 'big-v6e-4x4.html'
  text = page.read_text()
  assert 'http' not in text and 'src=' not in text and 'weights 4.00 GiB' in text
  assert page.with_suffix('.hlo.txt').read_text() == LOOP


def test_unknown_chips_and_topologies_are_refused():
  with refused("no chip 'v9' in the table; choose one of v5e, v5p, v6e, tpu7x"):
    chips.chip_of('v9:4x4')
  with refused("no topology 'v5p:4by4'; write CHIP:SIDExSIDE"):
    chips.sides_of('v5p:4by4')
  assert chips.sides_of('v5p:4x4x8') == (4, 4, 8)

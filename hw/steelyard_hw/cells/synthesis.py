"""Yosys commands between reading the gateware and a family's own synthesis."""

from .target import LOCAL_COPY

__all__ = ["AFTER_READ", "KEEP_COPIES", "SHORT_ADDERS", "TOP", "ULTRAPLUS", "ULTRAPLUS_INFERENCE"]

TOP = "top"
"""Module name that the commands ask of the design."""
AFTER_READ = f"""\
hierarchy -top {TOP}
proc
flatten
# Yosys 0.70 takes the wire `\\o_data[5]` for a bit of the wire `\\o_data`.
rename -hide w:*[* x:* %d
# No address that is read for use is written in the same cycle (docs/notes/accelerator-sizing.md),
# so block RAMs need no logic that gives the old data.
setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i
"""
"""For the boards' bitstreams and for the simulation of netlists."""
KEEP_COPIES = f"""\
# Registers that stand for one another, each near its loads, stay apart.
select -set copies w:* a:{LOCAL_COPY}=1 %i %ci1 c:* %i
setattr -set keep 1 @copies
"""
"""For devices where wires are slower than logic is scarce."""
SHORT_ADDERS = """\
# A carry chain begins a tile of its own, so short sums and comparisons are better off as logic.
wreduce
techmap t:$add r:Y_WIDTH<=5 %i t:$sub r:Y_WIDTH<=5 %i %u
techmap t:$lt t:$le t:$gt t:$ge %u %u %u r:A_WIDTH<=4 %i r:B_WIDTH<=4 %i
"""
"""For the iCE40, where it saves 5 % of the logic cells and a third of the chains."""
ULTRAPLUS = "-device u -spram -dffe_min_ce_use 5"
"""Options of ``synth_ice40``. An enable of few registers becomes logic, for placement gives each
enable tiles of its own."""
ULTRAPLUS_INFERENCE = "-dsp"
"""Further one for configurations whose multipliers are plain arithmetic. Not where SB_MAC16 are
instantiated: yosys takes them for multipliers to map and makes combinational 16x16 ones of them."""

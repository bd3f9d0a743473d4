// An external memory's data, which lies outside of the compiled design, and its chip's clock.

#pragma once

#include <cstdint>
#include <cstdlib>

// What a design with an external memory asks for is answered in the same cycle.
template <class Top>
void exchange(Top& top, std::uint16_t* cells) {
    if constexpr (requires { top.cells___05Fwrite; }) {
        if (!cells) return;
        if (top.cells___05Fwrite) cells[top.cells___05Faddress] = top.cells___05Fdata_o;
        top.cells___05Fdata_i = cells[top.cells___05Faddress];
    }
}

// Both clocks of a design whose chip has two cycles in one of the accelerator, else the only one.
template <class Top>
void set_clocks(Top& top, bool level) {
    top.clk = level;
    if constexpr (requires { top.chip_clk; }) top.chip_clk = level;
}

template <class Top>
void set_resets(Top& top, bool level) {
    top.rst = level;
    if constexpr (requires { top.chip_rst; }) top.chip_rst = level;
}

template <class Top>
constexpr bool kChipClock = requires(Top top) { top.chip_clk; };

// Rising edges of a cycle: that of both clocks and, where there are two, the second one of the chip's. Inputs may change
// behind them, when both clocks are low. `eval` is called at every change.
template <class Top, class Eval>
void clock_cycle(Top& top, std::uint16_t* cells, Eval eval) {
    set_clocks(top, true);
    eval();
    if constexpr (kChipClock<Top>) {
        exchange(top, cells);
        set_clocks(top, false);
        eval();
        top.chip_clk = true;
        eval();
    }
}

// The rule of the memory that was broken first, 0 for none.
template <class Top>
std::uint32_t broken(const Top& top) {
    if constexpr (requires { top.violation; })
        return top.violation;
    else
        return 0;
}

// Fresh cells in place of earlier ones, all zero; pages that nobody touches take no memory.
inline std::uint16_t* allocate(std::uint16_t*& cells, std::uint64_t count) {
    std::free(cells);
    cells = static_cast<std::uint16_t*>(std::calloc(count, 2));
    return cells;
}

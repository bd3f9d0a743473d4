// An external memory's data, which lies outside of the compiled design.

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

// Clocks the compiled board gateware and is the other end of its serial pins, bit by bit.

#include "Vsteelyard.h"
#include "cells.h"
#include "verilated.h"
#include <cstddef>
#include <cstdint>

namespace {

// Cycles without a byte on either pin after which a gateware that is not busy has nothing to do.
constexpr std::uint32_t kQuietCycles = 64;

struct Board {
    VerilatedContext context;
    Vsteelyard top{&context, ""};
    std::uint64_t cycles = 0;
    std::uint32_t divider;
    std::uint16_t* cells = nullptr;
    // Byte on its way to the board: start bit first, then data, then the stop bit.
    std::uint32_t sending = 0, sending_bits = 0, sending_count = 0;
    // Byte on its way from the board.
    std::uint32_t receiving = 0, receiving_bits = 0, receiving_count = 0;

    explicit Board(std::uint32_t bit_cycles) : divider(bit_cycles) { top.rx = 1; }
    ~Board() {
        top.final();
        std::free(cells);
    }

    void tick() {
        exchange(top, cells);
        set_clocks(top, false);
        top.eval();
        clock_cycle(top, cells, [&] { top.eval(); });
        ++cycles;
    }
};

}  // namespace

extern "C" {

Board* board_create(std::uint32_t divider) { return new Board(divider); }

void board_destroy(Board* board) { delete board; }

std::uint64_t board_cycles(const Board* board) { return board->cycles; }

// Holds the reset pin; a byte on either pin is lost.
void board_reset(Board* board) {
    board->sending_bits = board->receiving_bits = 0;
    board->top.rx = 1;
    set_resets(board->top, true);
    for (int n = 0; n < 4; ++n) board->tick();
    set_resets(board->top, false);
}

// Cells of an external memory, all zero.
std::uint16_t* board_cells(Board* board, std::uint64_t count) {
    return allocate(board->cells, count);
}

std::uint32_t board_violation(const Board* board) { return broken(board->top); }

// Bytes that came from the board; `taken` are those of `in` that went to it. Ends before `limit`
// cycles when nothing moves any more, and then sets `idle`.
std::size_t board_run(Board* board, const std::uint8_t* in, std::size_t count, std::size_t* taken,
                      std::uint8_t* out, std::size_t room, std::uint64_t limit, int* idle) {
    auto& top = board->top;
    std::size_t sent = 0, received = 0;
    std::uint32_t quiet = 0;
    *idle = 0;
    for (std::uint64_t n = 0; n < limit && received < room; ++n) {
        if (board->sending_bits == 0 && sent < count) {
            board->sending = 0x200u | (std::uint32_t{in[sent++]} << 1);
            board->sending_bits = 10;
            board->sending_count = 0;
        }
        if (board->sending_bits != 0) {
            top.rx = board->sending & 1;
            if (++board->sending_count == board->divider) {
                board->sending_count = 0;
                board->sending >>= 1;
                --board->sending_bits;
            }
        } else {
            top.rx = 1;
        }
        board->tick();
        if (board->receiving_bits == 0) {
            if (!top.tx) {
                board->receiving_bits = 10;
                board->receiving_count = board->divider / 2;
            }
        } else if (--board->receiving_count == 0) {
            board->receiving_count = board->divider;
            board->receiving = (board->receiving >> 1) | (std::uint32_t{top.tx} << 9);
            // A byte without stop bit was cut by a reset.
            if (--board->receiving_bits == 0 && top.tx) out[received++] = board->receiving >> 1;
        }
        const bool moving = board->sending_bits || board->receiving_bits || top.busy || sent < count;
        quiet = moving ? 0 : quiet + 1;
        if (quiet == kQuietCycles) {
            *idle = 1;
            break;
        }
    }
    *taken = sent;
    return received;
}
}

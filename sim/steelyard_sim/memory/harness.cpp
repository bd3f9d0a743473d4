// Clocks a memory's controller with the model of its chip behind a C interface, and holds the chip's data.
//
// Commands and words come from arrays, with stalls drawn at random from a seed.

#include "../build/cells.h"
#include "Vsteelyard.h"
#include "verilated.h"
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace {

struct Random {
    std::uint64_t state;

    // Whether one of 256 equally likely numbers is below a threshold; 64-bit xorshift.
    bool below(std::uint32_t threshold) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (state >> 32 & 0xff) < threshold;
    }
};

struct Memory {
    VerilatedContext context;
    Vsteelyard top;
    std::uint64_t cycles = 0;
    // Pages that nobody touches take no memory.
    std::uint16_t* cells;
    bool unstable = false;

    explicit Memory(std::uint64_t size)
        : top{&context, ""}, cells{static_cast<std::uint16_t*>(std::calloc(size, 2))} {}

    ~Memory() {
        top.final();
        std::free(cells);
    }

    // Between the halves the inputs have settled and the outputs belong to the cycle that ends.
    void settle() {
        exchange(top, cells);
        set_clocks(top, false);
        top.eval();
    }

    void tick() {
        clock_cycle(top, cells, [&] { top.eval(); });
        ++cycles;
    }

    void idle() {
        top.port___05Fcommand___05Fvalid = 0;
        top.port___05Fwrite___05Fvalid = 0;
        top.port___05Fread___05Fready = 0;
        top.start = 0;
    }
};

}  // namespace

extern "C" {

// What one call works on: arrays, how much of each was done, and when.
struct Work {
    const std::uint64_t* commands;
    const std::uint32_t* writes;
    std::uint32_t* reads;
    std::uint64_t command_count, write_count, read_count;
    // Of 256: how often a cycle offers or takes nothing.
    std::uint32_t command_stall, write_stall, read_stall;
    std::uint64_t seed;
    std::uint64_t commands_done, writes_done, reads_done;
};

Memory* memory_create(std::uint64_t cells, std::uint32_t latency) {
    auto* memory = new Memory(cells);
    memory->top.latency = latency;
    memory->idle();
    return memory;
}

void memory_destroy(Memory* memory) { delete memory; }

void memory_reset(Memory* memory) {
    memory->idle();
    set_resets(memory->top, true);
    for (int n = 0; n < 4; ++n) {
        memory->settle();
        memory->tick();
    }
    set_resets(memory->top, false);
}

std::uint64_t memory_cycles(const Memory* memory) { return memory->cycles; }

std::uint16_t* memory_cells(Memory* memory) { return memory->cells; }

void memory_set_latency(Memory* memory, std::uint32_t latency) { memory->top.latency = latency; }

void memory_step(Memory* memory, std::uint64_t cycles) {
    for (std::uint64_t n = 0; n < cycles; ++n) {
        memory->settle();
        memory->tick();
    }
}

void memory_start(Memory* memory) {
    memory->top.start = 1;
    memory_step(memory, 1);
    memory->top.start = 0;
}

// The rule that was broken first, 0 for none.
std::uint32_t memory_violation(const Memory* memory) { return memory->top.violation; }

// Whether a word read was withdrawn or changed before it was taken.
std::uint32_t memory_unstable(const Memory* memory) { return memory->unstable; }

std::uint32_t memory_ready(Memory* memory) {
    memory->settle();
    return memory->top.ready;
}

// Cycles taken, until all is done, a rule is broken, or the limit is reached.
std::uint64_t memory_run(Memory* memory, Work* work, std::uint64_t limit) {
    auto& top = memory->top;
    Random random{(work->seed * 2 + 1) * 0x9e3779b97f4a7c15};
    bool offers = false, gives = false, waits = false;
    std::uint32_t waiting = 0;
    std::uint64_t taken = 0;
    for (; taken < limit; ++taken) {
        if (work->commands_done == work->command_count && work->writes_done == work->write_count &&
            work->reads_done == work->read_count)
            break;
        // What is offered stays until it is taken.
        if (!offers && work->commands_done < work->command_count)
            offers = !random.below(work->command_stall);
        if (!gives && work->writes_done < work->write_count)
            gives = !random.below(work->write_stall);
        top.port___05Fcommand___05Fvalid = offers;
        if (offers) top.port___05Fcommand___05Fpayload = work->commands[work->commands_done];
        top.port___05Fwrite___05Fvalid = gives;
        if (gives) top.port___05Fwrite___05Fpayload = work->writes[work->writes_done];
        top.port___05Fread___05Fready =
            work->reads_done < work->read_count && !random.below(work->read_stall);
        memory->settle();
        const bool valid = top.port___05Fread___05Fvalid;
        const std::uint32_t word = top.port___05Fread___05Fpayload;
        if (waits && (!valid || word != waiting)) memory->unstable = true;
        waits = valid && !top.port___05Fread___05Fready;
        waiting = word;
        if (offers && top.port___05Fcommand___05Fready) {
            offers = false;
            ++work->commands_done;
        }
        if (gives && top.port___05Fwrite___05Fready) {
            gives = false;
            ++work->writes_done;
        }
        if (valid && top.port___05Fread___05Fready) work->reads[work->reads_done++] = word;
        memory->tick();
        if (top.violation) {
            ++taken;
            break;
        }
    }
    memory->idle();
    return taken;
}
}

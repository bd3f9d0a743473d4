// Clocks the compiled accelerator behind a C interface, so that whole networks run without a call a cycle.
//
// All functions but the trace return what they did; a limit counts clock cycles of the one call.

#include "Vsteelyard.h"
#include "cells.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace {

// Seed 0 starts at zero what has no initial value. It is drawn while the design is constructed.
VerilatedContext* seeded(VerilatedContext& context, std::uint32_t seed) {
    context.randReset(seed ? 2 : 0);
    context.randSeed(static_cast<int>(seed));
    return &context;
}

struct Simulation {
    VerilatedContext context;
    Vsteelyard top;
    std::uint64_t cycles = 0;
    std::uint16_t* cells = nullptr;
#if VM_TRACE
    VerilatedVcdC trace;
    bool tracing = false;
#endif

    explicit Simulation(std::uint32_t seed) : top{seeded(context, seed), ""} {}

    ~Simulation() {
#if VM_TRACE
        if (tracing) trace.close();
#endif
        top.final();
        std::free(cells);
    }

    void eval(unsigned half) {
        top.eval();
#if VM_TRACE
        if (tracing) trace.dump(cycles * (kChipClock<Vsteelyard> ? 4 : 2) + half);
#endif
    }

    // Between the halves the inputs have settled and the outputs belong to the cycle that ends.
    void settle() {
        exchange(top, cells);
        set_clocks(top, false);
        eval(0);
    }

    void tick() {
        unsigned half = 0;
        clock_cycle(top, cells, [&] { eval(++half); });
        ++cycles;
    }

    void idle() {
        top.i___05Fvalid = 0;
        top.o___05Fready = 0;
    }
};

}  // namespace

extern "C" {

Simulation* simulation_create(std::uint32_t seed) {
    auto* simulation = new Simulation(seed);
    simulation->idle();
    return simulation;
}

void simulation_destroy(Simulation* simulation) { delete simulation; }

void simulation_reset(Simulation* simulation) {
    simulation->idle();
    set_resets(simulation->top, true);
    for (int n = 0; n < 4; ++n) {
        simulation->settle();
        simulation->tick();
    }
    set_resets(simulation->top, false);
}

std::uint64_t simulation_cycles(const Simulation* simulation) { return simulation->cycles; }

void simulation_step(Simulation* simulation, std::uint64_t cycles) {
    for (std::uint64_t n = 0; n < cycles; ++n) {
        simulation->settle();
        simulation->tick();
    }
}

// Words accepted.
std::size_t simulation_write(Simulation* simulation, const std::uint32_t* words, std::size_t count,
                             std::uint64_t limit) {
    auto& top = simulation->top;
    std::size_t done = 0;
    top.i___05Fvalid = 1;
    for (std::uint64_t n = 0; done < count && n < limit; ++n) {
        top.i___05Fpayload = words[done];
        simulation->settle();
        const bool accepted = top.i___05Fready;
        simulation->tick();
        done += accepted;
    }
    top.i___05Fvalid = 0;
    return done;
}

// Words received.
std::size_t simulation_read(Simulation* simulation, std::uint32_t* words, std::size_t count,
                            std::uint64_t limit) {
    auto& top = simulation->top;
    std::size_t done = 0;
    top.o___05Fready = 1;
    for (std::uint64_t n = 0; done < count && n < limit; ++n) {
        simulation->settle();
        const bool received = top.o___05Fvalid;
        words[done] = top.o___05Fpayload;
        simulation->tick();
        done += received;
    }
    top.o___05Fready = 0;
    return done;
}

// Whether the accelerator is idle.
int simulation_wait_idle(Simulation* simulation, std::uint64_t limit) {
    for (std::uint64_t n = 0; n < limit; ++n) {
        simulation->settle();
        if (!simulation->top.busy) return 1;
        simulation->tick();
    }
    return 0;
}

// Cells of an external memory, all zero.
std::uint16_t* simulation_cells(Simulation* simulation, std::uint64_t count) {
    return allocate(simulation->cells, count);
}

std::uint32_t simulation_violation(const Simulation* simulation) { return broken(simulation->top); }

// Whether the library was built with tracing; the file is a VCD with one time unit a half cycle of the fastest clock.
int simulation_trace(Simulation* simulation, const char* path) {
#if VM_TRACE
    simulation->context.traceEverOn(true);
    simulation->top.trace(&simulation->trace, 99);
    simulation->trace.open(path);
    simulation->tracing = simulation->trace.isOpen();
    return simulation->tracing;
#else
    (void)simulation;
    (void)path;
    return 0;
#endif
}
}

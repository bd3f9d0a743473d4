"""Cycles of networks with residual additions, apart and fused, by the exact cycle model.

python experiments/fused_additions.py
"""

from loading import MEMORIES, NETWORKS, SHAPE

from steelyard.compile import compile
from steelyard.compile.cycles import layer_cycles, predict_program
from steelyard.contract import configure


def main():
    print(f"{'network':12}{'R':>4}{'apart':>10}{'fused':>10}  pooling and additions then")
    for name in ("resnet8", "demo"):
        network, batch = NETWORKS[name]()
        for requantizers in (8, 4):
            config = configure(**SHAPE | MEMORIES | {"requantizers": requantizers})
            apart = compile(network, config.with_(fused_additions=False), batch=batch)
            fused = compile(network, config, batch=batch)
            other = sum(layer_cycles(e, config) for e in fused.layers if e.k is None)
            whole = predict_program(fused)
            print(
                f"{name:12}{requantizers:4}{predict_program(apart):10,}{whole:10,}"
                f"  {other / whole:.1%}"
            )


if __name__ == "__main__":
    main()

"""Points of the curves of crossbar-aware pruning, each a file named by all that it follows from."""

import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

import steelyard
from steelyard import data, importer, prune, zoo
from steelyard.cost import CONSTANTS, price
from steelyard.engines.crossbar import CrossbarConfig, activity, map_network
from steelyard.files import replacing
from steelyard.network import golden
from steelyard.quantize import quantize

SET = "yu2020"
RESOLVE = ("all", "reach")
QUANTIZED_ON = 500
VERSION = 1
"""Raised when what a point is changes here or in a source that is not listed below."""
PRUNED_BY = (
    "prune/admm.py", "prune/allocation.py", "prune/constraints.py", "prune/layerwise.py",
    "prune/repair.py", "prune/solve.py", "prune/statistics.py", "balanced/budget.py", "quantize",
    "network/golden.py",
)  # fmt: skip
"""Sources that a network and its accuracy follow from; a method's own come to them."""
PRICED_BY = ("engines/crossbar", "cost")


@dataclass(frozen=True)
class Method:
    """How a curve's networks are pruned and mapped.

    Members
    -------
    make : the constraint of a crossbar's shape; None leaves the network dense
    mapping : that the networks are priced in
    order : function of a network and images that reorders channels first
    sources : what it follows from beside what all do
    """

    make: Callable[[prune.CrossbarShape], prune.Constraint] | None
    mapping: str
    sources: tuple[str, ...] = ()
    order: Callable | None = None


@dataclass(frozen=True)
class Strips(prune.MixedGranularity):
    """Strips alone: no column is removed or kept whole, so there are no thresholds to try."""

    remove: float = 0.0
    whole: float = 2.0

    def variants(self):
        """Itself."""
        return (self,)


ORDERED = ("prune/mixed.py", "prune/ordering.py", "prune/dependency.py")
METHODS = {
    "dense": Method(None, "traditional"),
    "unstructured": Method(lambda crossbar: prune.Unstructured(), "ou_row"),
    "structured": Method(lambda crossbar: prune.Structured(), "structured",
                         ("prune/dependency.py",)),
    "ou_row": Method(prune.OuRows, "ou_row", ORDERED, prune.pair_channels),
    "pattern": Method(lambda crossbar: prune.KernelPatterns(4, crossbar, kernel_cost=1.0),
                      "pattern", ("prune/patterns.py",)),
    "pattern_32": Method(lambda crossbar: prune.KernelPatterns(32, crossbar, kernel_cost=0.5),
                         "pattern", ("prune/patterns.py",)),
    "columns": Method(lambda crossbar: Strips(crossbar, width=1), "mixed",
                      ORDERED, prune.order_channels),
    "pairs": Method(Strips, "mixed", ORDERED, prune.order_channels),
    "mixed": Method(lambda crossbar: prune.MixedGranularity(crossbar, width=1), "mixed",
                    ORDERED, prune.order_channels),
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """Images, the dense network, and what is measured on them."""

    model: str
    calibration: int
    images: int
    priced: int
    bundled: bool

    @property
    def known(self):
        """Training images that there are."""
        return 1000 if self.bundled else 60000

    def load(self):
        """Training images, test images and their classes."""
        if self.bundled:
            sample = zoo.sample()
            return sample.calibration, sample.test[: self.images], sample.test_labels[: self.images]
        whole = data.find(None)
        return (
            whole.train_images,
            whole.test_images[: self.images],
            whole.test_labels[: self.images],
        )

    def calibrating(self, train, seed):
        """Calibration images of a seed, as inputs; seed 0 has the first."""
        chosen = np.arange(self.calibration)
        if seed:
            chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[: len(chosen)])
        return zoo.to_input(train[chosen])


@cache
def source(name):
    """Digest of a source file or folder, as it is when it is first asked for."""
    path, found = Path(steelyard.__file__).parent / name, hashlib.sha256()
    for each in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        found.update(each.name.encode() + each.read_bytes())
    return found.hexdigest()


class Maker:
    """Makes points that are not there yet."""

    def __init__(self, bench, folder):
        self.bench, self.folder, self.config = bench, folder, CrossbarConfig(constants=SET)
        self.shape = prune.CrossbarShape(
            self.config.rows, self.config.crossbar_weights, self.config.ou_rows,
            self.config.ou_weights,
        )  # fmt: skip
        self.images = None

    def path(self, name, seed, densities, kind):
        """File of a point, named by a digest of all that it follows from."""
        sources = (*PRUNED_BY, *METHODS[name].sources, f"zoo/{self.bench.model}.npz")
        if kind == "price.json":
            sources += PRICED_BY
        known = [VERSION, asdict(self.bench), name, seed, densities, *map(source, sources)]
        mark = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]
        density = densities[-1] if densities else 1
        return self.folder / f"{self.bench.model}-{name}-{density:g}-{seed}-{mark}-{kind}"

    def there(self, name, seed, densities):
        """Whether a point needs no more work."""
        kinds = ("network.json", "price.json")
        return all(self.path(name, seed, densities, kind).exists() for kind in kinds)

    def point(self, name, seed, densities):
        """The figures of a method at the last of the densities, made where they are missing."""
        if self.images is None and not self.there(name, seed, densities):
            self.images = self.bench.load()
        found = {"method": name, "seed": seed, "density": densities[-1] if densities else 1.0}
        for kind, make in (("network.json", self.network), ("price.json", self.price)):
            path = self.path(name, seed, densities, kind)
            if not path.exists():
                begin = time.process_time()
                made = make(name, seed, densities, self.bench.calibrating(self.images[0], seed))
                made[f"{kind.partition('.')[0]}_seconds"] = time.process_time() - begin
                with replacing(path) as temporary:
                    temporary.write_text(json.dumps(made, indent=1) + "\n")
            found |= json.loads(path.read_text())
        return found

    def network(self, name, seed, densities, calibration):
        """The pruned network of a point, kept beside it, and its accuracy."""
        model, found = self.pruned(name, seed, densities, calibration)
        path = self.path(name, seed, densities, "network.npz")
        zoo.save(model, path, accuracy=0.0, seed=seed, epochs=0)
        network, (_, test, truth) = self.integers(model, calibration), self.images
        codes = network.tensor(network.input).quantize(zoo.to_input(test))
        hits = golden.run(network, codes, threads=1).reshape(len(codes), -1).argmax(1) == truth
        weights = [conv.weight for conv in network.layers if hasattr(conv, "weight")]
        return {
            **found, "accuracy": float(hits.mean()),
            "hits": base64.b64encode(np.packbits(hits).tobytes()).decode(),
            "weights": sum(w.size for w in weights),
            "nonzero": sum(int(np.count_nonzero(w)) for w in weights),
        }  # fmt: skip

    def integers(self, model, calibration):
        """The quantized network."""
        return importer.load(quantize(model, calibration[:QUANTIZED_ON]))

    def pruned(self, name, seed, densities, calibration):
        """The network of a point, pruned from that of the point before it, and the account."""
        method, dense = METHODS[name], zoo.load(self.bench.model)
        if method.make is None:
            return dense, {}
        if method.order is not None:
            # Once, in the dense network: the pruned ones keep the order.
            dense = method.order(dense, calibration)
        structure = prune.inspect(dense, torch.from_numpy(calibration[:8]))
        rule, depends = method.make(self.shape), None
        if isinstance(rule, prune.Structured):
            depends = prune.weight_dependency(dense, structure)
        damage = self.damage(name, seed, dense, calibration, rule, structure, depends)
        start = dense
        if len(densities) > 1:
            before = self.path(name, seed, densities[:-1], "network.npz")
            start = zoo.load(self.bench.model, before)
        keeps = prune.allocate_keeps(
            dense, calibration, 1 - densities[-1], rule, structure, work=1 - densities[-1],
            damage=damage, seed=seed,
        )  # fmt: skip
        result = prune.prune_for_crossbar(
            start, calibration, rule, crossbar=self.shape, keeps=keeps, seed=seed
        )
        layers = [{**asdict(r), "constraint": str(r.constraint)} for r in result.layers]
        return result.model, {"keeps": keeps, "layers": layers}

    def damage(self, name, seed, dense, calibration, rule, structure, depends):
        """Damage by layer and level, kept once for all densities."""
        path = self.path(name, seed, [], "damage.json")
        if path.exists():
            kept = json.loads(path.read_text())
            return {n: {int(level): v for level, v in own.items()} for n, own in kept.items()}
        damage = prune.damage_by_level(
            dense, calibration, rule, structure, depends=depends, seed=seed
        )
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(damage, indent=1) + "\n")
        return damage

    def price(self, name, seed, densities, calibration):
        """What a point's network takes in its mapping, with either kind of converters."""
        path = self.path(name, seed, densities, "network.npz")
        network = self.integers(zoo.load(self.bench.model, path), calibration)
        test = zoo.to_input(self.images[1][: self.bench.priced])
        codes = network.tensor(network.input).quantize(test)
        traced, mapping = golden.run(network, codes, trace=True, threads=1), METHODS[name].mapping
        found = {"mapping": mapping}
        for resolve in RESOLVE:
            config = replace(self.config, adc_resolve=resolve)
            mapped = map_network(network, config, mapping)
            works = activity(network, mapped, traced)
            found[resolve] = {
                "mapped": sum(layer.weights for layer in mapped.layers.values()),
                "crossbars": mapped.crossbars,
                "index_bits": mapped.index_bits,
                "prices": {n: self.priced(mapped, works, n) for n in CONSTANTS},
            }
            if resolve == "all" and mapping == "mixed":
                found["columns"] = columns(mapped, self.shape)
        return found

    def priced(self, mapped, works, constants):
        """Areas in um2, energy in uJ an image by part, and serial time in us an image."""
        cost = price(mapped, works, constants)
        images = self.bench.priced
        energy = {part: value / images / 1e6 for part, value in cost.total.energy.items()}
        return {
            "area": cost.total.total_area, "energy": sum(energy.values()), "energy_parts": energy,
            "time": cost.total.serial_time / images / 1e3,
            "steps": cost.ou_steps / images, "skipped": cost.ou_skipped / images,
        }  # fmt: skip


def columns(mapped, shape):
    """Columns of crossbar-sized parts of all layers but the first, and the weights in them.

    Keys are ``removed``, ``kept``, and ``strips of N``; values are columns and cells' weights.
    """
    found = Counter(), Counter()
    for layer in list(mapped.layers.values())[1:]:
        parts = -(-layer.positions // shape.rows)
        rows, widths = Counter(), {}
        for block in layer.blocks:
            for channel in block.channels.tolist():
                place = int(block.rows.min()) // shape.rows, channel
                rows[place] += len(block.rows)
                widths[place] = len(block.channels)
        found[0]["removed"] += parts * layer.shape[0] - len(widths)
        for (part, channel), width in widths.items():
            whole = min(shape.rows, layer.positions - part * shape.rows)
            kind = "kept" if rows[part, channel] == whole else f"strips of {width}"
            found[0][kind] += 1
            found[1][kind] += rows[part, channel]
    return {kind: [count, found[1][kind]] for kind, count in found[0].items()}

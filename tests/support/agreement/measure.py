"""Agreement of layers with onnxruntime: what tests demand of it, and a table of many networks."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard.compare import Agreement


def assert_ties(found: Iterable[Agreement], share: float = 0.999) -> None:
    """Nothing is off by more than one, what differs is a tie, and together they are few."""
    rows = list(found)
    for each in rows:
        assert each.worst <= 1, f"{each.layer} is off by {each.worst}"
        assert not each.others, f"{each.layer}: {each.others} of {each.elements} differ and no tie"
    elements, equal = (sum(getattr(each, key) for each in rows) for key in ("elements", "equal"))
    assert equal >= share * elements, f"{equal / elements:.4%} of {elements} are equal"


def table(found: Iterable[Agreement]) -> str:
    """A line a kind of layer, and one for all."""
    rows: dict[str, list[Agreement]] = {}
    for each in found:
        rows.setdefault(each.kind, []).append(each)
        rows.setdefault("all", []).append(each)
    rows["all"] = rows.pop("all")
    lines = ["kind        layers     elements        equal   ties  others  worst"]
    for kind, group in rows.items():
        elements, equal = (sum(getattr(e, key) for e in group) for key in ("elements", "equal"))
        ties, others = (sum(getattr(e, key) for e in group) for key in ("ties", "others"))
        lines.append(
            f"{kind:10} {len(group):7} {elements:12} {equal / elements:12.5%} {ties:6} {others:7} "
            f"{max(e.worst for e in group):6}"
        )
    return "\n".join(lines)

"""Design-space exploration: which configuration of a board runs a network best.

Every configuration of a space is evaluated by the compiler's own plan and the exact cycle model.
"""

from .accuracy import accuracy, keep_largest
from .conclusion import Conclusion, conclude
from .default import Default, default_of
from .document import explore_document
from .evaluate import Point, Refusal, evaluate
from .front import OBJECTIVES, best_of, pareto_front, united_fronts
from .record import Record
from .search import Exploration, Found, Variant, explore
from .space import Choice, Space, space_of

__all__ = [
    "OBJECTIVES",
    "Choice",
    "Conclusion",
    "Default",
    "Exploration",
    "Found",
    "Point",
    "Record",
    "Refusal",
    "Space",
    "Variant",
    "accuracy",
    "best_of",
    "conclude",
    "default_of",
    "evaluate",
    "explore",
    "explore_document",
    "keep_largest",
    "pareto_front",
    "space_of",
    "united_fronts",
]

"""Design-space exploration: which configuration of a board runs a network best.

Every configuration of a space is evaluated by the compiler's own plan and the exact cycle model;
some of the front are then synthesized, and of these some placed.
"""

from .accuracy import accuracy, keep_largest
from .cluster import Cluster
from .conclusion import Built, Conclusion, conclude
from .default import Default, default_of
from .document import explore_document
from .evaluate import Point, Refusal, evaluate
from .front import OBJECTIVES, pareto_front, united_fronts
from .jobs import Jobs
from .pruning import Pruned, check_same, prune_to
from .record import Record
from .refine import refine
from .search import Exploration, Found, Variant, explore
from .space import Choice, Space, space_of
from .stages import STAGES

__all__ = [
    "OBJECTIVES",
    "STAGES",
    "Built",
    "Choice",
    "Cluster",
    "Conclusion",
    "Default",
    "Exploration",
    "Found",
    "Jobs",
    "Point",
    "Pruned",
    "Record",
    "Refusal",
    "Space",
    "Variant",
    "accuracy",
    "check_same",
    "conclude",
    "default_of",
    "evaluate",
    "explore",
    "explore_document",
    "keep_largest",
    "pareto_front",
    "prune_to",
    "refine",
    "space_of",
    "united_fronts",
]

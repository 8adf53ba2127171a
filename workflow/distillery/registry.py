"""The registry: everything that settings may name and that is a module of its own, collected from its rooms.

Reading settings must stay cheap: nothing here imports torch, transformers or another heavy library.
"""

from pathlib import Path
from typing import Any

from distillery.config import load
from distillery.config.extensions import Registry
from distillery.config.workspace import Workspace
from distillery.programs.step_scorers import STEP_SCORERS
from distillery.tasks.generators import GENERATORS
from distillery.training.objectives import OBJECTIVES, TRAINERS
from distillery.training.sources import ROW_SOURCES
from distillery.verification.graders import GRADERS
from distillery.verification.graders.comparisons import COMPARISONS

REGISTRY = Registry(
    objectives=OBJECTIVES,
    trainers=TRAINERS,
    row_sources=ROW_SOURCES,
    graders=GRADERS,
    comparisons=COMPARISONS,
    generators=GENERATORS,
    step_scorers=STEP_SCORERS,
)


def load_workspace(settings: Any, root: Path = Path("config"), settings_file: str | None = None) -> Workspace:
    """`distillery.config.load.load_workspace`, with every extension that there is."""
    return load.load_workspace(settings, root, settings_file, registry=REGISTRY)

"""Which saliency maps a model can make. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import InputError

if TYPE_CHECKING:
    from .bundle import Bundle
    from .cards import Card

LESION_MAP = "LESION"  # of the candidates, as the candidate classifier judges them
USUAL_MAPS = ("COAMxCAM", "COAM", "CAM")  # their order: docs/localisation.md
COMPARED_MAPS = ("LayerCAM", "GradCAM", "NORM")  # to compare with, the null last; made where asked for
NETWORK_MAPS = (*USUAL_MAPS, *COMPARED_MAPS)  # of the network's features


def map_names(model: Bundle | Card) -> tuple[str, ...]:
    """The maps that a model can make, its default first."""
    return (LESION_MAP, *NETWORK_MAPS) if model.has_candidates else NETWORK_MAPS


def check_map(name: str, model: Bundle | Card) -> None:
    """Raise InputError when a model makes no map of that name."""
    if name not in map_names(model):
        raise InputError(
            f"The model {model.name} makes no map called {name!r}; "
            f"choose one of {', '.join(map_names(model))}."
        )

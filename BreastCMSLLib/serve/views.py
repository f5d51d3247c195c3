"""The scene of the page: an exam and its results in four views. Runs on the main thread alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..exam import Exam
from ..results.wording import map_note, map_title
from ..scene import bundle, embedded
from ..scene.nodes import ResultNodes
from ..scene.outlines import show_outline
from ..scene.overlay import is_kinetic, legends_of, set_map_threshold
from ..scene.results import remove_results, write_results
from ..scene.views import check_rendering
from ..scene.volumes import add_volume
from .output import Output
from .places import jump, look_from_above, place_of

SLICES = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}  # singleton tag -> orientation
SIDES = {"Axial": "RL", "Sagittal": "AP", "Coronal": "RL"}  # what is left and right on the screen
THREE_D = "ThreeD"
_GROUND = ("#101418", "#2a3138")  # of the 3D view
_FPS, _FPS_BESIDE, _QUALITY = 20.0, 10.0, 70


class SceneViews:
    """Slicer's scene with four views that a trame server shows.

    Parameters
    ----------
    server : trame_server.Server
    moved : callable
        Called with the tag of a slice view and its place: ``min``, ``max``, ``step`` and ``value`` along its
        normal (mm), and ``text``, the coordinate in words.

    Raises
    ------
    DependencyError
        Slicer's core or an OpenGL library is missing.
    """

    def __init__(self, server, moved: Callable[[str, dict[str, float | str]], None]):
        from trame_slicer.core.view_manager import ViewManager
        from trame_slicer.rca_view import register_rca_factories
        from trame_slicer.views import ViewLayoutDefinition

        check_rendering()
        self.scene = embedded.start()
        self._moved = moved
        self._manager = ViewManager(self.scene, embedded.import_slicer().app.applicationLogic())
        settings = {"target_fps": _FPS, "blur_fps": _FPS_BESIDE, "interactive_quality": _QUALITY}
        register_rca_factories(
            self._manager, server, _nothing_more, _nothing_more, rca_encoder="jpeg", **settings
        )
        layout = [
            ViewLayoutDefinition.slice_view(orientation, label=tag) for tag, orientation in SLICES.items()
        ]
        layout.append(ViewLayoutDefinition.threed_view(name=THREE_D, background_color=_GROUND))
        with bundle.quiet():  # VTK says of each window that one of its events is out of use
            for definition in layout:
                self._manager.create_view(definition)
        self._manager.set_current_view_ids([definition.singleton_tag for definition in layout])
        for tag in SLICES:
            self.slice_view(tag).modified.connect(lambda view, tag=tag: self._on_modified(tag, view))
        self._volumes: dict[str, Any] = {}
        self._background: Any = None
        self._result: dict[str, Any] | None = None
        self._nodes: ResultNodes | None = None
        self._map, self._outline, self._index = "", True, 0

    def slice_view(self, tag: str):
        """The view of a tag in `SLICES`."""
        return self._manager.get_view(tag)

    # ------------------------------------------------------------ the exam

    def clear(self) -> None:
        """Remove the exam and its results."""
        self.clear_output()
        for view in self._manager.get_slice_views():
            view.set_background_volume_id(None)
        for node in self._volumes.values():
            display = node.GetDisplayNode()
            self.scene.RemoveNode(node)
            self.scene.RemoveNode(display)
        self._volumes, self._background = {}, None

    def show_exam(self, exam: Exam) -> list[str]:
        """Show the subtraction of the second phase after contrast, as the saved scene does.

        Parameters
        ----------
        exam : Exam

        Returns
        -------
        list of str
            The titles of the volumes to choose from.
        """
        self.clear()
        volumes = {"Subtraction": exam.subtraction(min(1, len(exam.post) - 1))}
        if exam.pre is not None:
            volumes |= {"Before contrast": exam.pre.volume, "First after contrast": exam.post[0].volume}
        for title, volume in volumes.items():
            self._volumes[title] = add_volume(self.scene, volume, title)
        self.show_background("Subtraction")
        self.slice_view("Red").set_visible_in_3d(True)
        for view in self._manager.get_views():
            view.fit_view_to_content()
        for view in self._manager.get_threed_views():
            look_from_above(view)
        self.render()
        return list(volumes)

    def show_background(self, title: str) -> None:
        """Show one of the exam's volumes under the map."""
        if title in self._volumes:
            self._background = self._volumes[title]
            for view in self._manager.get_slice_views():
                view.set_background_volume_id(self._background.GetID())
            self.render()

    # ------------------------------------------------------------ its results

    def clear_output(self) -> None:
        """Remove the results, not the exam."""
        if self._result is not None:
            # a volume on show would be given another display node as its own goes
            for view in self._manager.get_slice_views():
                view.set_foreground_volume_id(None)
            with bundle.quiet():  # legends say that their maps are gone
                remove_results(self.scene, str(self._result["exam_id"]))
        self._result, self._nodes, self._map = None, None, ""
        self.render()

    def show_output(self, output: Output) -> list[dict[str, Any]]:
        """Put the results of the exam into the scene, and show the first candidate; no map hides it.

        Parameters
        ----------
        output : Output

        Returns
        -------
        list of dict
            The maps to choose from: ``value``, ``title``, ``note``, and whether it is ``kinetic``.
        """
        result = output.result
        subtraction = self._volumes["Subtraction"]
        self._nodes = write_results(
            self.scene,
            result,
            output.heatmap,
            subtraction,
            maps=output.maps,
            outlines=output.outlines,
            kinetics=output.kinetics,
        )
        self._result, self._map = result, str(result["map"])
        self.show_background("Subtraction")
        bundle.show_in_views(self.scene, subtraction, self._nodes, result["peaks"][0]["ras_mm"], opacity=0.0)
        self._show_in_3d()
        self.go_to(0)
        # outlines are first drawn as their slice reports a change, and it may lie there already
        for view in self._manager.get_slice_views():
            view.get_view_node().Modified()
        self.render()
        return [
            {"value": name, "title": map_title(name), "note": map_note(name), "kinetic": is_kinetic(node)}
            for name, node in self._nodes.maps.items()
            if not name.startswith("MIP")  # projections are no overlays; the report has them
        ]

    def go_to(self, index: int) -> None:
        """Move all slices to a candidate, from 0, and draw its outline."""
        if self._nodes is None:
            return
        self._index = index
        ras = np.array(self._result["peaks"][index]["ras_mm"], dtype=float)
        for view in self._manager.get_slice_views():
            jump(view.get_view_node(), ras)
        self.show_outline(self._outline)

    def show_outline(self, visible: bool) -> None:
        """Draw the outline of the candidate on show, or else its marker, which would hide a small lesion."""
        self._outline = visible
        if self._nodes is not None:
            drawn = show_outline(self._nodes, self._result, self._index if visible else None)
            markers = self._nodes.peaks
            for n in range(markers.GetNumberOfControlPoints()):
                markers.SetNthControlPointVisibility(n, n == self._index and not drawn)
        self.render()

    def show_map(self, name: str, opacity: float, threshold: float) -> None:
        """Lay a map over the images.

        Parameters
        ----------
        name : str
            Of a map.
        opacity, threshold : float
            0 to 1; at opacity 0 it is hidden. The threshold is none of kinetic maps.
        """
        if self._nodes is None or name not in self._nodes.maps:
            return
        node = self._nodes.maps[name]
        if name != self._map:
            for legend in legends_of(self._nodes.maps[self._map]):
                legend.SetVisibility(False)
            self._map = name
        set_map_threshold(node, threshold)
        for legend in legends_of(node):
            legend.SetVisibility(opacity > 0)
        for view in self._manager.get_slice_views():
            view.set_foreground_volume_id(node.GetID())
            view.set_foreground_opacity(opacity)
        self.render()

    def _show_in_3d(self) -> None:
        """The outlines as surfaces in the 3D view, where legends would only be in the way."""
        if self._nodes.outline is not None:
            self._nodes.outline.CreateClosedSurfaceRepresentation()
        slices = [view.get_view_node_id() for view in self._manager.get_slice_views()]
        for node in self._nodes.maps.values():
            for legend in legends_of(node):
                legend.SetViewNodeIDs(slices)

    # ------------------------------------------------------------ places

    def move_slice(self, tag: str, offset_mm: float) -> None:
        """Move one slice view along its normal."""
        self.slice_view(tag).set_slice_value(offset_mm)
        self.render()

    def _on_modified(self, tag: str, view) -> None:
        if self._background is not None:
            self._moved(tag, place_of(view))

    def render(self) -> None:
        """Draw all views soon."""
        for view in self._manager.get_views():
            view.schedule_render()


def _nothing_more(*_: object) -> None:
    """Names and sliders of the views are the page's."""

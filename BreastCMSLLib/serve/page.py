"""The page: what its template (``templates/app.vue``) shows and calls, which trame keeps in step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trame.app import get_server
from trame_client import module
from trame_server.utils.asynchronous import create_task

from .choices import Choices, models
from .desk import ANALYZING, STOPPING, Desk
from .views import SIDES, SLICES, SceneViews

TEMPLATES = Path(__file__).resolve().parent / "templates"
_NO_MODEL = {"value": "", "note": "", "points": []}


class Page:
    """Binds a desk and its views to a page that trame serves.

    Parameters
    ----------
    make_desk : callable
        Given the scene, and what takes values for the page, makes the ``Desk``.
    """

    def __init__(self, make_desk: Callable[[SceneViews, Callable[[Mapping[str, Any]], None]], Desk]):
        self.server = get_server("breastcmsl", client_type="vue3")
        self.server.enable_module(module)
        self._state = self.server.state
        self._set_up()
        self.scene = SceneViews(self.server, self._on_moved)
        self.desk = make_desk(self.scene, self._show)
        self._listen()

    def _set_up(self) -> None:
        """The values that the template names, but for those of the desk."""
        state, known = self._state, models()
        state.update({"models": known, "model": known[0]["value"] if known else ""})
        state.update({"point": "", "kinetics": False, "background": ""})
        state.update({"map": "", "map_note": "", "map_is_kinetic": False, "map_shown": False})
        state.update({"opacity": 50, "threshold": 40, "outline": True})
        state.slices = [
            {"tag": tag, "orientation": name, "left": SIDES[name][0], "right": SIDES[name][1]}
            for tag, name in SLICES.items()
        ]
        state.places = {tag: {"min": 0, "max": 1, "step": 1, "value": 0, "text": ""} for tag in SLICES}
        self._describe_model()
        state.trame__title = "Breast CMSL"
        state.trame__template_main = (TEMPLATES / "app.vue").read_text(encoding="utf-8")
        state.trame__template_error = (TEMPLATES / "closed.vue").read_text(encoding="utf-8")

    # ------------------------------------------------------------ from server to page

    def _show(self, values: Mapping[str, Any]) -> None:
        with self._state as state:
            state.update(dict(values))
            if "step" in values:
                step = values["step"]
                state.update({"busy": step in (ANALYZING, STOPPING), "can_cancel": step == ANALYZING})
            if "check" in values:
                state.notes = sum(line["level"] != "good" for line in values["check"])
            if values.get("backgrounds"):
                state.background = values["backgrounds"][0]
            if values.get("result"):
                threshold = round(100 * values["threshold"])
                state.update({"map_shown": False, "outline": True, "threshold": threshold})
                state.background = state.backgrounds[0]  # as the views show it
                state.map = values["maps"][0]["value"]
                self._describe_map()

    def _on_moved(self, tag: str, place: dict[str, float | str]) -> None:
        """A slice has moved, by whatever: its slider follows."""
        if self._state.places[tag] != place:
            self._state.places = {**self._state.places, tag: place}

    # ------------------------------------------------------------ from page to server

    def _listen(self) -> None:
        state, called = self._state, self.server.trigger
        self.server.controller.on_client_connected.add(lambda **_: self.scene.render())
        called("choose")(lambda index: create_task(self.desk.choose(int(index))))
        called("run")(self._on_run)
        called("go_to")(self._on_go_to)
        called("move")(self._on_move)
        state.change("map", "map_shown", "opacity", "threshold")(self._on_overlay)
        state.change("outline")(lambda outline, **_: self.scene.show_outline(bool(outline)))
        state.change("background")(lambda background, **_: self.scene.show_background(background))
        state.change("model")(self._on_model)

    def _on_run(self) -> None:
        """Analyze, or cancel."""
        if self.desk.step == ANALYZING:
            self.desk.cancel()
        else:
            create_task(self.desk.analyze(self._choices()))

    def _choices(self) -> Choices:
        """What is chosen, as far as it was offered."""
        state = self._state
        model = _entry(models(), state.model) or _NO_MODEL
        point = _entry(model["points"], state.point) or _NO_MODEL
        return Choices(model["value"], point["value"], bool(state.kinetics))

    def _on_go_to(self, index: Any) -> None:
        with self._state:
            self.desk.go_to(int(index))

    def _on_move(self, tag: str, offset_mm: Any) -> None:
        if tag in SLICES:
            with self._state:
                self.scene.move_slice(tag, float(offset_mm))

    def _on_overlay(self, **_: Any) -> None:
        state = self._state
        self._describe_map()
        opacity = float(state.opacity) / 100 if state.map_shown else 0.0
        self.scene.show_map(state.map, opacity, float(state.threshold) / 100)

    def _on_model(self, **_: Any) -> None:
        self._describe_model()
        self._state.point = ""

    def _describe_model(self) -> None:
        chosen = _entry(self._state.models, self._state.model) or _NO_MODEL
        self._state.update({"model_note": chosen["note"], "points": chosen["points"]})

    def _describe_map(self) -> None:
        chosen = _entry(self._state.maps, self._state.map)
        if chosen is not None:
            self._state.update({"map_note": chosen["note"], "map_is_kinetic": chosen["kinetic"]})


def _entry(entries: list[dict[str, Any]], value: str) -> dict[str, Any] | None:
    return next((entry for entry in entries or () if entry["value"] == value), None)

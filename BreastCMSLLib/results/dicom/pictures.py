"""Pictures of the report as DICOM secondary captures, and marks on the exam's own images."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import highdicom as hd
import numpy as np
from highdicom import pr, sc
from PIL import Image, ImageDraw, ImageFont
from pydicom.sr.codedict import codes

from ...core.geometry import Volume, apply_affine
from ...core.text import one_line
from ..colors import grey_window
from .stamp import MAKER, RESEARCH_USE, Stamp

_STRIP = 24  # pixels below a picture, for the declaration
_LEAST_RADIUS_MM = 8.0  # of a mark's circle


def secondary_capture(stamp: Stamp, caption: str, png: bytes, number: int) -> sc.SCImage:
    """A picture with its caption as derivation description, and the research use written below it.

    Parameters
    ----------
    stamp : Stamp
    caption : str
    png : bytes
    number : int
        Of the picture, from 1.

    Returns
    -------
    highdicom.sc.SCImage
        RGB, without a place in the patient: its views look along three axes.
    """
    capture = sc.SCImage.from_ref_dataset(
        stamp.source.head,
        _declared(png),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        transfer_syntax_uid=hd.UID("1.2.840.10008.1.2.1"),
        **stamp.series("picture", number),
    )
    capture.PatientOrientation, capture.Laterality = None, ""
    capture.ConversionType, capture.BurnedInAnnotation = "WSD", "NO"
    capture.DerivationDescription = one_line(caption, 1000)
    capture.ImageComments = RESEARCH_USE
    return stamp.finished(capture, "Key pictures")


def _declared(png: bytes) -> np.ndarray:
    """The picture (rows, columns, 3) with a strip below."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    whole = Image.new("RGB", (picture.width, picture.height + _STRIP))
    whole.paste(picture)
    font = ImageFont.load_default(14)
    ImageDraw.Draw(whole).text((8, picture.height + 4), f"{MAKER}: {RESEARCH_USE}", (255, 255, 255), font)
    return np.asarray(whole)


def presentation_state(
    stamp: Stamp, result: Mapping[str, Any], image: Volume | None
) -> pr.GrayscaleSoftcopyPresentationState | None:
    """A circle and a number on the slice nearest to each outlined candidate.

    Parameters
    ----------
    stamp : Stamp
    result : mapping
        The content of ``result.json``.
    image : Volume or None
        What the exam's images show, for their window; without it the viewer chooses.

    Returns
    -------
    highdicom.pr.GrayscaleSoftcopyPresentationState or None
        None where no candidate lies on a slice.
    """
    source = stamp.source
    layer, annotations, shown = pr.GraphicLayer("FINDINGS", 1, "Findings"), [], {}
    spacing = np.linalg.norm(source.affine[:3, :3], axis=0)
    for number, peak in enumerate(result["peaks"], 1):
        i, j, k = apply_affine(np.linalg.inv(source.affine), np.array(peak["ras_mm"]))
        slice_number = int(round(k))
        if peak.get("outline") != number or not 0 <= slice_number < source.shape[2]:
            continue
        frame, referenced = _image_of(stamp, slice_number)
        shown.setdefault(slice_number, referenced)
        # presentation states count pixels from the corner of the first one, whose centre is 0.5
        centre = np.clip(np.array([i, j]) + 0.5, 0, source.shape[:2])
        radius = max(_LEAST_RADIUS_MM, 0.75 * float(peak["size_mm"])) / float(spacing[0])
        # the point that tells the radius, and the number beside it, must lie in the image
        room = centre[0], source.shape[0] - centre[0]
        edge = centre + [min(radius, room[1]) if room[1] >= room[0] else -min(radius, room[0]), 0]
        circle = pr.GraphicObject("CIRCLE", np.array([centre, edge]), "PIXEL")
        label = pr.TextObject(str(number), "PIXEL", anchor_point=tuple(map(float, edge)))
        annotations.append(
            pr.GraphicAnnotation([referenced], layer, frame, graphic_objects=[circle], text_objects=[label])
        )
    if not annotations:
        return None
    state = pr.GrayscaleSoftcopyPresentationState(
        list({id(item): item for item in shown.values()}.values()),
        content_label="FINDINGS",
        content_description=RESEARCH_USE,
        concept_name=codes.DCM.PresentationState,
        graphic_layers=[layer],
        graphic_annotations=annotations,
        voi_lut_transformations=_window(stamp, image),
        content_creator_name=f"{MAKER}^",
        **stamp.series("marks"),
    )
    state.Laterality = ""
    return stamp.finished(state, "Marks on the findings")


def _image_of(stamp: Stamp, slice_number: int):
    """The frame (None of a single image) and the image of a slice."""
    if stamp.source.frames:
        return slice_number + 1, stamp.source.head
    return None, stamp.source.images[slice_number]


def _window(stamp: Stamp, image: Volume | None) -> list[pr.SoftcopyVOILUTTransformation] | None:
    """The window of the images; None, so that the viewer chooses, where slices have scales of their own."""
    shared = getattr(stamp.source.head, "SharedFunctionalGroupsSequence", [stamp.source.head])[0]
    scaled = "RescaleSlope" in shared or "PixelValueTransformationSequence" in shared
    if image is None or not scaled:
        return None
    low, high = grey_window(image.array)
    return [pr.SoftcopyVOILUTTransformation(window_center=(low + high) / 2, window_width=high - low)]

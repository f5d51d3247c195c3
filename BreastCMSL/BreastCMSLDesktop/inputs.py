"""Which volumes the user has chosen, in which order and with which times; kept in the scene with the nodes.

Single volumes are node references of role ``DYNAMIC_ROLE`` on the parameter node, in the order of analysis; a
sequence or multivolume is the one reference of role ``SOURCE_ROLE``. MRML keeps references valid when nodes
are removed, renamed or imported with new IDs. Times and the use of frames are attributes of the nodes.
"""

import json
from dataclasses import dataclass, replace

import slicer
from slicer.i18n import tr as _

DYNAMIC_ROLE = "DynamicVolume"
SOURCE_ROLE = "DynamicSource"
TIME_ATTRIBUTE = "BreastCMSLInput.TimeS"
FRAMES_ATTRIBUTE = "BreastCMSLInput.Frames"


@dataclass(frozen=True)
class PhaseRow:
    """One line of the phase table.

    index: frame of a sequence or multivolume. timeS: seconds, or None. reason: why it is not used, where name
    or grid tell.
    """

    node: object
    index: int | None
    name: str
    timeS: float | None
    use: bool
    reason: str = ""

    @property
    def item(self):
        return (self.node, self.index)


def dynamicVolumes(parameterNode):
    """The chosen single volumes that still exist, in order."""
    node = parameterNode.parameterNode
    volumes = [
        node.GetNthNodeReference(DYNAMIC_ROLE, n) for n in range(node.GetNumberOfNodeReferences(DYNAMIC_ROLE))
    ]
    return [volume for volume in volumes if volume is not None]


def setDynamicVolumes(parameterNode, volumes):
    """Choose single volumes, in the order of analysis, instead of what was chosen before."""
    node = parameterNode.parameterNode
    with slicer.util.NodeModify(node):
        node.SetNodeReferenceID(SOURCE_ROLE, None)
        node.RemoveNodeReferenceIDs(DYNAMIC_ROLE)
        for volume in volumes:
            node.AddNodeReferenceID(DYNAMIC_ROLE, volume.GetID())


def setSequence(parameterNode, sequence):
    """Choose a sequence browser, sequence or multivolume node instead of what was chosen before."""
    node = parameterNode.parameterNode
    with slicer.util.NodeModify(node):
        node.RemoveNodeReferenceIDs(DYNAMIC_ROLE)
        node.SetNodeReferenceID(SOURCE_ROLE, sequence.GetID())


def chosenSequence(parameterNode):
    return parameterNode.parameterNode.GetNodeReference(SOURCE_ROLE)


def phaseRows(parameterNode):
    """What the phase table shows: the chosen sequence's frames; or the chosen volumes, then the others."""
    from BreastCMSLLib.scene.sources import volume_candidates, why_left_out

    sequence = chosenSequence(parameterNode)
    if sequence is not None:
        return frameRows(sequence)
    chosen = dynamicVolumes(parameterNode)
    ids = {node.GetID() for node in chosen}
    rows = [_volumeRow(node, True) for node in chosen]
    others = [node for node in volume_candidates(slicer.mrmlScene) if node.GetID() not in ids]
    reasons = why_left_out(chosen, others)
    rows += [replace(_volumeRow(node, False), reason=reason) for node, reason in zip(others, reasons)]
    return _timesFromZero(rows)


def frameRows(sequence):
    """The frames of a sequence or multivolume node, as the user changed them; none where it was emptied."""
    from BreastCMSLLib.core.errors import InputError
    from BreastCMSLLib.scene.reading import frame_count

    try:
        return _frameRows(sequence, frame_count(sequence))
    except InputError:
        return []


def volumeRows(volumes):
    """Single volumes, all in use, with the times that the user gave them or their own."""
    return _timesFromZero([_volumeRow(node, True) for node in volumes])


def setPhaseRows(parameterNode, rows):
    """Keep the table as the user changed it: order, use, and times (of all rows, once one was edited)."""
    shown = {row.item: row.timeS for row in phaseRows(parameterNode)}
    edited = any(row.item in shown and row.timeS != shown[row.item] for row in rows)
    sequence = chosenSequence(parameterNode)
    node = parameterNode.parameterNode
    with slicer.util.NodeModify(node):
        if sequence is not None:
            _setFrames(sequence, rows, edited)
        else:
            if edited:
                for row in rows:  # unused ones too: one clock for all
                    row.node.SetAttribute(TIME_ATTRIBUTE, "" if row.timeS is None else repr(float(row.timeS)))
            setDynamicVolumes(parameterNode, [row.node for row in rows if row.use])
        node.Modified()


def forgetTimes(rows):
    """Back to the times and the order of the data itself."""
    for row in rows:
        row.node.SetAttribute(FRAMES_ATTRIBUTE if row.index is not None else TIME_ATTRIBUTE, None)


def items(rows):
    """(node, frame index or None) of the rows in use."""
    return [row.item for row in rows if row.use]


def times(rows):
    """Seconds of the rows in use, in order; None where not all are known."""
    known = [row.timeS for row in rows if row.use]
    return None if not known or any(time is None for time in known) else known


def problem(rows, t1=None):
    """Why these rows cannot be analysed, as one sentence; empty when they can. Looks at no voxel."""
    from BreastCMSLLib.exam import MAX_PHASES, MIN_PHASES

    used = [row for row in rows if row.use]
    if not used:
        return _("Select the dynamic volumes of one exam: pre- and post-contrast phases, or subtractions.")
    if len(used) < MIN_PHASES:
        return _("Select at least {count} dynamic volumes.").format(count=MIN_PHASES)
    if len(used) > MAX_PHASES:
        return _("Select at most {count} dynamic volumes.").format(count=MAX_PHASES)
    return _problemOfVolumes([row.node for row in used if row.index is None], t1)


def _problemOfVolumes(volumes, t1):
    for volume in (*volumes, *((t1,) if t1 is not None else ())):
        if volume.GetImageData() is None:
            return _("{name} holds no image; select another volume.").format(name=volume.GetName())
    for volume in volumes[1:]:
        if volume.GetImageData().GetDimensions() != volumes[0].GetImageData().GetDimensions():
            text = _("{name} and {first} differ in size; select volumes of one acquisition.")
            return text.format(name=volume.GetName(), first=volumes[0].GetName())
    if t1 is not None and t1 in volumes:
        return _("{name} is selected twice; the T1 must be a volume of its own.").format(name=t1.GetName())
    return ""


def describe(row):
    """Size and spacing of a row's volume, for its tooltip."""
    image = row.node.GetImageData() if row.node.IsA("vtkMRMLVolumeNode") else None
    if row.index is not None:
        return row.name
    if image is None:
        return _("{name}: holds no image").format(name=row.name)
    size = " × ".join(str(n) for n in image.GetDimensions())
    spacing = " × ".join(f"{s:.2f}" for s in row.node.GetSpacing())
    return _("{name}: {size} voxels of {spacing} mm").format(name=row.name, size=size, spacing=spacing)


def _volumeRow(node, use):
    from BreastCMSLLib.scene.reading import item_facts

    facts = item_facts(node)
    edited = node.GetAttribute(TIME_ATTRIBUTE)
    return PhaseRow(node, None, facts.name, facts.time_s if edited is None else _seconds(edited), use)


def _frameRows(sequence, count):
    from BreastCMSLLib.scene.reading import item_facts

    facts = [item_facts(sequence, index) for index in range(count)]
    rows, seen = [], set()
    for entry in _frames(sequence):
        index = entry.get("index")
        if isinstance(index, int) and 0 <= index < count and index not in seen:
            seen.add(index)
            time = entry["time_s"] if "time_s" in entry else facts[index].time_s
            use = bool(entry.get("use", True))
            rows.append(PhaseRow(sequence, index, facts[index].name, _seconds(time), use))
    new = [index for index in range(count) if index not in seen]
    return rows + [PhaseRow(sequence, n, facts[n].name, facts[n].time_s, True) for n in new]


def _setFrames(sequence, rows, edited):
    """Keep order, use and edited times of a sequence's frames in its node."""
    timed = edited or any("time_s" in entry for entry in _frames(sequence))
    entries = [{"index": row.index, "use": row.use} for row in rows]
    if timed:
        entries = [{**entry, "time_s": row.timeS} for entry, row in zip(entries, rows)]
    sequence.SetAttribute(FRAMES_ATTRIBUTE, json.dumps(entries))


def _frames(sequence):
    try:
        entries = json.loads(sequence.GetAttribute(FRAMES_ATTRIBUTE) or "[]")
    except ValueError:
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _timesFromZero(rows):
    """Times of day become seconds from the earliest used volume, as a reader thinks of them."""
    from BreastCMSLLib.readers.clock import across_midnight

    clock = [row for row in rows if row.timeS is not None and row.node.GetAttribute(TIME_ATTRIBUTE) is None]
    if not clock:
        return rows
    values = dict(zip((row.item for row in clock), across_midnight([row.timeS for row in clock])))
    start = min([values[row.item] for row in clock if row.use] or values.values())
    seconds = {item: round(value - start, 1) for item, value in values.items()}
    return [replace(row, timeS=seconds.get(row.item, row.timeS)) for row in rows]


def _seconds(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return None

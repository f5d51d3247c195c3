"""The prior exam that the exam is compared with: kept in the scene, as the exam's own volumes are.

Its nodes are references of role ``PRIOR_ROLE`` on the parameter node: volumes in the order of time, or one
sequence or multivolume.
"""

import slicer
from slicer.i18n import tr as _

from . import inputs

PRIOR_ROLE = "PriorExam"
_COUNT = "PriorExamCount"  # of nodes chosen: the scene forgets a reference with its node


def priorNodes(parameterNode):
    """The chosen nodes that still exist."""
    node = parameterNode.parameterNode
    count = node.GetNumberOfNodeReferences(PRIOR_ROLE)
    nodes = [node.GetNthNodeReference(PRIOR_ROLE, number) for number in range(count)]
    return [node for node in nodes if node is not None]


def isWhole(parameterNode):
    """Whether no node of the chosen exam was removed meanwhile, or all were."""
    count, left = parameterNode.parameterNode.GetAttribute(_COUNT), len(priorNodes(parameterNode))
    return left in (0, int(count or left))


def priorRows(parameterNode):
    """The phases of the chosen nodes: the frames in use, their order and all times are the user's."""
    nodes = priorNodes(parameterNode)
    if len(nodes) == 1 and not nodes[0].IsA("vtkMRMLScalarVolumeNode"):
        return inputs.frameRows(nodes[0])
    return inputs.volumeRows(nodes)


def setPriorNodes(parameterNode, nodes):
    """Choose a prior exam; an empty list for none."""
    node = parameterNode.parameterNode
    with slicer.util.NodeModify(node):
        node.RemoveNodeReferenceIDs(PRIOR_ROLE)
        for each in nodes:
            node.AddNodeReferenceID(PRIOR_ROLE, each.GetID())
        node.SetAttribute(_COUNT, str(len(nodes)))


def missingText():
    return _("A volume of the earlier exam is missing; choose the exam again.")


def problem(priorItems, items):
    """Why an exam cannot be compared with a prior one, as one sentence; empty when it can.

    priorItems, items: (node, frame index or None) of each.
    """
    if any(node is None for node, _index in priorItems):
        return missingText()
    used = {node.GetID() for node, _index in items}
    if any(node.GetID() in used for node, _index in priorItems):
        return _("The earlier exam shares volumes with the exam itself; choose another one.")
    rows = [inputs.PhaseRow(node, index, node.GetName(), None, True) for node, index in priorItems]
    text = inputs.problem(rows)
    return _("The earlier exam: {problem}").format(problem=text) if text else ""

"""All that touches MRML: reading exams from nodes, writing results as nodes, rendering, saving a scene.

The same code runs in the Slicer desktop and on slicer-core without it; call :func:`embedded.start` first in
the latter. Importing this package imports neither ``slicer`` nor ``vtk``.
"""

"""The page of ``breastcmsl serve``: exams of this computer in a browser on it, with Slicer's scene and views.

:mod:`.command` puts the parts together. :mod:`.desk` is what the page does, without browser, scene or
process; :mod:`.views` alone touches the scene, :mod:`.page` alone trame, :mod:`.web` alone the connection.
"""

"""A DICOM node: studies come in, are analysed once they are complete, and results go back to their study.

``config`` is what a site decides, and ``config_file`` reads it; ``node`` receives what ``objects`` allows,
``inbox`` keeps studies on disk, ``arrivals`` and ``completeness`` say what is whole, ``sending`` and ``stow``
answer. ``listen`` puts them together. Only this package opens connections; it is imported by
``breastcmsl listen`` alone.
"""

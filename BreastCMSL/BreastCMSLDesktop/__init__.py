"""What the Breast CMSL module needs of the Slicer desktop: Qt, child processes, installing packages.

Slicer loads every Python file beside ``BreastCMSL.py`` as a module of its own; these lie one folder deeper.
Everything else is in ``BreastCMSLLib``, which knows no Qt. Importing this package imports nothing.
"""

"""Breast DCE-MRI analysis: malignancy probability and where it comes from (Luo et al. 2019).

Importing this package imports nothing heavy; import the sub-module you need.
"""

__version__ = "0.1.0"
HOMEPAGE = "https://github.com/BreastCMSL/SlicerBreastCMSL"

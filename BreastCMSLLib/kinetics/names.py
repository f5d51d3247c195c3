"""The kinetic maps by name, and the levels that tell their colours. Imports nothing heavy."""

from __future__ import annotations

PE, WASH_IN, WASH_OUT, SER, TIME_TO_PEAK = "PE", "WASHIN", "WASHOUT", "SER", "TTP"
MAPS = (PE, WASH_IN, WASH_OUT, SER, TIME_TO_PEAK)
MIP_AXIAL, MIP_RIGHT, MIP_LEFT, MIP_SAGITTAL = "MIP_AXIAL", "MIP_RIGHT", "MIP_LEFT", "MIP_SAGITTAL"
PROJECTIONS = (MIP_AXIAL, MIP_RIGHT, MIP_LEFT, MIP_SAGITTAL)  # the last of an exam of one breast
NAMES = (*MAPS, *PROJECTIONS)

SER_LEVELS = (0.9, 1.0, 1.3, 1.75)  # between the five colours of SER (Breast_DCEMRI_FTV, UCSF)
WASH_IN_LEVELS = (50.0, 100.0)  # %: slow, medium, fast (BI-RADS MRI lexicon)

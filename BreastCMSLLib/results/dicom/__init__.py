"""Results as DICOM objects of the exam's own study: segmentations, structured report, maps, pictures, PDF.

Only this package imports highdicom; ``results.files`` and the command line import it when DICOM is asked for.
"""

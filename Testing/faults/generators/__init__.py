"""Our own generators of bad inputs, one module for each thing that is damaged; they register themselves."""

from . import (  # noqa: F401
    bombs,
    bundles,
    detached,
    dicom_clocks,
    dicom_copies,
    dicom_files,
    dicom_missing,
    dicom_other_images,
    dicom_studies,
    extremes,
    file_plans,
    folders,
    headers,
    manifests,
    requests,
    user_words,
    volume_files,
    voxels,
)

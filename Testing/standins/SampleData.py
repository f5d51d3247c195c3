"""Stand-in for Slicer's Sample Data module: keeps what was registered, and fetches nothing."""

registered = []


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
        loadFileType=None,
    ):
        counts = {
            len(value)
            for value in (uris, fileNames, nodeNames, checksums, loadFileTypes)
            if isinstance(value, list)
        }
        if len(counts) > 1:
            raise ValueError(f"{sampleName}: the lists differ in length")
        registered.append({key: value for key, value in locals().items() if key not in ("counts",)})

"""What the header of a volume file says, checked against the file before ITK may allocate memory for it.

ITK's parsers trust headers: some lies end the process, others fill the missing voxels with zeros. Here each
header is read as text or fixed fields, every number in it must make sense, detached data must lie beside the
header, and packed data are unpacked once, block by block, to know their true size and that their check sum
fits.
"""

from .checks import check_file, check_header, unpacked_voxels
from .header import Header

__all__ = ["Header", "check_file", "check_header", "unpacked_voxels"]

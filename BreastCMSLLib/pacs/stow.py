"""Results to a DICOMweb service (STOW-RS, PS3.18 section 10.5), with dicomweb-client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from ..core.errors import DependencyError
from .config import Web
from .sending import SendError


def check_web(web: Web) -> None:
    """Find out beforehand whether the client is there. Raises DependencyError."""
    _client(web)


def store_web(web: Web, objects: Sequence[Dataset]) -> None:
    """Send objects.

    Parameters
    ----------
    web : Web
    objects : sequence of Dataset
        Of one study.

    Raises
    ------
    SendError
        The service does not answer, or does not take one of them.
    """
    from requests.exceptions import RequestException

    try:
        answer = _client(web).store_instances(
            list(objects), study_instance_uid=str(objects[0].StudyInstanceUID)
        )
    except (RequestException, OSError, ValueError) as error:
        raise SendError(
            f"The DICOMweb service does not take the results ({type(error).__name__})."
        ) from error
    failed = len(answer.get("FailedSOPSequence") or ())
    if failed:
        raise SendError(f"The DICOMweb service refuses {failed} of {len(objects)} objects.")


def _client(web: Web):
    try:
        from dicomweb_client.api import DICOMwebClient
    except ImportError as error:
        raise DependencyError(
            "[stow] needs dicomweb-client, which is not installed; run pip install breastcmsl[pacs]."
        ) from error
    headers = {}
    if web.token_file:
        try:
            headers["Authorization"] = f"Bearer {Path(web.token_file).read_text(encoding='utf-8').strip()}"
        except OSError as error:
            raise SendError(f"{web.token_file} cannot be read ({error.strerror}).") from error
    return DICOMwebClient(web.url, headers=headers)

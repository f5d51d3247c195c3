"""Results to a DICOMweb service (STOW-RS, PS3.18 section 10.5), with dicomweb-client."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from ..core.errors import DependencyError
from .config import Web
from .sending import SLOWEST, TIMEOUT_S, SendError, Unreachable, size_of


def check_web(web: Web) -> None:
    """Find out beforehand whether the client and its files are there. Raises DependencyError."""
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
        The service does not answer in time, or does not take one of them.
    """
    client, answers = _client(web), []
    from requests.exceptions import ConnectionError, Timeout

    study, seconds = str(objects[0].StudyInstanceUID), TIMEOUT_S + sum(map(size_of, objects)) / SLOWEST

    def post() -> None:
        try:
            answers.append(client.store_instances(list(objects), study_instance_uid=study))
        except Exception as error:  # of requests, and of parsers of whatever was answered
            answers.append(error)

    thread = threading.Thread(target=post, daemon=True)  # the client's own limit begins anew with every byte
    thread.start()
    thread.join(2 * seconds)
    if not answers:
        raise Unreachable("The DICOMweb service does not answer in time.")
    (answer,) = answers
    if isinstance(answer, Exception):
        kind = Unreachable if isinstance(answer, (ConnectionError, Timeout)) else SendError
        raise kind(f"The DICOMweb service does not take the results ({type(answer).__name__}).")
    stored = {str(item.get("ReferencedSOPInstanceUID")) for item in answer.get("ReferencedSOPSequence") or ()}
    lacking = len({str(data.SOPInstanceUID) for data in objects} - stored)
    if lacking:  # a page of a proxy is no confirmation
        raise SendError(f"The DICOMweb service does not confirm {lacking} of {len(objects)} objects.")


def _client(web: Web):
    try:
        from dicomweb_client.api import DICOMwebClient
        from requests import Session
    except ImportError as error:
        raise DependencyError(
            "[stow] needs dicomweb-client, which is not installed; run pip install breastcmsl[pacs]."
        ) from error
    for name in ("dicomweb_client", "urllib3"):  # they would log the study's identifier
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if web.authority and not os.path.isfile(web.authority):
        raise SendError(f"{web.authority} is missing; [stow] authority names it.")
    session = Session()
    session.trust_env = False  # results go where the file says: through no proxy, and with no other password
    session.max_redirects = 0
    session.verify = web.authority or True
    if web.token_file:
        try:
            token = Path(web.token_file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise SendError(f"{web.token_file} cannot be read ({reason}).") from error
        session.headers["Authorization"] = f"Bearer {token}"
    try:
        client = DICOMwebClient(web.url, session=session, timeout=TIMEOUT_S)
    except ValueError as error:
        raise SendError("[stow] url is none that dicomweb-client takes; correct it.") from error
    client.set_http_retry_params(retry=False)  # the desk tries again
    return client

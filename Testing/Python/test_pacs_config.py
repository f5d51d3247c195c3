"""The node's file: what it does not say is safe, and what is wrong in it is refused in one sentence."""

from __future__ import annotations

import pytest
from refusals import refuse

from BreastCMSLLib.pacs import certificates
from BreastCMSLLib.pacs.config import Tls
from BreastCMSLLib.pacs.config_file import read_config

GOOD = 'folder = "node"\nae_title = "BREASTCMSL"\ncalling = ["ARCHIVE"]\n'


def test_a_configuration_listens_on_loopback_unless_told_otherwise(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(GOOD)
    config = read_config(path)
    assert (config.address, config.folder) == ("127.0.0.1", str(tmp_path / "node"))
    path.write_text(GOOD + 'address = "0.0.0.0"\nwithout_tls = true\n')
    assert read_config(path).address == "0.0.0.0"


def test_files_that_a_configuration_names_lie_beside_it(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(
        GOOD + '[stow]\nurl = "http://127.0.0.1:1/x"\ntoken_file = "token"\nauthority = "a.pem"\n'
    )
    stow = read_config(path).stow
    assert (stow.token_file, stow.authority) == (str(tmp_path / "token"), str(tmp_path / "a.pem"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("folder = ", "is not TOML"),
        ('ae_title = "A"\ncalling = ["B"]', "folder is missing"),
        (GOOD.replace('["ARCHIVE"]', "[]"), "names nobody"),
        (GOOD.replace('["ARCHIVE"]', '"ARCHIVE"'), "a list of texts"),
        (GOOD.replace("BREASTCMSL", "A TITLE THAT IS TOO LONG"), "no AE title"),
        (GOOD + 'address = "0.0.0.0"', "add [tls]"),
        (GOOD + 'address = "here"', "no IP address"),
        (GOOD + "port = 70000", "too large"),
        (GOOD + "port = true", "whole number"),
        (GOOD + "quiet_s = -1", "above 0"),
        (GOOD + "quiet_s = inf", "less than"),
        (GOOD + "quiet_s = nan", "above 0"),
        (GOOD + "[limits]\nidle_s = inf", "less than"),
        (GOOD + "[limits]\nobject_mb = 1e400", "less than"),
        (GOOD + "quiet_s = 60\npatience_s = 5", "patience_s"),
        (GOOD + "colour = 1", "colour is unknown"),
        (GOOD + "[limits]\nspeed = 1", "speed is unknown"),
        (GOOD + "[analysis]\nmodle = 'x'", "modle is unknown"),
        (GOOD + '[send]\nae_title = "A"\nhost = "h"\nport = 104\ntls = true', "[tls]"),
        (GOOD + '[stow]\nurl = "http://example.org"', "https"),
        (GOOD + '[stow]\nurl = "http://127.0.0.1.example.org"', "https"),
        (GOOD + '[stow]\nurl = "http://127.0.0.1@example.org"', "https"),
        (GOOD + '[stow]\nurl = "https://"', "a host"),
        (GOOD + '[stow]\nurl = "HTTPS://example.org"', "https"),
        (GOOD + '[stow]\nurl = "HTTP://127.0.0.1"', "https"),
        (GOOD + '[stow]\nurl = "https://example.org:port"', "a host"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_sentence(tmp_path, text, part):
    path = tmp_path / "node.toml"
    path.write_text(text)
    refuse(lambda: read_config(path), str(path), part)


def test_a_key_with_a_password_is_refused_in_one_sentence():
    class Context:
        def load_cert_chain(self, certificate, key, password):
            password()

    tls = Tls("node.pem", "node.key", "hospital.pem")
    refuse(lambda: certificates._with_certificates(Context(), tls), "ValueError", "without a password")

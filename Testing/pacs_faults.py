"""``python -m Testing.pacs_faults --output pacs_faults.json``: 3,000 damaged conversations with a DICOM node.

A good conversation (association, images, echo, release) is recorded, damaged and played to the node: bytes
flipped, lengths that lie, PDUs dropped, repeated or mixed up, foreign commands, objects that are none. After
each the node must answer an echo, in the end take a good study. It must not have printed a traceback, a
warning or a patient's name, written anything but images into the folders of their own study, or kept threads
or memory.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import MRImageStorage, Verification

CHECKOUT = Path(__file__).resolve().parents[1]
NAME = "Doe^Jane"
_SYNTAX = "1.2.840.10008.1.2.1"
_P_DATA = 4
_MOST_MB = 300  # that the node may grow by
_KEPT = re.compile(r"(studies(/[0-9a-f]{16}(/(study\.json|sending|images(/[0-9a-f]{32}\.dcm)?))?)?|\.lock)")
_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
Conversation = list[bytes]  # PDUs


def recorded(port: int, images: Sequence[Dataset], called: str = "BREASTCMSL") -> Conversation:
    """What a good caller sends."""
    sent: Conversation = []
    entity = AE(ae_title="ARCHIVE")
    entity.add_requested_context(MRImageStorage, _SYNTAX)
    entity.add_requested_context(Verification)
    listen = [(evt.EVT_DATA_SENT, lambda event: sent.append(event.data))]
    association = entity.associate("127.0.0.1", port, ae_title=called, evt_handlers=listen)
    if not association.is_established:
        raise RuntimeError("The node does not take a good call.")
    for image in images:
        if (code := association.send_c_store(image).get("Status")) != 0:
            raise RuntimeError(f"The node does not take a good image: {code}.")
    association.send_c_echo()
    association.release()
    return sent


# ---------------------------------------------------------------- damages


def flipped(rng: random.Random, talk: Conversation) -> Conversation:
    index = rng.randrange(len(talk))
    data = bytearray(talk[index])
    for _ in range(rng.choice((1, 3, 30))):
        data[rng.randrange(min(len(data), rng.choice((80, 400, 1 << 20))))] = rng.randrange(256)
    return [*talk[:index], bytes(data), *talk[index + 1 :]]


def cut_off(rng: random.Random, talk: Conversation) -> Conversation:
    index = rng.randrange(len(talk))
    return [*talk[:index], talk[index][: rng.randrange(len(talk[index]))]]


def mixed_up(rng: random.Random, talk: Conversation) -> Conversation:
    first, *rest = talk
    rng.shuffle(rest)
    return [first, *rest] if rng.random() < 0.7 else [*rest, first]


def dropped(rng: random.Random, talk: Conversation) -> Conversation:
    gone = rng.randrange(len(talk))
    return talk[:gone] + talk[gone + 1 :]


def repeated(rng: random.Random, talk: Conversation) -> Conversation:
    index = rng.randrange(len(talk))
    return talk[:index] + [talk[index]] * rng.choice((2, 3, 50)) + talk[index + 1 :]


def noise(rng: random.Random, talk: Conversation) -> Conversation:
    index = rng.randrange(len(talk) + 1)
    head = b"" if rng.random() < 0.5 else struct.pack(">BBL", rng.randrange(1, 8), 0, rng.randrange(5000))
    return [*talk[:index], head + rng.randbytes(rng.randrange(1, 5000)), *talk[index:]]


def lying_pdu(rng: random.Random, talk: Conversation) -> Conversation:
    """The length of a PDU."""
    return _with_length(rng, talk, 2, rng.randrange(len(talk)))


def lying_value(rng: random.Random, talk: Conversation) -> Conversation:
    """The length of a fragment, or of the first elements behind its header."""
    of_data = [index for index, pdu in enumerate(talk) if pdu[0] == _P_DATA]
    return _with_length(rng, talk, rng.choice((6, 12, 16, 20, 24, 30, 40)), rng.choice(of_data))


def _with_length(rng: random.Random, talk: Conversation, place: int, index: int) -> Conversation:
    length = rng.choice((0, 1, 5, 0xFFFF, 1 << 20, 1 << 24, 0x7FFFFFFF, 0xFFFFFFFF, rng.randrange(1 << 16)))
    data = bytearray(talk[index])
    if place + 4 <= len(data):
        data[place : place + 4] = struct.pack(rng.choice(("<L", ">L")), length)
    return [*talk[:index], bytes(data), *talk[index + 1 :]]


def other_item(rng: random.Random, talk: Conversation) -> Conversation:
    """An item of the request for an association: another type, or another length."""
    data = bytearray(talk[0])
    place = 74
    for _ in range(rng.randrange(8)):
        if place + 4 < len(data):
            place += 4 + int.from_bytes(data[place + 2 : place + 4], "big")
    place = min(place, len(data) - 4)
    if rng.random() < 0.5:
        data[place] = rng.choice((0, 0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x51, 0x58, 0xFF))
    else:
        data[place + 2 : place + 4] = struct.pack(">H", rng.choice((0, 1, 0xFFFF, rng.randrange(300))))
    return [bytes(data), *talk[1:]]


def foreign_command(rng: random.Random, talk: Conversation) -> Conversation:
    """C-FIND, C-MOVE, C-GET, N-ACTION, answers …, with or without a data set behind."""
    kind = rng.choice((0x01, 0x10, 0x20, 0x21, 0x30, 0x100, 0x110, 0x120, 0x130, 0x140, 0x150, 0xFFF, 0x8001))
    elements = {0x0002: b"1.2.840.10008.5.1.4.1.1.4\0", 0x0100: struct.pack("<H", kind)}
    elements |= {0x0110: struct.pack("<H", rng.randrange(9)), 0x0120: struct.pack("<H", 1)}
    elements |= {0x0800: struct.pack("<H", rng.choice((0x0101, 1))), 0x1000: b"1.2.3\0"}
    elements |= {0x0600: b"ELSEWHERE ", 0x0900: b"\0\0"}
    for number in [n for n in elements if rng.random() < 0.2]:
        del elements[number]
    body = b"".join(struct.pack("<HHL", 0, n, len(v)) + v for n, v in sorted(elements.items()))
    pdus = [_pdu(rng.choice((1, 3, 5, 255)), 3, struct.pack("<HHLL", 0, 0, 4, len(body)) + body)]
    if rng.random() < 0.5:
        pdus.append(_pdu(1, 2, rng.randbytes(rng.randrange(1, 300))))
    return [talk[0], *pdus * rng.choice((1, 1, 20)), *talk[1:]]


def other_object(rng: random.Random, talk: Conversation) -> Conversation:
    """In place of an image: noise, sequences in sequences, elements that lie about their length."""
    deep = struct.pack("<HH", 0x0040, 0xA730) + b"SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    long = (
        struct.pack("<HH", 0x0008, 0x0018) + b"UT\0\0" + struct.pack("<L", rng.choice((1 << 30, 0xFFFFFFFE)))
    )
    uid = struct.pack("<HH", 0x0020, 0x000D) + b"UI" + struct.pack("<H", 18) + b"../../../etc/shado"
    content = rng.choice((rng.randbytes(900), deep * 3000, long, uid, b"", b"\0" * 5000))
    of_data = [index for index, pdu in enumerate(talk) if pdu[0] == _P_DATA and not pdu[11] & 1]
    if not of_data:
        return talk
    index = rng.choice(of_data)
    return [*talk[:index], _pdu(talk[index][10], 2, content), *talk[index + 1 :]]


def hung_up(rng: random.Random, talk: Conversation) -> Conversation:
    """An abort in the middle, and the rest behind it."""
    index = rng.randrange(1, len(talk))
    return [*talk[:index], struct.pack(">BBLL", 7, 0, 4, 0), *talk[rng.choice((index, len(talk))) :]]


def _pdu(context: int, control: int, content: bytes) -> bytes:
    """P-DATA-TF with one fragment (PS3.8 section 9.3.5)."""
    return struct.pack(">BBLLBB", _P_DATA, 0, len(content) + 6, len(content) + 2, context, control) + content


DAMAGES: tuple[Callable[[random.Random, Conversation], Conversation], ...] = (
    *(flipped, cut_off, mixed_up, dropped, repeated, noise, lying_pdu, lying_value, other_item),
    *(foreign_command, other_object, hung_up),
)


# ---------------------------------------------------------------- the campaign


def play(port: int, talk: Conversation) -> str:
    """Send a request, wait for its answer, and send the rest without waiting; how the node ends it."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        answer = b""
        try:
            for part in (talk[0], b"".join(talk[1:])):
                connection.sendall(part)
                if part == talk[0]:
                    connection.settimeout(5)  # half a request has none
                    with suppress(TimeoutError):
                        answer += connection.recv(1 << 16)
                    connection.settimeout(20)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                answer += part
        except TimeoutError:
            return "still open"
        except OSError:
            return "closed while it was sent"
    first = {2: "accepted", 3: "rejected", 7: "aborted"}.get(answer[0] if answer else 0, "no answer")
    return first + (", then aborted" if first == "accepted" and answer[-10:-9] == b"\7" else "")


def echoes(port: int) -> bool:
    """Whether a good caller is served."""
    entity = AE(ae_title="ARCHIVE")
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title="BREASTCMSL")
    if not association.is_established:
        return False
    answered = association.send_c_echo().get("Status") == 0
    association.release()
    return answered


def campaign(port: int, images: Sequence[Dataset], count: int, rng: random.Random) -> dict[str, Any]:
    """Damaged conversations: how often each damage ended in which way, and after which nobody was served."""
    good = recorded(port, images)
    ends: dict[str, Counter] = {damage.__name__: Counter() for damage in DAMAGES}
    silent = []
    for number in range(count):
        damage = DAMAGES[number % len(DAMAGES)]
        end = play(port, damage(rng, good))
        ends[damage.__name__][end] += 1
        if end == "still open" or not (echoes(port) or echoes(port)):  # places of others may be taken yet
            silent.append(f"{number}: {damage.__name__}")
    return {"ends": {name: dict(counts) for name, counts in ends.items()}, "not served after": silent}


def misplaced(folder: Path) -> list[str]:
    """What lies in a node's folder and should not, or is another image than its name says."""
    from BreastCMSLLib.pacs.objects import identifiers
    from BreastCMSLLib.pacs.study import file_name_of, key_of

    wrong = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not _KEPT.fullmatch(name):
            wrong.append(name)
        elif path.suffix == ".dcm":
            study, image, _ = identifiers(path.read_bytes()) or ("", "", "")
            if (path.parents[1].name, path.name) != (key_of(study), file_name_of(image)):
                wrong.append(name)
    return wrong


def status(process: subprocess.Popen, *names: str) -> list[int]:
    """Threads and memory (kB) of a process, from Linux' /proc."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return [int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) for name in names]


def run(count: int, seed: int) -> dict[str, Any]:
    """The whole campaign against a node in a process of its own."""
    sys.path.insert(0, str(CHECKOUT / "Testing" / "Python"))
    from builders import save_model, small_exam

    from training.simulation.dicom_export import write_dicom

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images = [dcmread(file) for file in write_dicom(folder / "exam", small_exam().phases)[20:22]]
        for image in images:
            image.PatientName = NAME
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        config = folder / "node.toml"
        config.write_text(
            f'folder = "node"\nae_title = "BREASTCMSL"\ncalling = ["ARCHIVE"]\nport = {port}\nquiet_s = 1e6\n'
            f'patience_s = 1e6\n[analysis]\nmodel = "{save_model(folder / "model")}"\n'
            "[limits]\nfree_gb = 0.001\nidle_s = 2\n"
        )
        command = [sys.executable, "-m", "BreastCMSLLib", "listen", str(config)]
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(command, cwd=CHECKOUT, stderr=log)
        try:
            while "listens at" not in (folder / "log").read_text():
                time.sleep(0.1)
            campaign(port, images, len(DAMAGES), random.Random(seed))  # what is loaded once
            before = status(process, "Threads", "VmRSS")
            result = campaign(port, images, count, random.Random(seed + 1))
            time.sleep(5)
            after = status(process, "Threads", "VmRSS")
            recorded(port, images)
            process.send_signal(signal.SIGTERM)
            result["exit status"] = process.wait(60)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        said = (folder / "log").read_text()
        result["lines that the node did not write"] = sum(not _LINE.match(line) for line in said.splitlines())
        result["names of patients"] = said.count("Doe") + said.count(str(images[0].StudyInstanceUID))
        result["misplaced files"] = misplaced(folder / "node")
        result["threads that stayed"] = after[0] - before[0]
        result["MB that stayed"] = round((after[1] - before[1]) / 1024)
    return {"conversations": count, "seed": seed, **result}


def failures(result: dict[str, Any]) -> list[str]:
    """What must not be."""
    zero = ("exit status", "lines that the node did not write", "names of patients")
    wrong = [name for name in zero if result[name]]
    wrong += [name for name in ("not served after", "misplaced files") if result[name]]
    if result["threads that stayed"] > 2:
        wrong.append("threads that stayed")
    return wrong + (["MB that stayed"] if result["MB that stayed"] > _MOST_MB else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=90210)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    result = run(options.count, options.seed)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    wrong = failures(result)
    print("FAILED: " + ", ".join(wrong) if wrong else "nothing failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

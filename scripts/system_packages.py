#!/usr/bin/env python3
"""Make sure that the system's libraries are there: OpenGL/EGL for headless views, and Qt's own needs.

Each library is looked for by loading it, and EGL by starting it, so any driver that works is good enough. On
Debian and Ubuntu the missing ones are installed when that needs no password; otherwise one message says what
to type. Nothing is checked on macOS and Windows, where the packages are complete. Standard library only: it
runs before anything is installed.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

# library → Debian package: what the wheels of VTK (loaded on the first rendering) and of Qt (linked) expect
# of the system
LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
    "libzstd.so.1": "libzstd1",
}
SOFTWARE_RENDERING = {"libegl1", "libegl-mesa0", "libgl1-mesa-dri"}


def has_library(name: str) -> bool:
    """True when the dynamic loader finds the library and everything it needs."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def start_egl() -> bool:
    """True when some EGL display can be initialised and offers OpenGL, on a graphics card or in software."""
    opengl_api, surfaceless, device_platform = 0x30A2, 0x31DD, 0x313F
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    egl.eglGetDisplay.restype = ctypes.c_void_p
    egl.eglGetDisplay.argtypes = [ctypes.c_void_p]
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]

    def function(name: bytes, result, *arguments):
        address = egl.eglGetProcAddress(name)
        return ctypes.CFUNCTYPE(result, *arguments)(address) if address else None

    displays = []
    pointer = ctypes.c_void_p
    platform_display = function(b"eglGetPlatformDisplayEXT", pointer, ctypes.c_uint, pointer, pointer)
    query_devices = function(b"eglQueryDevicesEXT", ctypes.c_uint, ctypes.c_int, pointer, pointer)
    if platform_display:
        if query_devices:
            devices, count = (ctypes.c_void_p * 16)(), ctypes.c_int(0)
            query_devices(16, devices, ctypes.byref(count))
            displays += [platform_display(device_platform, devices[n], None) for n in range(count.value)]
        displays.append(platform_display(surfaceless, None, None))
    displays.append(egl.eglGetDisplay(None))
    return any(d and egl.eglInitialize(d, None, None) and egl.eglBindAPI(opengl_api) for d in displays)


def egl_works() -> bool:
    """:func:`start_egl` in a process of its own, because a broken driver can crash the one that loads it."""
    command = [sys.executable, __file__, "--start-egl"]
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def missing(venv: Path) -> tuple[list[str], set[str]]:
    """What is lacking, in words, and the Debian packages that bring it."""
    absent = [name for name in LIBRARIES if not has_library(name)]
    packages = {LIBRARIES[name] for name in absent}
    if not egl_works():
        absent.append("a working EGL driver")
        packages |= SOFTWARE_RENDERING
    if not (venv / "bin" / "python").exists() and importlib.util.find_spec("ensurepip") is None:
        absent.append("Python's ensurepip module")
        packages.add(f"python3.{sys.version_info.minor}-venv")
    return absent, packages


def administrator() -> list[str] | None:
    """Words before a command that needs root: none, ``sudo -n``; None when it would take a password."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


def install(packages: set[str], prefix: list[str]) -> bool:
    """Install Debian packages without asking; True when apt-get says it did."""
    environment = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive"]
    environment += ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    command = [*environment, "install", "-y", "--no-install-recommends", *sorted(packages)]
    # the package lists of a fresh machine are empty or old: only then is the slower update needed
    if subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0:
        return True
    subprocess.run([*environment, "update"], stdout=sys.stderr, stdin=subprocess.DEVNULL)
    return subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--venv", type=Path, default=Path(".venv"), help="virtual environment, there or yet to be"
    )
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    parser.add_argument("--start-egl", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start_egl:
        return 0 if start_egl() else 1
    if not sys.platform.startswith("linux"):
        return 0

    absent, packages = missing(arguments.venv)
    if not absent:
        return 0
    reason = "it was only asked to check"
    if not arguments.check:
        prefix = administrator()
        if shutil.which("apt-get") is None:
            reason = "this system has no apt-get"
        elif prefix is None:
            reason = "that needs an administrator's password"
        else:
            print(f"Installing system packages: {' '.join(sorted(packages))}", file=sys.stderr)
            installed = install(packages, prefix)
            reason = "they still do not work after installing" if installed else "apt-get failed (see above)"
            absent, packages = missing(arguments.venv)
            if not absent:
                return 0
    names = " ".join(sorted(packages))
    for line in (
        f"Missing on this system: {', '.join(absent)}. They were not installed: {reason}.",
        f"On Debian or Ubuntu run: sudo apt-get update && sudo apt-get install -y {names}",
        "On another Linux install the packages that hold these libraries.",
        "To go on without: make SYSTEM_CHECK=no ...",
    ):
        print(line, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

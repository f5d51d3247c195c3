#!/bin/sh
# Print the path of a Python that can run this project; PYTHON=... in the environment names one to use.
set -u

oldest=3.10
newest=3.13
# asks the interpreter itself: a name on the PATH may be a shim for a version that is not installed
probe='import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit(1)
print(sys.executable)'

if [ -n "${PYTHON:-}" ]; then
    if "$PYTHON" -c "$probe" 2>/dev/null; then
        exit 0
    fi
    echo "PYTHON=$PYTHON is not a working Python $oldest to $newest; name another, or leave PYTHON out." >&2
    exit 1
fi

for name in python3 python python3.12 python3.11 python3.13 python3.10; do
    if "$name" -c "$probe" 2>/dev/null; then
        exit 0
    fi
done

echo "No Python $oldest to $newest was found (looked for python3, python and python$oldest to python$newest on the PATH)." >&2
echo "Install one, on Debian or Ubuntu with: apt-get install python3 python3-venv. Or name yours: make PYTHON=/path/to/python3 ..." >&2
exit 1

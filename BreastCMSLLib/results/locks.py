"""Locks on files and folders that are open; a lock ends with its process, however that ends."""

from __future__ import annotations


def lock(descriptor: int, byte: int | None = None) -> bool:
    """Take a lock that no other process has, at once or not at all.

    Parameters
    ----------
    descriptor : int
        Of a file that is open for writing, or of a folder.
    byte : int, optional
        The one that is locked, of a file: others stay free. None: the whole, as of a folder.

    Returns
    -------
    bool
        False where another process has it. True, too, where system (Windows) or disk have no such locks.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        if byte is None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except BlockingIOError:
        return False
    except PermissionError:
        return byte is None  # of a byte it means the same as BlockingIOError
    except OSError:
        pass
    return True

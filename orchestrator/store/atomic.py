"""The file operations everything else is made of: atomic, never overwriting, never following.

A file that must survive a power cut is written under a temporary name, fsynced, renamed, and its
folder is fsynced. After a failed write or fsync the descriptor is given up: asking the same
descriptor again may report a success that never happened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.files import opening
from orchestrator.files.identity import born as born
from orchestrator.libraries import later

if TYPE_CHECKING:
    import ctypes
    import shutil
    import subprocess
else:
    ctypes = later("ctypes")
    shutil = later("shutil")
    subprocess = later("subprocess")

# Full, failing or read-only disks, quotas, no descriptors left: what was asked for was right, and
# may work later.
DISK_FAULTS = frozenset(
    (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
)
_AT_FDCWD, _NOREPLACE = -100, 1


@cache
def _renameat2() -> Any:
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )
    return function


def move(source: str, target: str) -> None:
    """Rename without ever replacing: FileExistsError if the target is there, FileNotFoundError if
    the source is not.

    One atomic ``renameat2`` where the kernel and the file system have it; otherwise ``link`` and
    ``unlink``, which recovery completes if it is cut in the middle (both names are then the same
    inode).
    """
    function = _renameat2()
    if function is not None:
        if (
            function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _NOREPLACE)
            == 0
        ):
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(code, os.strerror(code), source, None, target)
    os.link(source, target, follow_symlinks=False)
    os.unlink(source)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write everything; a full disk shows itself as a short write first and an error at the next
    call."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_temporary(
    path: str, data: bytes, mode: int = 0o644, sync: bool = True, keep: bool = False
) -> int:
    """A new file with this content, on disk when this returns; on any error there is no such file.

    Returns its descriptor if the caller wants to ``keep`` it, else -1.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        write_all(fd, data)
        if sync:
            os.fsync(fd)
    except BaseException:
        os.close(fd)
        os.unlink(path)
        raise
    if keep:
        return fd
    os.close(fd)
    return -1


MANY = 64  # files from which on the whole file system is synced once, instead of each of them


def write_many(files: Mapping[str, bytes]) -> None:
    """New files by their paths, all in one folder and all on disk when this returns."""
    many = len(files) >= MANY
    for path, data in files.items():
        write_temporary(path, data, sync=not many)
    if many:
        _sync_file_system(files)


def _sync_file_system(paths: Iterable[str]) -> None:
    for number, path in enumerate(paths):
        fd = opening.descriptor(path)
        try:
            if number == 0 and _syncfs(fd):
                return
            os.fsync(fd)
        finally:
            os.close(fd)


def _syncfs(fd: int) -> bool:
    """Sync the file system that this file is on; False if there is no such call here."""
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return False
    if function(ctypes.c_int(fd)) == 0:
        return True
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def publish(
    path: str,
    data: bytes,
    temporary: str,
    replace: bool = False,
    sync: bool = True,
    sync_name: bool = True,
    keep: bool = False,
) -> int:
    """Create ``path`` with this content at once or not at all; FileExistsError if it is there
    (unless ``replace``).

    With ``sync`` its content, with ``sync_name`` its name too survives a power cut. Returns as
    `write_temporary`.
    """
    fd = write_temporary(temporary, data, sync=sync, keep=keep)
    try:
        if replace:
            os.rename(temporary, path)
        else:
            move(temporary, path)
    except BaseException:
        if fd >= 0:
            os.close(fd)
        os.unlink(temporary)
        raise
    if sync and sync_name:
        sync_folder(os.path.dirname(path))
    return fd


def remove_tree(path: str) -> None:
    """Remove whatever lies there, as far as it goes. `shutil.rmtree` would wait for ever for who
    writes to a pipe."""
    if stat.S_ISDIR(_mode(path)):
        with suppress(RecursionError):
            shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):
            # Folders may be protected by their mode (Go's module cache is), or too deep for a
            # function that calls itself for each level.
            closed = ["-type", "d", "!", "-perm", "-700"]
            open_up = ["find", path, *closed, "-exec", "chmod", "u+rwx", "{}", ";"]
            for words in (open_up, ["rm", "-rf", "--", path]):
                subprocess.run(words, stderr=subprocess.DEVNULL, check=False)
        return
    with suppress(OSError):
        os.unlink(path)


def move_whole(source: str, target: str) -> None:
    """Rename whatever lies there. A folder that is protected by its mode could not leave the folder
    that it is in: whoever moves it has to be able to write into it."""
    try:
        os.rename(source, target)
    except PermissionError:
        if not stat.S_ISDIR(_mode(source)):
            raise
        let_in(source)
        os.rename(source, target)


def let_in(folder: str) -> None:
    """Give ourselves all rights to a folder of ours, which is no link."""
    fd = os.open(folder, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(os.fstat(fd).st_mode) | stat.S_IRWXU)
    finally:
        os.close(fd)


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def remove(path: str) -> bool:
    """Unlink a file; whether it was there.  A folder in its place is somebody else's and stays."""
    try:
        os.unlink(path)
    except (FileNotFoundError, IsADirectoryError):
        return False
    return True

"""ZIP and TAR archives of photographs: listed and read without being unpacked, whoever made them.

Nothing of an archive is ever written to a disk under a name of its own: a member is read into memory, one at a time,
so that no name in it can lead anywhere. What can't be a photograph, or must not be one, is refused with its reason.
"""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from geocamnet.errors import DataError
from geocamnet.images import written_aside

MAX_MEMBER_BYTES = 2 * 1024**3  # a member is read into memory, and no photograph that fits there is larger
BOMB_RATIO = 250  # bytes for a byte: more than photographs ever shrink, less than what deflate can be made to do
BOMB_BYTES = 64 * 1024**2  # below that, what unfolds does no harm
_HEADER_BYTES = 16 * 1024**2  # a TAR header that claims more is made to fill the memory
_STEP_BYTES = 16 * 1024**2
_UNFOLD_BYTES = 64 * 1024  # a read that meets damage gives nothing at all

_COMPRESSED: dict[str, Any] = {"tar.gz": gzip.open, "tar.bz2": bz2.open, "tar.xz": lzma.open}
_MAGIC = {b"\x1f\x8b": "tar.gz", b"BZh": "tar.bz2", b"\xfd7zXZ\x00": "tar.xz"}
_OTHER_KINDS = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "RAR"}
_NOT_MEMBERS = frozenset({"__MACOSX"})  # what a Mac adds to a ZIP

# What the readers of the standard library raise at damaged or hostile archives.
_DAMAGED = (
    OSError, EOFError, ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError,
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError,
)  # fmt: skip


class Member(NamedTuple):
    """A file in an archive: its path as unpacked (with ``/``), its size in bytes, and where `read_member` finds it."""

    path: str
    size_bytes: int
    position: int


class Listing(NamedTuple):
    """What an archive holds: its members, and (name, reason) of what is refused."""

    members: list[Member]
    refused: list[tuple[str, str]]


def archive_kind(file: Path) -> str:
    """Return ``zip``, ``tar``, ``tar.gz``, ``tar.bz2`` or ``tar.xz``, told by the content.

    Raises:
        DataError: none of these, or a file that can't be read.
    """
    advice = "RAW must be a folder, a ZIP, or a TAR (.tar, .tar.gz, .tar.bz2, .tar.xz)"
    try:
        with file.open("rb") as stream:
            head = stream.read(512)
        is_zip = zipfile.is_zipfile(file)
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror or error}).") from error
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if is_zip and head.startswith(b"PK"):  # the end alone, which is looked at first, may be of a ZIP in a TAR
        return "zip"
    for magic, name in _OTHER_KINDS.items():
        if head.startswith(magic):
            raise DataError(f"{file}: {name} archives can't be read. Unpack it, or pack it as ZIP; {advice}.")
    if head.startswith(b"PK"):
        raise DataError(f"{file}: the ZIP is damaged or cut short: the list of its files is missing. Copy it again.")
    if head[257:262] == b"ustar" or tarfile.is_tarfile(file):
        return "tar"
    raise DataError(f"{file}: no archive that can be read. {advice}.")


def list_archive(file: Path, kind: str) -> Listing:
    """Return what an archive holds, as it would lie in a folder if it were unpacked.

    Hidden files and folders are left out, as in a folder. Refused: names that lead out of the archive, links,
    devices, encrypted members, and what unfolds to far more than it is. Of members with one name the last is taken.
    A TAR that is cut short gives what stands before the damage. A compressed TAR is read through once.

    Args:
        file: the archive.
        kind: by `archive_kind`.

    Raises:
        DataError: nothing of it can be listed.
    """
    try:
        found = _list_zip(file) if kind == "zip" else _list_tar(file, kind)
    except _DAMAGED as error:
        raise DataError(f"{file}: the archive is damaged or cut short ({error}). Copy it again.") from error
    last: dict[str, Member] = {}
    for member in found.members:
        if member.path in last:
            found.refused.append((member.path, "is there several times in the archive: the last one is taken"))
        last[member.path] = member
    return Listing(list(last.values()), found.refused)


class Reader:
    """Reads members of one archive; a process opens each archive once and keeps it open until `close`.

    Args:
        file: the archive.

    Raises:
        DataError: no archive that can be read.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.kind = archive_kind(file)
        self._zip: zipfile.ZipFile | None = None
        self._streams: dict[str, IO[bytes]] = {}

    def read(self, position: int, size_bytes: int, *, role: str = "photographs") -> bytes:
        """Return the content of a member.

        A compressed TAR can only be read forwards: members must be asked for in the order of their positions, or it
        is decompressed again from its beginning. Each ``role`` has a place in the archive of its own.

        Raises:
            DataError: the member is damaged, cut short, or packed in a way that can't be read.
        """
        if size_bytes > MAX_MEMBER_BYTES:
            raise DataError(f"has {size_bytes:,} bytes, more than {MAX_MEMBER_BYTES:,}: unpack the archive.")
        try:
            if self.kind == "zip":
                self._zip = self._zip or zipfile.ZipFile(self.file)
                content = self._zip.read(self._zip.infolist()[position])
            else:
                if role not in self._streams:
                    self._streams[role] = _COMPRESSED.get(self.kind, open)(self.file, "rb")
                self._streams[role].seek(position)
                content = self._streams[role].read(size_bytes)
        except (*_DAMAGED, NotImplementedError) as error:
            raise DataError(f"can't be read out of the archive ({error or type(error).__name__}).") from error
        if len(content) < size_bytes:
            raise DataError("is cut short: the archive ends before it does.")
        return content

    def close(self) -> None:
        """Close the archive."""
        for one in (self._zip, *self._streams.values()):
            if one:
                one.close()
        self._zip, self._streams = None, {}


def unfold(file: Path, kind: str, plain: Path, *, size_bytes: int) -> None:
    """Write a compressed TAR as a plain one, whose members can be read in any order at the same positions.

    Damage ends it: what lies behind is missing, and its members are cut short.

    Args:
        file, kind: the archive, by `archive_kind` one of ``tar.gz``, ``tar.bz2``, ``tar.xz``.
        plain: the file to write.
        size_bytes: how much of it; what comes after the last member can't matter.

    Raises:
        DataError: the disk is full or can't be written.
    """
    with written_aside(plain) as aside, _COMPRESSED[kind](file, "rb") as packed, aside.open("wb") as stream:
        while size_bytes:
            try:
                part = packed.read(min(_UNFOLD_BYTES, size_bytes))
            except _DAMAGED:
                return
            if not part:
                return
            stream.write(part)
            size_bytes -= len(part)


def _list_zip(file: Path) -> Listing:
    found = Listing([], [])
    with zipfile.ZipFile(file) as archive:
        for position, info in enumerate(archive.infolist()):
            if info.is_dir():
                continue
            path, reason = _checked_path(_zip_name(info))
            mode = info.external_attr >> 16
            if not reason and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                reason = "is a link in the archive, which is not followed" if stat.S_ISLNK(mode) else "is no file"
            if not reason and info.flag_bits & 0x1:
                reason = "is encrypted: unpack the archive with its password"
            if not reason and info.file_size > max(BOMB_BYTES, BOMB_RATIO * info.compress_size):
                reason = (
                    f"{info.compress_size:,} bytes that claim to unfold to {info.file_size:,}: a decompression bomb"
                )
            _enter(found, path, reason, info.file_size, position)
    return found


def _list_tar(file: Path, kind: str) -> Listing:
    found = Listing([], [])
    whole = "so that what comes after is not known. Copy it again"
    with _COMPRESSED.get(kind, open)(file, "rb") as packed:
        stream = _Forwards(packed, file.stat().st_size, can_seek=kind == "tar")
        try:
            archive = tarfile.open(fileobj=stream, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
            before = -1
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else each header stays in memory
                if archive.offset <= before:  # type: ignore[attr-defined]
                    raise tarfile.ReadError("a header leads backwards")
                before = archive.offset  # type: ignore[attr-defined]
                _enter_tar_member(found, info)
        except _DAMAGED as error:
            if not (found.members or found.refused):
                raise
            found.refused.append((file.name, f"the archive is damaged ({error}), {whole}"))
        else:
            if stream.last.strip(b"\0"):
                found.refused.append((file.name, f"the archive is damaged, {whole}"))
            elif len(stream.last) < tarfile.BLOCKSIZE:
                found.refused.append((file.name, f"the archive is cut short, {whole}"))
    return found


def _enter_tar_member(found: Listing, info: tarfile.TarInfo) -> None:
    if info.isdir():
        return
    path, reason = _checked_path(_tar_name(info.name))
    if not reason and (info.issym() or info.islnk()):
        reason = "is a link in the archive, which is not followed"
    elif not reason and not info.isreg():
        reason = "is no file"
    elif not reason and info.issparse():
        reason = "is stored with holes: pack the archive without --sparse"
    _enter(found, path, reason, info.size, info.offset_data)


def _enter(found: Listing, path: str, reason: str, size_bytes: int, position: int) -> None:
    parts = PurePosixPath(path).parts
    if reason:
        found.refused.append((path, reason))
    elif not (any(part.startswith(".") for part in parts) or parts[0] in _NOT_MEMBERS):
        found.members.append(Member(path, size_bytes, position))


class _Forwards:
    """A stream that is only read forwards, and no further than a photograph archive would reach."""

    def __init__(self, stream: IO[bytes], packed_bytes: int, *, can_seek: bool) -> None:
        self.last = b""  # of the last read: the end of a whole TAR is a block of zeros
        self._stream = stream
        self._can_seek = can_seek
        self._limit = None if can_seek else max(16 * BOMB_BYTES, BOMB_RATIO * packed_bytes)
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        if position < 0:
            raise tarfile.ReadError("a header leads backwards")
        if self._can_seek:
            self._at = self._stream.seek(position)
            return self._at
        if position < self._at:
            raise tarfile.ReadError("a header leads backwards")
        while self._at < position:
            if not self._take(min(_STEP_BYTES, position - self._at)):
                break
        return self._at

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        self.last = self._take(size)
        return self.last

    def _take(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._at += len(content)
        if self._limit is not None and self._at > self._limit:
            raise tarfile.ReadError(f"it unfolds to more than {self._limit:,} bytes: a decompression bomb")
        return content


def _zip_name(info: zipfile.ZipInfo) -> str:
    # A ZIP says whether a name is UTF-8. Where it does not, it is UTF-8 all the same (Mac), the code page of a Chinese
    # Windows (GBK), or, as the format has it, cp437. Of GBK only pairs of high bytes are taken for Chinese, for a lone
    # high byte is a letter with an accent.
    name: Any = info.orig_filename
    if info.flag_bits & 0x800 or name.isascii():
        return str(name)
    return _decoded(name.encode("cp437"), name)


def _tar_name(name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return _decoded(name.encode("utf-8", "surrogateescape"), name)
    return name


def _decoded(raw: bytes, otherwise: str) -> str:
    for encoding in ("utf-8", "gb2312"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    try:
        chinese = raw.decode("gb18030")
    except UnicodeDecodeError:
        return otherwise
    return chinese if all(one.isascii() or "一" <= one <= "鿿" for one in chinese) else otherwise


def _checked_path(name: str) -> tuple[str, str]:
    """Return a member's path with ``/``, and why it is refused, if it is."""
    shown = name.encode("utf-8", "replace").decode().replace("\\", "/")
    shown = "".join(one if one.isprintable() else "?" for one in shown)
    path = PurePosixPath(shown)
    if not path.name or "\0" in name:
        return shown or "(no name)", "has no name"
    if path.is_absolute() or ".." in path.parts or path.parts[0].endswith(":"):
        return shown, "its name leads out of the archive"
    if shown != name.replace("\\", "/"):
        return str(path), "its name is not valid Unicode, or holds signs that can't be shown: rename the file"
    return str(path), ""

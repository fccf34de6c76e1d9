"""wsgi.file_wrapper of PEP 3333."""

import io


class FileWrapper:
    """An iterable over the rest of a file, which nginx sends by itself if it can.

    file: an object with read(size) that returns bytes.  block_size: how much to read at a time, in bytes, where
    the file has to be read.  Raises TypeError if there is no read().
    """

    def __init__(self, file, block_size=8192):
        if not hasattr(file, "read"):
            raise TypeError(f"a file is expected, {type(file).__name__} has no read()")
        self._file = file
        self._block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self._file.read(self._block_size)
        if data:
            return data
        raise StopIteration


def sendable(wrapper):
    """Descriptor and offset of a wrapper's file, or None if what read() gives need not be the bytes of the file.

    That is known of the classes of io only: a GzipFile, or a text file, has a descriptor too. A subclass may read
    something else, and a pipe cannot tell where it is.
    """
    file = wrapper._file
    if type(file) in (io.BufferedReader, io.BufferedRandom):
        plain = type(file.raw) is io.FileIO
    else:
        plain = type(file) is io.FileIO
    if not plain or not file.seekable():
        return None
    # Buffered bytes have been taken from the descriptor already, so its own offset is no help.
    return file.fileno(), file.tell()

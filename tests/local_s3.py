"""An S3 on this machine (moto's), which can be stopped and started again with what it holds."""

import logging

from moto.server import ThreadedMotoServer

BUCKET = "thin-sections"


class LocalS3:
    """A server at one address with one bucket."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
        self._port = 0
        self.start()

    @property
    def options(self):
        """What fsspec is to be told of it; a client that soon gives up keeps the tests short."""
        config = {"retries": {"max_attempts": 0}, "connect_timeout": 5}
        return {"endpoint_url": f"http://127.0.0.1:{self._port}", "config_kwargs": config}

    def start(self):
        """Start it, again where it was."""
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def stop(self):
        """Stop it; what it holds is kept."""
        self._server.stop()

    def files(self):
        """Return an fsspec file system of it."""
        import fsspec

        return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)

    def copy(self, folder, below):
        """Put every file of a folder below a place of the bucket; return that place's URL."""
        files = self.files()
        for file in folder.rglob("*"):
            if file.is_file():
                files.pipe_file(f"{BUCKET}/{below}/{file.relative_to(folder).as_posix()}", file.read_bytes())
        return f"s3://{BUCKET}/{below}"

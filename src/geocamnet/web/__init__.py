"""The browser page: the same model file, run inside the browser; served from here, or written as plain files."""

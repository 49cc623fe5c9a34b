"""Live: frames of a camera, what the student says of them, a window, recordings."""

"""Running a student: numpy, OpenCV, Pillow and ONNX Runtime; never torch."""

"""Exports torch networks to the ONNX file that ships."""

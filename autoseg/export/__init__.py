"""From a torch network to the ONNX file that is shipped."""

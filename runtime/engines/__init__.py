"""Engines that run the graphs: ONNX Runtime, TorchScript, or a model in training, behind one protocol."""

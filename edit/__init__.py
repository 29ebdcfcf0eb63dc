"""Changed models, still ONNX: adapters, heads, Dropout, weights to train behind quantization."""

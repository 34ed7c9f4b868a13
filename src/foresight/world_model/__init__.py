"""The world model as PyTorch networks. Training only: the robot runs their ONNX export."""

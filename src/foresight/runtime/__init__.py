"""The world model on the robot: ONNX graphs that imagine and compare, and the belief."""

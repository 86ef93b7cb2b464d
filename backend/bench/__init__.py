"""What a picture costs: methods side by side in one process, on the same models, request and sizes."""

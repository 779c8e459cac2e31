"""What a person runs beside the node."""

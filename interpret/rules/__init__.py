"""What is done around one call of an operator, a file each."""

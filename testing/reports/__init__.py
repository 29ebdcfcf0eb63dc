"""What fuzzing found, in the forms that people and tools read."""

"""What is unusual or dangerous in a file, told without running it. Start with `audit.py`."""

"""What the constants of a model are used for, which of them train, and how they are chosen."""

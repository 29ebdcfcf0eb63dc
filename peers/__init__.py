"""Other runtimes: one adapter each, and how their values differ from ours."""
